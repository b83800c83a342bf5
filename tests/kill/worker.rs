//! One client of the load: makes, changes and removes snapshots of its own as fast as it is answered.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use leasehold::grpc::proto::containerd::services::snapshots::v1::Kind;
use tonic::Code;

use crate::common::client::Client;
use crate::common::history::{History, Op, State};
use crate::common::random::Random;

/// About how many snapshots one client keeps.
const KEPT: usize = 12;

pub struct Worker {
    number: usize,
    random: Random,
    history: History,
    made: u64,
    pub answered: u64,
}

impl Worker {
    pub fn new(number: usize, random: Random) -> Worker {
        Worker { number, random, history: History::default(), made: 0, answered: 0 }
    }

    /// Returns how all its keys begin.
    pub fn prefix(&self) -> String {
        format!("{}/", self.number)
    }

    /// Finds out what became of its last call.
    pub fn settle(&mut self, found: &State) {
        self.history.settle(found);
    }

    /// Works until the daemon is killed. Any other failure is a mistake.
    pub fn work(&mut self, socket: &Path, killed: &AtomicBool) {
        let client = match Client::connect(socket) {
            Ok(client) => client,
            Err(err) => {
                assert!(killed.load(Ordering::SeqCst), "{err}");
                return;
            }
        };
        loop {
            let op = self.next_op();
            if let Err(status) = self.history.run(&client, &op) {
                let lost = [Code::Unavailable, Code::Unknown, Code::Cancelled, Code::Internal].contains(&status.code());
                assert!(lost && killed.load(Ordering::SeqCst), "{op:?}: {status}");
                return;
            }
            self.answered += 1;
        }
    }

    fn next_op(&mut self) -> Op {
        loop {
            if let Some(op) = self.try_op() {
                return op;
            }
        }
    }

    /// Chooses an operation; `None` when there is nothing to apply it to.
    fn try_op(&mut self) -> Option<Op> {
        let state = &self.history.state;
        let random = &mut self.random;
        let of_kind = |kind: Kind| -> Vec<&String> {
            state.iter().filter(|(_, snapshot)| snapshot.kind == kind).map(|(key, _)| key).collect()
        };
        let parent = |random: &mut Random| match random.below(4) {
            0 => String::new(),
            1 => "base".to_owned(),
            _ => random.pick(&of_kind(Kind::Committed)).map_or_else(String::new, |key| (*key).clone()),
        };
        let full = state.len() > KEPT;
        self.made += 1;
        let new = format!("{}/{}", self.number, self.made);
        Some(match random.below(12) {
            0..=2 if !full => Op::Prepare { key: new, parent: parent(random) },
            3 if !full => Op::View { key: new, parent: parent(random) },
            4 | 5 => {
                let key = (*random.pick(&of_kind(Kind::Active))?).clone();
                Op::Write { key, content: format!("written as {new}") }
            }
            6 | 7 => {
                let key = (*random.pick(&of_kind(Kind::Active))?).clone();
                let rebase = state[&key].parent.is_empty();
                Op::Commit { name: new, key, parent: if rebase { parent(random) } else { String::new() } }
            }
            8 => Op::Label { key: random.pick(&state.keys().collect::<Vec<_>>())?.to_string(), value: new },
            9 | 10 => {
                let is_parent = |key: &String| state.values().any(|other| other.parent == *key);
                let leaves: Vec<_> = state.keys().filter(|key| !is_parent(key)).collect();
                Op::Remove { key: (*random.pick(&leaves)?).clone() }
            }
            11 if random.below(4) == 0 => Op::Cleanup,
            11 => Op::List,
            _ => return None,
        })
    }
}
