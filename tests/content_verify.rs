//! `leasehold fsck --content` finds every blob that is not what its digest says, and only those, with the daemon at work.

mod common;

use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use common::cli::Said;
use common::client::Client;
use common::content::{random_data, sha256};
use common::daemon::{Daemon, Site};
use common::random::Random;
use common::{damage, wait_for};
use leasehold::types::{Digest, Scope};
use serde_json::{Value, json};
use tonic::Code;

const LIMIT: Duration = Duration::from_secs(60);
const CHECKS: usize = 20;
/// Longer than any test waits for what reads it.
const ENDLESS: u64 = 1 << 43;

fn verify(site: &Site, args: &[&str]) -> Said {
    site.cli(&[&["fsck", "--content", "--json"], args].concat())
}

/// Returns the report of a check that ends with `code`.
fn report(said: Said, code: i32) -> Value {
    assert!(said.code == code && said.err.is_empty(), "{said:?}");
    serde_json::from_str(&said.out).unwrap()
}

/// Changes one byte of a blob's file, as a bad disk does.
fn alter(site: &Site, data: &[u8]) {
    let path = site.blob_file(&sha256(data));
    let mut file = fs::File::options().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(data.len() as u64 / 2)).unwrap();
    file.write_all(&[!data[data.len() / 2]]).unwrap();
}

fn lost_and_found(site: &Site) -> Vec<Vec<u8>> {
    let names = fs::read_dir(site.root().join("lost+found")).unwrap();
    names.map(|name| fs::read(name.unwrap().path()).unwrap()).collect()
}

