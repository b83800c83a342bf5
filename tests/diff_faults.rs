//! Apply, when something goes wrong meanwhile: the client leaves, the disk fills up, the snapshot is removed, the daemon
//! is told to stop, or many want the same.

mod common;

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use common::applies::Applies;
use common::client::{Client, upperdir_of_mounts};
use common::daemon::{Daemon, Site};
use common::diff::{Archive, TAR_GZIP, apply_request, gzip, layer, many_files};
use common::filesystem::{FileSystem, privileged};
use common::metrics::Metrics;
use common::wait_for;
use leasehold::grpc::proto::containerd::types::Mount;
use rustix::process::Signal;
use tonic::{Code, Status};

const LIMIT: Duration = Duration::from_secs(60);
/// Making so many files takes much longer than hearing that somebody wants it to end.
const MANY: usize = 100_000;

fn code<T>(answer: Result<T, Status>) -> Option<Code> {
    answer.err().map(|status| status.code())
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).unwrap().next().is_none()
}

/// Waits until a layer is being extracted.
fn wait_for_files(dir: &Path) {
    wait_for("the first files of a layer", LIMIT, || dir.join("many/100").exists());
}

/// Starts a daemon that counts what it applies. Its pool is in memory: on a disk, many files take long to make, and
/// longer where many have just been deleted.
fn start(settings: &str) -> (FileSystem, Site, Daemon, Metrics) {
    let (filesystem, metrics) = (FileSystem::tmpfs(2 << 30), Metrics::somewhere());
    let site = Site::with_settings(&(metrics.settings() + settings)).with_root(&filesystem.path().join("pool"));
    let daemon = site.start();
    (filesystem, site, daemon, metrics)
}

#[test]
fn privileged_a_client_that_leaves_ends_its_apply() {
    privileged("a_client_that_leaves_ends_its_apply", || {
        let (_filesystem, site, daemon, _) = start("");
        let client = Client::new(&daemon);
        let blob = gzip(&many_files(MANY));
        client.store("ref", &blob).unwrap();
        let mounts = client.prepare("a/1/extract-1", "").unwrap();
        let upperdir = upperdir_of_mounts(&mounts);
        let mut diff = client.diff();
        let request = apply_request(layer(TAR_GZIP, &blob), &mounts);
        client.run(async {
            let call = tokio::spawn(async move { diff.apply(request).await });
            let watched = upperdir.clone();
            tokio::task::spawn_blocking(move || wait_for_files(&watched)).await.unwrap();
            call.abort();
            assert!(call.await.unwrap_err().is_cancelled());
        });
        wait_for("the end of what was extracted", LIMIT, || is_empty(&upperdir));
        // Nobody has it to himself any more, and it is as good as new.
        wait_for("the end of the apply", LIMIT, || match client.apply(layer(TAR_GZIP, &blob), &mounts) {
            Ok(_) => true,
            Err(status) => {
                assert_eq!(status.code(), Code::Unavailable, "{status}");
                false
            }
        });
        assert_eq!(fs::read_dir(upperdir.join("many")).unwrap().count(), MANY);
        client.commit("committed", "a/1/extract-1").unwrap();
        assert_eq!(site.fsck(false), Vec::<String>::new());
    });
}

#[test]
fn privileged_a_full_disk_is_told_and_leaves_room_for_removals() {
    privileged("a_full_disk_is_told_and_leaves_room_for_removals", || {
        let filesystem = FileSystem::ext4(512 << 20);
        let site = Site::with_settings("[limits]\nmin_free = \"32MiB\"\n").with_root(&filesystem.path().join("pool"));
        let daemon = site.start();
        let client = Client::new(&daemon);
        let (large, small) = (
            gzip(&Archive::new().file("small", b"1").file("large", &vec![7; 1 << 30]).finish()),
            gzip(&Archive::new().file("small", b"1").finish()),
        );
        for (name, blob) in [("large", &large), ("small", &small)] {
            client.store(name, blob).unwrap();
        }
        let mounts = client.prepare("a/1/extract-1", "").unwrap();
        let refused = client.apply(layer(TAR_GZIP, &large), &mounts).unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        assert!(is_empty(&upperdir_of_mounts(&mounts)));
        client.apply(layer(TAR_GZIP, &small), &mounts).unwrap();
        client.commit("committed", "a/1/extract-1").unwrap();
        client.remove("committed").unwrap();
        assert_eq!(site.fsck(false), Vec::<String>::new());
        drop(daemon);
    });
}

#[test]
fn privileged_a_snapshot_may_be_removed_while_it_is_applied_to() {
    privileged("a_snapshot_may_be_removed_while_it_is_applied_to", || {
        let (_filesystem, site, daemon, _) = start("");
        let client = Client::new(&daemon);
        let blob = gzip(&many_files(MANY));
        client.store("ref", &blob).unwrap();
        let mounts = client.prepare("a/1/extract-1", "").unwrap();
        let applying = client.another();
        let refused = thread::scope(|scope| {
            let call = scope.spawn(|| applying.apply(layer(TAR_GZIP, &blob), &mounts));
            wait_for_files(&upperdir_of_mounts(&mounts));
            client.remove("a/1/extract-1").unwrap();
            call.join().unwrap().unwrap_err()
        });
        assert!(matches!(refused.code(), Code::NotFound | Code::Internal), "{refused}");
        wait_for("the end of its directory", LIMIT, || site.layer_dirs().is_empty() && site.trash_dirs().is_empty());
        assert_eq!(site.fsck(false), Vec::<String>::new());
    });
}

