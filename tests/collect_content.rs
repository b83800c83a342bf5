//! Blobs and uploads of the API socket live by the collector alone, and by containerd's rules.

mod common;

use std::time::{Duration, SystemTime};

use common::client::{Client, label_map};
use common::content::{commit, random_data, sha256, stat};
use common::daemon::{Daemon, Site};
use common::damage;
use common::random::Random;
use common::wait_for;
use leasehold::grpc::proto::containerd::services::content::v1 as api;
use leasehold::types::{IngestRef, Namespace, Scope};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use tonic::{Code, Status};

const ROOT: (&str, &str) = ("containerd.io/gc.root", "x");
const FLAT: (&str, &str) = ("containerd.io/gc.flat", "x");
const REF: &str = "containerd.io/gc.ref.content";
const BREF: &str = "containerd.io/gc.bref.content";
const LIMIT: Duration = Duration::from_secs(60);

struct Node {
    site: Site,
    daemon: Daemon,
    client: Client,
}

impl Node {
    /// Starts a daemon that collects when it is told to, and when holds are taken away.
    fn start() -> Node {
        Node::on(Site::with_settings("[gc]\nmutation_threshold = 0\n"))
    }

    fn on(site: Site) -> Node {
        let daemon = site.start();
        let client = Client::api(&daemon, "default");
        // Later than the one at the start.
        client.collect().unwrap();
        Node { site, daemon, client }
    }

    /// Collects and checks of which data there are blobs, and uploads, on disk as well.
    fn expect_left(&self, data: &[&str], refs: &[&str]) {
        self.client.collect().unwrap();
        let digests = sorted(data.iter().map(|data| digest(data)));
        let refs: Vec<String> = refs.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!((sorted(self.client.blobs()), sorted(self.client.refs())), (digests.clone(), refs.clone()));
        let again = self.client.collect().unwrap();
        assert_eq!((again.blobs, again.ingests), (0, 0), "once more changes nothing");
        assert_eq!((sorted(self.site.blob_files()), self.site.ingest_files().len()), (digests, refs.len()));
        assert_eq!(self.site.fsck(false), Vec::<String>::new());
    }
}

fn sorted(all: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut all: Vec<String> = all.into_iter().collect();
    all.sort();
    all
}

fn digest(data: &str) -> String {
    sha256(data.as_bytes())
}

fn code<T>(answer: Result<T, Status>) -> Option<Code> {
    answer.err().map(|status| status.code())
}

/// Uploads a blob with labels. Returns its digest.
fn store(client: &Client, data: &str, labels: &[(&str, &str)]) -> String {
    let mut upload = client.begin(&format!("upload of {data}")).unwrap();
    upload.write(0, data.as_bytes()).unwrap();
    let last = api::WriteContentRequest { labels: label_map(labels), ..commit(data.len(), data.len(), "") };
    upload.send(last).unwrap();
    digest(data)
}

#[test]
fn what_nothing_holds_goes_with_its_file() {
    let node = Node::start();
    let (containerd, other) = (Client::new(&node.daemon), Client::api(&node.daemon, "other"));
    for client in [&node.client, &other, &containerd] {
        client.store("ref", b"of all").unwrap();
    }
    for client in [&node.client, &other] {
        client.store("ref", b"of clients").unwrap();
    }
    containerd.begin("upload").unwrap().close();
    let plan = node.client.plan().unwrap();
    assert_eq!((plan.blobs, plan.ingests, plan.garbage.len()), (4, 0, 4));
    assert!(plan.garbage.iter().all(|one| one.kind == "content"), "{:?}", plan.garbage);
    assert_eq!(node.client.blobs().len(), 2, "a plan changes nothing");
    let collected = node.client.collect().unwrap();
    assert_eq!((collected.blobs, collected.objects, collected.marked), (4, 4, 0));
    assert_eq!((node.client.blobs(), other.blobs()), (vec![], vec![]));
    assert_eq!(node.site.blob_files(), [digest("of all")]);
    assert_eq!(containerd.read_blob(&digest("of all")).unwrap(), b"of all");
    assert_eq!(containerd.refs(), ["upload"]);
    wait_for("the end of all trash", LIMIT, || node.site.trash_dirs().is_empty());
    assert_eq!(node.site.fsck(false), Vec::<String>::new());
}

