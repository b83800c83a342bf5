//! What a daemon answered, and the check that after a crash it is all there.
//!
//! One call may be under way when the daemon dies; then the pool must be as before it or as after it, and nothing else.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::time::Duration;

use leasehold::grpc::proto::containerd::services::snapshots::v1::{Info, Kind};
use tonic::Status;

use super::client::{Client, Labels, UPPERDIR, layer_names, upperdir, upperdir_of_mounts};
use super::daemon::Site;
use super::wait_for;

const DRAIN: Duration = Duration::from_secs(60);

/// A change of the pool, or of a file in a layer.
#[derive(Clone, Debug)]
pub enum Op {
    Prepare {
        key: String,
        parent: String,
    },
    View {
        key: String,
        parent: String,
    },
    /// Writes the file of the layer; no call.
    Write {
        key: String,
        content: String,
    },
    /// Makes the file of the layer and all names that lead to it durable; no call.
    Sync {
        key: String,
    },
    /// `parent` is empty unless it is given only now.
    Commit {
        name: String,
        key: String,
        parent: String,
    },
    Label {
        key: String,
        label: String,
        value: String,
    },
    Remove {
        key: String,
    },
    List,
    Cleanup,
}

impl Op {
    pub fn prepare(key: &str, parent: &str) -> Op {
        Op::Prepare { key: key.into(), parent: parent.into() }
    }

    pub fn view(key: &str, parent: &str) -> Op {
        Op::View { key: key.into(), parent: parent.into() }
    }

    pub fn write(key: &str, content: &str) -> Op {
        Op::Write { key: key.into(), content: content.into() }
    }

    pub fn sync(key: &str) -> Op {
        Op::Sync { key: key.into() }
    }

    pub fn commit(name: &str, key: &str, parent: &str) -> Op {
        Op::Commit { name: name.into(), key: key.into(), parent: parent.into() }
    }

    pub fn label(key: &str, label: &str, value: &str) -> Op {
        Op::Label { key: key.into(), label: label.into(), value: value.into() }
    }

    pub fn remove(key: &str) -> Op {
        Op::Remove { key: key.into() }
    }
}

/// A snapshot as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    pub kind: Kind,
    pub parent: String,
    pub labels: Labels,
    /// What the file of its layer says; `None` when none was written.
    pub content: Option<String>,
}

pub type State = BTreeMap<String, Expected>;

/// What was answered.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub state: State,
    /// The state if the call that was not answered was carried out.
    pub pending: Option<State>,
}

impl History {
    /// Carries out operations on a new pool; all must succeed.
    pub fn of(client: &Client, ops: impl IntoIterator<Item = Op>) -> History {
        let mut history = History::default();
        for op in ops {
            history.run(client, &op).unwrap();
        }
        history
    }

    /// Carries out an operation that must succeed, unless the daemon dies meanwhile.
    pub fn run(&mut self, client: &Client, op: &Op) -> Result<(), Status> {
        assert!(self.pending.is_none(), "look first what became of the last call");
        self.pending = Some(after(&self.state, op));
        carry_out(client, op)?;
        self.state = self.pending.take().unwrap();
        Ok(())
    }

    /// Like [`settle`](Self::settle) after a power cut, in which files that nobody synced may be lost: what active
    /// snapshots have now is what they have from now on.
    pub fn settle_after_power_cut(&mut self, found: &State) {
        let without_unsynced = |state: &State| -> State {
            let mut state = state.clone();
            state.values_mut().filter(|one| one.kind != Kind::Committed).for_each(|one| one.content = None);
            state
        };
        self.state = without_unsynced(&self.state);
        self.pending = self.pending.as_ref().map(without_unsynced);
        self.settle(&without_unsynced(found));
        self.state.clone_from(found);
    }

    /// Finds out what became of the call under way; panics when the pool is neither as before it nor as after it.
    pub fn settle(&mut self, found: &State) {
        match self.pending.take() {
            Some(after) if *found == after => self.state = after,
            Some(after) if *found != self.state => {
                panic!("found {found:#?}\nbefore the last call {:#?}\nafter it {after:#?}", self.state)
            }
            _ => assert_eq!(*found, self.state, "found on the left, answered on the right"),
        }
    }
}

