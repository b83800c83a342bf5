//! Removed layers are deleted at the pace that is set, and those that cannot be deleted are told of and tried again.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::client::{Client, UPPERDIR_SETTING, upperdir_of_mounts};
use common::daemon::{Daemon, Site};
use common::filesystem::{FileSystem, privileged};
use common::metrics::Metrics;
use common::{is_root, wait_for};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::Value;
use tonic::Code;

const LIMIT: Duration = Duration::from_secs(60);
/// How soon a layer is deleted that somebody has tried again: before its turn comes by itself.
const AT_ONCE: Duration = Duration::from_secs(4);

/// Makes an active snapshot with so many files of so many bytes, in directories of a hundred; returns its upperdir.
fn make_layer(client: &Client, key: &str, files: usize, size: usize) -> PathBuf {
    let layer = upperdir_of_mounts(&client.prepare(key, "").unwrap());
    for file in 0..files {
        let dir = layer.join((file / 100).to_string());
        if file % 100 == 0 {
            fs::create_dir(&dir).unwrap();
        }
        fs::write(dir.join(file.to_string()), vec![1; size]).unwrap();
    }
    layer
}

/// Counts what is below a directory while it is deleted.
fn count_below(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| if entry.file_type().is_ok_and(|kind| kind.is_dir()) { 1 + count_below(&entry.path()) } else { 1 })
        .sum()
}

fn reclaim_settings(settings: &str) -> String {
    format!("{UPPERDIR_SETTING}[reclaim]\n{settings}\n")
}

#[test]
fn privileged_the_limit_is_of_all_workers_and_holds_inside_a_layer() {
    if !is_root("the_limit_is_of_all_workers_and_holds_inside_a_layer") {
        return;
    }
    const PER_SECOND: usize = 1_000;
    let site = Site::with_settings(&reclaim_settings("workers = 2\nmax_per_second = 1000\ncleanup_wait = \"100ms\""));
    let daemon = site.start();
    let client = Client::new(&daemon);
    for key in ["one", "two"] {
        make_layer(&client, key, 1_500, 0);
    }
    let trash = site.root().join("trash");
    let all = count_below(&site.root().join("l"));
    let began = Instant::now();
    for key in ["one", "two"] {
        client.remove(key).unwrap();
    }
    assert!(site.layer_dirs().is_empty(), "out of sight at once");
    // Whoever waits for the deletion waits for a bounded time, and the limit is kept all the same.
    client.cleanup().unwrap();
    let mut seen = Vec::new();
    wait_for("the end of trash", LIMIT, || {
        let left = count_below(&trash);
        let may = PER_SECOND as f64 * (began.elapsed().as_secs_f64() + 0.1);
        assert!((all - left) as f64 <= may, "{} of {all} are deleted after {:?}", all - left, began.elapsed());
        seen.push(left);
        left == 0
    });
    assert!(began.elapsed() > Duration::from_secs(2), "{:?}", began.elapsed());
    seen.dedup();
    assert!(seen.len() > 5, "not little by little: {seen:?}");
    assert_eq!(site.fsck(false), Vec::<String>::new());
}

#[test]
fn privileged_a_slow_deletion_holds_up_no_stop_and_is_taken_up_again() {
    if !is_root("a_slow_deletion_holds_up_no_stop_and_is_taken_up_again") {
        return;
    }
    let site = Site::with_settings(&reclaim_settings("max_per_second = 1\ncleanup_wait = \"0s\""));
    let daemon = site.start();
    let client = Client::new(&daemon);
    let layer = make_layer(&client, "large", 1_000, 0);
    client.remove("large").unwrap();
    let in_trash = site.root().join("trash").join(layer.parent().unwrap().file_name().unwrap());
    let all = count_below(&in_trash);
    wait_for("the beginning of the deletion", LIMIT, || count_below(&in_trash) < all);
    drop(client);
    let stopped = Instant::now();
    assert!(daemon.stop().success());
    assert!(stopped.elapsed() < LIMIT, "{:?}", stopped.elapsed());
    assert!(count_below(&in_trash) > 0);
    let unlimited = Site::new().with_root(site.root());
    let daemon = unlimited.start();
    Client::new(&daemon).cleanup().unwrap();
    assert_eq!(site.trash_dirs(), Vec::<String>::new());
    assert_eq!(unlimited.fsck(false), Vec::<String>::new());
}