/// Damages a blob, and has that found and repaired, `serve` being whether a daemon serves meanwhile.
fn found_and_repaired(serve: bool) {
    let site = Site::new();
    let mut daemon = Some(site.start());
    let client = Client::new(daemon.as_ref().unwrap());
    let mut random = Random::new();
    let [good, bad] = [3 << 20, (2 << 20) + 17].map(|len| random_data(&mut random, len));
    for (n, data) in [&good[..], &bad, b"small", b""].into_iter().enumerate() {
        client.store(&format!("ref {n}"), data).unwrap();
    }
    let operator = Client::api(daemon.as_ref().unwrap(), "team");
    operator.create_lease("keep", &[]).unwrap();
    operator.add_resource("keep", "content", &sha256(&bad)).unwrap();
    let bytes = good.len() + bad.len() + 5;
    let read = json!({ "blobs": 4, "bytes": bytes });
    assert_eq!(report(verify(&site, &[]), 0)["content"], read);

    alter(&site, &bad);
    assert_eq!(site.fsck(false), Vec::<String>::new(), "a check of records reads no blob");
    if !serve {
        assert!(daemon.take().unwrap().stop().success());
    }
    let found = report(verify(&site, &["--jobs", "3"]), 1);
    assert_eq!(found["content"], read);
    let [problem] = &found["problems"].as_array().unwrap()[..] else { panic!("{found}") };
    assert_eq!((&problem["kind"], &problem["repair"]), (&json!("damaged-blob"), &json!("")));
    let what = problem["what"].as_str().unwrap();
    assert!(what.starts_with(&format!("the content of blob {} has digest sha256:", sha256(&bad))), "{what}");
    assert!(what.ends_with(r#"; named by containerd, lease "keep" of team"#), "{what}");
    assert_eq!(lost_and_found(&site), Vec::<Vec<u8>>::new());

    let text = site.cli(&["fsck", "--content", "--repair"]).ok();
    assert!(text.contains(&format!("read 4 blobs, {:.1} MiB\n", bytes as f64 / f64::from(1 << 20))), "{text}");
    assert!(text.contains("-> dropped from containerd; the file is lost+found/"), "{text}");
    assert!(text.contains("\n1 problem\n") && text.contains("ctr --namespace NAMESPACE content rm DIGEST"), "{text}");
    assert_eq!(report(verify(&site, &[]), 0)["problems"], json!([]));
    let [aside] = &lost_and_found(&site)[..] else { panic!("one file") };
    assert!(aside.len() == bad.len() && *aside != bad);

    let daemon = daemon.unwrap_or_else(|| site.start());
    let client = Client::new(&daemon);
    assert_eq!(client.blob(&sha256(&bad)).unwrap_err().code(), Code::NotFound);
    client.store("again", &bad).unwrap();
    assert!(client.read_blob(&sha256(&bad)).unwrap() == bad);
    assert_eq!(report(verify(&site, &["--repair"]), 0)["content"], read);
    assert!(daemon.stop().success());
    assert_eq!(site.fsck(false), Vec::<String>::new());
}

#[test]
fn damage_is_found_and_repaired_while_requests_are_served() {
    found_and_repaired(true);
}

#[test]
fn damage_is_found_and_repaired_without_a_daemon() {
    found_and_repaired(false);
}

#[test]
fn what_the_comparison_of_records_tells_is_not_told_twice() {
    let site = Site::new();
    let daemon = site.start();
    for data in ["lost", "short", "kept"] {
        Client::new(&daemon).store("ref", data.as_bytes()).unwrap();
    }
    assert!(daemon.stop().success());
    fs::remove_file(site.blob_file(&sha256(b"lost"))).unwrap();
    fs::File::options().write(true).open(site.blob_file(&sha256(b"short"))).unwrap().set_len(3).unwrap();
    let found = report(verify(&site, &[]), 1);
    let mut kinds: Vec<_> = found["problems"].as_array().unwrap().iter().map(|one| one["kind"].clone()).collect();
    kinds.sort_by_key(Value::to_string);
    assert_eq!(kinds, ["missing-blob", "wrong-size"]);
    report(verify(&site, &["--repair"]), 0);
    assert_eq!(report(verify(&site, &[]), 0)["content"], json!({ "blobs": 1, "bytes": 4 }));
}

#[test]
fn blobs_that_come_and_go_are_no_damage() {
    let site = Site::new();
    let daemon = site.start();
    let done = AtomicBool::new(false);
    let mut random = Random::new();
    std::thread::scope(|scope| {
        for n in 0..4 {
            let (daemon, done, mut random) = (&daemon, &done, random.fork());
            scope.spawn(move || {
                let client = Client::new(daemon);
                while !done.load(Ordering::SeqCst) {
                    // Few different ones, so that they go and come again under the same names.
                    let data = vec![n; 1 + random.below(8) as usize * 30_000];
                    drop(client.store(&format!("ref {n}"), &data));
                    if random.below(2) == 0 {
                        drop(client.delete_blob(&sha256(&data)));
                    }
                }
            });
        }
        let checked = std::panic::catch_unwind(|| {
            for _ in 0..CHECKS {
                assert_eq!(report(verify(&site, &["--repair"]), 0)["problems"], json!([]));
            }
        });
        done.store(true, Ordering::SeqCst);
        if let Err(panic) = checked {
            std::panic::resume_unwind(panic);
        }
    });
    assert_eq!(lost_and_found(&site), Vec::<Vec<u8>>::new());
}

/// Makes a pool whose one blob takes days to read.
fn endless_pool() -> Site {
    let site = Site::new();
    let daemon = site.start();
    Client::new(&daemon).store("ref", b"endless").unwrap();
    assert!(daemon.stop().success());
    fs::File::options().write(true).open(site.blob_file(&sha256(b"endless"))).unwrap().set_len(ENDLESS).unwrap();
    damage::change(site.root(), |txn| {
        let digest = Digest::parse(sha256(b"endless")).unwrap();
        let mut file = txn.blob_file(&digest).unwrap().unwrap();
        file.size = ENDLESS;
        txn.repair_blob_file(&digest, Some(&file));
        txn.repair_blob_size(&Scope::Plugin, &digest, ENDLESS).unwrap();
    });
    site
}

/// A check under way. Dropping it kills it.
struct Check(Child);

impl Check {
    fn start(site: &Site, daemon: &Daemon) -> Check {
        let mut command = site.command();
        command.args(["fsck", "--content"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let check = Check(command.spawn().unwrap());
        wait_for("the begin of the check", LIMIT, || checks(daemon) > 0);
        check
    }
}

impl Drop for Check {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Returns how many threads of a daemon check blobs.
fn checks(daemon: &Daemon) -> usize {
    let tasks = fs::read_dir(Path::new("/proc").join(daemon.pid().to_string()).join("task")).unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|name| name.trim() == "verify").count()
}

#[test]
fn a_check_stops_nobody_and_ends_with_its_client_and_with_the_daemon() {
    let site = endless_pool();
    let daemon = site.start();
    let client = Client::new(&daemon);
    let check = Check::start(&site, &daemon);
    // Those of the daemon's threads that serve are as free as before.
    for n in 0..50 {
        let digest = client.store("ref", format!("blob {n}").as_bytes()).unwrap();
        client.read_blob(&digest).unwrap();
        client.delete_blob(&digest).unwrap();
    }
    assert_eq!(checks(&daemon), 1);
    drop(check);
    wait_for("the end of the check", LIMIT, || checks(&daemon) == 0);

    let _check = Check::start(&site, &daemon);
    let began = SystemTime::now();
    assert!(daemon.stop().success());
    assert!(began.elapsed().unwrap() < Duration::from_secs(9), "the stop waited for the check");
}

#[test]
fn a_number_of_threads_needs_a_check_that_has_them() {
    let site = Site::new();
    assert!(site.cli(&["fsck", "--jobs", "2"]).fails(2).contains("--content"));
    assert!(site.cli(&["fsck", "--content", "--jobs", "0"]).fails(2).contains("1..=64"));
    assert!(site.cli(&["fsck", "--content"]).fails(1).contains("there is no pool"));
}