#[test]
fn privileged_the_daemon_stops_in_the_middle_of_a_layer() {
    privileged("the_daemon_stops_in_the_middle_of_a_layer", || {
        let (_filesystem, site, daemon, _) = start("[daemon]\nshutdown_grace = \"0s\"\n");
        let client = Client::new(&daemon);
        let blob = gzip(&many_files(MANY));
        client.store("ref", &blob).unwrap();
        let mounts = client.prepare("a/1/extract-1", "").unwrap();
        let upperdir = upperdir_of_mounts(&mounts);
        thread::scope(|scope| {
            let call = scope.spawn(|| client.apply(layer(TAR_GZIP, &blob), &mounts));
            wait_for_files(&upperdir);
            daemon.signal(Signal::TERM);
            assert!(call.join().unwrap().is_err());
        });
        assert!(daemon.wait().success());
        assert!(is_empty(&upperdir));
        let daemon = site.start();
        let client = Client::new(&daemon);
        client.apply(layer(TAR_GZIP, &blob), &mounts).unwrap();
        assert_eq!(fs::read_dir(upperdir.join("many")).unwrap().count(), MANY);
        assert_eq!(site.fsck(false), Vec::<String>::new());
    });
}

/// Has eight callers apply a layer at once.
fn eight_at_once(client: &Client, blob: &[u8], mounts: &(impl Fn(usize) -> Vec<Mount> + Sync)) -> Vec<Option<Code>> {
    let clients: Vec<Client> = (0..8).map(|_| client.another()).collect();
    thread::scope(|scope| {
        let apply =
            |n: usize, client: Client| scope.spawn(move || code(client.apply(layer(TAR_GZIP, blob), &mounts(n))));
        let calls: Vec<_> = clients.into_iter().enumerate().map(|(n, client)| apply(n, client)).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    })
}

#[test]
fn privileged_eight_may_want_the_same() {
    privileged("eight_may_want_the_same", || {
        let (_filesystem, site, daemon, metrics) = start("");
        let client = Client::new(&daemon);
        let blob = gzip(&many_files(20_000));
        client.store("ref", &blob).unwrap();

        // On one snapshot: whoever is not the first is told that somebody else is at it.
        let one = client.prepare("a/1/extract-1", "").unwrap();
        let answers = eight_at_once(&client, &blob, &|_| one.clone());
        assert!(answers.contains(&None), "{answers:?}");
        let told = |answer: &Option<Code>| matches!(answer, None | Some(Code::Unavailable));
        assert!(answers.iter().all(told), "{answers:?}");
        assert_eq!(fs::read_dir(upperdir_of_mounts(&one).join("many")).unwrap().count(), 20_000);

        // On eight.
        let all: Vec<_> = (0..8).map(|n| client.prepare(&format!("a/{n}/extract-8"), "").unwrap()).collect();
        let before = Applies::read(&metrics).done();
        assert_eq!(eight_at_once(&client, &blob, &|n| all[n].clone()), [None; 8]);
        assert_eq!(Applies::read(&metrics).done() - before, 8);
        for n in 0..8 {
            client.commit(&format!("committed {n}"), &format!("a/{n}/extract-8")).unwrap();
            let view = client.view(&format!("view {n}"), &format!("committed {n}")).unwrap();
            assert_eq!(fs::read_dir(Path::new(&view[0].source).join("many")).unwrap().count(), 20_000);
        }
        assert_eq!(site.fsck(false), Vec::<String>::new());
    });
}

#[test]
fn privileged_short_calls_are_served_while_layers_are_applied() {
    privileged("short_calls_are_served_while_layers_are_applied", || {
        // As many threads as calls that wait, if they did.
        let (_filesystem, _site, daemon, metrics) =
            start("[limits]\nmax_concurrent_requests = 2\n[diff]\nmax_concurrent_applies = 1\n");
        let client = Client::new(&daemon);
        let blobs: Vec<_> = (0..4).map(|n| gzip(&many_files(40_000 + n))).collect();
        let mounts: Vec<_> = (0..4).map(|n| client.prepare(&format!("a/{n}/extract-{n}"), "").unwrap()).collect();
        for (n, blob) in blobs.iter().enumerate() {
            client.store(&format!("ref {n}"), blob).unwrap();
        }
        thread::scope(|scope| {
            for (blob, mounts) in blobs.iter().zip(&mounts) {
                let client = client.another();
                scope.spawn(move || client.apply(layer(TAR_GZIP, blob), mounts).unwrap());
            }
            wait_for("the first layer", LIMIT, || mounts.iter().any(|mounts| !is_empty(&upperdir_of_mounts(mounts))));
            for n in 0..100 {
                client.stat(&format!("a/{}/extract-{}", n % 4, n % 4)).unwrap();
                client.mounts("a/0/extract-0").unwrap();
            }
            client.prepare("another", "").unwrap();
            client.remove("another").unwrap();
            assert!(Applies::read(&metrics).done() < 4, "the layers were applied before the other calls were made");
        });
        assert_eq!(Applies::read(&metrics).done(), 4);
    });
}
