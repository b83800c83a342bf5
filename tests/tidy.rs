//! The sources keep those rules of ARCHITECTURE.md that a program can check.

#[path = "tidy/arrows.rs"]
mod arrows;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;

use std::fs;
use std::path::Path;

use source::Source;

/// What is no part of the sources.
const SKIPPED: [&str; 2] = [".git", "target"];

fn check(source: &Source) -> Vec<String> {
    [arrows::check(source), rules::check(source)].concat()
}

#[test]
fn the_sources_are_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    read_below(root, root, &mut sources);
    assert!(sources.iter().any(|source| source.path == "src/lib.rs"), "no sources in {root:?}");
    let problems: Vec<String> = sources.iter().flat_map(check).collect();
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

fn read_below(root: &Path, dir: &Path, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(dir).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        // `.git` is a file where the clone is a work tree of another one.
        if SKIPPED.iter().any(|skipped| name == *skipped) {
            continue;
        }
        if path.is_dir() && !path.is_symlink() {
            read_below(root, &path, sources);
            continue;
        }
        // What is not text has no lines to check.
        if let Ok(text) = fs::read_to_string(&path) {
            sources.push(Source::new(path.strip_prefix(root).unwrap().to_str().unwrap(), &text));
        }
    }
}

/// Returns what is reported for one file, without its path.
fn problems(path: &str, text: &str) -> Vec<String> {
    let text = if path.starts_with("src/") { format!("//! Invented.\n{text}") } else { text.to_owned() };
    check(&Source::new(path, &text)).iter().map(|problem| problem.replacen(path, "", 1)).collect()
}

#[test]
fn every_arrow_that_is_not_allowed_is_reported() {
    for (path, text, expected) in [
        ("src/store/open.rs", "use crate::metadata::Metadata;", ":2: store must not use metadata"),
        ("src/metadata/mod.rs", "\n\nuse crate::overlay::Layout;", ":4: metadata must not use overlay"),
        ("src/overlay/mod.rs", "use crate::{Error, types::LayerId, store};", ":2: overlay must not use store"),
        (
            "src/leases/mod.rs",
            "use crate::{\n    metadata::{Kind, Lease},\n    overlay::{self},\n};",
            "must not use overlay",
        ),
        ("src/content/read.rs", "fn f() { crate::diff::apply() }", "content must not use diff"),
        ("src/grpc/mod.rs", "use crate::app;", "grpc must not use app"),
        ("src/gc/mod.rs", "use crate::app::App;", "gc must not use app"),
        ("src/pool.rs", "use super::overlay;", "pool must not use overlay"),
        ("src/store/read.rs", "use super::super::grpc::Servers;", "store must not use grpc"),
        ("src/store/read.rs", "mod tests { mod deep { use super::super::super::super::app; } }", "must not use app"),
        ("src/main.rs", "fn main() { leasehold::cache::run() }", "main must not use cache"),
        ("src/config.rs", "use crate::cli;", "config must not use cli"),
        ("src/types/key.rs", "use crate::*;", "a glob"),
        ("src/cache/mod.rs", "", "cache is no module"),
        ("src/cli/mod.rs", "use crate::cache;", "cli must not use cache"),
    ] {
        let found = problems(path, text);
        assert!(found.len() == 1 && found[0].contains(expected), "{path}: {text}: {found:?}");
    }
}

#[test]
fn every_rule_catches_what_it_is_for() {
    let long = "\n".repeat(500);
    for (path, text, expected) in [
        ("src/metadata/mod.rs", "use tonic::Status;", ":2: tonic is for grpc only"),
        ("src/cli/info.rs", "fn f(_: tonic::Status) {}", "tonic is for grpc only"),
        ("src/metadata/mod.rs", "use rocksdb::DB;", "rocksdb is for store only"),
        ("src/snapshotter/mod.rs", "async fn f() {}", "async is for"),
        ("src/store/mod.rs", "fn f() { g().await }", "async is for"),
        ("src/store/mod.rs", &long, "more than 500 lines"),
        ("tests/a.rs", &format!("{long}\n"), "more than 500 lines"),
        ("src/store/utils.rs", "", "utils says nothing"),
        ("src/store/common/mod.rs", "", "common says nothing"),
        ("src/store/mod.rs", "mod helpers { }", "helpers says nothing"),
        ("src/store/mod.rs", "fn f() { todo!() }", "unfinished"),
        ("tests/a.rs", "fn f() { unimplemented!(\"later\") }", "unfinished"),
        ("src/store/mod.rs", concat!("// FIX", "ME: later"), "unfinished"),
        ("tests/a.rs", "#[ignore = \"slow\"] #[test] fn a() {}", ":1: a test that does not run"),
        ("tests/a.rs", "fn f() { std::thread::sleep(ONCE) }", "does not sleep"),
        ("tests/a.rs", "use tokio::time::{Instant, sleep};", "does not sleep"),
        ("src/store/tests.rs", "use std::thread::sleep;", "does not sleep"),
        ("src/store/mod.rs", "mod tests { fn f() { thread::sleep(ONCE) } }", "does not sleep"),
        ("Makefile", concat!("DIR := /ro", "ot/build"), "of one machine"),
        ("docs/a.md", concat!("`/ho", "me/me/leasehold`"), "of one machine"),
    ] {
        let found = problems(path, text);
        assert!(found.len() == 1 && found[0].contains(expected), "{path}: {text}: {found:?}");
    }
    assert_eq!(check(&Source::new("src/store/mod.rs", "use crate::Error;\n")).len(), 1, "no //! at the start");
}

#[test]
fn what_is_allowed_is_not_reported() {
    for (path, text) in [
        ("src/lib.rs", "pub mod app; pub use error::Error;"),
        ("src/main.rs", "fn main() { leasehold::cli::run() }"),
        ("src/cli/containerd/client.rs", "use tonic::Code; use crate::grpc;"),
        ("src/cli/daemon.rs", "use crate::grpc; async fn f(_: tonic::Status) { g().await }"),
        ("src/app.rs", "use crate::{Error, Result, store::Durability, overlay};"),
        ("src/grpc/mod.rs", "use tonic::Status; use crate::metadata::Kind;"),
        ("src/store/open.rs", "use rocksdb::DB; use super::Store; use crate::{Error, types};"),
        ("src/store/mod.rs", "mod tests { use super::*; use crate::store::open; }"),
        ("src/overlay/dir.rs", "pub(crate) fn a() {} pub(in crate::overlay) fn b() {}"),
        ("src/overlay/dir.rs", "// crate::app, tonic, todo!()\n/* /* async */ crate::app */ fn f() {}"),
        ("src/overlay/dir.rs", "/// [`App`](crate::app::App)\nfn f<'a>(_: &'a str) -> char { '\"' }"),
        ("src/overlay/dir.rs", r##"const A: &str = "\" crate::app"; const B: &str = r#"" crate::app"#;"##),
        ("src/overlay/dir.rs", "const A: (char, u8, &[u8]) = ('\\'', b'\\'', b\"crate::app\"); fn r#async() {}"),
        ("src/gc/schedule.rs", "fn f() { std::time::Instant::now(); }"),
        ("src/telemetry.rs", "use tokio::time::sleep; async fn f() { sleep(PERIOD).await }"),
        ("tests/a.rs", "use leasehold::app; async fn f() { g().await }"),
        ("tests/a.rs", "use std::time::Duration; fn sleep() {}"),
        ("docs/layout.md", "<root>/work/ and l/1/work/ and ${dir}/home/ and {root}/root/"),
    ] {
        assert_eq!(problems(path, text), Vec::<String>::new(), "{path}: {text}");
    }
}
