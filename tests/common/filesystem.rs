//! Small file systems, to be filled up, made read-only or cut off from power.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{FallocateFlags, fallocate};
use tempfile::TempDir;

use super::is_root;
use super::tools::run;

/// How long a file system may stay busy after those who used it ended.
const UNMOUNT: Duration = Duration::from_secs(30);

/// Runs a test that mounts, in a thread with a mount namespace of its own: whatever it mounts, and the loop devices
/// below, end with the thread and its daemons, however they end.
pub fn privileged(test: &str, body: impl FnOnce() + Send) {
    if !is_root(test) {
        return;
    }
    let isolated = || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        // Nothing may reach the namespace of the other tests.
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_PRIVATE | MsFlags::MS_REC, None::<&str>).unwrap();
        body();
    };
    std::thread::scope(|scope| {
        if let Err(panic) = scope.spawn(isolated).join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// A mounted file system of its own. Unmounted when dropped.
pub struct FileSystem {
    path: PathBuf,
    kind: &'static str,
    dir: TempDir,
}

/// A file that takes all the space there was. Dropping it frees the space.
pub struct Filler(PathBuf);

impl FileSystem {
    pub fn tmpfs(bytes: u64) -> FileSystem {
        let dir = tempfile::Builder::new().prefix("lhfs").tempdir().unwrap();
        let path = dir.path().join("mnt");
        fs::create_dir(&path).unwrap();
        mount(Some("tmpfs"), &path, Some("tmpfs"), MsFlags::empty(), Some(&*format!("size={bytes},mode=0755")))
            .unwrap();
        FileSystem { path, kind: "tmpfs", dir }
    }

    pub fn ext4(bytes: u64) -> FileSystem {
        FileSystem::ext4_with(bytes, &[])
    }

    /// Makes an ext4 with more options for `mkfs`.
    pub fn ext4_with(bytes: u64, options: &[&str]) -> FileSystem {
        // Nothing is reserved for root, who is the one to be refused here.
        FileSystem::image("ext4", bytes, &[&["-q", "-F", "-m", "0"], options].concat())
    }

    pub fn xfs(bytes: u64, options: &[&str]) -> FileSystem {
        FileSystem::image("xfs", bytes, &[&["-q", "-f"], options].concat())
    }

    fn image(kind: &'static str, bytes: u64, options: &[&str]) -> FileSystem {
        let dir = tempfile::Builder::new().prefix("lhfs").tempdir().unwrap();
        let (image, path) = (dir.path().join("image"), dir.path().join("mnt"));
        File::create(&image).unwrap().set_len(bytes).unwrap();
        fs::create_dir(&path).unwrap();
        run(Command::new(format!("mkfs.{kind}")).args(options).arg(&image));
        let filesystem = FileSystem { path, kind, dir };
        filesystem.mount();
        filesystem
    }

    fn mount(&self) {
        run(Command::new("mount")
            .args(["-o", "loop", "-t", self.kind])
            .args([&self.dir.path().join("image"), &self.path]));
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// Refuses writes from now on, to new and to open files.
    pub fn make_read_only(&self) {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(None::<&str>, &self.path, None::<&str>, flags, None::<&str>).unwrap();
    }

    /// Takes all free space, to the last block.
    pub fn fill(&self) -> Filler {
        let filler = Filler(self.path.join("filler"));
        let mut file = File::create(&filler.0).unwrap();
        for size in [1 << 20, 4096, 1] {
            let chunk = vec![1; size];
            loop {
                match file.write_all(&chunk) {
                    Ok(()) => {}
                    Err(err) if err.kind() == ErrorKind::StorageFull => break,
                    Err(err) => panic!("{err}"),
                }
            }
            // What is only in memory is no space taken.
            file.sync_all().unwrap();
        }
        filler
    }

    /// Takes all but about `left` bytes of free space, faster than anybody looks.
    pub fn fill_but(&self, left: u64) -> Filler {
        let filler = Filler(self.path.join("filler"));
        let file = File::create(&filler.0).unwrap();
        fallocate(&file, FallocateFlags::empty(), 0, free_bytes(&self.path) - left).unwrap();
        filler
    }

    /// Cuts the power: from now on nothing reaches the disk, not even what was only in memory. Ends with
    /// [`restore_power`](Self::restore_power).
    #[expect(unsafe_code, reason = "the kernel reads one number through the pointer, which lives long enough")]
    pub fn cut_power(&self) {
        // _IOR('X', 125, u32), which ext4 and xfs share.
        const SHUTDOWN: rustix::ioctl::Opcode = 0x8004_587d;
        const WITHOUT_LOG_FLUSH: u32 = 2;
        let dir = File::open(&self.path).unwrap();
        // SAFETY: the opcode takes a pointer to a u32 and only reads from it.
        unsafe { rustix::ioctl::ioctl(dir, rustix::ioctl::Setter::<SHUTDOWN, u32>::new(WITHOUT_LOG_FLUSH)) }.unwrap();
    }

    /// Mounts again what is on the disk. Nobody may have a file open there any more.
    pub fn restore_power(&self) {
        // The kernel closes the last files of a killed process shortly after it is gone.
        super::wait_for("the end of all open files", UNMOUNT, || match umount2(&self.path, MntFlags::empty()) {
            Ok(()) => true,
            Err(Errno::EBUSY) => false,
            Err(err) => panic!("unmount {:?}: {err}", self.path),
        });
        self.mount();
    }
}

impl Drop for FileSystem {
    fn drop(&mut self) {
        // Gone already is what is wanted.
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
    }
}

impl Filler {
    /// Makes some space, and keeps the rest.
    pub fn free(&self, bytes: u64) {
        let file = File::options().write(true).open(&self.0).unwrap();
        let len = file.metadata().unwrap().len();
        file.set_len(len.saturating_sub(bytes)).unwrap();
        file.sync_all().unwrap();
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

/// Returns what an ordinary user could still write.
pub fn free_bytes(path: &Path) -> u64 {
    let stat = rustix::fs::statvfs(path).unwrap();
    stat.f_bavail * stat.f_frsize
}
