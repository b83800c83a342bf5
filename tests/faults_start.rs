//! What a daemon refuses to start on: it says what is wrong and what to do, and changes nothing.

mod common;

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use common::client::Client;
use common::daemon::Site;
use common::damage;
use common::filesystem::{FileSystem, privileged};
use common::tools::output;
use leasehold::metadata::SCHEMA_VERSION;
use leasehold::store::Column;
use nix::mount::{MsFlags, mount};

const SIZE: u64 = 64 << 20;

/// Returns what a start that must fail says.
fn refusal(site: &Site) -> String {
    match site.try_start() {
        Ok(_) => panic!("the daemon started"),
        Err(message) => message,
    }
}

fn assert_says(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "{word:?} is not in: {message}");
    }
}

#[test]
fn privileged_a_read_only_root_is_refused_whether_new_or_used() {
    privileged("a_read_only_root_is_refused_whether_new_or_used", || {
        for used in [false, true] {
            let filesystem = FileSystem::tmpfs(SIZE);
            let site = Site::new().with_root(&filesystem.path().join("pool"));
            if used {
                assert!(site.start().stop().success());
            }
            filesystem.make_read_only();
            assert_says(&refusal(&site), &["read-only", "Mount it read-write"]);
        }
    });
}

#[test]
fn privileged_a_root_on_a_read_only_bind_mount_is_refused() {
    privileged("a_root_on_a_read_only_bind_mount_is_refused", || {
        let filesystem = FileSystem::ext4(SIZE);
        let site = Site::new().with_root(&filesystem.path().join("pool"));
        assert!(site.start().stop().success());
        let bind = |flags| mount(Some(site.root()), site.root(), None::<&str>, flags, None::<&str>).unwrap();
        bind(MsFlags::MS_BIND);
        bind(MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY);
        assert_says(&refusal(&site), &["read-only", "Mount it read-write"]);
    });
}

#[test]
fn privileged_a_file_system_whose_listings_do_not_tell_types_is_refused() {
    privileged("a_file_system_whose_listings_do_not_tell_types_is_refused", || {
        let filesystem = FileSystem::ext4_with(SIZE, &["-O", "^filetype"]);
        let site = Site::new().with_root(&filesystem.path().join("pool"));
        assert_says(&refusal(&site), &["d_type", "tune2fs -O filetype"]);
    });
}

