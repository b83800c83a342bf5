//! containerd's Namespaces service. Its requests name the namespace themselves and need no header.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::namespaces::Namespaces;
use crate::types::{Labels, Namespace};
use crate::{Error, Result};

use super::convert;
use super::proto::containerd::services::namespaces::v1 as api;
use super::proto::containerd::services::namespaces::v1::namespaces_server::Namespaces as Service;
use super::request::{blocking, span};

/// The service over one pool.
pub(super) struct NamespacesService {
    namespaces: Arc<Namespaces>,
}

impl NamespacesService {
    pub fn new(namespaces: Arc<Namespaces>) -> NamespacesService {
        NamespacesService { namespaces }
    }
}

#[tonic::async_trait]
impl Service for NamespacesService {
    async fn get(
        &self,
        request: Request<api::GetNamespaceRequest>,
    ) -> Result<Response<api::GetNamespaceResponse>, Status> {
        let span = span("Namespaces/Get", request.metadata(), &request.get_ref().name);
        let name = request.into_inner().name;
        let found = blocking(&self.namespaces, "Namespaces/Get", span, move |namespaces| {
            let name = Namespace::parse(name)?;
            let labels = namespaces.labels(&name)?;
            Ok(message(name, labels))
        });
        Ok(Response::new(api::GetNamespaceResponse { namespace: Some(found.await?) }))
    }

    async fn list(
        &self,
        request: Request<api::ListNamespacesRequest>,
    ) -> Result<Response<api::ListNamespacesResponse>, Status> {
        let span = span("Namespaces/List", request.metadata(), "");
        let all = blocking(&self.namespaces, "Namespaces/List", span, |namespaces| namespaces.list());
        let namespaces = all.await?.into_iter().map(|(name, labels)| message(name, labels)).collect();
        Ok(Response::new(api::ListNamespacesResponse { namespaces }))
    }

    async fn create(
        &self,
        request: Request<api::CreateNamespaceRequest>,
    ) -> Result<Response<api::CreateNamespaceResponse>, Status> {
        let wanted = request.get_ref().namespace.clone();
        let span = span("Namespaces/Create", request.metadata(), name_of(&wanted));
        let created = blocking(&self.namespaces, "Namespaces/Create", span, move |namespaces| {
            let api::Namespace { name, labels } = required(wanted)?;
            let (name, labels) = (Namespace::parse(name)?, convert::labels(labels)?);
            namespaces.create(&name, &labels)?;
            Ok(message(name, labels))
        });
        Ok(Response::new(api::CreateNamespaceResponse { namespace: Some(created.await?) }))
    }

    async fn update(
        &self,
        request: Request<api::UpdateNamespaceRequest>,
    ) -> Result<Response<api::UpdateNamespaceResponse>, Status> {
        let api::UpdateNamespaceRequest { namespace, update_mask } = request.get_ref().clone();
        let span = span("Namespaces/Update", request.metadata(), name_of(&namespace));
        let updated = blocking(&self.namespaces, "Namespaces/Update", span, move |namespaces| {
            let api::Namespace { name, labels } = required(namespace)?;
            let name = Namespace::parse(name)?;
            // All of them at once only without a mask, as in containerd.
            if update_mask.as_ref().is_some_and(|mask| mask.paths.iter().any(|path| path == "labels")) {
                return Err(Error::invalid("update mask", "\"labels\" cannot be updated"));
            }
            let labels = namespaces.update(&name, convert::label_update(update_mask, labels)?)?;
            Ok(message(name, labels))
        });
        Ok(Response::new(api::UpdateNamespaceResponse { namespace: Some(updated.await?) }))
    }

    async fn delete(&self, request: Request<api::DeleteNamespaceRequest>) -> Result<Response<()>, Status> {
        let span = span("Namespaces/Delete", request.metadata(), &request.get_ref().name);
        let name = request.into_inner().name;
        blocking(&self.namespaces, "Namespaces/Delete", span, move |namespaces| {
            namespaces.delete(&Namespace::parse(name)?)
        })
        .await
        .map(Response::new)
    }
}

fn required(namespace: Option<api::Namespace>) -> Result<api::Namespace> {
    namespace.ok_or_else(|| Error::invalid("namespace", "is missing"))
}

fn name_of(namespace: &Option<api::Namespace>) -> &str {
    namespace.as_ref().map(|namespace| namespace.name.as_str()).unwrap_or_default()
}

fn message(name: Namespace, labels: Labels) -> api::Namespace {
    api::Namespace { name: name.as_str().to_owned(), labels: labels.into_inner() }
}
