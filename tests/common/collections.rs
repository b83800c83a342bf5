//! Collecting and asking what keeps something, call by call.

use leasehold::grpc::proto::leasehold::admin::v1 as api;
use leasehold::grpc::proto::leasehold::admin::v1::collections_client::CollectionsClient;

use super::client::{Answer, Client};

impl Client {
    /// Collects, and waits for the end of it.
    pub fn collect(&self) -> Answer<api::CollectResponse> {
        self.collect_with(false)
    }

    /// Asks what a collection would remove.
    pub fn plan(&self) -> Answer<api::CollectResponse> {
        self.collect_with(true)
    }

    fn collect_with(&self, dry_run: bool) -> Answer<api::CollectResponse> {
        let mut client = CollectionsClient::new(self.connection());
        self.answer(async move { client.collect(api::CollectRequest { dry_run }).await })
    }

    /// Returns everything that `what` means, with what keeps it, one a line.
    pub fn why(&self, what: &str) -> Answer<Vec<String>> {
        let mut client = CollectionsClient::new(self.connection());
        let request = api::WhyRequest { what: what.to_owned(), namespace: String::new() };
        let answer = self.answer(async move { client.why(request).await })?;
        let hold = |hold: &api::Hold| format!("{} {}", hold.kind, hold.name);
        let line = |one: &api::Explained| {
            let holds: Vec<String> = one.holds.iter().map(hold).collect();
            format!("{} {}: {}", one.kind, one.name, holds.join(" > "))
        };
        Ok(answer.found.iter().map(line).collect())
    }

    /// Makes a committed snapshot with labels; for a lease, where the client works for one.
    pub fn make(&self, name: &str, parent: &str, labels: &[(&str, &str)]) -> Answer<()> {
        let key = format!("make {name}");
        self.prepare(&key, parent)?;
        self.commit_with(name, &key, "", labels)
    }

    /// Returns the names of all snapshots, separated by spaces.
    pub fn names(&self) -> String {
        let mut names: Vec<String> = self.list(&[]).unwrap().into_iter().map(|info| info.name).collect();
        names.sort();
        names.join(" ")
    }
}
