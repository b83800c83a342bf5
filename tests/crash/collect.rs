//! Collections, on both sockets, with what must be there whatever happens and what must go in the end.

use std::time::Duration;

use leasehold::grpc::proto::containerd::services::content::v1::WriteContentRequest;
use tonic::Status;

use crate::common::client::{Client, UPPERDIR_SETTING, label_map, layer_names};
use crate::common::content::{commit, sha256, stat};
use crate::common::daemon::Site;
use crate::common::wait_for;
use crate::damage;
use crate::points::{CrashAt, Outcome};

const LIMIT: Duration = Duration::from_secs(60);
const SNAPSHOTS: &str = "snapshots/leasehold";
const ROOT: (&str, &str) = ("containerd.io/gc.root", "x");
/// The blobs that containerd has.
const OF_CONTAINERD: [&str; 2] = ["shared", "to be written on"];
/// What containerd has, and what a client of the API socket keeps.
const KEPT: [&str; 2] = ["default/1/containerd's", "base root"];

fn connect(site: &Site) -> Result<Client, Status> {
    let connected = Client::connect(&site.api_socket());
    Ok(connected.map_err(|err| Status::unavailable(err.to_string()))?.in_namespace("default"))
}

/// Makes a stopped pool in which a lease holds a retained snapshot and a chain, and labels hold others.
pub fn template() -> Site {
    // What only the lease holds is not held for a moment, while it is made.
    let site = Site::with_settings("[gc]\nmutation_threshold = 0\n");
    let daemon = site.start();
    let (containerd, client) = (Client::new(&daemon), Client::api(&daemon, "default"));
    client.collect().unwrap();
    client.create_lease("lease", &[]).unwrap();
    client.add_resource("lease", SNAPSHOTS, "retained").unwrap();
    containerd.make("default/1/containerd's", "", &[]).unwrap();
    containerd.make("default/2/retained", "default/1/containerd's", &[]).unwrap();
    containerd.remove("default/2/retained").unwrap();
    client.make("base", "", &[]).unwrap();
    client.make("root", "base", &[ROOT]).unwrap();
    let leased = client.leased("lease");
    leased.make("chain", "base", &[]).unwrap();
    leased.prepare("active", "chain").unwrap();
    let mut kept = client.begin("ref").unwrap();
    kept.write(0, b"kept").unwrap();
    let mut last = commit(4, 4, "");
    last.labels = label_map(&[ROOT]);
    kept.send(last).unwrap();
    for data in OF_CONTAINERD {
        containerd.store("default/1/ref", data.as_bytes()).unwrap();
    }
    for data in ["shared", "of the lease"] {
        leased.store("ref", data.as_bytes()).unwrap();
    }
    leased.begin("upload").unwrap().close();
    client.collect().unwrap();
    assert_eq!(client.names(), "active base chain root");
    assert_eq!((client.blobs().len(), client.refs().len()), (3, 1));
    assert!(daemon.stop().success());
    site
}

/// Goes on with what containerd has, takes the lease away and waits for the collection.
pub fn run(site: &Site, at: &CrashAt) -> Outcome {
    at.serve(site, |containerd| {
        let client = connect(site)?;
        let expected = sha256(b"to be written on");
        let (mut upload, reply) = client.open(WriteContentRequest { expected, ..stat("written on") })?;
        upload.write(reply.offset as usize, b" by another")?;
        drop(upload);
        client.delete_lease_with("lease", true)?;
        client.collect()?;
        containerd.cleanup()
    })
}

/// Checks what a crash left: nothing held is gone, and a collection, or its deletion if the lease is still there, takes
/// the rest.
pub fn check(site: &Site) {
    let daemon = site.start();
    let (containerd, client) = (Client::new(&daemon), Client::api(&daemon, "default"));
    drop(client.delete_lease("lease"));
    drop(client.abort("written on"));
    client.collect().unwrap();
    assert_eq!([containerd.names(), client.names()], KEPT);
    assert_eq!((containerd.blobs().len(), client.blobs()), (2, vec![sha256(b"kept")]));
    assert_eq!(client.read_blob(&sha256(b"kept")).unwrap(), b"kept");
    for data in OF_CONTAINERD {
        assert_eq!(containerd.read_blob(&sha256(data.as_bytes())).unwrap(), data.as_bytes());
    }
    assert_eq!((client.refs(), site.ingest_files().len()), (vec![], 0));
    wait_for("the end of files without a record", LIMIT, || site.blob_files().len() == 3);
    containerd.cleanup().unwrap();
    let all = [containerd.list(&[]).unwrap(), client.list(&[]).unwrap()].concat();
    assert_eq!(site.layer_dirs(), layer_names(&all));
    assert!(daemon.stop().success());
    assert_eq!(site.fsck(false), Vec::<String>::new());
}

/// Makes a site with a copy of the template.
pub fn copy(template: &Site) -> Site {
    let site = Site::with_settings(&format!("{UPPERDIR_SETTING}[gc]\nmutation_threshold = 0\n"));
    damage::copy(template.root(), site.root());
    site
}