/// Returns the state after an operation.
fn after(state: &State, op: &Op) -> State {
    let mut state = state.clone();
    let new = |kind, parent: &String| Expected { kind, parent: parent.clone(), labels: Labels::new(), content: None };
    match op {
        Op::Prepare { key, parent } => drop(state.insert(key.clone(), new(Kind::Active, parent))),
        Op::View { key, parent } => drop(state.insert(key.clone(), new(Kind::View, parent))),
        Op::Write { key, content } => state.get_mut(key).unwrap().content = Some(content.clone()),
        Op::Commit { name, key, parent } => {
            let mut snapshot = state.remove(key).unwrap();
            snapshot.kind = Kind::Committed;
            snapshot.labels = Labels::new();
            if !parent.is_empty() {
                snapshot.parent.clone_from(parent);
            }
            state.insert(name.clone(), snapshot);
        }
        Op::Label { key, label, value } => {
            state.get_mut(key).unwrap().labels.insert(label.clone(), value.clone());
        }
        Op::Remove { key } => drop(state.remove(key)),
        Op::Sync { .. } | Op::List | Op::Cleanup => {}
    }
    state
}

fn carry_out(client: &Client, op: &Op) -> Result<(), Status> {
    match op {
        Op::Prepare { key, parent } => client.prepare(key, parent).map(drop),
        Op::View { key, parent } => client.view(key, parent).map(drop),
        Op::Write { key, content } => {
            let layer = upperdir_of_mounts(&client.mounts(key)?);
            // Whole or not at all.
            let new = layer.join("new");
            let written = fs::write(&new, content).and_then(|()| fs::rename(&new, layer.join("file")));
            written.map_err(|err| {
                drop(fs::remove_file(&new));
                Status::resource_exhausted(format!("{new:?}: {err}"))
            })
        }
        Op::Sync { key } => {
            let layer = upperdir_of_mounts(&client.mounts(key)?);
            rustix::fs::syncfs(File::open(layer).unwrap()).unwrap();
            Ok(())
        }
        Op::Commit { name, key, parent } => client.commit_with(name, key, parent, &[]),
        Op::Label { key, label, value } => {
            client.update(key, &[(label, value)], &[&format!("labels.{label}")]).map(drop)
        }
        Op::Remove { key } => client.remove(key),
        Op::List => client.list(&[]).map(drop),
        Op::Cleanup => client.cleanup(),
    }
}

/// Reads the state of a pool whose site has [`UPPERDIR_SETTING`](super::client::UPPERDIR_SETTING).
pub fn found(all: &[Info]) -> State {
    let expected = |info: &Info| {
        let content = upperdir(info).and_then(|layer| {
            assert!(layer.is_dir(), "{layer:?} of {info:?} is missing");
            fs::read_to_string(layer.join("file")).ok()
        });
        let labels = info.labels.clone().into_iter().filter(|(key, _)| key != UPPERDIR).collect();
        (info.name.clone(), Expected { kind: info.kind(), parent: info.parent.clone(), labels, content })
    };
    all.iter().map(expected).collect()
}

/// Checks that records and directories agree in every way, that all can be mounted, and that trash drains. Returns all
/// snapshots.
pub fn check_pool(site: &Site, client: &Client) -> Vec<Info> {
    assert_eq!(site.fsck(false), Vec::<String>::new());
    // Removed layers may wait in l/ for their way through the trash.
    client.cleanup().unwrap();
    wait_for("the end of trash", DRAIN, || site.trash_dirs().is_empty());
    let all = client.list(&[]).unwrap();
    assert_eq!(site.layer_dirs(), layer_names(&all), "l/ on the left, records on the right");
    check_mounts(client, &all);
    assert_eq!(site.staging_dirs(), Vec::<String>::new());
    all
}

/// Checks that every mount names the layers of all parents, nearest first, and that they exist.
fn check_mounts(client: &Client, all: &[Info]) {
    let by_name: BTreeMap<&str, &Info> = all.iter().map(|info| (info.name.as_str(), info)).collect();
    for info in all.iter().filter(|info| info.kind() != Kind::Committed) {
        let mut parents = Vec::new();
        let mut next = info.parent.as_str();
        while !next.is_empty() {
            let parent = by_name.get(next).unwrap_or_else(|| panic!("{next:?} of {info:?} is missing"));
            parents.push(upperdir(parent).unwrap());
            next = &parent.parent;
        }
        let mounts = client.mounts(&info.name).unwrap();
        let lowers: Vec<PathBuf> = match mounts[0].r#type.as_str() {
            "bind" if parents.is_empty() => Vec::new(),
            "bind" => vec![mounts[0].source.clone().into()],
            _ => {
                let lowers = mounts[0].options.iter().find_map(|option| option.strip_prefix("lowerdir="));
                lowers.into_iter().flat_map(|lowers| lowers.split(':')).map(Into::into).collect()
            }
        };
        assert_eq!(lowers, parents, "{info:?}");
        assert!(lowers.iter().all(|lower| lower.is_dir()), "{lowers:?}");
    }
}
