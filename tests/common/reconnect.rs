//! Pulling again after leasehold was killed.

use std::time::Duration;

use super::containerd::{Client, Session};
use super::images::Image;
use super::tools::output;
use super::wait_for;

/// containerd reconnects with a back-off of up to three seconds.
pub const RECONNECTION: Duration = Duration::from_secs(30);

impl Session<'_> {
    /// Pulls an image, again and again until containerd is connected again.
    ///
    /// containerd 2.3 drops the error of a Prepare when it unpacks in parallel, and reports a pull that unpacked nothing
    /// as a success; the next pull unpacks.
    pub fn pull_after_restart(&self, client: Client, image: &Image) {
        let mut last = Ok(String::new());
        wait_for("a pull after the restart", RECONNECTION, || {
            last = output(&mut self.pull_command(client, image));
            if let Err(err) = &last {
                // Nothing but the connection may be in the way.
                assert!(err.contains("navailable") || err.contains("connect"), "{err}");
            }
            last.is_ok() && self.has_snapshot(image.chain_id())
        });
    }
}
