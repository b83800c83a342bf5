//! An image that is leased by its name stays through its removal, and goes when the lease ends.

mod common;

use std::io;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::time::{Duration, SystemTime};

use common::containerd::{Client, Release, Session, Unpack};
use common::images::{Image, Kind};
use common::node::Node;
use common::tools::ready;
use common::wait_for;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);
/// How soon after the end of a lease everything is gone.
const SOON: Duration = Duration::from_secs(2);
/// How long a lease goes on that a test waits for.
const AHEAD: Duration = Duration::from_secs(3);

fn remove(node: &Node, session: &Session<'_>, image: &Image) {
    session.nerdctl(&["rmi", &image.reference]);
    wait_for("containerd's collection", LIMIT, || node.snapshots() == 0);
}

/// Returns layers, and size and unique bytes, of the one image that there is.
fn usage(node: &Node, session: &Session<'_>, image: &Image) -> [u64; 3] {
    let all = node.cli(&session.namespace, &["du", "--json", "--image", &image.reference]).json();
    let [one] = all["images"].as_array().unwrap().as_slice() else { panic!("{all:#}") };
    assert_eq!((&one["names"][0], &one["unpacked"]), (&Value::from(image.reference.as_str()), &"yes".into()));
    ["layers", "size", "unique"].map(|name| one["usage"][name].as_u64().unwrap())
}

fn an_image_is_leased_by_name(release: Release, pulls: &[Client]) {
    let node = Node::start(release, Unpack::Parallel);
    let image = node.image(Kind::Full);
    for client in pulls {
        let session = node.containerd.session(&format!("{client:?}"));
        let cli = |args: &[&str]| node.cli(&session.namespace, args);
        let operator = node.operator(&session.namespace);
        session.pull(*client, &image);
        let pulled = node.site.layer_dirs();
        let [layers, size, unique] = usage(&node, &session, &image);
        assert!(layers == pulled.len() as u64 && size > 0 && unique == size, "{layers} {size} {unique}");

        cli(&["lease", "create", "keep", "--image", &image.reference]).ok();
        let named = operator.resources("keep").unwrap();
        assert!(named.contains(&("snapshots/leasehold".into(), image.chain_id().to_owned())), "{named:?}");
        assert_eq!(usage(&node, &session, &image), [layers, size, 0]);
        assert!(cli(&["why", &image.reference]).ok().contains(image.chain_id()));

        remove(&node, &session, &image);
        assert_eq!(node.site.layer_dirs(), pulled);
        let err = cli(&["lease", "add", "keep", "--image", &image.reference]).fails(1);
        assert!(err.contains("containerd has no image"), "{err}");

        let (end, in_time) = (SystemTime::now() + AHEAD, format!("{}s", AHEAD.as_secs()));
        // By what it is made of, now that it has no name.
        cli(&["lease", "create", "short", "--expire", &in_time, "--chain", image.chain_id()]).ok();
        cli(&["lease", "rm", "keep", "--sync"]).ok();
        let left = node.site.layer_dirs();
        assert!(left == pulled || SystemTime::now() > end, "{left:?}");
        wait_for("the end of all layers", AHEAD + SOON, || {
            node.site.layer_dirs().is_empty() && node.site.trash_dirs().is_empty()
        });
        node.expect_whole_pool();

        // Of an image that is to be pulled again, dropping it from the lease is enough.
        session.pull(*client, &image);
        cli(&["lease", "create", "keep", "--flat", "--image", &image.reference]).ok();
        cli(&["lease", "drop", "keep", "--image", &image.reference]).ok();
        assert_eq!(operator.resources("keep").unwrap(), []);
        remove(&node, &session, &image);
        node.expect_empty_pool();
    }
}

#[test]
fn privileged_an_image_is_leased_by_name_with_containerd_1() {
    if ready("an_image_is_leased_by_name_with_containerd_1") {
        an_image_is_leased_by_name(Release::V1, &[Client::Nerdctl, Client::CtrLocal]);
    }
}

#[test]
fn privileged_an_image_is_leased_by_name_with_containerd_2() {
    if ready("an_image_is_leased_by_name_with_containerd_2") {
        an_image_is_leased_by_name(Release::V2, &[Client::Nerdctl, Client::CtrTransfer]);
    }
}

/// Passes on what comes, until the end.
fn forward(mut from: UnixStream, mut to: UnixStream) {
    drop(io::copy(&mut from, &mut to));
    drop(to.shutdown(Shutdown::Both));
}

#[test]
fn privileged_an_image_that_goes_while_it_is_being_leased_is_told() {
    if !ready("an_image_that_goes_while_it_is_being_leased_is_told") {
        return;
    }
    let node = Node::start(Release::V2, Unpack::Parallel);
    let image = node.image(Kind::Plain);
    let session = node.containerd.session("race");
    session.pull(Client::Nerdctl, &image);
    // The command has asked containerd when it connects to the daemon, which it reaches only once the image is gone.
    let [socket, config] = ["slow.sock", "slow.toml"].map(|name| node.site.dir().join(name));
    let listener = UnixListener::bind(&socket).unwrap();
    let settings = std::fs::read_to_string(node.site.config()).unwrap();
    std::fs::write(&config, settings.replace("api.sock", "slow.sock")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_leasehold"));
    command.arg("--config").arg(&config).args(["lease", "create", "keep", "--image", &image.reference]);
    command.env("CONTAINERD_NAMESPACE", &session.namespace).env("CONTAINERD_ADDRESS", node.containerd.socket());
    let output = std::thread::scope(|scope| {
        let output = scope.spawn(move || command.output().unwrap());
        let (client, _) = listener.accept().unwrap();
        remove(&node, &session, &image);
        let server = UnixStream::connect(node.site.api_socket()).unwrap();
        let (answers, to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        scope.spawn(move || forward(client, server));
        scope.spawn(move || forward(answers, to));
        output.join().unwrap()
    });
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && err.contains("while it was being leased"), "{err}");
}