#[test]
fn privileged_the_limit_is_lifted_while_there_is_no_room() {
    privileged("the_limit_is_lifted_while_there_is_no_room", || {
        let filesystem = FileSystem::ext4(192 << 20);
        let settings = reclaim_settings("max_per_second = 1\ncleanup_wait = \"0s\"\n[limits]\nmin_free = \"32MiB\"");
        let site = Site::with_settings(&settings).with_root(&filesystem.path().join("pool"));
        let daemon = site.start();
        let client = Client::new(&daemon);
        make_layer(&client, "large", 1_000, 48 << 10);
        let _filler = filesystem.fill_but(16 << 20);
        assert_eq!(client.prepare("refused", "").unwrap_err().code(), Code::ResourceExhausted);
        client.remove("large").unwrap();
        // That is a third of the files, at one a second.
        wait_for("room", LIMIT, || client.prepare("new", "").is_ok());
    });
}

/// A pool in which the layer of a removed snapshot is busy.
struct Busy {
    site: Site,
    daemon: Daemon,
    metrics: Metrics,
    /// What is mounted below the layer.
    elsewhere: PathBuf,
    /// Where it is mounted now.
    mounted: PathBuf,
}

impl Busy {
    fn new() -> Busy {
        let metrics = Metrics::somewhere();
        let site = Site::with_settings(&format!("{UPPERDIR_SETTING}{}", metrics.settings()));
        let daemon = site.start();
        let client = Client::new(&daemon);
        let elsewhere = site.dir().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        fs::write(elsewhere.join("file"), "somebody's").unwrap();
        let layer = make_layer(&client, "busy", 10, 0);
        std::os::unix::fs::symlink(&elsewhere, layer.join("link")).unwrap();
        fs::create_dir(layer.join("mnt")).unwrap();
        bind(&elsewhere, &layer.join("mnt"));
        client.remove("busy").unwrap();
        client.cleanup().unwrap();
        let id = layer.parent().unwrap().file_name().unwrap();
        let mounted = site.root().join("trash").join(id).join("fs/mnt");
        Busy { site, daemon, metrics, elsewhere, mounted }
    }

    fn kill_and_start(self) -> Busy {
        self.daemon.kill();
        Busy { daemon: self.site.start(), ..self }
    }

    fn info(&self) -> Value {
        self.site.cli(&["info", "--json"]).json()["pool"].take()
    }

    /// Waits until the layer is known to be busy, and checks that all but what is in the way is gone.
    fn check(&self) {
        wait_for("the layer is found busy", LIMIT, || self.info()["busy"] == 1);
        let info = self.info();
        let busy = &info["busy_layers"][0];
        let reason = busy["reason"].as_str().unwrap();
        assert!(reason.contains(self.mounted.to_str().unwrap()) && reason.contains("something is mounted"), "{reason}");
        assert!(busy["next_try"].as_str() > busy["since"].as_str(), "{busy}");
        assert_eq!((info["busy"].as_u64(), info["trash"].as_u64()), (Some(1), Some(1)));
        let text = self.site.cli(&["info"]).ok();
        assert!(text.contains("1, of which 1 cannot be deleted yet") && text.contains(reason), "{text}");
        let left: Vec<_> =
            fs::read_dir(self.mounted.parent().unwrap()).unwrap().map(|one| one.unwrap().path()).collect();
        assert_eq!(left, std::slice::from_ref(&self.mounted));
        assert_eq!(fs::read_to_string(self.elsewhere.join("file")).unwrap(), "somebody's");
        assert_eq!(self.site.fsck(false), Vec::<String>::new());
    }

