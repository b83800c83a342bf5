//! Chains of real layers.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::common::tools::{built, installed, run};

/// What is installed wherever these tests run. There are programs with setuid and hard links among their files.
const PACKAGES: [&str; 6] = ["coreutils", "e2fsprogs", "git", "libc-bin", "perl-base", "util-linux"];
/// What is fetched: setuid programs, files of other owners, alternatives, and names that are no ASCII.
const FETCHED: [&str; 5] = ["ca-certificates", "man-db", "openssh-client", "passwd", "sudo"];

/// Makes chains below `cases`. A long run fetches packages and a whole Debian, too.
pub fn make(cases: &Path, long: bool) {
    fs::create_dir_all(cases).unwrap();
    for format in ["gnu", "pax", "ustar"] {
        let case = case(cases, &format!("etc-{format}"));
        tar(&case.join("0.tar"), &["--format", format, "--xattrs", "--acls", "-C", "/", "etc"]);
    }
    for package in PACKAGES {
        make_installed(&case(cases, &format!("installed-{package}")), package);
    }
    make_image(&case(cases, "image"));
    if long {
        fetch_packages(cases);
        fetch_debian(cases);
    }
}

fn case(cases: &Path, name: &str) -> PathBuf {
    let case = cases.join(name);
    fs::create_dir(&case).unwrap();
    case
}

/// What GNU tar only warns of, sockets and files that change meanwhile, does not matter.
fn tar(to: &Path, arguments: &[&str]) {
    let status = Command::new("tar").arg("-cf").arg(to).args(arguments).stderr(Stdio::null()).status().unwrap();
    assert!(matches!(status.code(), Some(0 | 1)), "tar {arguments:?}: {status}");
}

/// The files of a package as they are here, in one layer with their directories, and in one above it without.
fn make_installed(case: &Path, package: &str) {
    let listed = run(Command::new("dpkg-query").args(["--listfiles", package]));
    // What was diverted, or left out by whoever made this system, is not there.
    let names: Vec<&str> = listed.lines().filter(|name| *name != "/." && fs::symlink_metadata(name).is_ok()).collect();
    assert!(names.len() > 10, "{package} has {} files", names.len());
    let is_dir = |name: &&str| fs::symlink_metadata(name).unwrap().is_dir();
    let files: Vec<&str> = names.iter().filter(|name| !is_dir(name)).copied().collect();
    for (layer, format, names) in [(0, "gnu", &names), (1, "pax", &files)] {
        let list = case.join("list");
        fs::write(&list, names.join("\n")).unwrap();
        let to = case.join(format!("{layer}.tar"));
        tar(&to, &["--format", format, "--no-recursion", "-P", "--verbatim-files-from", "-T", list.to_str().unwrap()]);
        fs::remove_file(list).unwrap();
        assert!(fs::metadata(to).unwrap().size() > 1 << 16, "{package}");
    }
}

/// The layers of the image that the other tests pull, with everything that an image builder writes.
fn make_image(case: &Path) {
    let (archive, dir) = (case.join("archive"), case.join("dir"));
    run(Command::new(built("bin/testimage"))
        .args(["-kind", "full", "-compression", "none", "-name", "full:1", "-busybox"])
        .arg(installed("busybox"))
        .arg("-o")
        .arg(&archive));
    fs::create_dir(&dir).unwrap();
    run(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&dir));
    let document = |path: PathBuf| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let blob = |digest: &Value| dir.join("blobs").join(digest.as_str().unwrap().replace(':', "/"));
    let manifest = document(blob(&document(dir.join("index.json"))["manifests"][0]["digest"]));
    let layers = manifest["layers"].as_array().unwrap();
    assert!(layers.len() > 2, "{manifest}");
    for (layer, descriptor) in layers.iter().enumerate() {
        // The same one may be there twice.
        fs::copy(blob(&descriptor["digest"]), case.join(format!("{layer}.tar"))).unwrap();
    }
    fs::remove_dir_all(dir).unwrap();
    fs::remove_file(archive).unwrap();
}

/// Packages as they come from a mirror.
fn fetch_packages(cases: &Path) {
    let dir = tempfile::tempdir().unwrap();
    // An unprivileged user of apt's may not write there, which it only warns of.
    run(Command::new("apt-get").current_dir(&dir).args(["-qq", "download"]).args(FETCHED));
    let mut packages: Vec<PathBuf> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    packages.sort();
    assert_eq!(packages.len(), FETCHED.len());
    for package in packages {
        let name = package.file_name().unwrap().to_str().unwrap();
        let layer = File::create(case(cases, name).join("0.tar")).unwrap();
        let status = Command::new("dpkg-deb").arg("--fsys-tarfile").arg(&package).stdout(layer).status().unwrap();
        assert!(status.success(), "{package:?}");
    }
}

/// A Debian as debootstrap makes it.
fn fetch_debian(cases: &Path) {
    let dir = tempfile::tempdir().unwrap();
    run(Command::new("debootstrap").args(["--variant=minbase", "stable"]).arg(dir.path()));
    let to = case(cases, "debian").join("0.tar");
    tar(&to, &["--format", "pax", "--xattrs", "--xattrs-include=*", "--acls", "-C", dir.path().to_str().unwrap(), "."]);
}
