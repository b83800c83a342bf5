//! Damage to the records of leases: `leasehold fsck` finds every kind, a repair takes no hold away, and what cannot be read
//! holds up nothing but itself.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::client::Client;
use common::daemon::{Daemon, Site};
use common::damage::{change_bytes, keys};
use common::metrics::Metrics;
use common::{is_root, wait_for};
use leasehold::store::{Column, WriteTxn};
use tonic::Code;

const SNAPSHOTS: &str = "snapshots/leasehold";
const ROOT: (&str, &str) = ("containerd.io/gc.root", "x");
const LIMIT: Duration = Duration::from_secs(30);
/// When the lease `ends` does.
const END: &str = "2099-01-01T00:00:00Z";
const END_SECONDS: u64 = 4_070_908_800;
const UNREADABLE: &[u8] = b"\xff\xff\xff";

/// What `fsck` finds after a change of records.
struct Case {
    change: fn(&mut WriteTxn<'_>),
    found: &'static [&'static str],
}

const fn case(change: fn(&mut WriteTxn<'_>), found: &'static [&'static str]) -> Case {
    Case { change, found }
}

/// Every way in which the records of leases can disagree.
const CASES: [Case; 13] = [
    case(|txn| txn.delete(Column::Leased, leased("name", "keep")), &["one-sided-member"]),
    case(|txn| txn.delete(Column::Members, member("keep", "name")), &["one-sided-member"]),
    // Members that were never there are holds as well, by either side.
    case(|txn| put(txn, Column::Leased, leased("new", "keep")), &["one-sided-member"]),
    case(|txn| put(txn, Column::Members, member("keep", "new")), &["one-sided-member"]),
    case(|txn| put(txn, Column::Leased, leased("name", "gone")), &["member-without-lease"]),
    case(|txn| put(txn, Column::Members, member("gone", "name")), &["member-without-lease"]),
    case(|txn| txn.delete(Column::Leases, lease("keep")), &["member-without-lease"]),
    case(|txn| txn.delete(Column::Expiry, expiry(END_SECONDS, "ends")), &["missing-expiry"]),
    case(|txn| put(txn, Column::Expiry, expiry(END_SECONDS - 1, "ends")), &["wrong-expiry"]),
    case(|txn| put(txn, Column::Expiry, expiry(END_SECONDS, "keep")), &["wrong-expiry"]),
    case(|txn| put(txn, Column::Expiry, expiry(END_SECONDS, "gone")), &["wrong-expiry"]),
    // A deletion under way is due at once, so that it is found again.
    case(
        |txn| {
            let mut record = txn.get(Column::Leases, &lease("ends")).unwrap().unwrap();
            record.extend([0x20, 1]);
            txn.put(Column::Leases, lease("ends"), record);
        },
        &["missing-expiry", "wrong-expiry"],
    ),
    case(|txn| txn.delete(Column::Namespaces, b"default".to_vec()), &["missing-namespace"]),
];

fn put(txn: &mut WriteTxn<'_>, column: Column, key: Vec<u8>) {
    txn.put(column, key, Vec::new());
}

fn lease(id: &str) -> Vec<u8> {
    format!("default\0{id}").into_bytes()
}

fn member(id: &str, name: &str) -> Vec<u8> {
    format!("default\0{id}\0{SNAPSHOTS}\0{name}").into_bytes()
}

fn leased(name: &str, id: &str) -> Vec<u8> {
    format!("default\0{SNAPSHOTS}\0{name}\0{id}").into_bytes()
}

fn expiry(seconds: u64, id: &str) -> Vec<u8> {
    [&(seconds * 1_000_000_000).to_be_bytes()[..], &lease(id)].concat()
}

/// A pool with a lease that never ends and one that ends, which name the same snapshot of containerd.
fn pool(settings: &str) -> Site {
    let site = Site::with_settings(settings);
    let daemon = site.start();
    let client = Client::api(&daemon, "default");
    client.collect().unwrap();
    client.create_lease("keep", &[]).unwrap();
    client.create_lease("ends", &[("containerd.io/gc.expire", END)]).unwrap();
    client.add_resource("keep", SNAPSHOTS, "name").unwrap();
    client.add_resource("ends", SNAPSHOTS, "other").unwrap();
    let containerd = Client::new(&daemon);
    containerd.make("default/1/name", "", &[]).unwrap();
    containerd.make("default/2/other", "", &[]).unwrap();
    client.make("root", "", &[ROOT]).unwrap();
    assert!(daemon.stop().success());
    assert_eq!(site.fsck(false), Vec::<String>::new());
    site
}

fn kinds(problems: &[String]) -> BTreeSet<&str> {
    problems.iter().map(|problem| problem.split(':').next().unwrap()).collect()
}

/// Returns the names of retained snapshots.
fn retained(site: &Site) -> Vec<String> {
    let all = site.cli(&["snapshot", "ls", "--json"]).json();
    let retained = all.as_array().unwrap().iter().filter(|one| !one["removed_at"].is_null());
    retained.map(|one| one["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn privileged_every_disagreement_is_found_and_one_repair_is_enough() {
    if !is_root("every_disagreement_is_found_and_one_repair_is_enough") {
        return;
    }
    for serving in [false, true] {
        for (number, Case { change, found }) in CASES.iter().enumerate() {
            let site = pool("");
            change_bytes(site.root(), change);
            let daemon = serving.then(|| site.start());
            let expected: BTreeSet<&str> = found.iter().copied().collect();
            for repair in [false, false, true] {
                let problems = site.fsck(repair);
                assert_eq!(kinds(&problems), expected, "case {number}, serving {serving}: {problems:?}");
            }
            assert_eq!(site.fsck(false), Vec::<String>::new(), "case {number}, serving {serving}");
            drop(daemon);
        }
    }
}

#[test]
fn privileged_a_repair_takes_no_hold_away() {
    if !is_root("a_repair_takes_no_hold_away") {
        return;
    }
    for side in [leased("name", "keep"), member("keep", "name")] {
        let column = if side == leased("name", "keep") { Column::Leased } else { Column::Members };
        let site = pool("");
        change_bytes(site.root(), |txn| txn.delete(column, side));
        site.fsck(true);
        let daemon = site.start();
        let client = Client::api(&daemon, "default");
        assert_eq!(client.resources("keep").unwrap(), [(SNAPSHOTS.to_owned(), "name".to_owned())]);
        Client::new(&daemon).remove("default/1/name").unwrap();
        client.collect().unwrap();
        assert_eq!(retained(&site), ["name"]);
        client.delete_lease_with("keep", true).unwrap();
        assert_eq!(retained(&site), Vec::<String>::new());
    }
}

#[test]
fn privileged_a_lease_with_a_lost_end_ends_after_the_repair() {
    if !is_root("a_lease_with_a_lost_end_ends_after_the_repair") {
        return;
    }
    let site = pool("");
    let end = SystemTime::now() + Duration::from_secs(2);
    let daemon = site.start();
    let label = humantime::format_rfc3339_seconds(end).to_string();
    Client::api(&daemon, "default").create_lease("short", &[("containerd.io/gc.expire", &label)]).unwrap();
    assert!(daemon.stop().success());
    let due = end.duration_since(UNIX_EPOCH).unwrap().as_secs();
    change_bytes(site.root(), |txn| {
        assert!(txn.get(Column::Expiry, &expiry(due, "short")).unwrap().is_some());
        txn.delete(Column::Expiry, expiry(due, "short"));
    });
    let daemon = site.start();
    let client = Client::api(&daemon, "default");
    wait_for("the end", LIMIT, || SystemTime::now() > end + Duration::from_secs(1));
    assert_eq!(client.lease_ids(&[]), "ends keep short", "nobody knows that it has ended");
    assert_eq!(kinds(&site.fsck(true)), ["missing-expiry"].into());
    wait_for("the end of the lease", LIMIT, || client.lease_ids(&[]) == "ends keep");
}

#[test]
fn privileged_a_wrong_end_ends_no_lease_and_keeps_no_collection_from_its_end() {
    if !is_root("a_wrong_end_ends_no_lease_and_keeps_no_collection_from_its_end") {
        return;
    }
    let site = pool("");
    change_bytes(site.root(), |txn| {
        for id in ["ends", "keep", "gone"] {
            put(txn, Column::Expiry, expiry(7, id));
        }
        // Too short to be one.
        put(txn, Column::Expiry, b"\0\0".to_vec());
    });
    let daemon = site.start();
    let client = Client::api(&daemon, "default");
    client.collect().unwrap();
    assert_eq!(client.lease_ids(&[]), "ends keep");
    assert_eq!(kinds(&site.fsck(true)), ["unreadable-record"].into());
    assert!(daemon.stop().success());
    assert_eq!(keys(site.root(), Column::Expiry), [expiry(END_SECONDS, "ends")]);
}

/// Returns the texts of records that were set aside.
fn set_aside(site: &Site) -> String {
    let files = fs::read_dir(site.root().join("lost+found")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.is_file()).map(|path| fs::read_to_string(path).unwrap()).collect()
}

/// Checks that everybody is told of a record that keeps collections from going on.
fn expect_blocked(site: &Site, client: &Client, metrics: &Metrics, record: &str) {
    for status in [client.collect().unwrap_err(), client.plan().unwrap_err()] {
        assert_eq!(status.code(), Code::DataLoss);
        assert!(status.message().contains(record) && status.message().contains("fsck --repair"), "{status}");
    }
    assert!(site.cli(&["gc"]).fails(1).contains(record));
    let failure = site.cli(&["info", "--json"]).json()["pool"]["collection_failure"].take();
    assert!(failure.as_str().unwrap().contains(record), "{failure}");
    assert!(site.cli(&["info"]).ok().contains(record));
    wait_for("the metric", LIMIT, || metrics.value("leasehold_collection_blocked") == Some(1.0));
}

#[test]
fn privileged_a_snapshot_that_cannot_be_read_is_set_aside_and_collections_go_on() {
    if !is_root("a_snapshot_that_cannot_be_read_is_set_aside_and_collections_go_on") {
        return;
    }
    // An undecodable value, and two keys without the parts that they have to have.
    for (key, value) in [(&b"default\0root"[..], UNREADABLE), (b"default", b""), (b"\xff\0key", b"")] {
        let metrics = Metrics::somewhere();
        let site = pool(&format!("[gc]\nmutation_threshold = 0\n{}", metrics.settings()));
        change_bytes(site.root(), |txn| txn.put(Column::Snapshots, key.to_vec(), value.to_vec()));
        let daemon = site.start();
        let client = Client::api(&daemon, "default");
        client.make("garbage", "", &[]).unwrap();
        let record = format!("snapshots \"{}\"", key.escape_ascii());
        expect_blocked(&site, &client, &metrics, &record);
        assert!(client.names().contains("garbage"), "what it holds is not known");
        let problems = site.fsck(true);
        assert!(problems.iter().any(|one| one.starts_with(&format!("unreadable-record: {record}"))), "{problems:?}");
        let kept = set_aside(&site);
        for part in [format!("key = \"{}\"", key.escape_ascii()), format!("value = \"{}\"", value.escape_ascii())] {
            assert!(kept.contains(&part), "{part} is not in {kept}");
        }
        client.collect().unwrap();
        assert!(!client.names().contains("garbage"));
        assert!(site.cli(&["info", "--json"]).json()["pool"]["collection_failure"].is_null());
        assert_eq!(metrics.value("leasehold_collection_blocked"), Some(0.0));
        // What it had in layers is not given up together with the record.
        site.fsck(true);
        assert_eq!(site.fsck(false), Vec::<String>::new());
    }
}

#[test]
fn privileged_a_lease_that_cannot_be_read_holds_and_is_made_again() {
    if !is_root("a_lease_that_cannot_be_read_holds_and_is_made_again") {
        return;
    }
    let metrics = Metrics::somewhere();
    let site = pool(&format!("[gc]\nmutation_threshold = 0\n{}", metrics.settings()));
    change_bytes(site.root(), |txn| {
        txn.put(Column::Leases, lease("ends"), UNREADABLE.to_vec());
        // It seems to have ended.
        put(txn, Column::Expiry, expiry(7, "ends"));
    });
    let daemon = site.start();
    let (client, containerd) = (Client::api(&daemon, "default"), Client::new(&daemon));
    expect_blocked(&site, &client, &metrics, "leases \"default\\x00ends\"");
    for key in ["default/1/name", "default/2/other"] {
        containerd.remove(key).unwrap();
    }
    // Others end all the same.
    let end = humantime::format_rfc3339_millis(SystemTime::now() + Duration::from_millis(200)).to_string();
    client.create_lease("short", &[("containerd.io/gc.expire", &end)]).unwrap();
    wait_for("the end of a lease", LIMIT, || client.lease_ids(&[]) == "keep");
    assert_eq!(retained(&site), ["name", "other"]);
    assert!(site.cli(&["du"]).ok().contains("keep"));
    for expected in [&["unreadable-record"][..], &["wrong-expiry"], &[]] {
        let problems = site.fsck(true);
        // The collector may come first with an end that is none.
        assert!(kinds(&problems).is_subset(&expected.iter().copied().collect()), "{problems:?}");
    }
    assert!(set_aside(&site).contains("value = \"\\xff\\xff\\xff\""));
    client.collect().unwrap();
    assert_eq!((client.lease_ids(&[]).as_str(), retained(&site)), ("ends keep", vec!["name".into(), "other".into()]));
    client.delete_lease_with("ends", true).unwrap();
    assert_eq!(retained(&site), ["name"]);
}

#[test]
fn privileged_other_records_that_cannot_be_read_are_set_aside_as_well() {
    if !is_root("other_records_that_cannot_be_read_are_set_aside_as_well") {
        return;
    }
    for (column, key, value) in [
        (Column::Members, &b"default\0keep\0unknown\0x"[..], &b""[..]),
        (Column::Members, b"default", b""),
        (Column::Leased, b"default\0unknown\0x\0keep", b""),
        (Column::Leases, b"no namespace", b""),
        (Column::Namespaces, b"default", UNREADABLE),
        (Column::Namespaces, b"\xff", b""),
    ] {
        let site = pool("");
        change_bytes(site.root(), |txn| txn.put(column, key.to_vec(), value.to_vec()));
        for repair in [false, true] {
            assert_eq!(kinds(&site.fsck(repair)), ["unreadable-record"].into(), "{column:?}");
        }
        assert_eq!(site.fsck(false), Vec::<String>::new(), "{column:?}");
        assert!(set_aside(&site).contains(&format!("column = \"{}\"", column.name())));
        let daemon = site.start();
        let client = Client::api(&daemon, "default");
        client.collect().unwrap();
        assert_eq!((client.lease_ids(&[]).as_str(), client.names().as_str()), ("ends keep", "root"));
    }
}

#[test]
fn privileged_checks_and_repairs_under_load_find_nothing_in_leases() {
    if !is_root("checks_and_repairs_under_load_find_nothing_in_leases") {
        return;
    }
    const CHECKS: usize = 200;
    let site = Site::new();
    let daemon = site.start();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for number in 0..4 {
            let (done, daemon) = (&done, &daemon);
            scope.spawn(move || use_leases(daemon, number, || done.load(std::sync::atomic::Ordering::Relaxed)));
        }
        // Ends the load also where an assertion fails.
        let checked = std::panic::catch_unwind(|| {
            for check in 0..CHECKS {
                assert_eq!(site.fsck(check % 2 == 1), Vec::<String>::new(), "check {check}");
            }
        });
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        if let Err(panic) = checked {
            std::panic::resume_unwind(panic);
        }
    });
    assert!(daemon.stop().success());
    assert_eq!(site.fsck(false), Vec::<String>::new());
}

/// Makes and deletes leases, members, snapshots and namespaces, some of which end by themselves.
fn use_leases(daemon: &Daemon, number: usize, done: impl Fn() -> bool) {
    for round in 0.. {
        if done() {
            return;
        }
        let namespace = format!("n{number}");
        let client = Client::api(daemon, &namespace);
        let end = humantime::format_rfc3339_millis(SystemTime::now() + Duration::from_millis(30)).to_string();
        let labels: &[(&str, &str)] = if round % 2 == 0 { &[] } else { &[("containerd.io/gc.expire", &end)] };
        client.create_lease("lease", labels).unwrap();
        // More than are removed in one transaction, now and then. A lease may end meanwhile.
        for resource in 0..if round % 16 == 0 { 600 } else { 5 } {
            drop(client.add_resource("lease", "images", &resource.to_string()));
        }
        drop(client.leased("lease").prepare("key", ""));
        drop(client.delete_resource("lease", "images", "1"));
        drop(client.delete_lease_with("lease", true));
        drop(client.remove("key"));
        drop(client.delete_namespace(&namespace));
    }
}
