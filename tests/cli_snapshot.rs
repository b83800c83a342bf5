//! `leasehold snapshot`: what containerd has, and what leases keep of it.

mod common;

use common::client::Client;
use common::daemon::{Daemon, Site};
use common::is_root;
use serde_json::{Value, json};

fn chain(number: u8) -> String {
    format!("sha256:{}", format!("{number:02x}").repeat(32))
}

/// Unpacks an image of three layers into a namespace, as containerd does, and starts a container of it.
fn pull(daemon: &Daemon, namespace: &str) {
    let containerd = Client::new(daemon);
    let mut parent = String::new();
    for number in 1..=3_u8 {
        let name = format!("{namespace}/{}/{}", 2 * number, chain(number));
        let key = format!("{namespace}/{}/extract {number}", 2 * number - 1);
        containerd.prepare(&key, &parent).unwrap();
        containerd.commit(&name, &key).unwrap();
        parent = name;
    }
    containerd.prepare(&format!("{namespace}/7/till"), &parent).unwrap();
}

/// Removes all of it, children first.
fn remove(daemon: &Daemon, namespace: &str) {
    let containerd = Client::new(daemon);
    containerd.remove(&format!("{namespace}/7/till")).unwrap();
    for number in (1..=3_u8).rev() {
        containerd.remove(&format!("{namespace}/{}/{}", 2 * number, chain(number))).unwrap();
    }
}

fn list(site: &Site, args: &[&str]) -> Vec<Value> {
    let list = site.cli(&[&["snapshot", "ls", "--json"], args].concat()).json();
    list.as_array().unwrap().clone()
}

fn names(list: &[Value]) -> Vec<&str> {
    list.iter().map(|one| one["name"].as_str().unwrap()).collect()
}

#[test]
fn privileged_what_a_lease_holds_is_shown_with_it() {
    if !is_root("what_a_lease_holds_is_shown_with_it") {
        return;
    }
    let site = Site::new();
    let daemon = site.start();
    pull(&daemon, "default");
    pull(&daemon, "k8s.io");
    site.cli(&["lease", "create", "keep", "--chain", &chain(2)]).ok();
    let live = list(&site, &["-n", "default"]);
    assert_eq!(names(&live), [&chain(1), &chain(2), &chain(3), "till"]);
    assert_eq!((&live[1]["leases"], &live[1]["retained"]), (&json!(["keep"]), &json!(false)));
    assert_eq!((&live[2]["leases"], &live[3]["kind"]), (&json!([]), &json!("active")));
    assert_eq!(live[3]["parent"], format!("default/6/{}", chain(3)));
    assert_eq!(live[3]["parent_layers"], json!([live[2]["layer"], live[1]["layer"], live[0]["layer"]]));
    assert_eq!(list(&site, &[]).len(), 8);

    remove(&daemon, "default");
    let kept = list(&site, &["--namespace", "default"]);
    assert_eq!(names(&kept), [&chain(2)]);
    assert_eq!((&kept[0]["leases"], &kept[0]["retained"]), (&json!(["keep"]), &json!(true)));
    assert_eq!((&kept[0]["layer"], &kept[0]["parent_layers"]), (&live[1]["layer"], &json!([live[0]["layer"]])));
    assert!(kept[0]["removed_at"].is_string());
    let table = site.cli(&["snapshot", "ls"]).ok();
    let line = table.lines().find(|line| line.contains("retained")).unwrap();
    assert!(
        line.starts_with("default") && line.ends_with("lease keep") && line.contains("sha256:020202020202 "),
        "{line}"
    );
    let tree = site.cli(&["snapshot", "tree", "-n", "default"]).ok();
    assert!(tree.starts_with("default\n└─ sha256:020202020202  retained, layer "), "{tree}");
    assert!(tree.contains(" on 1 other") && tree.ends_with(" held by lease keep\n"), "{tree}");

    site.cli(&["lease", "rm", "--sync", "keep"]).ok();
    assert_eq!(list(&site, &["-n", "default"]), Vec::<Value>::new());
    assert_eq!(names(&list(&site, &[])), [&chain(1), &chain(2), &chain(3), "till"]);
}

#[test]
fn privileged_everything_is_listed_once_in_its_namespace() {
    if !is_root("everything_is_listed_once_in_its_namespace") {
        return;
    }
    let site = Site::new();
    let daemon = site.start();
    let containerd = Client::new(&daemon);
    // More than one page, beside namespaces that sort around it.
    for number in 0..250 {
        containerd.prepare(&format!("b/{number}/key {number}"), "").unwrap();
    }
    for key in ["a/1/key", "b", "b-/1/key", "b.c/1/key", "b0/1/key", "no form"] {
        containerd.prepare(key, "").unwrap();
    }
    Client::api(&daemon, "b").prepare("b/1/key", "").unwrap();
    let in_b = list(&site, &["-n", "b"]);
    assert_eq!(in_b.len(), 251);
    assert_eq!(in_b.iter().filter(|one| one["api"] == true).count(), 1);
    assert_eq!(list(&site, &[]).len(), 257);
    assert_eq!(list(&site, &["-n", "none"]), Vec::<Value>::new());
    let of_variable = site.cli_with(&["snapshot", "ls"], |command| command.env("CONTAINERD_NAMESPACE", "b.c"));
    assert_eq!(of_variable.ok().lines().count(), 2);
    assert!(site.cli(&["snapshot", "ls", "-n", "a/b"]).fails(1).contains("namespace: "));
    assert!(daemon.stop().success());
    assert!(site.cli(&["snapshot", "tree"]).fails(1).contains("no daemon listens on"));
}
