//! containerd's Leases service.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::leases::{self, Info, Leases, Wait};
use crate::types::{Filter, LeaseId, Member};
use crate::{Error, Result};

use super::convert;
use super::proto::containerd::services::leases::v1 as api;
use super::proto::containerd::services::leases::v1::leases_server::Leases as Service;
use super::request::{Slow, blocking, span};
use super::scope::namespace;

/// The service over one pool.
pub(super) struct LeasesService {
    leases: Arc<Leases>,
    /// For those who wait for a collection.
    slow: Slow,
}

impl LeasesService {
    pub fn new(leases: Arc<Leases>, slow: Slow) -> LeasesService {
        LeasesService { leases, slow }
    }
}

#[tonic::async_trait]
impl Service for LeasesService {
    async fn create(&self, request: Request<api::CreateRequest>) -> Result<Response<api::CreateResponse>, Status> {
        let span = span("Leases/Create", request.metadata(), &request.get_ref().id);
        let namespace = namespace(request.metadata());
        let api::CreateRequest { id, labels } = request.into_inner();
        let lease = blocking(&self.leases, "Leases/Create", span, move |leases| {
            let id = if id.is_empty() { leases::random_id()? } else { LeaseId::parse(id)? };
            leases.create(&namespace?, id, convert::labels(labels)?)
        });
        Ok(Response::new(api::CreateResponse { lease: Some(lease.await?.into()) }))
    }

    async fn delete(&self, request: Request<api::DeleteRequest>) -> Result<Response<()>, Status> {
        let span = span("Leases/Delete", request.metadata(), &request.get_ref().id);
        let namespace = namespace(request.metadata());
        let api::DeleteRequest { id, sync } = request.into_inner();
        let delete = move |leases: &Leases| {
            leases.delete(&namespace?, &leases::existing(id)?, if sync { Wait::Collected } else { Wait::No })
        };
        // A collection can take long, and containerd's calls must find a thread meanwhile.
        let deleted = match sync {
            true => self.slow.blocking(&self.leases, "Leases/Delete", span, delete).await,
            false => blocking(&self.leases, "Leases/Delete", span, delete).await,
        };
        deleted.map(Response::new)
    }

    async fn list(&self, request: Request<api::ListRequest>) -> Result<Response<api::ListResponse>, Status> {
        let span = span("Leases/List", request.metadata(), "");
        let namespace = namespace(request.metadata());
        let filters = request.into_inner().filters;
        let list = blocking(&self.leases, "Leases/List", span, move |leases| {
            leases.list(&namespace?, &Filter::parse_all(&filters)?)
        });
        let leases = list.await?.into_iter().map(api::Lease::from).collect();
        Ok(Response::new(api::ListResponse { leases }))
    }

    async fn add_resource(&self, request: Request<api::AddResourceRequest>) -> Result<Response<()>, Status> {
        let span = span("Leases/AddResource", request.metadata(), &request.get_ref().id);
        let namespace = namespace(request.metadata());
        let api::AddResourceRequest { id, resource } = request.into_inner();
        blocking(&self.leases, "Leases/AddResource", span, move |leases| {
            let resource = required(resource)?;
            leases.add(&namespace?, &leases::existing(id)?, &resource.r#type, &resource.id)
        })
        .await
        .map(Response::new)
    }

    async fn delete_resource(&self, request: Request<api::DeleteResourceRequest>) -> Result<Response<()>, Status> {
        let span = span("Leases/DeleteResource", request.metadata(), &request.get_ref().id);
        let namespace = namespace(request.metadata());
        let api::DeleteResourceRequest { id, resource } = request.into_inner();
        blocking(&self.leases, "Leases/DeleteResource", span, move |leases| {
            let resource = required(resource)?;
            leases.remove(&namespace?, &leases::existing(id)?, &resource.r#type, &resource.id)
        })
        .await
        .map(Response::new)
    }

    async fn list_resources(
        &self,
        request: Request<api::ListResourcesRequest>,
    ) -> Result<Response<api::ListResourcesResponse>, Status> {
        let span = span("Leases/ListResources", request.metadata(), &request.get_ref().id);
        let namespace = namespace(request.metadata());
        let id = request.into_inner().id;
        let members = blocking(&self.leases, "Leases/ListResources", span, move |leases| {
            leases.members(&namespace?, &leases::existing(id)?)
        });
        let resources = members.await?.into_iter().map(api::Resource::from).collect();
        Ok(Response::new(api::ListResourcesResponse { resources }))
    }
}

fn required(resource: Option<api::Resource>) -> Result<api::Resource> {
    resource.ok_or_else(|| Error::invalid("resource", "is missing"))
}

impl From<Info> for api::Lease {
    fn from(info: Info) -> api::Lease {
        api::Lease {
            id: info.id.as_str().to_owned(),
            created_at: Some(info.lease.created_at.into()),
            labels: info.lease.labels.into_inner(),
        }
    }
}

impl From<Member> for api::Resource {
    fn from(member: Member) -> api::Resource {
        api::Resource { id: member.id().to_owned(), r#type: member.kind().to_string() }
    }
}
