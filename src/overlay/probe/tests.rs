use std::path::Path;
use std::process::Command;

use super::{HostFeatures, can_map_ids, file_system_name, in_user_namespace, probe, version};
use crate::overlay::testing::{self, TestFs};
use crate::overlay::{LayerDirs, Layout};
use crate::{Error, Result};

fn probe_at(root: &Path) -> Result<HostFeatures> {
    let layout = Layout::new(root).unwrap();
    layout.create().unwrap();
    let result = probe(&layout);
    // Whatever the result, there is no trace of the trial.
    assert_eq!(std::fs::read_dir(layout.staging()).unwrap().count(), 0);
    assert!(!std::fs::read_to_string("/proc/thread-self/mounts").unwrap().contains(".trial"));
    result
}

fn refusal(result: Result<HostFeatures>) -> String {
    match result {
        Err(Error::Pool(text)) => text,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn versions_are_read_from_releases() {
    for (release, expected) in [
        ("6.18.44-fc-v657", (6, 18)),
        ("5.15.0-91-generic", (5, 15)),
        ("6.1", (6, 1)),
        ("7-rc1", (7, 0)),
        ("", (0, 0)),
        ("unknown", (0, 0)),
    ] {
        assert_eq!(version(release), expected, "{release:?}");
    }
}

#[test]
fn the_initial_user_namespace_maps_everything_to_itself() {
    assert!(!in_user_namespace("         0          0 4294967295"));
    // Without /proc, or in a kernel without user namespaces.
    assert!(!in_user_namespace(""));
    for map in ["0 1000 1", "0 0 4294967294", "0 0 4294967295\n1 1 1", "0 100000 65536"] {
        assert!(in_user_namespace(map), "{map:?}");
    }
}

#[test]
fn id_mapped_mounts_need_a_kernel_and_a_file_system() {
    for (file_system, version, expected) in [
        ("ext2/3/4", (5, 18), false),
        ("ext2/3/4", (5, 19), true),
        ("xfs", (6, 1), true),
        ("tmpfs", (6, 2), false),
        ("tmpfs", (6, 3), true),
        ("nfs", (7, 0), false),
    ] {
        assert_eq!(can_map_ids(file_system, version), expected, "{file_system} {version:?}");
    }
}

#[test]
fn unknown_file_systems_are_shown_by_number() {
    assert_eq!(file_system_name(0xEF53), "ext2/3/4");
    assert_eq!(file_system_name(0x1234), "unknown (0x00001234)");
}

#[test]
fn privileged_supported_file_systems_hold_a_pool() {
    testing::privileged("a pool on every supported file system", || {
        for fs in TestFs::each() {
            let host = probe_at(&fs.path().join("pool")).unwrap();
            let name = if fs.kind() == "ext4" { "ext2/3/4" } else { fs.kind() };
            assert_eq!(host.file_system, name);
            assert!(!host.userns && !host.userxattr && host.openat2);
            assert_eq!(host.rows().len(), 10);
        }
    });
}

#[test]
fn a_user_namespace_holds_a_pool_with_userxattr() {
    const INSIDE: &str = "LEASEHOLD_TEST_IN_USER_NAMESPACE";
    let root = tempfile::tempdir().unwrap();
    if std::env::var_os(INSIDE).is_some() {
        let host = probe_at(root.path()).unwrap();
        assert!(host.userns);
        // Tmpfs has no user.* attributes in older kernels, and overlayfs does without there.
        assert_eq!(host.userxattr, host.file_system != "tmpfs");
        return;
    }
    // A process of several threads cannot enter a user namespace, so this test runs itself in one.
    let name = concat!(module_path!(), "::a_user_namespace_holds_a_pool_with_userxattr");
    let name = name.split_once("::").unwrap().1;
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount"]);
        command
    };
    if !unshare().arg("true").output().is_ok_and(|output| output.status.success()) {
        testing::skipped(&format!("user namespaces may not be made: {name}"));
        return;
    }
    let test = std::env::current_exe().unwrap();
    let output = unshare().arg(test).args(["--exact", name]).env(INSIDE, "yes").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn privileged_a_long_path_is_no_obstacle() {
    testing::privileged("a pool with a long path", || {
        let fs = TestFs::tmpfs();
        let root: std::path::PathBuf =
            [fs.path().to_str().unwrap(), &"a".repeat(200), &"b".repeat(200)].iter().collect();
        probe_at(&root).unwrap();
    });
}

#[test]
fn privileged_listings_without_types_are_refused_with_advice() {
    testing::privileged("ext4 without filetype, xfs without ftype", || {
        let fs = TestFs::ext4(&["-O", "^filetype"]);
        let text = refusal(probe_at(&fs.path().join("pool")));
        assert!(text.contains("d_type") && text.contains("tune2fs -O filetype"), "{text}");

        // Kernels without XFS_SUPPORT_V4 do not mount this one at all.
        if let Some(fs) = TestFs::xfs(&["-m", "crc=0", "-n", "ftype=0"]) {
            let text = refusal(probe_at(&fs.path().join("pool")));
            assert!(text.contains("d_type") && text.contains("mkfs.xfs -n ftype=1"), "{text}");
        }
    });
}

#[test]
fn privileged_a_root_on_overlayfs_is_refused_with_advice() {
    testing::privileged("a pool on overlayfs", || {
        let fs = TestFs::tmpfs();
        for dir in ["lower", "upper", "work", "merged"] {
            std::fs::create_dir(fs.path().join(dir)).unwrap();
        }
        let base = fs.path().display();
        let options = format!("lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work");
        let merged = fs.path().join("merged");
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("overlay"), &merged, Some("overlay"), flags, Some(&*options)).unwrap();
        let text = refusal(probe_at(&merged.join("pool")));
        assert!(text.contains("is on overlayfs itself") && text.contains("a volume of the host"), "{text}");
    });
}

#[test]
fn privileged_what_a_crashed_trial_left_is_cleared() {
    testing::privileged("a trial that crashed", || {
        let fs = TestFs::tmpfs();
        let layout = Layout::new(fs.path()).unwrap();
        layout.create().unwrap();
        let merged = layout.staging().join(".trial/merged");
        std::fs::create_dir_all(&merged).unwrap();
        std::fs::create_dir(fs.path().join("other")).unwrap();
        rustix::mount::mount_bind(fs.path().join("other"), &merged).unwrap();
        probe_at(fs.path()).unwrap();
        assert!(fs.path().join("other").exists());
        LayerDirs::open(&layout).unwrap();
    });
}
