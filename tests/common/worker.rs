//! One client of the load: makes, changes and removes snapshots of its own as fast as it is answered.

use std::sync::atomic::{AtomicBool, Ordering};

use leasehold::grpc::proto::containerd::services::snapshots::v1::Kind;
use tonic::Status;

use super::client::Client;
use super::history::{History, Op, State};
use super::random::Random;

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

    /// Finds out what became of its last call, and takes its own snapshots from all that were found.
    pub fn settle(&mut self, found: &mut State) {
        let own = self.take_own(found);
        self.history.settle(&own);
    }

    /// Like [`settle`](Self::settle), where files that nobody synced may be lost.
    pub fn settle_after_power_cut(&mut self, found: &mut State) {
        let own = self.take_own(found);
        self.history.settle_after_power_cut(&own);
    }

    fn take_own(&self, found: &mut State) -> State {
        let prefix = format!("{}/", self.number);
        let (own, rest) = std::mem::take(found).into_iter().partition(|(key, _)| key.starts_with(&prefix));
        *found = rest;
        own
    }

    /// Works until the first failure, which must be an expected one.
    pub fn work(&mut self, client: &Client, is_expected: impl Fn(&Status) -> bool) {
        loop {
            let op = self.next_op();
            if let Err(status) = self.history.run(client, &op) {
                assert!(is_expected(&status), "{op:?}: {status}");
                return;
            }
            self.answered += 1;
        }
    }

    /// Works for as long as it is told to. No call fails.
    pub fn work_while(&mut self, client: &Client, go_on: impl Fn() -> bool) {
        while go_on() {
            let op = self.next_op();
            self.history.run(client, &op).unwrap_or_else(|status| panic!("{op:?}: {status}"));
            self.answered += 1;
        }
    }

    /// Works until the power is cut. What is answered after that has no claim to be on the disk: a kernel that is told to
    /// drop its journal while a sync is under way may answer it as if it had succeeded.
    pub fn work_until(&mut self, client: &Client, cut: &AtomicBool) {
        loop {
            let op = self.next_op();
            let before = self.history.state.clone();
            let result = self.history.run(client, &op);
            if cut.load(Ordering::SeqCst) {
                if result.is_ok() {
                    self.history.pending = Some(std::mem::replace(&mut self.history.state, before));
                }
                return;
            }
            result.unwrap_or_else(|status| panic!("{op:?}: {status}"));
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
            8 => Op::label(random.pick(&state.keys().collect::<Vec<_>>())?, "label", &new),
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