    /// Ends the mount, has the layer tried again, and checks that it is gone before its turn came by itself.
    fn free(&self, retry: impl FnOnce(&Busy)) {
        // Whatever turn was near is over now.
        Client::new(&self.daemon).cleanup().unwrap();
        umount2(&self.mounted, MntFlags::MNT_DETACH).unwrap();
        retry(self);
        wait_for("the end of the layer", AT_ONCE, || self.site.trash_dirs().is_empty());
        wait_for("nothing is busy", LIMIT, || self.info()["busy"] == 0);
        assert_eq!(fs::read_to_string(self.elsewhere.join("file")).unwrap(), "somebody's");
        assert_eq!(self.site.fsck(false), Vec::<String>::new());
    }
}

fn bind(from: &Path, to: &Path) {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
}

#[test]
fn privileged_a_busy_layer_is_told_of_and_goes_with_the_next_cleanup() {
    privileged("a_busy_layer_is_told_of_and_goes_with_the_next_cleanup", || {
        let busy = Busy::new();
        busy.check();
        wait_for("the gauge", LIMIT, || busy.metrics.value("leasehold_busy_layers") == Some(1.0));
        let client = Client::new(&busy.daemon);
        for _ in 0..20 {
            client.cleanup().unwrap();
        }
        busy.check();
        busy.free(|busy| Client::new(&busy.daemon).cleanup().unwrap());
        wait_for("the gauge", LIMIT, || busy.metrics.value("leasehold_busy_layers") == Some(0.0));
        let log = fs::read_to_string(busy.site.log()).unwrap();
        assert_eq!(log.matches("cannot be deleted").count(), 1, "{log}");
        assert_eq!(log.matches("a layer that was busy is deleted").count(), 1, "{log}");
    });
}

#[test]
fn privileged_a_busy_layer_survives_kills_and_goes_with_the_next_collection() {
    privileged("a_busy_layer_survives_kills_and_goes_with_the_next_collection", || {
        let mut busy = Busy::new();
        for _ in 0..3 {
            busy.check();
            busy = busy.kill_and_start();
        }
        busy.check();
        busy.free(|busy| drop(busy.site.cli(&["gc"]).ok()));
    });
}

#[test]
fn privileged_a_busy_layer_goes_by_itself_when_its_mount_is_gone() {
    privileged("a_busy_layer_goes_by_itself_when_its_mount_is_gone", || {
        let busy = Busy::new();
        busy.check();
        umount2(&busy.mounted, MntFlags::MNT_DETACH).unwrap();
        wait_for("the end of the layer", LIMIT, || busy.site.trash_dirs().is_empty());
    });
}

#[test]
fn privileged_a_layer_that_is_a_mount_itself_is_told_of() {
    privileged("a_layer_that_is_a_mount_itself_is_told_of", || {
        let site = Site::with_settings(UPPERDIR_SETTING);
        let daemon = site.start();
        let client = Client::new(&daemon);
        let layer = make_layer(&client, "busy", 1, 0).parent().unwrap().to_owned();
        bind(&layer, &layer);
        client.remove("busy").unwrap();
        client.cleanup().unwrap();
        let reason = || {
            let reason = site.cli(&["info", "--json"]).json()["pool"]["busy_layers"][0]["reason"].take();
            reason.as_str().unwrap_or_default().to_owned()
        };
        wait_for("the reason", LIMIT, || !reason().is_empty());
        assert!(
            reason().contains(layer.to_str().unwrap()) && reason().contains("something is mounted"),
            "{}",
            reason()
        );
        umount2(&layer, MntFlags::MNT_DETACH).unwrap();
        client.cleanup().unwrap();
        assert_eq!((site.layer_dirs(), site.trash_dirs()), (Vec::new(), Vec::new()));
    });
}
