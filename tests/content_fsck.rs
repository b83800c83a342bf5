//! A check of blobs and uploads finds every damage, repairs what can be repaired, and takes nothing under way for damage.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use common::client::Client;
use common::content::{random_data, sha256};
use common::daemon::Site;
use common::damage::change_bytes;
use common::random::Random;
use common::wait_for;
use leasehold::metadata::{Metadata, Transaction};
use leasehold::store::{Column, Durability};
use leasehold::types::{Digest, Scope};
use tonic::Code;

const CHECKS: usize = 100;
const LIMIT: Duration = Duration::from_secs(60);

/// Makes a stopped pool with blobs of that content and an upload.
fn pool(blobs: &[&str]) -> Site {
    let site = Site::new();
    let daemon = site.start();
    let client = Client::new(&daemon);
    for data in blobs {
        client.store("ref", data.as_bytes()).unwrap();
    }
    let mut upload = client.begin("upload").unwrap();
    upload.write(0, b"begun").unwrap();
    upload.close();
    assert!(daemon.stop().success());
    site
}

fn digest(data: &str) -> Digest {
    Digest::parse(sha256(data.as_bytes())).unwrap()
}

fn change(site: &Site, change: impl FnOnce(&mut Transaction<'_>)) {
    let metadata = Metadata::open(site.root().join("meta"), Durability::Synced).unwrap();
    let mut txn = metadata.write(SystemTime::now()).unwrap();
    change(&mut txn);
    txn.commit().unwrap();
}

fn kinds(problems: &[String]) -> Vec<&str> {
    problems.iter().filter_map(|problem| problem.split(':').next()).collect()
}

/// Damages a pool, and checks that exactly that is found and repaired, without a daemon. Returns a client of the pool
/// afterwards.
fn found_and_repaired(kind: &str, damage: impl FnOnce(&Site), after: impl FnOnce(&Site, &Client)) {
    let site = pool(&["one", "two"]);
    damage(&site);
    for repair in [false, true] {
        assert_eq!(kinds(&site.fsck(repair)), [kind], "repair: {repair}");
    }
    assert_eq!(site.fsck(false), Vec::<String>::new(), "{kind} is still there after its repair");
    let daemon = site.start();
    let client = Client::new(&daemon);
    assert_eq!(client.read_blob(&sha256(b"two")).unwrap(), b"two", "{kind}");
    after(&site, &client);
    wait_for("the end of trash", LIMIT, || site.trash_dirs().is_empty());
    assert_eq!(site.fsck(false), Vec::<String>::new());
}

fn expect_upload(client: &Client) {
    assert_eq!(client.status("upload").unwrap().offset, 5);
}

#[test]
fn a_blob_without_its_file_is_reported_and_given_up_by_a_repair_alone() {
    let lose = |site: &Site| fs::remove_file(site.blob_file(&sha256(b"one"))).unwrap();
    let site = pool(&["one"]);
    lose(&site);
    let daemon = site.start();
    let client = Client::new(&daemon);
    // Neither the start nor a check without a repair gives it up, and reading says what is wrong.
    assert_eq!(kinds(&site.fsck(false)), ["missing-blob"]);
    assert_eq!(client.blobs(), [sha256(b"one")]);
    let status = client.read_blob(&sha256(b"one")).unwrap_err();
    assert_eq!(status.code(), Code::DataLoss, "{status}");
    assert!(fs::read_to_string(site.log()).unwrap().contains("see leasehold fsck"));
    drop(daemon);
    found_and_repaired("missing-blob", lose, |_, client| {
        expect_upload(client);
        assert_eq!(client.blob(&sha256(b"one")).unwrap_err().code(), Code::NotFound);
        client.store("again", b"one").unwrap();
    });
}

#[test]
fn a_file_of_another_length_is_set_aside() {
    let damage = |site: &Site| {
        let path = site.blob_file(&sha256(b"one"));
        fs::remove_file(&path).unwrap();
        fs::write(path, "on").unwrap();
    };
    found_and_repaired("wrong-size", damage, |site, client| {
        expect_upload(client);
        client.store("again", b"one").unwrap();
        let aside: Vec<_> =
            fs::read_dir(site.root().join("lost+found")).unwrap().map(|one| one.unwrap().path()).collect();
        assert_eq!(aside.len(), 1);
        assert_eq!(fs::read_to_string(&aside[0]).unwrap(), "on");
    });
}

#[test]
fn files_without_records_are_reclaimed() {
    let orphan = |site: &Site| fs::write(site.blob_file(&sha256(b"orphan")), "orphan").unwrap();
    found_and_repaired("orphan-blob", orphan, |site, client| {
        expect_upload(client);
        assert_eq!(site.blob_files().len(), 2);
    });
    let upload = |site: &Site| fs::write(site.root().join("ingests/zz9"), "upload").unwrap();
    found_and_repaired("orphan-ingest", upload, |site, client| {
        expect_upload(client);
        assert_eq!(site.ingest_files().len(), 1);
    });
}

#[test]
fn records_that_contradict_each_other_are_put_right() {
    let one = || digest("one");
    let miscount = |site: &Site| {
        change(site, |txn| {
            let mut file = txn.blob_file(&one()).unwrap().unwrap();
            file.references = 3;
            txn.repair_blob_file(&one(), Some(&file));
        });
    };
    let expect_one = |_: &Site, client: &Client| {
        expect_upload(client);
        assert_eq!(client.read_blob(&sha256(b"one")).unwrap(), b"one");
        client.delete_blob(&sha256(b"one")).unwrap();
    };
    found_and_repaired("wrong-blob-references", miscount, expect_one);
    let unname = |site: &Site| change(site, |txn| txn.drop_damaged_blob(&Scope::Plugin, &one()));
    found_and_repaired("wrong-blob-references", unname, |site, client| {
        expect_upload(client);
        assert_eq!(site.blob_files(), [sha256(b"two")]);
    });
    let without_file = |site: &Site| change(site, |txn| txn.repair_blob_file(&one(), None));
    let site = pool(&["one"]);
    without_file(&site);
    // A start takes it for somebody's blob, too.
    assert!(site.start().stop().success());
    assert_eq!(kinds(&site.fsck(false)), ["blob-without-file"]);
    site.fsck(true);
    assert_eq!(site.fsck(false), Vec::<String>::new());
    expect_one(&site, &Client::new(&site.start()));
    let resize = |site: &Site| change(site, |txn| txn.repair_blob_size(&Scope::Plugin, &one(), 4711).unwrap());
    found_and_repaired("sizes-differ", resize, expect_one);
}

#[test]
fn a_second_name_and_an_upload_without_its_file_are_forgotten() {
    let second = |site: &Site| {
        let metadata = Metadata::open(site.root().join("meta"), Durability::Synced).unwrap();
        let id = metadata.blob_file(&digest("one")).unwrap().unwrap().id;
        fs::hard_link(site.blob_file(&sha256(b"one")), site.root().join(format!("ingests/{id}"))).unwrap();
    };
    found_and_repaired("second-name", second, |_, client| {
        expect_upload(client);
        assert_eq!(client.read_blob(&sha256(b"one")).unwrap(), b"one");
    });
    let lose = |site: &Site| {
        let [name] = &site.ingest_files()[..] else { panic!("one upload") };
        fs::remove_file(site.root().join("ingests").join(name)).unwrap();
    };
    found_and_repaired("missing-ingest", lose, |_, client| {
        assert_eq!(client.refs(), Vec::<String>::new());
        assert_eq!(client.begin("upload").unwrap().stat().unwrap().offset, 0);
    });
}

#[test]
fn the_only_name_of_a_blob_is_no_second_one() {
    let unnamed = |site: &Site| {
        let metadata = Metadata::open(site.root().join("meta"), Durability::Synced).unwrap();
        let id = metadata.blob_file(&digest("one")).unwrap().unwrap().id;
        fs::rename(site.blob_file(&sha256(b"one")), site.root().join(format!("ingests/{id}"))).unwrap();
    };
    found_and_repaired("missing-blob", unnamed, |_, client| {
        expect_upload(client);
        assert_eq!(client.read_blob(&sha256(b"one")).unwrap(), b"one");
    });
}

#[test]
fn records_that_cannot_be_read_are_made_again_or_set_aside() {
    let put =
        |site: &Site, column, key: Vec<u8>| change_bytes(site.root(), |txn| txn.put(column, key, b"\xff\xff".to_vec()));
    let file = |site: &Site| put(site, Column::Files, sha256(b"one").into_bytes());
    found_and_repaired("unreadable-record", file, |site, client| {
        expect_upload(client);
        assert_eq!(client.read_blob(&sha256(b"one")).unwrap(), b"one");
        client.delete_blob(&sha256(b"one")).unwrap();
        assert_eq!(site.blob_files(), [sha256(b"two")]);
    });
    let site = pool(&["one"]);
    put(&site, Column::Ingests, b"\0upload".to_vec());
    let daemon = site.start();
    let client = Client::new(&daemon);
    assert_eq!(client.begin("upload").err().unwrap().code(), Code::DataLoss);
    // What looks unnamed may be named by what cannot be read.
    for expected in [&["unreadable-record", "orphan-ingest"][..], &["orphan-ingest"], &[]] {
        assert_eq!(kinds(&site.fsck(true)), expected);
    }
    assert_eq!(site.fsck(false), Vec::<String>::new());
    assert_eq!(client.begin("upload").unwrap().stat().unwrap().offset, 0);
    let aside = fs::read_to_string(site.root().join("lost+found/record-ingests-0")).unwrap();
    assert!(aside.contains("value = \"\\xff\\xff\""), "{aside}");
}

#[test]
fn what_somebody_else_put_there_stays() {
    let site = pool(&["one"]);
    let foreign = ["blobs/sha256/README", "ingests/README"].map(|name| site.root().join(name));
    foreign.iter().for_each(|path| fs::write(path, "somebody's").unwrap());
    for repair in [false, true, false] {
        assert_eq!(kinds(&site.fsck(repair)), ["unknown-name", "unknown-name"]);
    }
    assert!(site.start().stop().success());
    assert!(foreign.iter().all(|path| path.exists()));
}

#[test]
fn checks_and_repairs_beside_uploads_and_deletions_find_nothing() {
    let site = Site::new();
    let daemon = site.start();
    let done = AtomicBool::new(false);
    let mut random = Random::new();
    std::thread::scope(|scope| {
        for n in 0..6 {
            let (daemon, done, mut random) = (&daemon, &done, random.fork());
            scope.spawn(move || {
                let client = Client::new(daemon);
                let mut kept: Vec<String> = Vec::new();
                while !done.load(Ordering::SeqCst) {
                    let name = format!("ref {n}");
                    // Now and then two have the same.
                    let data = match random.below(4) {
                        0 => vec![7; 1 + random.below(3) as usize],
                        _ => {
                            let len = random.below(5000) as usize;
                            random_data(&mut random, len)
                        }
                    };
                    match random.below(4) {
                        0 => drop(
                            client
                                .begin(&name)
                                .and_then(|mut upload| upload.write(0, &data))
                                .and_then(|_| client.abort(&name)),
                        ),
                        1 => {
                            if let Some(digest) = kept.pop() {
                                drop(client.delete_blob(&digest))
                            }
                        }
                        _ => {
                            if let Ok(digest) = client.store(&name, &data) {
                                kept.push(digest)
                            }
                        }
                    }
                }
                for digest in kept {
                    drop(client.delete_blob(&digest));
                }
            });
        }
        let checked = std::panic::catch_unwind(|| {
            for check in 0..CHECKS {
                assert_eq!(site.fsck(check % 2 == 1), Vec::<String>::new(), "check {check}");
            }
        });
        done.store(true, Ordering::SeqCst);
        if let Err(panic) = checked {
            std::panic::resume_unwind(panic);
        }
    });
    let client = Client::new(&daemon);
    let blobs: BTreeSet<String> = client.blobs().into_iter().collect();
    assert_eq!(blobs, site.blob_files().into_iter().collect());
    for digest in &blobs {
        assert_eq!(sha256(&client.read_blob(digest).unwrap()), *digest);
    }
}
