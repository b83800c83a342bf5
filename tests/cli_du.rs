//! `leasehold du`: who has what, and what comes back when a lease ends.

mod common;

use common::client::{Client, upperdir_of_mounts};
use common::daemon::{Daemon, Site};
use common::is_root;
use serde_json::Value;

/// Bytes of the file that a layer holds: far more than its directories take.
const FILE: u64 = 1 << 20;

/// Commits a layer with a file of so many units.
fn layer(daemon: &Daemon, key: &str, parent: &str, units: u64) {
    let containerd = Client::new(daemon);
    let making = format!("making {key}");
    let upperdir = upperdir_of_mounts(&containerd.prepare(&making, parent).unwrap());
    std::fs::write(upperdir.join("file"), vec![1; (units * FILE) as usize]).unwrap();
    containerd.commit(key, &making).unwrap();
}

fn usage(site: &Site, args: &[&str]) -> Value {
    site.cli(&[&["du", "--json"], args].concat()).json()
}

/// Returns layers, and size, shared and unique in units.
fn share(of: &Value) -> [u64; 4] {
    let number = |name: &str| of[name].as_u64().unwrap_or_else(|| panic!("{of}"));
    [number("layers"), number("size") / FILE, number("shared") / FILE, number("unique") / FILE]
}

#[test]
fn privileged_usage_is_by_namespace_and_by_lease() {
    if !is_root("usage_is_by_namespace_and_by_lease") {
        return;
    }
    let site = Site::new();
    let daemon = site.start();
    layer(&daemon, "a/1/base", "", 1);
    layer(&daemon, "a/2/top", "a/1/base", 2);
    layer(&daemon, "b/3/other", "", 4);
    let active = Client::new(&daemon).prepare("a/4/till", "a/2/top").unwrap();
    std::fs::write(upperdir_of_mounts(&active).join("file"), vec![1; 8 * FILE as usize]).unwrap();
    site.cli(&["lease", "-n", "a", "create", "one", "--snapshot", "top", "nothing"]).ok();
    site.cli(&["lease", "-n", "a", "create", "two", "--expire", "72h", "--snapshot", "top"]).ok();
    site.cli(&["lease", "-n", "b", "create", "one", "--snapshot", "other"]).ok();

    let all = usage(&site, &[]);
    let [a, b] = [&all["namespaces"][0], &all["namespaces"][1]];
    assert_eq!((share(&a["usage"]), &a["snapshots"]), ([3, 11, 0, 11], &3.into()));
    assert_eq!((share(&b["usage"]), &b["snapshots"]), ([1, 4, 0, 4], &1.into()));
    assert_eq!(share(&all["total"]), [4, 15, 0, 15]);
    // containerd has it all as well.
    assert_eq!(share(&all["leases"][0]["usage"]), [2, 3, 3, 0]);
    assert_eq!((&all["leases"][0]["snapshots"], &all["leases"][0]["missing"]), (&1.into(), &1.into()));

    let containerd = Client::new(&daemon);
    for key in ["a/4/till", "a/2/top", "a/1/base", "b/3/other"] {
        containerd.remove(key).unwrap();
    }
    let all = usage(&site, &["-n", "a"]);
    assert_eq!(all["namespaces"].as_array().unwrap().len(), 1);
    assert_eq!(share(&all["namespaces"][0]["usage"]), [2, 3, 0, 3]);
    assert_eq!(all["namespaces"][0]["retained"], 1);
    assert_eq!(share(&all["total"]), [3, 7, 0, 7]);
    let leases = all["leases"].as_array().unwrap();
    // Each has it together with the other.
    assert_eq!(leases.iter().map(|of| share(&of["usage"])).collect::<Vec<_>>(), [[2, 3, 3, 0]; 2]);
    site.cli(&["lease", "-n", "a", "rm", "one", "--sync"]).ok();
    let all = usage(&site, &["-n", "a"]);
    assert_eq!(share(&all["leases"][0]["usage"]), [2, 3, 0, 3]);
    assert!(all["leases"][0]["expires_at"].is_string());

    let table = site.cli(&["du"]).ok();
    assert!(table.contains("2days 23h") && table.contains("\n\nthe pool: 7.0 MiB in 3 layers\n"), "{table}");
    site.cli(&["lease", "-n", "a", "rm", "two", "--sync"]).ok();
    site.cli(&["lease", "-n", "b", "rm", "one", "--sync"]).ok();
    assert_eq!(share(&usage(&site, &[])["total"]), [0, 0, 0, 0]);
}

#[test]
fn blobs_are_counted_once_and_for_each_who_has_them() {
    let site = Site::with_settings("[gc]\nstartup_delay = \"10m\"\n");
    let daemon = site.start();
    let (containerd, one, two) = (Client::new(&daemon), Client::api(&daemon, "one"), Client::api(&daemon, "two"));
    assert!(site.cli(&["du"]).ok().ends_with("the pool: 0 B in 0 layers\n"));
    for (client, data) in [(&containerd, "of all"), (&one, "of all"), (&two, "of all"), (&one, "own"), (&two, "other")]
    {
        client.store("one/1/ref", data.as_bytes()).unwrap();
    }
    // What containerd deletes and a lease names is whose it was not.
    let kept = containerd.store("one/2/ref", b"retained").unwrap();
    one.create_lease("lease", &[]).unwrap();
    one.add_resource("lease", "content", &kept).unwrap();
    containerd.delete_blob(&kept).unwrap();
    let all = usage(&site, &[]);
    let shown = |all: &Value| -> Vec<String> {
        let row = |of: &Value| {
            let (name, usage) = (format!("{} {}", of["of"], of["namespace"]), &of["usage"]);
            format!("{name}: {} {} {} {}", usage["blobs"], usage["size"], usage["shared"], usage["unique"])
        };
        all["blobs"].as_array().unwrap().iter().map(|of| row(of).replace('"', "")).collect()
    };
    let expected = ["containerd : 1 6 6 0", "retained : 1 8 0 8", "namespace one: 2 9 6 3", "namespace two: 2 11 6 5"];
    assert_eq!(shown(&all), expected);
    assert_eq!((&all["blob_total"]["blobs"], &all["blob_total"]["size"]), (&4.into(), &22.into()));
    assert_eq!(shown(&usage(&site, &["-n", "two"])), [expected[3]]);
    let table = site.cli(&["du"]).ok();
    assert!(table.contains("BLOBS OF") && table.ends_with("the pool: 0 B in 0 layers, 22 B in 4 blobs\n"), "{table}");
}

#[test]
fn privileged_a_damaged_layer_does_not_hide_the_others() {
    if !is_root("a_damaged_layer_does_not_hide_the_others") {
        return;
    }
    let site = Site::new();
    let daemon = site.start();
    layer(&daemon, "a/1/good", "", 1);
    let lost = upperdir_of_mounts(&Client::new(&daemon).prepare("a/2/lost", "").unwrap());
    std::fs::remove_dir_all(lost.parent().unwrap()).unwrap();
    let all = usage(&site, &[]);
    assert_eq!((share(&all["total"]), &all["unknown"]), ([2, 1, 0, 1], &1.into()));
    assert!(site.cli(&["du"]).ok().contains("1 layer could not be measured"));
    assert!(daemon.stop().success());
    assert!(site.cli(&["du"]).fails(1).contains("no daemon listens on"));
}
