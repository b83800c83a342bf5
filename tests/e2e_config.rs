//! What `leasehold config containerd` prints makes containerd come up with leasehold, as it is.

mod common;

use common::containerd::{Client, Containerd, Release, Session, Unpack};
use common::daemon::Site;
use common::images::{Image, Kind};
use common::node::printed_stanzas;
use common::registry::Registry;
use common::tools::ready;

/// Returns the plugins of this id, as `ctr` describes them.
fn described(session: &Session<'_>, id: &str) -> String {
    session.ctr(&["plugins", "ls", "--detailed", &format!("id=={id}")])
}

/// Checks that every plugin named here is loaded: type and id.
fn expect_loaded(session: &Session<'_>, plugins: &[(&str, &str)]) {
    let table = session.ctr(&["plugins", "ls"]);
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    for (kind, id) in plugins {
        let row = rows.iter().find(|row| row[..2] == [*kind, *id]).unwrap_or_else(|| panic!("no {kind} {id}: {table}"));
        assert_eq!(row.last(), Some(&"ok"), "{kind} {id}");
    }
}

/// Checks that the snapshotter is not only loaded, but works.
fn expect_working(session: &Session<'_>, client: Client, registry: &Registry) {
    let image = Image::push(registry, Kind::Plain);
    session.pull(client, &image);
    assert_eq!(session.snapshot_names().len(), image.layers.len());
}

const LEASEHOLD: (&str, &str) = ("io.containerd.snapshotter.v1", "leasehold");

#[test]
fn privileged_containerd_1_comes_up() {
    if !ready("containerd_1_comes_up") {
        return;
    }
    let (registry, site) = (Registry::start(), Site::new());
    let _daemon = site.start();
    let containerd = Containerd::start(Release::V1, &printed_stanzas(&site, Release::V1, &[]));
    let session = containerd.session("config");
    expect_loaded(&session, &[LEASEHOLD, ("io.containerd.grpc.v1", "cri")]);
    expect_working(&session, Client::CtrLocal, &registry);
}

#[test]
fn privileged_containerd_2_comes_up() {
    if !ready("containerd_2_comes_up") {
        return;
    }
    let (registry, site) = (Registry::start(), Site::new());
    let _daemon = site.start();
    let containerd = Containerd::start(Release::V2, &printed_stanzas(&site, Release::V2, &[]));
    expect_complete(&containerd, &site, &registry);
}

/// A second way that the printed text names itself.
#[test]
fn privileged_containerd_2_comes_up_with_a_file_of_its_own() {
    if !ready("containerd_2_comes_up_with_a_file_of_its_own") {
        return;
    }
    let (registry, site) = (Registry::start(), Site::new());
    let _daemon = site.start();
    let file = site.dir().join("leasehold.toml");
    std::fs::write(&file, printed_stanzas(&site, Release::V2, &[])).unwrap();
    let containerd = Containerd::start(Release::V2, &format!("version = 3\nimports = [{file:?}]\n"));
    expect_complete(&containerd, &site, &registry);
}

/// containerd starts first on a machine that boots, and does not look for the socket before it is needed.
#[test]
fn privileged_containerd_may_start_before_leasehold() {
    if !ready("containerd_may_start_before_leasehold") {
        return;
    }
    let (registry, site) = (Registry::start(), Site::new());
    let stanzas = printed_stanzas(&site, Release::V2, &[]);
    let containerd = Containerd::start(Release::V2, &stanzas);
    let session = containerd.session("config");
    expect_loaded(&session, &[LEASEHOLD]);
    let _daemon = site.start();
    expect_working(&session, Client::CtrTransfer, &registry);
}

fn expect_complete(containerd: &Containerd, site: &Site, registry: &Registry) {
    let session = containerd.session("config");
    let images = ("io.containerd.cri.v1", "images");
    expect_loaded(&session, &[LEASEHOLD, images, ("io.containerd.transfer.v1", "local")]);
    // What containerd will ask of it is not decided by leasehold at run time, but here.
    let plugin = described(&session, "leasehold");
    assert!(plugin.contains("rebase"), "{plugin}");
    assert!(plugin.contains(&site.root().display().to_string()), "{plugin}");
    expect_working(&session, Client::CtrTransfer, registry);
    assert_eq!(containerd.unpacked(Unpack::Parallel), 1);
}
