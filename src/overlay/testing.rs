//! File systems for tests that need real mounts.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

/// Runs a test that needs root, in a thread with a mount namespace of its own: whatever it mounts ends with the thread,
/// however that ends. Skipped loudly for other users.
pub(in crate::overlay) fn privileged(what: &str, test: impl FnOnce() + Send + 'static) {
    if !rustix::process::geteuid().is_root() {
        skipped(&format!("needs root: {what}"));
        return;
    }
    let body = move || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        // Nothing may reach the namespace of the other tests.
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_PRIVATE | MsFlags::MS_REC, None::<&str>).unwrap();
        test();
    };
    if let Err(panic) = std::thread::spawn(body).join() {
        std::panic::resume_unwind(panic);
    }
}

/// Says that something was not tested. Not by `eprintln!`, which is silent in a test that passes.
pub(in crate::overlay) fn skipped(what: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {what}");
}

/// A mounted file system of its own. Unmounted when dropped.
pub(in crate::overlay) struct TestFs {
    path: PathBuf,
    kind: &'static str,
    _dir: tempfile::TempDir,
}

impl TestFs {
    /// Size of a tmpfs in bytes.
    pub(in crate::overlay) const TMPFS_SIZE: u64 = 64 << 20;

    /// Mounts a tmpfs.
    pub(in crate::overlay) fn tmpfs() -> TestFs {
        let dir = tempfile::tempdir().unwrap();
        let options = format!("size={},mode=0755", Self::TMPFS_SIZE);
        mount(Some("tmpfs"), dir.path(), Some("tmpfs"), MsFlags::empty(), Some(&*options)).unwrap();
        TestFs { path: dir.path().to_owned(), kind: "tmpfs", _dir: dir }
    }

    /// Makes and mounts an ext4 image. `options` go to mkfs.
    pub(in crate::overlay) fn ext4(options: &[&str]) -> TestFs {
        TestFs::image("ext4", "mkfs.ext4", &[&["-q", "-F"], options].concat()).expect("mkfs.ext4 is missing")
    }

    /// Makes and mounts an xfs image. `None`, with a message, where the tool or the kernel lacks it.
    pub(in crate::overlay) fn xfs(options: &[&str]) -> Option<TestFs> {
        TestFs::image("xfs", "mkfs.xfs", &[&["-q", "-f"], options].concat())
    }

    /// Makes and mounts a btrfs image. `None`, with a message, where the tool or the kernel lacks it.
    pub(in crate::overlay) fn btrfs() -> Option<TestFs> {
        TestFs::image("btrfs", "mkfs.btrfs", &["-q", "-f"])
    }

    /// Mounts one of every file system that can hold a pool and that this host has.
    pub(in crate::overlay) fn each() -> impl Iterator<Item = TestFs> {
        let mounts: [fn() -> Option<TestFs>; 4] =
            [|| Some(TestFs::tmpfs()), || Some(TestFs::ext4(&[])), || TestFs::xfs(&[]), TestFs::btrfs];
        mounts.into_iter().filter_map(|mount| mount())
    }

    /// Returns where it is mounted.
    pub(in crate::overlay) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns its type.
    pub(in crate::overlay) fn kind(&self) -> &'static str {
        self.kind
    }

    /// Refuses writes from now on.
    pub(in crate::overlay) fn make_read_only(&self) {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(None::<&str>, &self.path, None::<&str>, flags, None::<&str>).unwrap();
    }

    fn image(kind: &'static str, mkfs: &str, options: &[&str]) -> Option<TestFs> {
        let dir = tempfile::tempdir().unwrap();
        let [image, path] = ["image", "mnt"].map(|name| dir.path().join(name));
        std::fs::create_dir(&path).unwrap();
        // Sparse; xfs refuses to be smaller than 300 MB.
        std::fs::File::create(&image).unwrap().set_len(400 << 20).unwrap();
        let run = |mut command: Command| match command.output() {
            Ok(output) if output.status.success() => true,
            Ok(output) => {
                let reason = String::from_utf8_lossy(&output.stderr);
                skipped(&format!("{kind}, {command:?}: {}", reason.trim()));
                false
            }
            Err(err) => {
                skipped(&format!("{kind}, {command:?}: {err}"));
                false
            }
        };
        let mut make = Command::new(mkfs);
        make.args(options).arg(&image);
        let mut attach = Command::new("mount");
        attach.args(["-t", kind, "-o", "loop"]).args([&image, &path]);
        (run(make) && run(attach)).then_some(TestFs { path, kind, _dir: dir })
    }
}

impl Drop for TestFs {
    fn drop(&mut self) {
        // Whatever a test mounted inside goes with it.
        if let Err(err) = umount2(&self.path, MntFlags::MNT_DETACH) {
            eprintln!("cannot unmount {:?}: {err}", self.path);
        }
    }
}
