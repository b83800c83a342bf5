//! What a lease names of blobs stays on disk when containerd deletes it, and goes when the last lease on it does.

mod common;

use std::time::{Duration, Instant, SystemTime};

use common::client::{Client, label_map};
use common::content::{commit, random_data, sha256, stat};
use common::daemon::{Daemon, Site};
use common::random::Random;
use common::wait_for;
use leasehold::grpc::proto::containerd::services::content::v1 as api;
use tonic::{Code, Status};

/// How soon after the end of a hold everything is gone.
const SOON: Duration = Duration::from_secs(2);
const LIMIT: Duration = Duration::from_secs(30);

struct Store {
    site: Site,
    daemon: Daemon,
    /// What containerd is, on the plugin socket.
    containerd: Client,
    /// Somebody on the API socket, in the namespace `default`.
    operator: Client,
}

impl Store {
    fn start() -> Store {
        Store::serve(Site::new())
    }

    fn serve(site: Site) -> Store {
        let daemon = site.start();
        let (containerd, operator) = (Client::new(&daemon), Client::api(&daemon, "default"));
        Store { site, daemon, containerd, operator }
    }

    fn restart(self, kill: bool) -> Store {
        let Store { site, daemon, .. } = self;
        if kill {
            daemon.kill();
        } else {
            assert!(daemon.stop().success());
        }
        Store::serve(site)
    }

    /// Stores a blob that nobody else has, and returns its digest.
    fn blob(&self) -> (String, Vec<u8>) {
        let data = random_data(&mut Random::new(), 100_000);
        (self.containerd.store("default/1/ref", &data).unwrap(), data)
    }

    /// Has a lease name blobs.
    fn lease(&self, id: &str, labels: &[(&str, &str)], digests: &[&str]) {
        self.operator.create_lease(id, labels).unwrap();
        digests.iter().for_each(|digest| self.operator.add_resource(id, "content", digest).unwrap());
    }

    /// Checks that a blob is there for nobody but leases.
    fn expect_retained(&self, digest: &str) {
        assert_eq!(self.containerd.blobs(), Vec::<String>::new());
        assert_eq!(self.site.blob_files(), [digest]);
        self.expect_whole();
    }

    /// Waits until no blob is left, and checks that it took no longer than `limit`.
    fn expect_gone(&self, limit: Duration) {
        let began = Instant::now();
        wait_for("the end of all blobs", LIMIT, || {
            self.site.blob_files().is_empty() && self.site.trash_dirs().is_empty()
        });
        assert!(began.elapsed() < limit, "{:?}", began.elapsed());
        self.expect_whole();
    }

    fn expect_whole(&self) {
        assert_eq!(self.site.fsck(false), Vec::<String>::new());
    }
}

fn code<T>(answer: Result<T, Status>) -> Option<Code> {
    answer.err().map(|status| status.code())
}

#[test]
fn a_leased_blob_stays_until_its_lease_is_deleted() {
    let store = Store::start();
    let (digest, data) = store.blob();
    // Of whatever namespace: digests mean the same in all.
    let elsewhere = Client::api(&store.daemon, "elsewhere");
    elsewhere.create_lease("keep", &[("containerd.io/gc.flat", "x")]).unwrap();
    elsewhere.add_resource("keep", "content", &digest).unwrap();
    store.containerd.delete_blob(&digest).unwrap();
    store.expect_retained(&digest);
    assert_eq!(code(store.containerd.delete_blob(&digest)), Some(Code::NotFound));
    assert_eq!(code(store.containerd.update_blob(&digest, &[("a", "b")], &[])), Some(Code::NotFound));
    // Who reads it does not count on it.
    assert_eq!(store.containerd.read_blob(&digest).unwrap(), data);
    store.expect_retained(&digest);
    let why = store.site.cli(&["why", &digest]).ok();
    assert_eq!(why.trim_end(), format!("retained blob {digest}\n  lease keep in elsewhere: names it, and never ends"));
    elsewhere.delete_lease_with("keep", true).unwrap();
    // Out of sight when a synchronous deletion answers.
    assert_eq!(store.site.blob_files(), Vec::<String>::new());
    store.expect_gone(SOON);
    assert_eq!(code(store.containerd.read_blob(&digest)), Some(Code::NotFound));
    assert_eq!(code(store.containerd.blob(&digest)), Some(Code::NotFound));
}

#[test]
fn an_expired_lease_lets_go_with_nothing_else_happening() {
    for restart in [None, Some(false), Some(true)] {
        let mut store = Store::start();
        let end = SystemTime::now() + Duration::from_secs(3);
        let label = humantime::format_rfc3339_millis(end).to_string();
        let (digest, _) = store.blob();
        store.lease("short", &[("containerd.io/gc.expire", &label)], &[&digest]);
        store.containerd.delete_blob(&digest).unwrap();
        if let Some(kill) = restart {
            store = store.restart(kill);
        }
        store.expect_retained(&digest);
        assert!(SystemTime::now() < end, "too slow to say anything");
        store.expect_gone(end.duration_since(SystemTime::now()).unwrap() + SOON);
        assert_eq!(store.operator.lease_ids(&[]), "");
    }
}

