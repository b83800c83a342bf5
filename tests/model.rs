//! Random operations, right ones and wrong ones, against a model in memory; stopping and killing the daemon included.

mod common;
#[path = "model/operation.rs"]
mod operation;
#[path = "model/reference.rs"]
mod reference;

use std::path::{Path, PathBuf};

use common::client::{Client, upperdir_of_mounts};
use common::daemon::{Daemon, Site};
use leasehold::grpc::proto::containerd::services::snapshots::v1 as api;
use leasehold::grpc::proto::containerd::types::Mount;
use operation::Operation;
use proptest::prelude::*;
use reference::{Kind, Model};
use tonic::{Code, Status};

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 12,
        // A case takes a second or so: enough to make a failure readable, not to make it minimal at any price.
        max_shrink_iters: 64,
        failure_persistence: Some(Box::new(proptest::test_runner::FileFailurePersistence::SourceParallel(
            "proptest-regressions",
        ))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn privileged_the_daemon_agrees_with_a_model(operations in prop::collection::vec(operation::any(), 1..60)) {
        if common::is_root("the model test") {
            run(&operations);
        }
    }
}

/// A daemon and the model that it has to agree with.
struct Pair {
    site: Site,
    daemon: Daemon,
    client: Client,
    model: Model,
}

fn run(operations: &[Operation]) {
    let site = Site::new();
    let daemon = site.start();
    let client = Client::new(&daemon);
    let mut pair = Pair { site, daemon, client, model: Model::default() };
    for operation in operations {
        pair = pair.apply(operation);
        pair.check_list(&[]);
    }
    pair.client.cleanup().unwrap();
    assert_eq!(pair.site.fsck(false), Vec::<String>::new());
    assert_eq!(pair.site.layer_dirs().len(), pair.model.layers());
    assert!(pair.daemon.stop().success());
}

impl Pair {
    fn apply(mut self, operation: &Operation) -> Pair {
        let Pair { client, model, .. } = &mut self;
        match operation {
            Operation::Prepare { key, parent, labels } => {
                let answer = client.prepare_with(key, parent, &pairs(labels));
                let expected = model.create(Kind::Active, key, parent, labels);
                if let Some(mounts) = same(operation, answer, expected) {
                    // The layer's directory says whose it is.
                    std::fs::write(upperdir_of_mounts(&mounts).join("layer"), model.layer(key)).unwrap();
                    check_mounts(&mounts, model, key);
                }
            }
            Operation::View { key, parent, labels } => {
                let answer = client.view_with(key, parent, &pairs(labels));
                let expected = model.create(Kind::View, key, parent, labels);
                if let Some(mounts) = same(operation, answer, expected) {
                    check_mounts(&mounts, model, key);
                }
            }
            Operation::Commit { name, key, parent, labels } => {
                let answer = client.commit_with(name, key, parent, &pairs(labels));
                same(operation, answer, model.commit(name, key, parent, labels));
            }
            Operation::Remove { key } => drop(same(operation, client.remove(key), model.remove(key))),
            Operation::Update { key, labels, paths } => {
                let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
                same(operation, client.update(key, &pairs(labels), &paths), model.update(key, labels, &paths));
            }
            Operation::Mounts { key } => {
                if let Some(mounts) = same(operation, client.mounts(key), model.mounts(key)) {
                    check_mounts(&mounts, model, key);
                }
            }
            Operation::Stat { key } => drop(same(operation, client.stat(key), model.find(key))),
            Operation::Usage { key } => drop(same(operation, client.usage(key), model.find(key))),
            Operation::List { filter } => self.check_list(&[filter]),
            Operation::Cleanup => client.cleanup().unwrap(),
            Operation::Stop => return self.restart(|daemon| assert!(daemon.stop().success())),
            Operation::Kill => return self.restart(Daemon::kill),
        }
        self
    }

    fn restart(self, end: impl FnOnce(Daemon)) -> Pair {
        let Pair { site, daemon, client, model } = self;
        drop(client);
        end(daemon);
        let daemon = site.start();
        let client = Client::new(&daemon);
        Pair { site, daemon, client, model }
    }

    fn check_list(&self, filters: &[&str]) {
        let listed: Vec<_> = self.client.list(filters).unwrap().into_iter().map(comparable).collect();
        assert_eq!(listed, self.model.list(filters.first().copied()), "{filters:?}");
    }
}

/// Compares the codes; returns what was answered when both succeeded.
fn same<T, E>(operation: &Operation, answer: Result<T, Status>, expected: Result<E, Code>) -> Option<T> {
    match (answer, expected) {
        (Ok(value), Ok(_)) => Some(value),
        (Err(status), Err(code)) if status.code() == code => None,
        (answer, expected) => panic!(
            "{operation:?}: answered {:?}, expected {:?}",
            answer.map(drop).map_err(|status| (status.code(), status.message().to_owned())),
            expected.map(drop)
        ),
    }
}

/// The directories below a mount must be those of the parents, nearest first.
fn check_mounts(mounts: &[Mount], model: &Model, key: &str) {
    let [mount] = mounts else { panic!("{mounts:?}") };
    let lower = mount.options.iter().find_map(|option| option.strip_prefix("lowerdir="));
    let shown: Vec<PathBuf> = match lower {
        Some(list) => list.split(':').map(PathBuf::from).collect(),
        // A view of one parent is a bind mount of it; without parents there is nothing below.
        None if model.kind(key) == Kind::View && !model.chain(key).is_empty() => vec![mount.source.clone().into()],
        None => Vec::new(),
    };
    let layer = |path: &PathBuf| std::fs::read_to_string(Path::new(path).join("layer")).unwrap();
    assert_eq!(shown.iter().map(layer).collect::<Vec<_>>(), model.chain(key), "{key}");
}

fn comparable(info: api::Info) -> reference::Listed {
    let kind = match info.kind() {
        api::Kind::View => Kind::View,
        api::Kind::Active => Kind::Active,
        api::Kind::Committed => Kind::Committed,
        api::Kind::Unknown => panic!("{info:?}"),
    };
    reference::Listed { name: info.name, kind, parent: info.parent, labels: info.labels }
}

fn pairs(labels: &reference::Labels) -> Vec<(&str, &str)> {
    labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}
