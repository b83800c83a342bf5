//! What the host can do.
//!
//! Owns every question that is asked of the kernel and the file system once, at start. Features are tried rather than
//! derived from a version wherever they can be tried without leaving a trace. What a pool cannot do without ends
//! [`probe`] with an error that says what to change; what it can do without is reported in [`HostFeatures`]. Where there
//! is no pool, or nothing may be written, [`observe`] tries nothing.

use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::{Mode, ResolveFlags, fstatfs, openat2};

use super::dir::{Dir, OPEN_DIR};
use super::layout::Layout;
use super::trial;
use crate::{Error, FsOp, Result};

/// What differs from host to host, among hosts that can hold a pool.
///
/// Where [`probe`] succeeds, overlayfs can be mounted with several lowerdirs on the pool, whiteouts and overlayfs'
/// attributes can be written, and directory listings tell types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFeatures {
    /// The kernel's release.
    pub kernel: String,
    /// The file system that holds the pool, by name.
    pub file_system: String,
    /// Whether overlayfs takes `index=off`.
    pub index_off: bool,
    /// Whether the daemon runs in a user namespace.
    pub userns: bool,
    /// Whether mounts need `userxattr`.
    pub userxattr: bool,
    /// Whether layers can be shown with other owners (id-mapped mounts).
    pub idmapped: bool,
    /// Whether paths can be resolved beneath a directory by the kernel.
    pub openat2: bool,
    /// Whether overlayfs writes redirects or metadata-only copies by default.
    pub redirects: bool,
}

impl HostFeatures {
    /// Like [`rows`](Self::rows), of what [`observe`] found.
    pub fn untried_rows(&self) -> Vec<(&'static str, String, &'static str)> {
        let mut rows = self.rows();
        for (name, value, _) in &mut rows {
            if ["overlayfs", "d_type"].contains(name) {
                *value = "not tried".to_owned();
            }
        }
        rows
    }

    /// Returns name, value and reason to care of everything that was probed, for a human.
    pub fn rows(&self) -> Vec<(&'static str, String, &'static str)> {
        let yes = |value: bool| if value { "yes" } else { "no" }.to_owned();
        vec![
            ("kernel", self.kernel.clone(), "5.15 or later is supported"),
            ("file system", self.file_system.clone(), "holds the layers"),
            ("overlayfs", yes(true), "tried with two lowerdirs, a whiteout and an attribute"),
            ("d_type", yes(true), "whiteouts are not recognised without it"),
            ("index=off", yes(self.index_off), "lets one layer be below many containers at once"),
            ("user namespace", yes(self.userns), "limits what the daemon may mount and make"),
            ("userxattr", yes(self.userxattr), "how overlayfs keeps its attributes in a user namespace"),
            ("id-mapped mounts", yes(self.idmapped), "containers with user namespaces share layers without a copy"),
            ("openat2", yes(self.openat2), "keeps names in layers from leading out of them"),
            ("redirects", yes(self.redirects), "when on, an upperdir may refer to files of the layers below"),
        ]
    }
}

/// Finds out what the host can do for a pool that [`Layout::create`] made. Mounts an overlay on directories in
/// `staging`, out of everybody's sight, and removes them.
///
/// # Errors
/// [`Error::Pool`] when the host cannot hold a pool, saying why and what to do; [`Error::Fs`] and [`Error::NoSpace`]
/// when the directories cannot be made.
pub fn probe(layout: &Layout) -> Result<HostFeatures> {
    let staging = Dir::open(layout.staging())?;
    let features = features(&staging)?;
    trial::run(layout, &staging, &features)?;
    Ok(features)
}

/// Finds out what can be told without changing anything: for a pool that need not exist, and perhaps cannot.
///
/// # Errors
/// [`Error::Fs`].
pub fn observe(layout: &Layout) -> Result<HostFeatures> {
    let mut place = layout.root();
    loop {
        // The dot, because the last component may be a symbolic link.
        match (Dir::open(place.join(".")), place.parent()) {
            (Err(Error::Fs { source, .. }), Some(parent)) if source.kind() == io::ErrorKind::NotFound => place = parent,
            (dir, _) => return features(&dir?),
        }
    }
}

/// Asks the kernel, and the file system of a directory.
fn features(dir: &Dir) -> Result<HostFeatures> {
    let stat = fstatfs(dir).map_err(Error::fs(FsOp::StatFs, dir.path()))?;
    let kernel = read("/proc/sys/kernel/osrelease");
    let version = version(&kernel);
    let file_system = file_system_name(stat.f_type);
    let userns = in_user_namespace(&read("/proc/self/uid_map"));
    Ok(HostFeatures {
        index_off: Path::new("/sys/module/overlay/parameters/index").exists(),
        userns,
        userxattr: userns && file_system != "tmpfs" && version >= (5, 11),
        idmapped: can_map_ids(&file_system, version),
        openat2: openat2(dir, c".", OPEN_DIR, Mode::empty(), ResolveFlags::BENEATH).is_ok(),
        redirects: ["redirect_dir", "metacopy"]
            .iter()
            .any(|name| read(&format!("/sys/module/overlay/parameters/{name}")) == "Y"),
        kernel,
        file_system,
    })
}

/// Returns a file of `/proc` or `/sys` without the line end, and nothing when there is none.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// Returns the first two numbers of a kernel's release; zeros for what cannot be read.
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Tells whether a `uid_map` is that of a user namespace: the initial one maps every number to itself.
fn in_user_namespace(uid_map: &str) -> bool {
    !uid_map.is_empty() && !uid_map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// Tells whether both overlayfs and the file system below it can be mounted with mapped owners. Taken from the
/// versions that brought it, because trying needs a second user namespace, and with it a second process.
fn can_map_ids(file_system: &str, version: (u32, u32)) -> bool {
    match file_system {
        "ext2/3/4" | "xfs" | "btrfs" | "f2fs" => version >= (5, 19),
        "tmpfs" => version >= (6, 3),
        _ => false,
    }
}

/// Returns the name of a file system by the number that statfs(2) gives it.
fn file_system_name(magic: rustix::fs::FsWord) -> String {
    // Some numbers do not fit a signed 32-bit word, and arrive sign-extended.
    let magic = magic as u32;
    match magic {
        0x0000_ef53 => "ext2/3/4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x0102_1994 => "tmpfs",
        0x794c_7630 => "overlayfs",
        0xf2f5_2010 => "f2fs",
        0x2fc1_2fc1 => "zfs",
        0xca45_1a4e => "bcachefs",
        0x0000_6969 => "nfs",
        0x6573_5546 => "fuse",
        0x0102_1997 => "9p",
        0x00c3_6400 => "ceph",
        0xff53_4d42 | 0xfe53_4d42 => "cifs",
        0x8584_58f6 => "ramfs",
        0x0000_f15f => "ecryptfs",
        0x7371_7368 => "squashfs",
        0xe0f5_e1e2 => "erofs",
        _ => return format!("unknown ({magic:#010x})"),
    }
    .into()
}

#[cfg(test)]
mod tests;
