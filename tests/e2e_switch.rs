//! A node is switched from containerd's own content store to leasehold's, and nothing has to be downloaded again; what a
//! check finds damaged is.

mod common;

use std::fs;
use std::time::Duration;

use common::containerd::{Client, Release, Session, Unpack};
use common::foreign::Foreign;
use common::images::{Image, Kind};
use common::node::Node;
use common::registry::Registry;
use common::tools::ready;
use common::wait_for;
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(30);

/// Writes an image to an archive, for which all of its blobs are read.
fn save(session: &Session, release: Release, archive: &str, image: &str) {
    match release {
        // nerdctl leaves it to containerd's transfer service, which containerd 1.6 does not have.
        Release::V1 => session.ctr(&["images", "export", archive, image]),
        Release::V2 => session.nerdctl(&["save", "-o", archive, image]),
    };
}

fn a_node_is_switched(release: Release) {
    let mut node = Node::start(release, Unpack::Sequential);
    let images = [node.image(Kind::Full), node.image(Kind::Deep)];
    {
        let session = node.containerd.session("switched");
        images.iter().for_each(|image| drop(session.pull(Client::Nerdctl, image)));
    }
    let store = node.containerd.content_store();
    let store = Foreign::new(store);
    // Something that containerd has no record of.
    let stray = store.store(b"stray");
    let import = |args: &[&str]| node.site.cli(&[&["content", "import", "--json", store.name()], args].concat()).json();
    let check = |code: i32| {
        let said = node.cli("", &["content", "check", "--json"]);
        assert!(said.code == code && said.err.is_empty(), "{said:?}");
        serde_json::from_str::<serde_json::Value>(&said.out).unwrap()
    };
    let known = check(1);
    // What it has no record of is not asked for.
    assert_eq!(known["missing"].as_array().unwrap().len() as u64, known["blobs"].as_u64().unwrap());
    let planned = import(&["--dry-run"]);
    let found = import(&[]);
    let blobs = node.site.blob_files();
    assert!(blobs.len() > images.iter().map(|image| image.layers.len()).sum::<usize>(), "{}", blobs.len());
    assert_eq!((&found["linked"], &found["missing"]), (&json!(blobs.len()), &json!(0)));
    assert_eq!((&planned["linked"], &planned["bytes"]), (&found["linked"], &found["bytes"]));

    assert_eq!((&check(0)["missing"], known["blobs"].as_u64()), (&json!([]), Some(blobs.len() as u64 - 1)));

    node.switch_content(Unpack::Sequential);
    // From here on nothing can be downloaded.
    node.registry = Registry::start();
    let session = node.containerd.session("switched");
    let pushed = node.registry.reference("test:pushed");
    for image in &images {
        session.run_script(&image.reference, &image.check()).unwrap();
        save(&session, release, node.containerd.dir().join("saved.tar").to_str().unwrap(), &image.reference);
        session.ctr(&["images", "tag", "--force", &image.reference, &pushed]);
        match release {
            Release::V1 => session.ctr(&["images", "push", "--plain-http", &pushed]),
            Release::V2 => session.nerdctl(&["push", &pushed]),
        };
        // With what was pushed, somebody else can do the same.
        let other = node.containerd.session("other");
        other.pull(Client::Nerdctl, &Image { reference: pushed.clone(), ..image.clone() });
        other.run_script(&pushed, &image.check()).unwrap();
        other.nerdctl(&["system", "prune", "-af"]);
    }
    node.site.cli(&["fsck", "--content"]).ok();

    session.nerdctl(&["system", "prune", "-af"]);
    node.expect_empty_pool();
    assert!(blobs.contains(&stray) && blobs.iter().all(|digest| store.file(digest).exists()), "it is containerd's");
}

fn a_damaged_blob_is_downloaded_again(release: Release) {
    let node = Node::start_with_content(release, Unpack::Sequential);
    let image = node.image(Kind::Full);
    let session = node.containerd.session("damaged");
    session.pull(Client::Nerdctl, &image);
    let blobs = node.site.blob_files();
    let len = |digest: &String| fs::metadata(node.site.blob_file(digest)).unwrap().len();
    let layer = blobs.iter().max_by_key(|digest| len(digest)).unwrap();
    let mut data = fs::read(node.site.blob_file(layer)).unwrap();
    let middle = data.len() / 2;
    data[middle] ^= 1;
    fs::remove_file(node.site.blob_file(layer)).unwrap();
    fs::write(node.site.blob_file(layer), &data).unwrap();

    let text = node.site.cli(&["fsck", "--content", "--repair"]).ok();
    assert!(text.contains(&format!("damaged-blob: the content of blob {layer} has digest")), "{text}");
    let archive = node.containerd.dir().join("saved.tar");
    let save = || session.try_ctr(&["images", "export", archive.to_str().unwrap(), &image.reference]);
    save().unwrap_err();
    let said = node.cli("", &["content", "check", "--full"]);
    assert!(said.code == 1 && said.out.contains(layer) && said.out.contains("\n1 of "), "{said:?}");
    // As the output says.
    session.ctr(&["content", "rm", layer]);
    session.ctr(&["content", "fetch", "--plain-http", &image.reference]);
    save().unwrap();
    node.site.cli(&["fsck", "--content"]).ok();
    wait_for("the blob", LIMIT, || node.site.blob_files() == blobs);
}

#[test]
fn privileged_a_node_is_switched_with_containerd_1() {
    if ready("a_node_is_switched_with_containerd_1") {
        a_node_is_switched(Release::V1);
    }
}

#[test]
fn privileged_a_node_is_switched_with_containerd_2() {
    if ready("a_node_is_switched_with_containerd_2") {
        a_node_is_switched(Release::V2);
    }
}

#[test]
fn privileged_a_damaged_blob_is_downloaded_again_with_containerd_1() {
    if ready("a_damaged_blob_is_downloaded_again_with_containerd_1") {
        a_damaged_blob_is_downloaded_again(Release::V1);
    }
}

#[test]
fn privileged_a_damaged_blob_is_downloaded_again_with_containerd_2() {
    if ready("a_damaged_blob_is_downloaded_again_with_containerd_2") {
        a_damaged_blob_is_downloaded_again(Release::V2);
    }
}
