//! Uploads, blobs and their removal, with what there must be after each call.

use std::cell::Cell;
use std::fs;
use std::time::{Duration, SystemTime};

use leasehold::content::Files;
use leasehold::metadata::{Metadata, Transaction};
use leasehold::overlay::Layout;
use leasehold::store::Durability;
use leasehold::types::{Digest, Scope};
use tonic::{Code, Status};

use crate::common::client::Client;
use crate::common::content::{commit, sha256, stat};
use crate::common::daemon::Site;
use crate::common::wait_for;
use crate::points::{CrashAt, Outcome};

const LIMIT: Duration = Duration::from_secs(60);

/// All blobs by what is in them, and all uploads with their offsets: at first, and after each call.
const STATES: [&str; 11] = [
    "found kept | begun 3",
    "found kept | begun 3, new 0",
    "found kept | begun 3, new 6",
    "foobar found kept | begun 3",
    "foobar found kept | begun 1",
    "foobar found kept x |",
    "foobar found kept x | again 0",
    "foobar found kept x | again 6",
    "foobar found kept x |",
    "foobar found kept x | given up 0",
    "foobar found kept x |",
];
const LAST: &str = "foobar found x |";
/// An ingest that begins anew is empty first.
const BETWEEN: &str = "foobar found kept | begun 0";

/// Makes a stopped pool in the first state, with everything that crashes leave behind.
pub fn template() -> Site {
    let site = Site::new();
    let daemon = site.start();
    let client = Client::new(&daemon);
    for data in ["found", "kept"] {
        client.store("ref", data.as_bytes()).unwrap();
    }
    let mut upload = client.begin("begun").unwrap();
    upload.write(0, b"old").unwrap();
    upload.close();
    assert!(daemon.stop().success());
    let root = site.root();
    // The name of one was lost in a power cut, the other one still has both.
    fs::rename(site.blob_file(&sha256(b"found")), root.join("ingests").join(number(&site, "found"))).unwrap();
    fs::hard_link(site.blob_file(&sha256(b"kept")), root.join("ingests").join(number(&site, "kept"))).unwrap();
    fs::write(root.join("ingests/zz9"), "an upload without a record").unwrap();
    fs::write(site.blob_file(&sha256(b"orphan")), "orphan").unwrap();
    site
}

/// Returns the number of a blob's file.
fn number(site: &Site, data: &str) -> String {
    let metadata = Metadata::open(site.root().join("meta"), Durability::Synced).unwrap();
    metadata.blob_file(&Digest::parse(sha256(data.as_bytes())).unwrap()).unwrap().unwrap().id.to_string()
}

/// Makes the calls until they end or the daemon crashes. Returns how many were answered, too.
pub fn run(site: &Site, at: &CrashAt) -> (usize, Outcome) {
    let answered = Cell::new(0);
    let outcome = at.serve(site, |client| {
        let step = |result: Result<(), Status>| result.map(|()| answered.set(answered.get() + 1));
        // Settled first, so that the order of the points is the same in every run.
        wait_or_crash(client, || !site.blob_files().contains(&sha256(b"orphan")))?;

        let first =
            leasehold::grpc::proto::containerd::services::content::v1::WriteContentRequest { total: 6, ..stat("new") };
        let (mut upload, _) = client.open(first)?;
        step(Ok(()))?;
        step(upload.write(0, b"foobar").map(drop))?;
        step(upload.commit(6, &sha256(b"foobar")).map(drop))?;

        let mut upload = client.begin("begun")?;
        step(upload.write(0, b"x").map(drop))?;
        // As a crash leaves it whose blob comes again.
        fs::write(site.blob_file(&sha256(b"x")), "displaced").unwrap();
        step(upload.commit(1, "").map(drop))?;

        let mut upload = client.begin("again")?;
        step(Ok(()))?;
        step(upload.write(0, b"foobar").map(drop))?;
        step(match upload.send(commit(6, 6, "")) {
            Err(status) if status.code() == Code::AlreadyExists => Ok(()),
            Err(status) => Err(status),
            Ok(reply) => panic!("{reply:?}"),
        })?;

        let mut upload = client.begin("given up")?;
        step(upload.stat().map(drop))?;
        step(client.abort("given up"))?;
        drop(upload);
        step(client.delete_blob(&sha256(b"kept")))?;
        client.cleanup()
    });
    (answered.get(), outcome)
}

/// Waits for a state that the daemon brings about, or for its end.
fn wait_or_crash(client: &Client, state: impl Fn() -> bool) -> Result<(), Status> {
    let mut lost = None;
    wait_for("what the daemon does in the background", LIMIT, || {
        lost = client.statuses(&[]).err();
        lost.is_some() || state()
    });
    lost.map_or(Ok(()), Err)
}