#[test]
fn labels_hold_as_they_do_in_containerd() {
    let node = Node::start();
    let client = &node.client;
    let config = store(client, "config", &[]);
    let layer = store(client, "layer", &[]);
    let labels = [(format!("{REF}.config"), config), (format!("{REF}.l.0"), layer.clone())];
    let labels: Vec<(&str, &str)> = labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let manifest = store(client, "manifest", &labels);
    store(client, "index", &[ROOT, (&format!("{REF}.m.0"), &manifest)]);
    store(client, "signature", &[(BREF, &manifest)]);
    store(client, "garbage", &[(REF, &digest("kept by garbage")), ("containerd.io/gc.roo", "x")]);
    store(client, "kept by garbage", &[]);
    store(&Client::api(&node.daemon, "other"), "layer", &[]);
    let chain = ["index", "manifest", "layer"].map(|data| format!("content {}", digest(data))).join(" > ");
    let why = client.why(&layer).unwrap();
    assert_eq!(why, [format!("content {layer}: {chain}"), format!("content {layer}: ")]);
    let all = ["config", "index", "layer", "manifest", "signature"];
    node.expect_left(&all, &[]);
    // The next collection sees what a label says by then.
    client.update_blob(&manifest, &[], &["labels.containerd.io/gc.ref.content.l.0"]).unwrap();
    node.expect_left(&["config", "index", "manifest", "signature"], &[]);
    client.update_blob(&digest("index"), &[ROOT], &[]).unwrap();
    node.expect_left(&["index"], &[]);
    client.delete_blob(&digest("index")).unwrap();
    node.expect_left(&[], &[]);
}

#[test]
fn leases_hold_blobs_and_uploads_until_they_end() {
    let node = Node::start();
    let client = &node.client;
    client.create_lease("keep", &[]).unwrap();
    client.create_lease("flat", &[FLAT]).unwrap();
    let leased = client.leased("keep");
    let layer = store(client, "layer", &[]);
    store(&leased, "manifest", &[(REF, &layer)]);
    leased.begin("leased").unwrap().close();
    client.begin("free").unwrap().close();
    client.begin("named").unwrap().close();
    let referred = store(client, "referred", &[]);
    let flat = store(client, "flat", &[(REF, &referred)]);
    client.add_resource("flat", "content", &flat).unwrap();
    client.add_resource("flat", "ingests", "named").unwrap();
    // The lease of another namespace.
    let elsewhere = Client::api(&node.daemon, "elsewhere");
    elsewhere.create_lease("keep", &[]).unwrap();
    elsewhere.add_resource("keep", "content", &store(client, "other", &[])).unwrap();
    node.expect_left(&["flat", "layer", "manifest"], &["free", "leased", "named"]);
    let chain = format!("lease keep > content {} > content {layer}", digest("manifest"));
    assert_eq!(client.why(&layer).unwrap(), [format!("content {layer}: {chain}")]);
    client.delete_lease_with("flat", true).unwrap();
    // Without a lease an upload is kept for a day.
    assert_eq!(sorted(client.refs()), ["free", "leased", "named"]);
    client.delete_lease_with("keep", true).unwrap();
    node.expect_left(&[], &["free", "named"]);
}

#[test]
fn what_a_lease_held_goes_when_it_ends_with_nothing_else_happening() {
    let node = Node::start();
    let end = SystemTime::now() + Duration::from_secs(2);
    let label = humantime::format_rfc3339_millis(end).to_string();
    node.client.create_lease("short", &[("containerd.io/gc.expire", &label)]).unwrap();
    let leased = node.client.leased("short");
    leased.store("ref", b"foo").unwrap();
    leased.begin("upload").unwrap().close();
    node.client.collect().unwrap();
    assert_eq!((node.client.blobs(), node.client.refs()), (vec![digest("foo")], vec!["upload".to_owned()]));
    assert!(SystemTime::now() < end, "too slow to say anything");
    wait_for("the end of all files", LIMIT, || {
        node.site.blob_files().is_empty() && node.site.ingest_files().is_empty()
    });
    assert!(end.elapsed().unwrap() < Duration::from_secs(2), "{end:?}");
    assert_eq!(node.site.fsck(false), Vec::<String>::new());
}

#[test]
fn an_upload_is_not_taken_from_who_writes_to_it() {
    let node = Node::start();
    let client = &node.client;
    client.create_lease("lease", &[]).unwrap();
    let leased = client.leased("lease");
    let mut upload = leased.begin("ref").unwrap();
    upload.write(0, b"foo").unwrap();
    client.delete_lease_with("lease", true).unwrap();
    assert_eq!(upload.write(3, b"bar").unwrap().offset, 6);
    // Who has gone on without a lease has a day.
    upload.close();
    client.reopen(&stat("ref")).0.close();
    node.expect_left(&[], &["ref"]);
}

