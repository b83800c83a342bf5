//! A lease keeps an image's directories through its removal from containerd, and they go when the lease ends.

mod common;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use common::client::Client as Operator;
use common::containerd::{Client, Release, Session, Unpack};
use common::images::{Image, Kind};
use common::node::Node;
use common::tools::ready;
use common::wait_for;

const SNAPSHOTS: &str = "snapshots/leasehold";
/// How soon after the end of a lease everything is gone.
const SOON: Duration = Duration::from_secs(2);
/// How long a lease goes on that a test waits for; meanwhile a daemon starts again.
const AHEAD: Duration = Duration::from_secs(4);
/// For what has no promise of its own.
const LIMIT: Duration = Duration::from_secs(60);

/// What happens to leasehold while a lease runs out.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// Nothing.
    RunsOn,
    /// Stopped and started again before the end.
    Restarted,
    /// Killed some milliseconds before the end, and started again at once.
    KilledBefore,
    /// Killed in the middle of the collection, when no more than so many layers are left, and started again at once.
    KilledWith(usize),
}

/// Removes an image, and waits until containerd has collected everything.
fn remove(node: &Node, session: &Session<'_>, image: &Image) {
    session.nerdctl(&["rmi", &image.reference]);
    wait_for("containerd's collection", LIMIT, || node.snapshots() == 0);
    assert_eq!(session.snapshot_names(), Vec::<String>::new());
}

/// Waits until nobody deletes anything any more, and checks that as many layers are left as the image has.
fn expect_layers_of(node: &Node, image: &Image) {
    let layers = image.layers.iter().collect::<BTreeSet<_>>().len();
    wait_for("the end of deletions", LIMIT, || node.site.trash_dirs().is_empty());
    assert_eq!(node.site.layer_dirs().len(), layers);
    node.expect_whole_pool();
}

/// Creates a lease that ends soon, on the whole chain of an image; returns its end.
fn lease_until_soon(operator: &Operator, image: &Image) -> SystemTime {
    let end = SystemTime::now() + AHEAD;
    let label = humantime::format_rfc3339_nanos(end).to_string();
    operator.create_lease("short", &[("containerd.io/gc.expire", &label), ("containerd.io/gc.flat", "true")]).unwrap();
    for chain in &image.layers {
        operator.add_resource("short", SNAPSHOTS, chain).unwrap();
    }
    end
}

/// Waits for the end of a lease and of all layers, with nobody calling leasehold meanwhile.
fn expect_end(node: &mut Node, end: SystemTime, fate: Fate) {
    let began = match fate {
        Fate::RunsOn => end,
        Fate::Restarted => {
            node.stop_daemon();
            node.start_daemon();
            end
        }
        Fate::KilledBefore | Fate::KilledWith(_) => {
            wait_for("the moment to kill it", LIMIT, || match fate {
                Fate::KilledWith(layers) => node.site.layer_dirs().len() <= layers,
                _ => SystemTime::now() >= end - Duration::from_millis(10),
            });
            node.kill_daemon();
            eprintln!("{} layers, {} in trash at the kill", node.site.layer_dirs().len(), node.site.trash_dirs().len());
            node.start_daemon();
            SystemTime::now().max(end)
        }
    };
    // What a kill left half done is none of this.
    let before = if matches!(fate, Fate::KilledWith(_)) { 0 } else { node.site.layer_dirs().len() };
    wait_for("the end of all layers", LIMIT, || {
        let layers = node.site.layer_dirs().len();
        assert!(layers >= before || SystemTime::now() > end, "{fate:?}: {layers} of {before} before the end");
        layers == 0 && node.site.trash_dirs().is_empty()
    });
    let late = SystemTime::now().duration_since(began).unwrap_or_default();
    assert!(late < SOON, "{fate:?}: {late:?}");
    node.expect_whole_pool();
}

fn a_leased_image_stays(release: Release) {
    let node = Node::start(release, Unpack::Parallel);
    let image = node.image(Kind::Full);
    let session = node.containerd.session("hold");
    let operator = node.operator(&session.namespace);
    session.pull(Client::Nerdctl, &image);
    operator.create_lease("keep", &[]).unwrap();
    operator.add_resource("keep", SNAPSHOTS, image.chain_id()).unwrap();
    let pulled = node.site.layer_dirs();
    remove(&node, &session, &image);
    // Its parents, too, which the lease does not name.
    expect_layers_of(&node, &image);
    assert_eq!(node.site.layer_dirs(), pulled);

    // It can be had again, whatever is still there of it.
    session.pull(Client::Nerdctl, &image);
    session.run_script(&image.reference, &image.check()).unwrap();
    remove(&node, &session, &image);
    expect_layers_of(&node, &image);
    operator.delete_lease("keep").unwrap();
    node.expect_empty_pool();
}

fn a_lease_ends(release: Release, kind: Kind, fates: &[Fate]) {
    let mut node = Node::start(release, Unpack::Parallel);
    let image = node.image(kind);
    for fate in fates {
        let end = {
            let session = node.containerd.session("hold");
            let operator = node.operator(&session.namespace);
            operator.create_lease("keep", &[]).unwrap();
            // Each layer by itself, so that there is much to give up at the end.
            for chain in &image.layers {
                operator.add_resource("keep", SNAPSHOTS, chain).unwrap();
            }
            session.pull_after_restart(Client::Nerdctl, &image);
            remove(&node, &session, &image);
            expect_layers_of(&node, &image);
            let end = lease_until_soon(&operator, &image);
            operator.delete_lease_with("keep", true).unwrap();
            assert!(SystemTime::now() < end, "too slow to say anything");
            end
        };
        expect_end(&mut node, end, *fate);
        let session = node.containerd.session("hold");
        assert_eq!(node.operator(&session.namespace).lease_ids(&[]), "");
    }
}

const QUIET: [Fate; 2] = [Fate::RunsOn, Fate::Restarted];
/// Of the deep image's 70 layers.
const KILLS: [Fate; 4] = [Fate::KilledBefore, Fate::KilledWith(69), Fate::KilledWith(50), Fate::KilledWith(20)];

#[test]
fn privileged_a_leased_image_stays_with_containerd_1() {
    if ready("a_leased_image_stays_with_containerd_1") {
        a_leased_image_stays(Release::V1);
    }
}

#[test]
fn privileged_a_leased_image_stays_with_containerd_2() {
    if ready("a_leased_image_stays_with_containerd_2") {
        a_leased_image_stays(Release::V2);
    }
}

#[test]
fn privileged_a_lease_ends_with_containerd_1() {
    if ready("a_lease_ends_with_containerd_1") {
        a_lease_ends(Release::V1, Kind::Full, &QUIET);
    }
}

#[test]
fn privileged_a_lease_ends_with_containerd_2() {
    if ready("a_lease_ends_with_containerd_2") {
        a_lease_ends(Release::V2, Kind::Full, &QUIET);
    }
}

#[test]
fn privileged_a_lease_ends_around_a_kill_with_containerd_1() {
    if ready("a_lease_ends_around_a_kill_with_containerd_1") {
        a_lease_ends(Release::V1, Kind::Deep, &KILLS);
    }
}

#[test]
fn privileged_a_lease_ends_around_a_kill_with_containerd_2() {
    if ready("a_lease_ends_around_a_kill_with_containerd_2") {
        a_lease_ends(Release::V2, Kind::Deep, &KILLS);
    }
}