/// Checks what a crash left, after `answered` calls.
pub fn check(site: &Site, answered: usize) {
    let daemon = site.start();
    let client = Client::new(&daemon);
    let found = state(site, &client);
    let states = STATES.iter().copied().chain([LAST]).skip(answered).take(2);
    let allowed: Vec<&str> = states.chain((answered == 3).then_some(BETWEEN)).collect();
    assert!(allowed.contains(&found.as_str()), "after {answered} calls: {found}, and not {allowed:?}");
    wait_for("the end of what a crash left", LIMIT, || site.fsck(false).is_empty());
    // What was begun can be ended, and what is gone can come again.
    for status in client.statuses(&[]).unwrap() {
        let mut upload = client.begin(&status.r#ref).unwrap();
        let offset = status.offset as usize;
        let rest = format!(" and the rest of {}", status.r#ref);
        upload.write(offset, rest.as_bytes()).unwrap();
        upload.commit(offset + rest.len(), "").unwrap();
    }
    drop(client.store("kept again", b"kept"));
    assert_eq!(client.read_blob(&sha256(b"kept")).unwrap(), b"kept");
    let blobs = client.blobs();
    assert!(daemon.stop().success());
    assert_eq!(site.fsck(false), Vec::<String>::new());
    assert_eq!((site.blob_files(), site.ingest_files()), (blobs, Vec::new()));
}

fn state(site: &Site, client: &Client) -> String {
    let known = ["found", "foobar", "kept", "x"].map(|data| (sha256(data.as_bytes()), data));
    let mut blobs: Vec<&str> = Vec::new();
    for digest in client.blobs() {
        let (_, data) = known.iter().find(|(known, _)| *known == digest).unwrap();
        assert_eq!(client.read_blob(&digest).unwrap(), data.as_bytes());
        assert_eq!(fs::read(site.blob_file(&digest)).unwrap(), data.as_bytes());
        blobs.push(data);
    }
    blobs.sort_unstable();
    let mut uploads: Vec<String> =
        client.statuses(&[]).unwrap().iter().map(|status| format!("{} {}", status.r#ref, status.offset)).collect();
    uploads.sort();
    format!("{} | {}", blobs.join(" "), uploads.join(", ")).trim_end().to_owned()
}

/// A pool whose blobs were damaged, with records and files that contradict each other.
pub fn damaged() -> Site {
    let site = Site::new();
    let daemon = site.start();
    let client = Client::new(&daemon);
    let operator = Client::api(&daemon, "default");
    operator.create_lease("keep", &[]).unwrap();
    for data in ["kept", "lost", "short", "altered", "unnamed", "miscounted", "unrecorded", "retained"] {
        let digest = client.store("ref", data.as_bytes()).unwrap();
        operator.add_resource("keep", "content", &digest).unwrap();
    }
    client.delete_blob(&sha256(b"retained")).unwrap();
    client.begin("without a file").unwrap().close();
    assert!(daemon.stop().success());
    fs::remove_file(site.blob_file(&sha256(b"lost"))).unwrap();
    let short = site.blob_file(&sha256(b"short"));
    fs::remove_file(&short).unwrap();
    fs::write(short, "shor").unwrap();
    let altered = site.blob_file(&sha256(b"altered"));
    fs::remove_file(&altered).unwrap();
    fs::write(altered, "ALTERED").unwrap();
    for upload in site.ingest_files() {
        fs::remove_file(site.root().join("ingests").join(upload)).unwrap();
    }
    fs::write(site.root().join("ingests/zz9"), "an upload without a record").unwrap();
    fs::write(site.blob_file(&sha256(b"orphan")), "orphan").unwrap();
    change(&site, |txn| {
        txn.drop_damaged_blob(&Scope::Plugin, &digest("unnamed"));
        let mut file = txn.blob_file(&digest("miscounted")).unwrap().unwrap();
        file.references = 7;
        txn.repair_blob_file(&digest("miscounted"), Some(&file));
        txn.repair_blob_file(&digest("unrecorded"), None);
        let mut file = txn.blob_file(&digest("retained")).unwrap().unwrap();
        file.size += 1;
        txn.repair_blob_file(&digest("retained"), Some(&file));
    });
    site
}

fn digest(data: &str) -> Digest {
    Digest::parse(sha256(data.as_bytes())).unwrap()
}

fn change(site: &Site, change: impl FnOnce(&mut Transaction<'_>)) {
    let metadata = Metadata::open(site.root().join("meta"), Durability::Synced).unwrap();
    let mut txn = metadata.write(SystemTime::now()).unwrap();
    change(&mut txn);
    txn.commit().unwrap();
}

/// Repairs the damaged pool until that ends or crashes.
pub fn repair(site: &Site, at: &CrashAt) -> Outcome {
    at.run(site.command().args(["fsck", "--repair", "--content"]))
}

/// Checks a pool after a second repair.
pub fn check_repaired(site: &Site) {
    // What one repair puts right may have been two findings.
    let second = site.cli(&["fsck", "--repair", "--content"]);
    assert!(second.err.is_empty(), "{second:?}");
    assert_eq!(site.fsck(false), Vec::<String>::new());
    let daemon = site.start();
    let client = Client::new(&daemon);
    assert_eq!(client.refs(), Vec::<String>::new());
    for data in ["kept", "miscounted", "unrecorded"] {
        assert_eq!(client.read_blob(&sha256(data.as_bytes())).unwrap(), data.as_bytes());
    }
    assert_eq!(client.blobs().len(), 3);
    for data in ["lost", "short", "altered", "unnamed"] {
        client.store("ref", data.as_bytes()).unwrap();
    }
    assert!(daemon.stop().success());
    site.cli(&["fsck", "--content"]).ok();
    let files = Files::open(&Layout::new(site.root()).unwrap()).unwrap();
    assert_eq!((files.list_blobs().unwrap().known.len(), files.list_ingests().unwrap().known.len()), (7, 0));
}