#[test]
fn uploads_that_expired_go_unless_something_holds_them() {
    let node = Node::start();
    node.client.create_lease("lease", &[]).unwrap();
    for name in ["old", "leased", "lately", "young"] {
        node.client.begin(name).unwrap().close();
    }
    node.client.add_resource("lease", "ingests", "leased").unwrap();
    let Node { site, daemon, .. } = node;
    assert!(daemon.stop().success());
    let long_ago = Timespec { tv_sec: 1, tv_nsec: 0 };
    for name in site.ingest_files() {
        let times = Timestamps { last_access: long_ago, last_modification: long_ago };
        utimensat(CWD, site.root().join("ingests").join(name), &times, AtFlags::empty()).unwrap();
    }
    damage::change(site.root(), |txn| {
        for name in ["old", "leased", "lately"] {
            let scope = Scope::Api(Namespace::parse("default").unwrap());
            let name = IngestRef::parse_in(scope, name).unwrap();
            let id = txn.ingest(&name).unwrap().id;
            txn.update_ingest(&name, id, |ingest| ingest.expires_at = Some(SystemTime::UNIX_EPOCH)).unwrap();
            if name.as_str() == "lately" {
                // A kill kept its writer from saying so.
                let now = Timespec { tv_sec: unix_now(), tv_nsec: 0 };
                let times = Timestamps { last_access: now, last_modification: now };
                let path = site.root().join("ingests").join(id.to_string());
                utimensat(CWD, path, &times, AtFlags::empty()).unwrap();
            }
        }
    });
    let node = Node::on(site);
    let plan = node.client.plan().unwrap();
    assert_eq!(plan.garbage.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["lately"]);
    assert!(plan.garbage[0].reason.contains("nobody has gone on"), "{:?}", plan.garbage);
    node.expect_left(&[], &["lately", "leased", "young"]);
}

fn unix_now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

#[test]
fn the_command_line_collects_and_explains() {
    let node = Node::start();
    node.client.store("ref", b"foo").unwrap();
    let text = |args: &[&str]| {
        let output = node.site.command().args(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(text(&["why", &digest("foo")]).contains("nothing: will be reclaimed"));
    assert!(text(&["gc", "--dry-run"]).contains("no lease, no root label"));
    let collected: serde_json::Value = serde_json::from_str(&text(&["gc", "--json"])).unwrap();
    assert_eq!((&collected["blobs"], &collected["ingests"]), (&1.into(), &0.into()));
    assert!(text(&["gc"]).contains("0 blobs and 0 uploads"));
}

/// Uploads of the same few blobs in several namespaces, while what their leases no longer hold is collected all the time.
#[test]
fn what_a_lease_holds_is_there_whatever_is_collected() {
    let site = Site::with_settings("[gc]\nmutation_threshold = 1\npause_threshold = 0.5\n");
    let daemon = site.start();
    let mut random = Random::new();
    let data: Vec<Vec<u8>> = (0..4).map(|_| random_data(&mut random, 10_000)).collect();
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let client = Client::api(&daemon, if worker % 2 == 0 { "one" } else { "two" });
            let (data, mut random) = (&data, random.fork());
            scope.spawn(move || {
                for round in 0..25 {
                    let blob = random.pick(data).unwrap();
                    hold_for_a_while(&client, &format!("{worker}-{round}"), blob);
                }
            });
        }
    });
    for namespace in ["one", "two"] {
        let client = Client::api(&daemon, namespace);
        client.collect().unwrap();
        assert_eq!((client.blobs(), client.refs(), client.lease_ids(&[])), (vec![], vec![], String::new()));
    }
    assert_eq!((site.blob_files(), site.ingest_files()), (vec![], vec![]));
    assert_eq!(site.fsck(false), Vec::<String>::new());
}

/// Uploads a blob, or finds it there, for a lease; it must be there until the lease is deleted.
fn hold_for_a_while(client: &Client, name: &str, blob: &[u8]) {
    client.create_lease(name, &[]).unwrap();
    let leased = client.leased(name);
    let digest = sha256(blob);
    let first = api::WriteContentRequest { expected: digest.clone(), total: blob.len() as i64, ..stat(name) };
    match leased.open(first) {
        Ok((mut upload, reply)) => {
            let offset = usize::try_from(reply.offset).unwrap();
            upload.write(offset, &blob[offset..]).unwrap();
            let committed = code(upload.commit(blob.len(), &digest));
            assert!([None, Some(Code::AlreadyExists)].contains(&committed), "{committed:?}");
        }
        Err(status) => assert_eq!(status.code(), Code::AlreadyExists, "{status}"),
    }
    for _ in 0..2 {
        assert_eq!(client.read_blob(&digest).unwrap(), blob);
        client.collect().unwrap();
    }
    client.delete_lease(name).unwrap();
}
