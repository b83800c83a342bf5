//! The Leases and Namespaces services, call by call.

use leasehold::grpc::proto::containerd::services::leases::v1 as leases;
use leasehold::grpc::proto::containerd::services::leases::v1::leases_client::LeasesClient;
use leasehold::grpc::proto::containerd::services::namespaces::v1 as namespaces;
use leasehold::grpc::proto::containerd::services::namespaces::v1::namespaces_client::NamespacesClient;
use tonic::Response;

use super::client::{Answer, Client, Labels, label_map};

/// A resource that a lease names: its type and its id.
pub type Named = (String, String);

impl Client {
    pub fn create_lease(&self, id: &str, labels: &[(&str, &str)]) -> Answer<leases::Lease> {
        let request = leases::CreateRequest { id: id.into(), labels: label_map(labels) };
        let mut client = LeasesClient::new(self.connection());
        self.answer(async move { client.create(request).await }).map(|answer| answer.lease.unwrap())
    }

    pub fn delete_lease(&self, id: &str) -> Answer<()> {
        self.delete_lease_with(id, false)
    }

    pub fn delete_lease_with(&self, id: &str, sync: bool) -> Answer<()> {
        let mut client = LeasesClient::new(self.connection());
        self.answer(async move { client.delete(leases::DeleteRequest { id: id.into(), sync }).await })
    }

    pub fn leases(&self, filters: &[&str]) -> Answer<Vec<leases::Lease>> {
        let filters = filters.iter().map(|filter| (*filter).to_owned()).collect();
        let mut client = LeasesClient::new(self.connection());
        self.answer(async move { client.list(leases::ListRequest { filters }).await }).map(|answer| answer.leases)
    }

    /// Returns the ids of the leases that match, separated by spaces.
    pub fn lease_ids(&self, filters: &[&str]) -> String {
        let ids: Vec<String> = self.leases(filters).unwrap().into_iter().map(|lease| lease.id).collect();
        ids.join(" ")
    }

    pub fn add_resource(&self, lease: &str, kind: &str, id: &str) -> Answer<()> {
        let resource = Some(leases::Resource { id: id.into(), r#type: kind.into() });
        let request = leases::AddResourceRequest { id: lease.into(), resource };
        let mut client = LeasesClient::new(self.connection());
        self.answer(async move { client.add_resource(request).await })
    }

    pub fn delete_resource(&self, lease: &str, kind: &str, id: &str) -> Answer<()> {
        let resource = Some(leases::Resource { id: id.into(), r#type: kind.into() });
        let request = leases::DeleteResourceRequest { id: lease.into(), resource };
        let mut client = LeasesClient::new(self.connection());
        self.answer(async move { client.delete_resource(request).await })
    }

    pub fn resources(&self, lease: &str) -> Answer<Vec<Named>> {
        let mut client = LeasesClient::new(self.connection());
        let answer =
            self.answer(async move { client.list_resources(leases::ListResourcesRequest { id: lease.into() }).await });
        answer.map(|answer| answer.resources.into_iter().map(|one| (one.r#type, one.id)).collect())
    }

    pub fn create_namespace(&self, name: &str, labels: &[(&str, &str)]) -> Answer<namespaces::Namespace> {
        let namespace = Some(namespaces::Namespace { name: name.into(), labels: label_map(labels) });
        let mut client = NamespacesClient::new(self.connection());
        let answer = self.answer(async move { client.create(namespaces::CreateNamespaceRequest { namespace }).await });
        answer.map(|answer| answer.namespace.unwrap())
    }

    pub fn namespace_labels(&self, name: &str) -> Answer<Labels> {
        let mut client = NamespacesClient::new(self.connection());
        let answer =
            self.answer(async move { client.get(namespaces::GetNamespaceRequest { name: name.into() }).await });
        answer.map(|answer| answer.namespace.unwrap().labels)
    }

    /// Returns the names of all namespaces, separated by spaces.
    pub fn namespaces(&self) -> String {
        let mut client = NamespacesClient::new(self.connection());
        let answer = self.answer(async move { client.list(namespaces::ListNamespacesRequest::default()).await });
        let names: Vec<String> = answer.unwrap().namespaces.into_iter().map(|one| one.name).collect();
        names.join(" ")
    }

    pub fn update_namespace(&self, name: &str, labels: &[(&str, &str)], paths: &[&str]) -> Answer<()> {
        let namespace = Some(namespaces::Namespace { name: name.into(), labels: label_map(labels) });
        let mask = prost_types::FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() };
        let request = namespaces::UpdateNamespaceRequest { namespace, update_mask: Some(mask) };
        let mut client = NamespacesClient::new(self.connection());
        self.answer(async move { client.update(request).await.map(|_| Response::new(())) })
    }

    pub fn delete_namespace(&self, name: &str) -> Answer<()> {
        let mut client = NamespacesClient::new(self.connection());
        self.answer(async move { client.delete(namespaces::DeleteNamespaceRequest { name: name.into() }).await })
    }
}
