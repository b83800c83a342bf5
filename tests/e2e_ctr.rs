//! The `ctr` of containerd 1.6 and 2.3 works on the API socket.

mod common;

use std::fs::File;
use std::process::Command;

use common::client::Client;
use common::content::sha256;
use common::daemon::{Daemon, Site};
use common::tools::{built, installed, output, ready};

/// One `ctr` on one API socket.
struct Ctr {
    site: Site,
    program: std::path::PathBuf,
}

impl Ctr {
    fn run(&self, namespace: &str, args: &[&str]) -> Result<String, String> {
        let mut command = Command::new(&self.program);
        output(command.arg("--address").arg(self.site.api_socket()).args(["--namespace", namespace]).args(args))
    }

    /// Runs it in the namespace `one` and returns the first word of each line.
    fn words(&self, args: &[&str]) -> String {
        let printed = self.run("one", args).unwrap_or_else(|err| panic!("{err}"));
        let words = printed.lines().filter_map(|line| line.split_whitespace().next());
        words.collect::<Vec<_>>().join(" ")
    }

    /// Uploads a blob from standard input, in the namespace `one`.
    fn ingest(&self, data: &str, flags: &[&str]) -> Result<(), String> {
        let path = self.site.dir().join("blob");
        std::fs::write(&path, data).unwrap();
        let mut command = Command::new(&self.program);
        command.arg("--address").arg(self.site.api_socket()).args(["--namespace", "one", "content", "ingest"]);
        let output = command.args(flags).arg("ref").stdin(File::open(path).unwrap()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(said) }
    }

    fn fails(&self, args: &[&str]) -> String {
        self.run("one", args).unwrap_err()
    }
}

fn check(test: &str, program: impl FnOnce() -> std::path::PathBuf) {
    if !ready(test) {
        return;
    }
    // What it uploads is held by nothing at first, and the first collection must not come in between.
    let site = Site::with_settings("[gc]\nstartup_delay = \"10m\"\n");
    let daemon = site.start();
    let ctr = Ctr { site, program: program() };
    check_server(&ctr);
    check_content(&ctr, &daemon);
    check_leases(&ctr);
    check_snapshots(&ctr);
    check_namespaces(&ctr);
    assert!(daemon.stop().success());
}

fn check_server(ctr: &Ctr) {
    let version = ctr.run("one", &["version"]).unwrap();
    assert!(version.contains(&format!("Version:  {}", env!("CARGO_PKG_VERSION"))), "{version}");
    let plugins = ctr.run("one", &["plugins", "ls"]).unwrap();
    let own = plugins.lines().find(|line| line.contains("snapshotter")).unwrap_or_else(|| panic!("{plugins}"));
    assert_eq!(own.split_whitespace().skip(1).collect::<Vec<_>>(), ["leasehold", "linux/amd64", "ok"], "{plugins}");
    assert_eq!(ctr.words(&["plugins", "ls", "id==leases"]), "TYPE io.containerd.grpc.v1");
}

fn check_content(ctr: &Ctr, daemon: &Daemon) {
    let content = |args: &[&str]| ctr.words(&[&["content"][..], args].concat());
    let [layer, manifest, edited] = ["layer", "manifest", "manifest, edited"].map(|data| sha256(data.as_bytes()));
    for (data, digest) in [("layer", &layer), ("manifest", &manifest)] {
        let size = data.len().to_string();
        ctr.ingest(data, &["--expected-digest", digest, "--expected-size", &size]).unwrap();
        // Nothing holds it so far.
        content(&["label", digest, "containerd.io/gc.root=x"]);
    }
    assert!(ctr.ingest("layer", &["--expected-digest", &sha256(b"another")]).unwrap_err().contains("digest"));
    let mut all = [layer.as_str(), manifest.as_str()];
    all.sort_unstable();
    assert_eq!(content(&["ls", "-q"]), all.join(" "));
    assert_eq!(ctr.run("two", &["content", "ls", "-q"]).unwrap(), "");
    assert_eq!(content(&["ls", "-q", &format!("digest=={layer}")]), layer);
    assert_eq!(ctr.run("one", &["content", "get", &layer]).unwrap(), "layer");
    assert!(ctr.run("two", &["content", "get", &layer]).unwrap_err().contains("not found"));
    content(&["label", &manifest, &format!("containerd.io/gc.ref.content.l.0={layer}")]);
    content(&["label", &layer, "containerd.io/gc.root="]);
    assert!(ctr.run("one", &["content", "ls"]).unwrap().contains("containerd.io/gc.ref.content.l.0="));
    assert_eq!(content(&["edit", "--editor", "printf ', edited' >>", &manifest]), edited);
    assert_eq!(ctr.run("one", &["content", "get", &edited]).unwrap(), "manifest, edited");

    let client = Client::api(daemon, "one");
    let mut upload = client.begin("an upload").unwrap();
    upload.write(0, b"begun").unwrap();
    let active = ctr.run("one", &["content", "active"]).unwrap();
    assert!(active.contains("an upload") && active.contains("5B"), "{active}");
    drop(upload);
    // The other is what was not of its digest.
    for name in ["an upload", "ref"] {
        client.abort(name).unwrap();
    }

    // It removes the label, and collects.
    content(&["prune", "references"]);
    assert_eq!(content(&["ls", "-q"]), manifest);
    assert_eq!(content(&["rm", &manifest]), manifest);
    assert!(ctr.fails(&["content", "get", &manifest]).contains("not found"));
    assert_eq!(content(&["ls", "-q"]), "");
    assert_eq!(ctr.site.blob_files(), Vec::<String>::new());
}

