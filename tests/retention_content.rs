//! Blobs that containerd deletes are kept for a while where `[retention]` says so, and no longer than there is space for
//! them.

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::client::Client;
use common::content::random_data;
use common::daemon::{Daemon, Site};
use common::random::Random;
use common::wait_for;
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(30);
const MIB: usize = 1 << 20;
/// Where the daemon's own leases on blobs are.
const NAMESPACE: &str = "leasehold";

struct Store {
    site: Site,
    daemon: Daemon,
    containerd: Client,
    operator: Client,
}

impl Store {
    fn start(settings: &str) -> Store {
        let site = Site::with_settings(&format!("[retention]\n{settings}"));
        let daemon = site.start();
        let (containerd, operator) = (Client::new(&daemon), Client::api(&daemon, "default"));
        Store { site, daemon, containerd, operator }
    }

    /// Stores a blob that nobody else has, and has containerd delete it.
    fn deleted(&self, len: usize) -> String {
        let data = random_data(&mut Random::new(), len);
        let digest = self.containerd.store("default/1/ref", &data).unwrap();
        self.containerd.delete_blob(&digest).unwrap();
        digest
    }

    fn lease(&self, id: &str, digest: &str) {
        self.operator.create_lease(id, &[]).unwrap();
        self.operator.add_resource(id, "content", digest).unwrap();
    }

    /// Waits until no more than these are left.
    fn expect_left(&self, digests: &[&String]) {
        let expected: BTreeSet<String> = digests.iter().copied().cloned().collect();
        let left = || self.site.blob_files().into_iter().collect::<BTreeSet<_>>();
        wait_for("evictions", LIMIT, || left().len() <= expected.len());
        assert_eq!(left(), expected);
        assert_eq!(self.site.fsck(false), Vec::<String>::new());
    }

    fn kept_bytes(&self) -> u64 {
        self.site.cli(&["info", "--json"]).json()["pool"]["retained_by_policy_bytes"].as_u64().unwrap()
    }
}

#[test]
fn what_is_deleted_is_leased_by_the_daemon() {
    let store = Store::start("after_remove = \"1h\"\n");
    let digest = store.deleted(MIB);
    store.expect_left(&[&digest]);
    assert_eq!(store.containerd.blobs(), Vec::<String>::new());
    let own = Client::api(&store.daemon, NAMESPACE);
    let id = own.lease_ids(&[]);
    assert!(id.starts_with("retention-"), "{id}");
    assert_eq!(own.resources(&id).unwrap(), [("content".to_owned(), digest.clone())]);
    let why = store.site.cli(&["why", &digest]).ok();
    assert!(why.starts_with(&format!("retained blob {digest}\n  lease {id} in {NAMESPACE}: names it")), "{why}");
    wait_for("the sum of what is kept", LIMIT, || store.kept_bytes() == MIB as u64);

    // Asked for again it is containerd's, until that deletes it again.
    store.containerd.blob(&digest).unwrap();
    store.operator.collect().unwrap();
    assert_eq!(store.containerd.blobs(), [digest.as_str()]);
    store.containerd.delete_blob(&digest).unwrap();
    store.expect_left(&[&digest]);
    own.lease_ids(&[]).split(' ').for_each(|id| own.delete_lease_with(id, true).unwrap());
    store.expect_left(&[]);
}

#[test]
fn nothing_is_kept_for_longer_than_configured() {
    let store = Store::start("after_remove = \"1s\"\n");
    let digest = store.deleted(10);
    assert_eq!(store.site.blob_files(), [digest.as_str()]);
    store.expect_left(&[]);
    wait_for("the end of its lease", LIMIT, || Client::api(&store.daemon, NAMESPACE).lease_ids(&[]).is_empty());
}

#[test]
fn the_oldest_goes_first_and_nothing_that_somebody_leases() {
    let store = Store::start("after_remove = \"1h\"\nmax_bytes = \"2500KiB\"\n");
    let digests: Vec<String> = (0..3).map(|_| store.deleted(MIB)).collect();
    store.expect_left(&[&digests[1], &digests[2]]);
    let log = std::fs::read_to_string(store.site.log()).unwrap();
    let line = log.lines().find(|line| line.contains("a retained blob is evicted")).unwrap();
    assert!(line.contains(&digests[0]) && line.contains("max_bytes"), "{line}");

    // What a lease holds, by name or with a tree, does not count.
    store.lease("named", &digests[1]);
    let manifest = json!({ "config": { "digest": digests[2] }, "layers": [] }).to_string();
    let manifest = store.containerd.store("default/1/ref", manifest.as_bytes()).unwrap();
    store.containerd.delete_blob(&manifest).unwrap();
    store.lease("tree", &manifest);
    let more: Vec<String> = (0..3).map(|_| store.deleted(MIB)).collect();
    let held = [&digests[1], &digests[2], &manifest];
    store.expect_left(&[held.as_slice(), &[&more[1], &more[2]]].concat());
    wait_for("the sum of what is kept", LIMIT, || store.kept_bytes() == 2 * MIB as u64);
    store.operator.delete_lease("tree").unwrap();
    // Of what is the daemon's alone again, the oldest that is large enough.
    store.expect_left(&[&digests[1], &manifest, &more[1], &more[2]]);
}
