//! Layers of a pool without a daemon, mounted as its snapshotter would have them mounted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use leasehold::diff::compare::{Comparison, Sink, Written};
use leasehold::overlay::{Layout, Mount};
use leasehold::types::LayerId;
use leasehold::{Error, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tempfile::TempDir;

use crate::common::tools;

pub const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
pub const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// A chain of layers, numbered from 1.
pub struct Chain {
    dir: TempDir,
    pub layout: Layout,
    layers: u64,
    pub userxattr: bool,
}

impl Chain {
    /// Makes a chain with one empty layer.
    pub fn new() -> Chain {
        Chain::within(&std::env::temp_dir())
    }

    pub fn within(dir: &Path) -> Chain {
        let dir = tempfile::Builder::new().prefix("lhdiff").tempdir_in(dir).unwrap();
        let layout = Layout::new(dir.path().join("pool")).unwrap();
        layout.create().unwrap();
        let mut chain = Chain { dir, layout, layers: 0, userxattr: false };
        chain.push();
        chain
    }

    /// Adds an empty layer on top.
    pub fn push(&mut self) {
        self.layers += 1;
        fs::create_dir_all(self.upperdir()).unwrap();
        fs::create_dir_all(self.layout.workdir(LayerId::new(self.layers))).unwrap();
    }

    /// Returns the directory of the topmost layer.
    pub fn upperdir(&self) -> PathBuf {
        self.fs(self.layers)
    }

    /// Returns the directories of the layers below that, nearest first.
    pub fn lowerdirs(&self) -> Vec<PathBuf> {
        (1..self.layers).rev().map(|layer| self.fs(layer)).collect()
    }

    fn fs(&self, layer: u64) -> PathBuf {
        self.layout.upperdir(LayerId::new(layer)).into()
    }

    /// What the snapshotter answers for a view of all layers but the topmost, and for the topmost as an active snapshot.
    pub fn sides(&self) -> (Vec<Mount>, Vec<Mount>) {
        (self.view(self.lowerdirs()), self.active())
    }

    fn active(&self) -> Vec<Mount> {
        if self.layers == 1 {
            return bind(&self.upperdir(), "rw");
        }
        let workdir = format!("workdir={}", self.layout.workdir(LayerId::new(self.layers)));
        overlay(
            [workdir, format!("upperdir={}", self.upperdir().display()), lowerdir(&self.lowerdirs())],
            self.userxattr,
        )
    }

    fn view(&self, layers: Vec<PathBuf>) -> Vec<Mount> {
        match layers.as_slice() {
            [] => Vec::new(),
            [only] => bind(only, "ro"),
            several => overlay([lowerdir(several)], self.userxattr),
        }
    }

    /// What the snapshotter answers for a view of all layers.
    pub fn view_of_all(&self) -> Vec<Mount> {
        self.view([vec![self.upperdir()], self.lowerdirs()].concat())
    }

    /// Calls `body` with the path at which the topmost layer is mounted to be written to.
    pub fn change(&self, body: impl FnOnce(&Path)) {
        let mounted = self.mount(&self.active());
        body(&mounted.0);
    }

    /// Shows the layers below, or nothing.
    pub fn lower(&self) -> Mounted {
        self.mount(&self.view(self.lowerdirs()))
    }

    /// Shows all layers.
    pub fn all(&self) -> Mounted {
        self.mount(&self.view_of_all())
    }

    pub fn scratch(&self, name: &str) -> PathBuf {
        tempfile::Builder::new().prefix(name).tempdir_in(self.dir.path()).unwrap().keep()
    }

    fn mount(&self, mounts: &[Mount]) -> Mounted {
        let target = self.scratch("mnt");
        for what in mounts {
            let options: Vec<&str> = what.options.iter().map(String::as_str).collect();
            let result = if what.kind == "bind" {
                mount(Some(what.source.as_str()), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            } else {
                mount(Some("overlay"), &target, Some("overlay"), MsFlags::empty(), Some(options.join(",").as_str()))
            };
            result.unwrap_or_else(|err| panic!("{what:?}: {err}"));
        }
        Mounted(target)
    }

    /// Makes a layer of the topmost one.
    pub fn compare(&self, media_type: &str, epoch: Option<i64>) -> Result<(Vec<u8>, Written)> {
        let (left, right) = self.sides();
        self.compare_sides(&left, &right, media_type, epoch)
    }

    pub fn compare_sides(
        &self,
        left: &[Mount],
        right: &[Mount],
        media_type: &str,
        epoch: Option<i64>,
    ) -> Result<(Vec<u8>, Written)> {
        let mut layer = Gathered(Vec::new());
        let written = Comparison::new(&self.layout, left, right, media_type, epoch)?.write(&mut layer, &|| false)?;
        Ok((layer.0, written))
    }

    /// Has containerd make that layer, out of mounts of both sides.
    pub fn reference(&self, epoch: Option<i64>) -> Vec<u8> {
        let (lower, all) = (self.lower(), self.all());
        let mut command = Command::new(tools::built("bin/refdiffer"));
        command.args(epoch.map(|epoch| format!("-epoch={epoch}"))).arg("diff").args([&lower.0, &all.0]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Applies a layer on top of the layers below with containerd's applier, once as an upperdir and once into a copy, and
    /// compares what is seen with all layers.
    pub fn assert_applies(&self, layer: &[u8]) {
        let expected = self.all();
        let lowerdirs = self.lowerdirs();
        let copy = self.scratch("copy");
        {
            let lower = self.lower();
            tools::run(Command::new("cp").arg("-a").arg("-T").args([&lower.0, &copy]));
        }
        apply(&["apply"], &copy, layer);
        diff_trees(&expected.0, &copy);
        if lowerdirs.is_empty() {
            return;
        }
        let upper = self.scratch("upper");
        let parents = lowerdirs.iter().map(|dir| dir.to_str().unwrap()).collect::<Vec<_>>().join(":");
        apply(&["-overlay", "-parents", &parents, "apply"], &upper, layer);
        let applied = self.mount(&overlay([lowerdir(&[vec![upper], lowerdirs].concat())], false));
        diff_trees(&expected.0, &applied.0);
    }
}

/// A mount, until it is dropped.
pub struct Mounted(pub PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        umount2(&self.0, MntFlags::MNT_DETACH).ok();
    }
}

/// A layer in memory.
struct Gathered(Vec<u8>);

impl Sink for Gathered {
    fn append(&mut self, bytes: Vec<u8>) -> Result<()> {
        self.0.extend(bytes);
        Ok(())
    }
}

fn apply(arguments: &[&str], dir: &Path, layer: &[u8]) {
    use std::io::Write as _;
    let mut command = Command::new(tools::built("bin/refdiffer"));
    let mut child = command.args(arguments).arg(dir).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(layer).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Times lose their fractions on the way; what is compared is what a layer can tell.
fn diff_trees(expected: &Path, found: &Path) {
    let list = |dir: &Path| {
        let flags = ["-ignore-root-mtime", "-ignore-dir-mtimes", "-ignore-nlink", "-ignore-overlay-xattrs"];
        tools::run(Command::new(tools::built("bin/treediff")).args(flags).arg(dir))
    };
    let (expected, found) = (without_fractions(&list(expected)), without_fractions(&list(found)));
    similar(&expected, &found);
}

/// Cuts the fractions of seconds off the times of a listing. What is before 1970 containerd's applier puts there.
fn without_fractions(listing: &str) -> Vec<String> {
    let cut = |word: &str| match word.split_once('.') {
        Some((seconds, _)) if seconds.starts_with("mtime=-") => "mtime=0".to_owned(),
        Some((seconds, _)) if seconds.starts_with("mtime=") => seconds.to_owned(),
        _ => word.to_owned(),
    };
    listing.lines().map(|line| line.split(' ').map(cut).collect::<Vec<_>>().join(" ")).collect()
}

fn similar(expected: &[String], found: &[String]) {
    let missing: Vec<_> = expected.iter().filter(|line| !found.contains(line)).collect();
    let added: Vec<_> = found.iter().filter(|line| !expected.contains(line)).collect();
    assert!(missing.is_empty() && added.is_empty(), "expected {missing:#?}, found {added:#?}");
}

pub fn unsupported<T: std::fmt::Debug>(result: Result<T>) {
    assert!(matches!(result, Err(Error::Unsupported(_))), "{result:?}");
}

fn bind(dir: &Path, access: &str) -> Vec<Mount> {
    let options = vec![access.to_owned(), "rbind".to_owned()];
    vec![Mount { kind: "bind".into(), source: dir.to_str().unwrap().into(), target: String::new(), options }]
}

fn overlay<const N: usize>(options: [String; N], userxattr: bool) -> Vec<Mount> {
    let mut options = options.to_vec();
    options.extend(userxattr.then(|| "userxattr".to_owned()));
    options.push("index=off".into());
    vec![Mount { kind: "overlay".into(), source: "overlay".into(), target: String::new(), options }]
}

fn lowerdir(dirs: &[PathBuf]) -> String {
    let dirs: Vec<_> = dirs.iter().map(|dir| dir.to_str().unwrap()).collect();
    format!("lowerdir={}", dirs.join(":"))
}