fn check_leases(ctr: &Ctr) {
    assert_eq!(ctr.words(&["leases", "create", "--id", "l1", "a=b"]), "l1");
    let generated = ctr.words(&["leases", "create", "--expires", "1h"]);
    assert!(ctr.fails(&["leases", "create", "--id", "l1"]).contains("already exists"));
    assert_eq!(ctr.words(&["leases", "ls", "-q", "labels.a==b"]), "l1");
    assert!(ctr.run("one", &["leases", "ls"]).unwrap().contains("containerd.io/gc.expire="));
    assert_eq!(ctr.run("two", &["leases", "ls", "-q"]).unwrap(), "");
    assert_eq!(ctr.words(&["leases", "rm", "--sync", &generated, "l1"]), format!("{generated} l1"));
    assert!(ctr.fails(&["leases", "rm", "l1"]).contains("not found"));
    assert_eq!(ctr.words(&["leases", "ls", "-q"]), "");
}

fn check_snapshots(ctr: &Ctr) {
    let snapshots = |args: &[&str]| ctr.words(&[&["snapshots", "--snapshotter", "leasehold"][..], args].concat());
    snapshots(&["prepare", "active"]);
    snapshots(&["commit", "base", "active"]);
    snapshots(&["view", "view", "base"]);
    snapshots(&["label", "base", "any=label"]);
    assert!(ctr.run("one", &["snapshots", "--snapshotter", "leasehold", "info", "base"]).unwrap().contains("label"));
    assert_eq!(snapshots(&["ls"]), "KEY base view");
    assert_eq!(snapshots(&["usage"]), "KEY base view");
    assert!(snapshots(&["mounts", "/mnt", "view"]).starts_with("mount"));
    assert!(ctr.fails(&["snapshots", "--snapshotter", "overlayfs", "ls"]).contains("overlayfs"));
    assert!(ctr.fails(&["namespaces", "rm", "one"]).contains("snapshots"));
    snapshots(&["rm", "view", "base"]);
    assert_eq!(snapshots(&["ls"]), "KEY");
}

fn check_namespaces(ctr: &Ctr) {
    ctr.words(&["namespaces", "create", "three", "k=v"]);
    assert!(ctr.fails(&["namespaces", "create", "three"]).contains("already exists"));
    ctr.words(&["namespaces", "label", "three", "k=", "x=y"]);
    assert_eq!(ctr.words(&["namespaces", "ls", "-q"]), "one three");
    let listed = ctr.run("one", &["namespaces", "ls"]).unwrap();
    assert!(listed.contains("x=y") && !listed.contains("k=v"), "{listed}");
    assert_eq!(ctr.words(&["namespaces", "rm", "three", "one", "unknown"]), "three one unknown");
    assert_eq!(ctr.words(&["namespaces", "ls", "-q"]), "");
}

#[test]
fn privileged_ctr_of_containerd_1_works_on_the_api_socket() {
    check("ctr_of_containerd_1", || installed("ctr"));
}

#[test]
fn privileged_ctr_of_containerd_2_works_on_the_api_socket() {
    check("ctr_of_containerd_2", || built("containerd-2.3/ctr"));
}
