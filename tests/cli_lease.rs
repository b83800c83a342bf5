//! `leasehold lease`: what the command line does is what clients of the Leases service see.

mod common;

use std::time::{Duration, SystemTime};

use common::client::Client;
use common::daemon::Site;
use common::is_root;
use serde_json::json;

fn digest(digit: &str) -> String {
    format!("sha256:{}", digit.repeat(64))
}

#[test]
fn privileged_a_lease_is_created_changed_and_deleted() {
    if !is_root("a_lease_is_created_changed_and_deleted") {
        return;
    }
    let site = Site::new();
    let daemon = site.start();
    let client = Client::api(&daemon, "default");
    let [chain, blob] = ["a", "b"].map(digest);
    let before = SystemTime::now() + Duration::from_secs(72 * 3600);
    let create = ["lease", "create", "keep", "--expire", "72h", "--flat", "--label", "team=web", "--chain", &chain];
    let more =
        ["--snapshot", "till", "two words", "--content", &blob, "--api-image", "docker.io/library/busybox:latest"];
    assert_eq!(site.cli(&[&create[..], &more].concat()).ok(), "keep\n");

    let lease = client.leases(&[]).unwrap().remove(0);
    let label = |key: &str| lease.labels.get(key).map(String::as_str);
    assert_eq!((label("team"), label("containerd.io/gc.flat")), (Some("web"), Some("true")));
    let end = humantime::parse_rfc3339(label("containerd.io/gc.expire").unwrap()).unwrap();
    let late = end.duration_since(before - Duration::from_millis(1)).unwrap();
    assert!(late < Duration::from_secs(60), "{late:?}");
    let named = |kind: &str, id: &str| (kind.to_owned(), id.to_owned());
    let mut resources = client.resources("keep").unwrap();
    resources.sort();
    assert_eq!(
        resources,
        [
            named("content", &blob),
            named("images", "docker.io/library/busybox:latest"),
            named("snapshots/leasehold", &chain),
            named("snapshots/leasehold", "till"),
            named("snapshots/leasehold", "two words"),
        ]
    );

    site.cli(&["lease", "drop", "keep", "--chain", &chain, "--snapshot", "till", "never named"]).ok();
    site.cli(&["lease", "drop", "keep", "--api-image", "docker.io/library/busybox:latest", "--content", &blob]).ok();
    assert_eq!(client.resources("keep").unwrap(), [named("snapshots/leasehold", "two words")]);
    site.cli(&["lease", "add", "keep", "--content", &digest("c"), &digest("d")]).ok();
    let shown = site.cli(&["lease", "show", "keep", "--json"]).json();
    assert_eq!((&shown["id"], &shown["namespace"], &shown["flat"]), (&json!("keep"), &json!("default"), &json!(true)));
    let types = shown["resources"].as_array().unwrap().iter().map(|one| one["type"].as_str().unwrap());
    assert_eq!(types.collect::<Vec<_>>(), ["content", "content", "snapshots/leasehold"]);
    assert!(site.cli(&["lease", "show", "keep"]).ok().contains(&digest("c")));

    // One that has no name gets one, and says it.
    let made = site.cli(&["lease", "create", "--expire", "2100-01-01T00:00:00Z", "--json"]).json();
    assert_eq!(made["expires_at"], "2100-01-01T00:00:00.000000000Z");
    let made = made["id"].as_str().unwrap();
    let listed = site.cli(&["lease", "ls", "--json"]).json();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert_eq!(site.cli(&["lease", "ls", "-q", "--filter", "labels.team==web"]).ok(), "keep\n");
    let table = site.cli(&["lease", "ls"]).ok();
    assert!(table.contains("2100-01-01T00:00:00Z (in ") && table.contains("team=web"), "{table}");

    assert_eq!(site.cli(&["lease", "rm", "--sync", "keep", made]).ok(), format!("keep\n{made}\n"));
    assert_eq!(client.lease_ids(&[]), "");
    assert_eq!(site.cli(&["lease", "ls", "--json"]).json(), json!([]));
}

#[test]
fn privileged_the_namespace_is_that_of_other_clients() {
    if !is_root("the_namespace_is_that_of_other_clients") {
        return;
    }
    let site = Site::new();
    let daemon = site.start();
    let create = |variable: Option<&str>, args: &[&str]| {
        site.cli_with(args, |command| match variable {
            Some(value) => command.env("CONTAINERD_NAMESPACE", value),
            None => command.env_remove("CONTAINERD_NAMESPACE"),
        })
    };
    create(None, &["lease", "create", "nowhere"]).ok();
    create(Some(""), &["lease", "create", "empty"]).ok();
    create(Some("k8s.io"), &["lease", "create", "variable"]).ok();
    create(Some("k8s.io"), &["lease", "--namespace", "other", "create", "option"]).ok();
    create(None, &["lease", "create", "short", "-n", "other"]).ok();
    let ids = |namespace: &str| Client::api(&daemon, namespace).lease_ids(&[]);
    assert_eq!([ids("default"), ids("k8s.io"), ids("other")], ["empty nowhere", "variable", "option short"]);
    for bad in ["a/b", "..", "-"] {
        let err = create(Some(bad), &["lease", "ls"]).fails(1);
        assert!(err.starts_with("leasehold: namespace: "), "{err}");
    }
}

#[test]
fn privileged_mistakes_are_told() {
    if !is_root("mistakes_are_told") {
        return;
    }
    let site = Site::new();
    let daemon = site.start();
    let client = Client::api(&daemon, "default");
    let fails = |code: i32, args: &[&str], why: &str| {
        let err = site.cli(&[&["lease"], args].concat()).fails(code);
        assert!(err.contains(why), "{args:?}: {err}");
    };
    // What the daemon refuses, or can never be right.
    fails(1, &["show", "none"], "leasehold: lease \"none\" not found");
    fails(1, &["add", "none", "--snapshot", "a"], "adding snapshots/leasehold \"a\": lease \"none\" not found");
    fails(1, &["drop", "none", "--snapshot", "a"], "lease \"none\" not found");
    fails(1, &["create", "bad", "--chain", "sha256:abc"], "digest: \"sha256:abc\" has wrong digits");
    fails(1, &["create", "bad", "--content", "busybox"], "digest: \"busybox\" has no algorithm");
    fails(1, &["create", "bad", "--expire", "2001-02-03T04:05:06Z"], "is in the past");
    fails(1, &["ls", "--filter", "id=="], "filter");
    let long = format!("k={}", "v".repeat(5000));
    fails(1, &["create", "bad", "--label", &long], "label");
    assert_eq!(client.lease_ids(&[]), "");
    site.cli(&["lease", "create", "twice"]).ok();
    fails(1, &["create", "twice"], "leasehold: lease \"twice\" already exists");
    // Those that can be deleted are.
    let said = site.cli(&["lease", "rm", "none", "twice"]);
    assert_eq!((said.code, said.out.as_str()), (1, "twice\n"));
    assert_eq!(said.err, "leasehold: lease \"none\" not found\n");
    // What is no command.
    fails(2, &["create", "bad", "--expire", "soon"], "neither a duration such as 72h");
    fails(2, &["create", "bad", "--label", "a"], "KEY=VALUE");
    fails(2, &["add", "twice"], "--chain");
    fails(2, &["drop", "twice"], "--chain");
    fails(2, &["rm"], "<LEASE>");
    assert!(daemon.stop().success());
    let err = site.cli(&["lease", "ls"]).fails(1);
    assert!(err.contains("no daemon listens on") && err.contains("api.sock"), "{err}");
}
