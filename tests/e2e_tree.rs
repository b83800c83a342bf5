//! What is unpacked into leasehold is, file by file and layer by layer, what containerd's own overlayfs snapshotter has
//! of the same image.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::applies::Applies;
use common::containerd::{Client, Release, Session, Unpack};
use common::images::{Image, Kind};
use common::metrics::Metrics;
use common::node::Node;
use common::tools::{built, installed, ready, run};

/// After every time in the images, before every test: what is newer was stamped by the clock while unpacking.
const NOW: &str = "2025-01-01T00:00:00Z";

/// A snapshot, mounted read-only with the mounts that its snapshotter returns.
struct View {
    merged: PathBuf,
    /// The directory of the topmost layer.
    layer: PathBuf,
}

impl View {
    fn mount(session: &Session<'_>, chain_id: &str, target: PathBuf) -> View {
        std::fs::create_dir_all(&target).unwrap();
        let key = target.display().to_string();
        // Prints the command that mounts it: mount -t TYPE SOURCE TARGET -o OPTIONS
        let printed = session.snapshots(&["view", "--target", &key, &key, chain_id]);
        let words: Vec<&str> = printed.split_whitespace().collect();
        let ["mount", "-t", kind, source, _, "-o", options] = words[..] else { panic!("not a mount: {printed}") };
        let lowerdirs = options.split(',').find_map(|option| option.strip_prefix("lowerdir="));
        let layer = PathBuf::from(lowerdirs.map_or(source, |dirs| dirs.split(':').next().unwrap()));
        // Options must fit one page: so the directories are named relative to where they all are.
        let snapshots = layer.ancestors().nth(2).unwrap();
        let options = options.replace(&format!("{}/", snapshots.display()), "");
        let mut mount = Command::new(installed("busybox"));
        mount.current_dir(snapshots).args(["mount", "-t", kind, "-o", &options, source]).arg(&target);
        run(&mut mount);
        View { merged: target, layer }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // A failure shows when containerd's directory is removed.
        _ = rustix::mount::unmount(&self.merged, rustix::mount::UnmountFlags::DETACH);
    }
}

/// Returns all that can be seen of a tree, one line a path.
fn tree(dir: &Path) -> Vec<String> {
    let printed = run(Command::new(built("bin/treediff")).args(["-touched-since", NOW]).arg(dir));
    printed.lines().map(without_whiteout_time).collect()
}

/// A whiteout has no time of its own in the tar stream: it gets that of its making.
fn without_whiteout_time(line: &str) -> String {
    if line.contains(" rdev=0:0 ") { without_time(line) } else { line.to_owned() }
}

fn without_time(line: &str) -> String {
    line.split(' ').filter(|word| !word.starts_with("mtime=")).collect::<Vec<_>>().join(" ")
}

/// Whether two lines say the same. Where containerd leaves a time to the clock, ours may be that of the layer below: a commit
/// that finds out what is below sets it last.
fn are_equal(ours: &str, theirs: &str) -> bool {
    ours == theirs || theirs.contains(" mtime=touched") && without_time(ours) == without_time(theirs)
}

fn expect_equal(what: &str, ours: &Path, theirs: &Path) {
    let (ours, theirs) = (tree(ours), tree(theirs));
    assert!(!ours.is_empty());
    let only_ours: Vec<_> = ours.iter().filter(|line| !theirs.iter().any(|other| are_equal(line, other))).collect();
    let only_theirs: Vec<_> = theirs.iter().filter(|line| !ours.iter().any(|other| are_equal(other, line))).collect();
    let (ours, theirs) = (only_ours, only_theirs);
    assert!(ours.is_empty() && theirs.is_empty(), "{what}\nleasehold: {ours:#?}\noverlayfs: {theirs:#?}");
}

/// Compares what two snapshotters show after each layer of an image, and what they keep of the layer alone.
fn compare(node: &Node, ours: &Session<'_>, theirs: &Session<'_>, image: &Image) {
    let dir = node.containerd.dir().join("views").join(&ours.namespace).join(format!("{:?}", image.kind));
    for (n, chain_id) in image.layers.iter().enumerate() {
        let what = format!("{}: layer {n} of {:?}", ours.namespace, image.kind);
        let ours = View::mount(ours, chain_id, dir.join(format!("{n}-ours")));
        let theirs = View::mount(theirs, chain_id, dir.join(format!("{n}-theirs")));
        assert_ne!(ours.layer, theirs.layer);
        expect_equal(&format!("{what}, alone"), &ours.layer, &theirs.layer);
        // The layers of a deep image are alike.
        if image.kind != Kind::Deep || n % 8 == 0 || chain_id == image.chain_id() {
            expect_equal(&format!("{what}, with those below"), &ours.merged, &theirs.merged);
        }
    }
}

