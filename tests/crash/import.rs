//! An import of another store's blobs, which the next one completes.

use std::fs;

use crate::common::client::Client;
use crate::common::content::sha256;
use crate::common::daemon::Site;
use crate::common::foreign::Foreign;
use crate::points::{CrashAt, Outcome};

/// What is there before, what shares its file, and what has to be copied.
const KNOWN: &[u8] = b"known";
const LINKED: &[u8] = b"linked";
const COPIED: &[u8] = b"copied";

/// Makes a stopped pool.
pub fn template() -> Site {
    let site = Site::new();
    let daemon = site.start();
    Client::new(&daemon).store("ref", KNOWN).unwrap();
    assert!(daemon.stop().success());
    site
}

/// Makes another store. Each run has its own.
pub fn foreign(site: &Site) -> Foreign {
    let foreign = Foreign::new(site.dir().join("foreign"));
    for data in [KNOWN, LINKED] {
        foreign.store(data);
    }
    foreign.store_as(&sha256(COPIED), COPIED, 0o644);
    foreign.store_as(&sha256(b"damaged"), b"damagex", 0o444);
    foreign
}

/// Imports until that ends or crashes. One after the other, so that every run does the same.
pub fn run(site: &Site, foreign: &Foreign, at: &CrashAt) -> Outcome {
    at.run(site.command().args(["content", "import", "--jobs", "1", foreign.name()]))
}

/// Checks what a crash left, and imports again.
pub fn check(site: &Site, foreign: &Foreign) {
    let daemon = site.start();
    let client = Client::new(&daemon);
    for digest in client.blobs() {
        assert_eq!(sha256(&client.read_blob(&digest).unwrap()), digest);
    }
    let said = site.cli(&["content", "import", foreign.name()]);
    assert!(said.code == 1 && said.err.is_empty() && said.out.contains("\n1 blob of "), "{said:?}");
    for data in [KNOWN, LINKED, COPIED] {
        assert_eq!(client.read_blob(&sha256(data)).unwrap(), data);
    }
    let blobs = client.blobs();
    assert!(daemon.stop().success());
    assert_eq!(site.fsck(false), Vec::<String>::new());
    assert_eq!((site.blob_files(), site.ingest_files()), (blobs, Vec::new()));
    for data in [KNOWN, LINKED, COPIED] {
        assert_eq!(fs::read(foreign.file(&sha256(data))).unwrap(), data);
    }
}
