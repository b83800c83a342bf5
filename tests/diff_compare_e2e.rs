//! Images that are made of containers, with leasehold as containerd's differ.

mod common;

use common::containerd::{Client, Release, Session, Unpack};
use common::daemon::Site;
use common::images::Kind;
use common::metrics::Metrics;
use common::node::Node;
use common::tools::ready;

/// What leasehold has answered to requests for a layer.
fn answers(metrics: &Metrics, code: &str) -> u64 {
    let name = format!("leasehold_request_seconds_count{{method=\"Diff/Diff\",code=\"{code}\"}} ");
    metrics.read().lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |value| value.parse().unwrap())
}

/// A script that makes every kind of change, and one that finds them.
const CHANGES: &str = "mkdir -p /made/deep && echo new > /made/deep/new && ln /made/deep/new /made/link && \
                       ln -s new /made/deep/symbolic && chmod 4750 /made/deep/new && rm -rf /bin/removed && \
                       dd if=/dev/zero of=/made/large bs=1M count=3 2>/dev/null && mkfifo /made/fifo";
const CHECK: &str = "test $(cat /made/link) = new && test /made/link -ef /made/deep/new && test -u /made/link && \
                     test -L /made/deep/symbolic && test $(stat -c %s /made/large) = 3145728 && test -p /made/fifo";

fn commit(session: &Session<'_>, image: &str, committed: &str, options: &[&str]) {
    session.start_container("writer", image);
    session.exec_script("writer", CHANGES).unwrap();
    session.nerdctl(&[&["commit"], options, &["writer", committed]].concat());
    session.nerdctl(&["rm", "-f", "writer"]);
    session.run_script(committed, CHECK).unwrap();
}

fn containers_become_images(options: &[&str]) {
    let metrics = Metrics::somewhere();
    let node = Node::start_with_differ(Release::V2, Unpack::Sequential, &metrics.settings(), options);
    let image = node.image(Kind::Full);
    let session = node.containerd.session("commit");
    session.pull(Client::Nerdctl, &image);
    for (n, options) in [(1, &[][..]), (2, &["--pause=false"]), (3, &["--compression=zstd", "--format=oci"])] {
        let committed = node.registry.reference(&format!("test:committed{n}"));
        commit(&session, &image.reference, &committed, options);
        assert_eq!((answers(&metrics, "OK"), answers(&metrics, "UNIMPLEMENTED")), (n, 0));
        session.nerdctl(&["push", &committed]);
        session.nerdctl(&["rmi", "-f", &committed]);
        session.nerdctl(&["pull", "-q", &committed]);
        session.run_script(&committed, CHECK).unwrap();
    }
    let leases = session.ctr(&["leases", "ls", "-q"]);
    assert_eq!(leases.lines().filter(|id| id.starts_with("leasehold-diff-")).count(), 3, "{leases}");
    // They end by themselves; a test does not wait for that.
    for id in leases.lines() {
        session.ctr(&["leases", "rm", id]);
    }
    session.nerdctl(&["system", "prune", "-af"]);
    node.expect_empty_pool();
}

#[test]
fn privileged_containers_become_images_in_containerds_store() {
    if ready("containers_become_images_in_containerds_store") {
        containers_become_images(&[]);
    }
}

#[test]
fn privileged_containers_become_images_in_our_own_store() {
    if ready("containers_become_images_in_our_own_store") {
        containers_become_images(&["--content"]);
    }
}

#[test]
fn privileged_where_containerd_is_not_found_it_makes_images_itself() {
    if !ready("where_containerd_is_not_found_it_makes_images_itself") {
        return;
    }
    let metrics = Metrics::somewhere();
    let mut node = Node::start_with_differ(Release::V2, Unpack::Sequential, &metrics.settings(), &["--content"]);
    node.stop_daemon();
    let settings = metrics.settings() + "[diff]\ncontainerd_socket = \"/nowhere/x.sock\"\n";
    node.site = std::mem::replace(&mut node.site, Site::new()).set_settings(&settings);
    node.start_daemon();
    let image = node.image(Kind::Full);
    let session = node.containerd.session("commit");
    session.pull(Client::Nerdctl, &image);
    let committed = node.registry.reference("test:committed");
    commit(&session, &image.reference, &committed, &[]);
    assert_eq!((answers(&metrics, "OK"), answers(&metrics, "UNIMPLEMENTED")), (0, 1));
}
