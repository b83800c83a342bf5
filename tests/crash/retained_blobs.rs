//! Deletions of blobs that a lease names, and what becomes of these, with what must be there whatever happens.

use std::cell::Cell;
use std::time::Duration;

use tonic::{Code, Status};

use crate::common::client::Client;
use crate::common::content::sha256;
use crate::common::daemon::Site;
use crate::common::wait_for;
use crate::points::{CrashAt, Outcome};

const LIMIT: Duration = Duration::from_secs(60);
/// What the one lease names: containerd has the first one in the end.
const LEASED: [&[u8]; 2] = [b"adopted", b"given up"];

fn connect(site: &Site) -> Result<Client, Status> {
    let connected = Client::connect(&site.api_socket());
    Ok(connected.map_err(|err| Status::unavailable(err.to_string()))?.in_namespace("default"))
}

/// Makes a stopped pool with the blobs that containerd is to delete.
pub fn template() -> Site {
    let site = Site::new();
    let daemon = site.start();
    let (containerd, client) = (Client::new(&daemon), Client::api(&daemon, "default"));
    client.create_lease("lease", &[]).unwrap();
    for data in LEASED {
        let digest = containerd.store("default/1/ref", data).unwrap();
        client.add_resource("lease", "content", &digest).unwrap();
    }
    assert!(daemon.stop().success());
    site
}

/// Deletes both, asks for one, and ends the lease. Returns how many calls were answered, too.
pub fn run(site: &Site, at: &CrashAt) -> (usize, Outcome) {
    let answered = Cell::new(0);
    let outcome = at.serve(site, |containerd| {
        let step = |result: Result<(), Status>| result.map(|()| answered.set(answered.get() + 1));
        for data in LEASED {
            step(containerd.delete_blob(&sha256(data)))?;
        }
        step(containerd.blob(&sha256(LEASED[0])).map(drop))?;
        step(connect(site)?.delete_lease_with("lease", true))?;
        containerd.cleanup()
    });
    (answered.get(), outcome)
}

/// Checks what a crash left: nothing that the lease or containerd holds is gone, and all else goes.
pub fn check(site: &Site, answered: usize) {
    let daemon = site.start();
    let (containerd, client) = (Client::new(&daemon), Client::api(&daemon, "default"));
    let listed = containerd.blobs();
    for (number, data) in LEASED.iter().enumerate() {
        // Deleted by the call of that number; the first one is containerd's again after the third.
        let may_be_listed = number >= answered || (number == 0 && answered >= 2);
        assert!(may_be_listed || !listed.contains(&sha256(data)), "after {answered} calls: {listed:?}");
    }
    assert!(answered < 3 || listed.contains(&sha256(LEASED[0])), "after {answered} calls: {listed:?}");
    let leased = !client.lease_ids(&[]).is_empty();
    assert!(leased || answered >= 3, "after {answered} calls");
    for data in LEASED.iter().filter(|data| leased || listed.contains(&sha256(data))) {
        assert_eq!(containerd.read_blob(&sha256(data)).unwrap(), *data);
    }
    for digest in &listed {
        containerd.delete_blob(digest).unwrap();
    }
    if leased {
        assert_eq!(site.blob_files().len(), LEASED.len());
        client.delete_lease_with("lease", true).unwrap();
    }
    wait_for("the end of all blobs", LIMIT, || site.blob_files().is_empty() && site.trash_dirs().is_empty());
    for data in LEASED {
        assert_eq!(containerd.read_blob(&sha256(data)).unwrap_err().code(), Code::NotFound);
    }
    assert!(daemon.stop().success());
    assert_eq!(site.fsck(false), Vec::<String>::new());
}
