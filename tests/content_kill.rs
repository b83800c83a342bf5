//! Killed at any moment under two hundred uploads, the daemon has every blob that it said to have, and the others go on.

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::client::Client;
use common::content::{random_data, sha256, stat};
use common::daemon::Site;
use common::random::Random;
use common::wait_for;
use leasehold::grpc::proto::containerd::services::content::v1 as api;
use tonic::{Code, Status};

const UPLOADS: usize = 200;
const CONNECTIONS: usize = 10;
const KILLS: usize = 12;
/// The longest time under load before a kill, in microseconds.
const LOAD: u64 = 400_000;
const LIMIT: Duration = Duration::from_secs(60);

/// What one client uploads again and again, until it is told that it is there.
struct Blob {
    name: String,
    data: Vec<u8>,
    /// So much was answered.
    offset: usize,
    committed: bool,
}

impl Blob {
    fn new(number: usize, random: &mut Random) -> Blob {
        // Now and then the same as somebody else's.
        let data = if number.is_multiple_of(20) { vec![number as u8 / 40; 30_000] } else { Vec::new() };
        let len = 1000 + random.below(400_000) as usize;
        let data = if data.is_empty() { random_data(random, len) } else { data };
        Blob { name: format!("default/{number}/layer"), data, offset: 0, committed: false }
    }

    /// Goes on where the daemon is, which is never behind what it answered.
    fn upload(&mut self, client: &Client, random: &mut Random) -> Result<(), Status> {
        let (mut upload, reply) =
            client.open(api::WriteContentRequest { total: self.data.len() as i64, ..stat(&self.name) })?;
        let offset = reply.offset as usize;
        if offset < self.offset {
            // Only a commit that was carried out, and not answered, ends an ingest.
            match client.blob(&sha256(&self.data)) {
                Err(status) if status.code() == Code::NotFound => {
                    panic!("{}: {offset} after {} was answered", self.name, self.offset)
                }
                answer => drop(answer?),
            }
        }
        assert_eq!(reply.digest, sha256(&self.data[..offset]), "{}", self.name);
        self.offset = offset;
        while self.offset < self.data.len() {
            let len = (1 + random.below(60_000) as usize).min(self.data.len() - self.offset);
            let reply = upload.write(self.offset, &self.data[self.offset..self.offset + len])?;
            self.offset += len;
            assert_eq!(reply.offset as usize, self.offset);
        }
        match upload.commit(self.data.len(), &sha256(&self.data)) {
            Ok(_) => {}
            Err(status) if status.code() == Code::AlreadyExists => {}
            Err(status) => return Err(status),
        }
        self.committed = true;
        Ok(())
    }
}

fn is_lost(status: &Status) -> bool {
    [Code::Unavailable, Code::Unknown, Code::Cancelled, Code::Internal].contains(&status.code())
}

#[test]
fn blobs_verify_and_uploads_go_on_when_the_daemon_is_killed_under_load() {
    let mut random = Random::new();
    let site = Site::new();
    let mut daemon = site.start();
    let mut blobs: Vec<Blob> = (0..UPLOADS).map(|number| Blob::new(number, &mut random)).collect();
    let (committed, mut begun) = (AtomicUsize::new(0), 0);
    for kill in 0..=KILLS {
        let killed = AtomicBool::new(false);
        let last = kill == KILLS;
        std::thread::scope(|scope| {
            let clients: Vec<Option<Client>> =
                (0..CONNECTIONS).map(|_| Client::connect(daemon.plugin_socket()).ok()).collect();
            let mut uploading = Vec::new();
            for (number, blob) in blobs.iter_mut().enumerate().filter(|(_, blob)| !blob.committed) {
                let client = clients[number % CONNECTIONS].as_ref().map(Client::another);
                let (killed, committed, mut random) = (&killed, &committed, random.fork());
                let Some(client) = client else { continue };
                uploading.push(scope.spawn(move || {
                    let mut result = Err(Status::unavailable("not tried"));
                    wait_for("the end of a former stream, or of the daemon", LIMIT, || {
                        result = blob.upload(&client, &mut random);
                        // The stream of the daemon before this one is gone with it.
                        !matches!(&result, Err(status) if status.code() == Code::Unavailable)
                            || killed.load(Ordering::SeqCst)
                    });
                    match result {
                        Ok(()) => _ = committed.fetch_add(1, Ordering::SeqCst),
                        Err(status) => {
                            assert!(is_lost(&status) && killed.load(Ordering::SeqCst), "{}: {status}", blob.name);
                        }
                    }
                }));
            }
            if !last {
                std::thread::park_timeout(Duration::from_micros(random.below(LOAD)));
                killed.store(true, Ordering::SeqCst);
                rustix::process::kill_process(
                    rustix::process::Pid::from_raw(daemon.pid() as i32).unwrap(),
                    rustix::process::Signal::KILL,
                )
                .unwrap();
            }
        });
        if last {
            break;
        }
        daemon.kill();
        daemon = site.start();
        let client = Client::new(&daemon);
        wait_for("the end of what the kill left", LIMIT, || site.fsck(false).is_empty());
        let there: BTreeMap<String, i64> =
            client.blob_pages(&[]).unwrap().concat().into_iter().map(|info| (info.digest, info.size)).collect();
        for blob in &blobs {
            let digest = sha256(&blob.data);
            if blob.committed {
                assert_eq!(there.get(&digest), Some(&(blob.data.len() as i64)), "{} was answered", blob.name);
            }
        }
        for digest in there.keys() {
            assert_eq!(sha256(&std::fs::read(site.blob_file(digest)).unwrap()), *digest);
        }
        begun += client.refs().len();
        assert_eq!(site.ingest_files().len(), client.refs().len());
    }
    assert_eq!(committed.load(Ordering::SeqCst), UPLOADS);
    eprintln!("{begun} uploads went on after {KILLS} kills");
    let client = Client::new(&daemon);
    for blob in &blobs {
        assert!(client.read_blob(&sha256(&blob.data)).unwrap() == blob.data);
    }
    // An upload whose commit was not answered was begun again, and found its blob there.
    assert_eq!(client.refs(), Vec::<String>::new());
    wait_for("the end of trash", LIMIT, || site.trash_dirs().is_empty());
    assert_eq!((site.ingest_files(), site.fsck(false)), (Vec::new(), Vec::<String>::new()));
    assert!(daemon.stop().success());
}
