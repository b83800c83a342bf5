//! Removals that are retained by policy, and their eviction, with what must be there whatever happens.

use std::cell::Cell;
use std::time::Duration;

use tonic::Status;

use crate::common::client::{Client, UPPERDIR_SETTING};
use crate::common::content::sha256;
use crate::common::daemon::Site;
use crate::common::wait_for;
use crate::damage;
use crate::points::{CrashAt, Outcome};

const SNAPSHOTS: &str = "snapshots/leasehold";
const LIMIT: Duration = Duration::from_secs(60);
/// Removed one after the other. The first one a client leases as well.
const NAMES: [&str; 3] = ["default/4/kept", "default/8/top", "default/6/base"];
/// Deleted after them.
const BLOB: &[u8] = b"blob";

fn site(retention: &str) -> Site {
    Site::with_settings(&format!("{UPPERDIR_SETTING}[retention]\nafter_remove = \"1h\"\n{retention}"))
}

/// Makes a stopped pool with a leased snapshot and two others.
pub fn template() -> Site {
    let site = site("");
    let daemon = site.start();
    let (containerd, client) = (Client::new(&daemon), Client::api(&daemon, "default"));
    client.create_lease("keep", &[]).unwrap();
    client.add_resource("keep", SNAPSHOTS, "kept").unwrap();
    containerd.make("default/4/kept", "", &[]).unwrap();
    containerd.make("default/6/base", "", &[]).unwrap();
    containerd.make("default/8/top", "default/6/base", &[]).unwrap();
    containerd.store("default/9/ref", BLOB).unwrap();
    assert!(daemon.stop().success());
    site
}

/// Makes a site with a copy of the template, in which everything that is retained is too much.
pub fn copy(template: &Site) -> Site {
    let site = site("max_bytes = 1\n");
    damage::copy(template.root(), site.root());
    site
}

/// Removes everything, and waits for the eviction of all that no client leases. Returns how many removals were answered,
/// too.
pub fn run(site: &Site, at: &CrashAt) -> (usize, Outcome) {
    let answered = Cell::new(0);
    let outcome = at.serve(site, |containerd| {
        for name in NAMES {
            containerd.remove(name)?;
            answered.set(answered.get() + 1);
        }
        containerd.delete_blob(&sha256(BLOB))?;
        answered.set(answered.get() + 1);
        let mut state = Ok(());
        wait_for("the eviction or a crash", LIMIT, || {
            state = containerd.cleanup();
            state.is_err() || (site.layer_dirs().len() == 1 && site.blob_files().is_empty())
        });
        state
    });
    (answered.get(), outcome)
}

/// Checks what a crash left: what was answered is removed, the next daemon evicts the rest, and what is leased is there.
pub fn check(site: &Site, answered: usize) {
    let daemon = site.start();
    let (containerd, client) = (Client::new(&daemon), Client::api(&daemon, "default"));
    for (number, name) in NAMES.iter().enumerate() {
        match containerd.remove(name) {
            Ok(()) => assert!(number >= answered, "the removal of {name} was answered"),
            Err(status) => assert_not_found(&status),
        }
    }
    match containerd.delete_blob(&sha256(BLOB)) {
        Ok(()) => assert!(answered <= NAMES.len(), "the deletion of the blob was answered"),
        Err(status) => assert_not_found(&status),
    }
    wait_for("the eviction", LIMIT, || {
        site.layer_dirs().len() == 1 && site.blob_files().is_empty() && site.trash_dirs().is_empty()
    });
    let [kept] = &client.why("kept").unwrap()[..] else { panic!("not one") };
    assert_eq!(kept, "retained kept: lease keep");
    assert!(client.why("base").unwrap().is_empty() && client.why("top").unwrap().is_empty());
    for lease in client.leases(&[]).unwrap() {
        assert_eq!(client.resources(&lease.id).unwrap(), [(SNAPSHOTS.to_owned(), "kept".to_owned())], "{lease:?}");
    }
    client.delete_lease_with("keep", true).unwrap();
    wait_for("the eviction of the last", LIMIT, || site.layer_dirs().is_empty() && client.lease_ids(&[]).is_empty());
    assert!(daemon.stop().success());
    assert_eq!(site.fsck(false), Vec::<String>::new());
}

fn assert_not_found(status: &Status) {
    assert_eq!(status.code(), tonic::Code::NotFound, "{status}");
}
