//! Operations that pass every fail point of a daemon's life.

use crate::common::client::Client;
use crate::common::daemon::Site;
use crate::common::history::{History, Op};
use crate::points::{CrashAt, Outcome};

/// Runs the workload until it ends or the daemon crashes.
pub fn run(site: &Site, history: &mut History, at: &CrashAt) -> Outcome {
    at.serve(site, |client: &Client| {
        for op in operations() {
            history.run(client, &op)?;
            // Counted now rather than in the background, so that the order of the points is the same in every run.
            if let Op::Commit { name, .. } = &op {
                client.usage(name)?;
            }
        }
        Ok(())
    })
}

fn operations() -> Vec<Op> {
    vec![
        Op::prepare("one", ""),
        Op::write("one", "in the base"),
        Op::commit("base", "one", ""),
        Op::prepare("two", "base"),
        Op::write("two", "on the base"),
        Op::view("view", "base"),
        Op::view("empty view", ""),
        Op::label("base", "label", "changed"),
        Op::commit("second", "two", ""),
        Op::prepare("three", ""),
        Op::write("three", "rebased"),
        Op::commit("third", "three", "second"),
        Op::prepare("four", "third"),
        Op::write("four", "kept active"),
        Op::remove("view"),
        Op::remove("empty view"),
        Op::Cleanup,
        Op::prepare("five", "third"),
        Op::write("five", "removed"),
        Op::commit("fifth", "five", ""),
        Op::remove("fifth"),
        Op::Cleanup,
        Op::List,
    ]
}