#[test]
fn privileged_a_root_on_overlayfs_is_refused() {
    privileged("a_root_on_overlayfs_is_refused", || {
        let filesystem = FileSystem::tmpfs(SIZE);
        let dir = |name: &str| {
            let path = filesystem.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let [lower, upper, work, merged] = ["lower", "upper", "work", "merged"].map(dir);
        let options = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
        mount(Some("overlay"), &merged, Some("overlay"), MsFlags::empty(), Some(&*options)).unwrap();
        let site = Site::new().with_root(&merged.join("pool"));
        assert_says(&refusal(&site), &["overlayfs itself", "volume of the host"]);
    });
}

#[test]
fn privileged_a_daemon_that_may_not_mount_says_so() {
    privileged("a_daemon_that_may_not_mount_says_so", || {
        let site = Site::new();
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"]);
        command.arg(env!("CARGO_BIN_EXE_leasehold")).arg("--config").arg(site.config()).arg("serve");
        assert_says(&output(&mut command).unwrap_err(), &["CAP_SYS_ADMIN"]);
    });
}

#[test]
fn privileged_parts_of_a_pool_on_different_file_systems_are_refused() {
    privileged("parts_of_a_pool_on_different_file_systems_are_refused", || {
        let site = Site::new();
        let trash = site.root().join("trash");
        fs::create_dir_all(&trash).unwrap();
        mount(Some("tmpfs"), &trash, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        assert_says(&refusal(&site), &["different file systems", "one mount"]);
    });
}

#[test]
fn privileged_a_second_daemon_on_a_pool_is_told_who_the_first_is() {
    privileged("a_second_daemon_on_a_pool_is_told_who_the_first_is", || {
        let first = Site::new();
        let daemon = first.start();
        let second = Site::new().with_root(first.root());
        let holder = format!("process {} ", daemon.pid());
        assert_says(&refusal(&second), &["is owned by", &holder, "another root"]);
        // Nor does it disturb the first.
        Client::new(&daemon).prepare("key", "").unwrap();
        assert_eq!(first.fsck(false), Vec::<String>::new());
        daemon.kill();
        drop(second.start());
    });
}

#[test]
fn privileged_a_socket_of_a_living_process_is_left_to_it() {
    privileged("a_socket_of_a_living_process_is_left_to_it", || {
        for socket in [Site::plugin_socket, Site::api_socket] {
            let site = Site::new();
            let path = socket(&site);
            let listener = UnixListener::bind(&path).unwrap();
            assert_says(&refusal(&site), &[path.to_str().unwrap(), "another process listens"]);
            assert!(path.exists());
            drop(listener);
        }
    });
}

#[test]
fn privileged_a_socket_that_nobody_listens_on_is_replaced() {
    privileged("a_socket_that_nobody_listens_on_is_replaced", || {
        let site = Site::new();
        for path in [site.plugin_socket(), site.api_socket()] {
            drop(UnixListener::bind(path).unwrap());
        }
        Client::new(&site.start()).prepare("key", "").unwrap();
    });
}

#[test]
fn privileged_something_that_is_no_socket_is_not_replaced() {
    privileged("something_that_is_no_socket_is_not_replaced", || {
        type Make = fn(&Path);
        let kinds: [Make; 3] = [
            |path| fs::write(path, "somebody's").unwrap(),
            |path| fs::create_dir(path).unwrap(),
            |path| std::os::unix::fs::symlink("/nowhere", path).unwrap(),
        ];
        for make in kinds {
            let site = Site::new();
            make(&site.plugin_socket());
            let before = fs::symlink_metadata(site.plugin_socket()).unwrap().file_type();
            let path = site.plugin_socket();
            assert_says(&refusal(&site), &[path.to_str().unwrap(), "is not a socket", "Remove it"]);
            assert_eq!(fs::symlink_metadata(&path).unwrap().file_type(), before);
        }
    });
}

#[test]
fn privileged_a_socket_path_that_does_not_fit_is_refused_with_the_limit() {
    privileged("a_socket_path_that_does_not_fit_is_refused_with_the_limit", || {
        let site = Site::new();
        let long = site.dir().join("s".repeat(108));
        fs::write(site.dir().join("long.toml"), format!("root = {:?}\n[plugin]\nsocket = {long:?}\n", site.root()))
            .unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_leasehold"));
        command.arg("--config").arg(site.dir().join("long.toml")).arg("serve");
        assert_says(&output(&mut command).unwrap_err(), &["plugin.socket", "107"]);
        assert!(!site.root().exists());
    });
}

#[test]
fn privileged_a_pool_of_a_newer_version_is_refused_and_not_changed() {
    privileged("a_pool_of_a_newer_version_is_refused_and_not_changed", || {
        let site = Site::new();
        let daemon = site.start();
        Client::new(&daemon).make_layer("base", "", "kept").unwrap();
        assert!(daemon.stop().success());
        let newer = SCHEMA_VERSION + 1;
        set_schema(site.root(), newer);
        let message = refusal(&site);
        let (found, known) = (format!("schema version {newer}"), format!("up to {SCHEMA_VERSION}"));
        assert_says(&message, &[&found, &known, "newer leasehold", "another root"]);
        set_schema(site.root(), SCHEMA_VERSION);
        let daemon = site.start();
        assert_eq!(Client::new(&daemon).stat("base").unwrap().name, "base");
    });
}

fn set_schema(root: &Path, version: u32) {
    damage::change_bytes(root, |txn| txn.put(Column::Meta, b"schema".to_vec(), version.to_be_bytes().to_vec()));
}

#[test]
fn all_mistakes_of_a_configuration_are_reported_at_once_and_nothing_is_made() {
    let site = Site::with_settings(
        "[reclaim]\nworkers = 0\ncleanup_wait = \"long\"\n[limits]\nmin_fre = \"1MiB\"\n[log]\nlevel = \"loud\"\n",
    );
    let message = output(site.command().arg("serve")).unwrap_err();
    assert_says(
        &message,
        &["reclaim.workers", "reclaim.cleanup_wait", "did you mean limits.min_free?", "log.level", "config.toml:7"],
    );
    assert!(!site.root().exists());
    assert!(!site.plugin_socket().exists());
}

#[test]
fn a_configuration_file_that_is_missing_is_refused_where_it_was_named() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leasehold"));
    let message = output(command.args(["--config", "/nowhere/config.toml", "serve"])).unwrap_err();
    assert_says(&message, &["/nowhere/config.toml", "No such file"]);
}

#[test]
fn privileged_a_root_below_a_file_is_refused() {
    privileged("a_root_below_a_file_is_refused", || {
        let site = Site::new();
        fs::write(site.dir().join("file"), "").unwrap();
        let root = site.dir().join("file/pool");
        assert_says(&refusal(&site.with_root(&root)), &[root.to_str().unwrap()]);
    });
}