#[test]
fn what_expired_while_no_daemon_ran_goes_at_the_start() {
    let store = Store::start();
    let end = SystemTime::now() + Duration::from_secs(1);
    let label = humantime::format_rfc3339_millis(end).to_string();
    let (digest, _) = store.blob();
    store.lease("short", &[("containerd.io/gc.expire", &label)], &[&digest]);
    store.containerd.delete_blob(&digest).unwrap();
    let Store { site, daemon, .. } = store;
    daemon.kill();
    wait_for("the lease's end", LIMIT, || SystemTime::now() > end);
    Store::serve(site).expect_gone(SOON);
}

#[test]
fn the_last_hold_decides() {
    let store = Store::start();
    let (digest, _) = store.blob();
    let other = sha256(b"another blob");
    for lease in ["one", "two", "three"] {
        store.lease(lease, &[], &[&digest, &other]);
    }
    store.containerd.delete_blob(&digest).unwrap();
    store.operator.delete_lease_with("one", true).unwrap();
    store.operator.delete_resource("two", "content", &digest).unwrap();
    store.operator.collect().unwrap();
    store.expect_retained(&digest);
    let plan = store.operator.plan().unwrap();
    assert_eq!((plan.retained_blobs, plan.garbage.len()), (0, 0));
    store.operator.delete_resource("three", "content", &digest).unwrap();
    store.expect_gone(SOON);
}

#[test]
fn who_asks_for_a_retained_blob_has_it_again() {
    let store = Store::start();
    let (digest, data) = store.blob();
    let labelled = store.containerd.update_blob(&digest, &[("a", "b")], &["labels.a"]).unwrap();
    store.lease("keep", &[], &[&digest]);
    store.containerd.delete_blob(&digest).unwrap();
    store.expect_retained(&digest);
    let info = store.containerd.blob(&digest).unwrap();
    assert_eq!((info.size, &info.labels), (data.len() as i64, &label_map(&[("a", "b")])));
    assert_eq!(info.created_at, labelled.created_at);
    assert_eq!(store.containerd.blobs(), [digest.as_str()]);
    // From now on it is containerd's, whatever becomes of the lease, and of the daemon.
    store.operator.delete_lease_with("keep", true).unwrap();
    let store = store.restart(true);
    assert_eq!(store.containerd.read_blob(&digest).unwrap(), data);
    assert_eq!(store.containerd.blobs(), [digest.as_str()]);
    store.containerd.delete_blob(&digest).unwrap();
    store.expect_gone(SOON);
}

#[test]
fn who_uploads_a_retained_blob_has_it_again() {
    let store = Store::start();
    let (digest, data) = store.blob();
    store.lease("keep", &[], &[&digest]);
    let adopted = || {
        assert_eq!((store.containerd.blobs(), store.containerd.refs()), (vec![digest.clone()], vec![]));
        assert_eq!(store.containerd.read_blob(&digest).unwrap(), data);
        store.expect_whole();
        store.containerd.delete_blob(&digest).unwrap();
        store.expect_retained(&digest);
    };
    store.containerd.delete_blob(&digest).unwrap();

    let first = api::WriteContentRequest { expected: digest.clone(), ..stat("default/2/said at first") };
    assert_eq!(code(store.containerd.open(first)), Some(Code::AlreadyExists));
    adopted();

    // As containerd does it where namespaces share nothing.
    let mut upload = store.containerd.begin("default/3/said at the end").unwrap();
    upload.write(0, &data).unwrap();
    assert_eq!(code(upload.send(commit(data.len(), data.len(), &digest))), Some(Code::AlreadyExists));
    drop(upload);
    adopted();

    let mut upload = store.containerd.begin("default/4/never said").unwrap();
    upload.write(0, &data).unwrap();
    let mut last = commit(data.len(), data.len(), "");
    last.labels = label_map(&[("new", "1")]);
    upload.send(last).unwrap();
    drop(upload);
    assert_eq!(store.containerd.blob(&digest).unwrap().labels, label_map(&[("new", "1")]));
    adopted();

    store.operator.delete_lease("keep").unwrap();
    store.expect_gone(SOON);
}

#[test]
fn what_would_keep_a_blob_after_its_deletion_is_told_before() {
    let store = Store::start();
    let (digest, _) = store.blob();
    let why = || store.site.cli(&["why", &digest]).ok().trim_end().to_owned();
    let containerds =
        format!("blob of containerd {digest}\n  containerd {digest}: containerd has it, and has not deleted it\n");
    assert_eq!(why(), format!("{containerds}  after a removal nothing would keep it"));
    store.lease("keep", &[], &[&digest]);
    assert_eq!(why(), format!("{containerds}  after a removal: lease keep in default: names it, and never ends"));
    store.containerd.delete_blob(&digest).unwrap();
    let found = store.site.cli(&["why", "--json", &digest]).json();
    assert_eq!((found[0]["kind"].as_str(), found[0]["held"].as_bool()), (Some("retained-blob"), Some(true)));
}

#[test]
fn a_retained_blob_that_lost_its_file_is_given_up_by_a_repair() {
    let store = Store::start();
    let (digest, data) = store.blob();
    store.lease("keep", &[], &[&digest]);
    store.containerd.delete_blob(&digest).unwrap();
    std::fs::remove_file(store.site.blob_file(&digest)).unwrap();
    assert_eq!(code(store.containerd.read_blob(&digest)), Some(Code::DataLoss));
    let problems = store.site.fsck(true);
    assert!(problems.len() == 1 && problems[0].starts_with("missing-blob"), "{problems:?}");
    store.expect_whole();
    assert_eq!(code(store.containerd.blob(&digest)), Some(Code::NotFound));
    assert_eq!(store.containerd.store("default/2/ref", &data).unwrap(), digest);
}