fn trees_are_equal(release: Release, unpack: Unpack, clients: &[Client]) {
    let node = Node::start(release, unpack);
    let images = [node.image(Kind::Full), node.image(Kind::Deep)];
    for client in clients {
        let namespace = format!("{client:?}");
        for image in &images {
            let before = node.containerd.unpacked(unpack);
            for snapshotter in ["leasehold", "overlayfs"] {
                node.containerd.session(&namespace).with_snapshotter(snapshotter).pull(*client, image);
            }
            let by_transfer = node.containerd.unpacked(unpack) - before;
            assert_eq!(by_transfer, if release.transfers_for(*client) { 2 } else { 0 });
            let ours = node.containerd.session(&namespace);
            compare(&node, &ours, &node.containerd.session(&namespace).with_snapshotter("overlayfs"), image);
        }
    }
}

/// With leasehold as the differ: what it unpacks, into its own directories and into those of others, against what containerd
/// unpacks on another node, layer by layer. That is how a tree is meant; where containerd unpacks in parallel, directories
/// that a layer does not list itself are not as below.
fn trees_of_our_differ_are_equal(unpack: Unpack, clients: &[Client]) {
    let metrics = Metrics::somewhere();
    let node = Node::start_with_differ(Release::V2, unpack, &metrics.settings(), &[]);
    let reference = Node::start(Release::V2, Unpack::Sequential);
    let images = [node.image(Kind::Full), node.image(Kind::Deep)];
    let theirs = reference.containerd.session("theirs").with_snapshotter("overlayfs");
    for kind in [Kind::Full, Kind::Deep] {
        theirs.pull(Client::CtrLocal, &reference.image(kind));
    }
    for (client, snapshotter) in
        clients.iter().map(|client| (*client, "leasehold")).chain([(Client::CtrLocal, "overlayfs")])
    {
        let ours = node.containerd.session(&format!("{client:?}-{snapshotter}")).with_snapshotter(snapshotter);
        for image in &images {
            let before = Applies::read(&metrics);
            ours.pull(client, image);
            assert!(Applies::read(&metrics).done() > before.done(), "{client:?} {snapshotter}");
            compare(&node, &ours, &theirs, image);
        }
    }
    let done = Applies::read(&metrics);
    assert_eq!((done.failed, done.unsupported), (0, 0));
    node.expect_whole_pool();
}

#[test]
fn privileged_trees_are_equal_with_containerd_1() {
    if ready("trees_are_equal_with_containerd_1") {
        trees_are_equal(Release::V1, Unpack::Sequential, &[Client::CtrLocal, Client::Nerdctl]);
    }
}

#[test]
fn privileged_trees_are_equal_with_containerd_2() {
    if ready("trees_are_equal_with_containerd_2") {
        trees_are_equal(Release::V2, Unpack::Sequential, &[Client::CtrLocal, Client::CtrTransfer]);
    }
}

#[test]
fn privileged_trees_are_equal_when_layers_are_unpacked_in_parallel() {
    if ready("trees_are_equal_when_layers_are_unpacked_in_parallel") {
        trees_are_equal(Release::V2, Unpack::Parallel, &[Client::CtrTransfer]);
    }
}

#[test]
fn privileged_trees_of_our_differ_are_equal() {
    if ready("trees_of_our_differ_are_equal") {
        trees_of_our_differ_are_equal(Unpack::Sequential, &[Client::CtrLocal, Client::CtrTransfer]);
    }
}

#[test]
fn privileged_trees_of_our_differ_are_equal_when_layers_are_unpacked_in_parallel() {
    if ready("trees_of_our_differ_are_equal_when_layers_are_unpacked_in_parallel") {
        trees_of_our_differ_are_equal(Unpack::Parallel, &[Client::CtrTransfer, Client::LibraryParallel]);
    }
}
