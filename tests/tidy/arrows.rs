//! Which module may use which.

use std::collections::BTreeSet;

use super::source::Source;

/// The direct arrows of ARCHITECTURE.md. What can be reached through them may be used as well.
const ARROWS: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    ("cli", &["app", "config", "pool", "telemetry"]),
    ("app", &["config", "gc", "grpc", "pool", "telemetry"]),
    ("telemetry", &["config", "content", "overlay", "snapshotter"]),
    ("grpc", &["content", "diff", "gc", "leases", "namespaces", "snapshotter"]),
    ("gc", &["content", "diff", "leases", "snapshotter"]),
    ("snapshotter", &["background", "metadata", "overlay"]),
    ("content", &["background", "metadata", "overlay"]),
    ("diff", &["content", "snapshotter"]),
    ("namespaces", &["leases"]),
    ("leases", &["metadata"]),
    ("metadata", &["failpoint", "store"]),
    ("store", &["failpoint"]),
    ("overlay", &["failpoint"]),
    ("background", &[]),
    ("config", &[]),
    ("failpoint", &[]),
    ("pool", &[]),
    ("types", &[]),
    ("error", &[]),
];

/// What everything may use.
const FOR_ALL: [&str; 2] = ["types", "error"];

/// Reports every use of a module that the arrows do not allow.
pub fn check(source: &Source) -> Vec<String> {
    let Some(from) = source.top_module() else { return Vec::new() };
    let Some(allowed) = reachable(from) else {
        return vec![format!(
            "{}: {from} is no module of ARCHITECTURE.md; give it a place there and here",
            source.path
        )];
    };
    let mut problems = Vec::new();
    for (line, to) in uses(source) {
        // A type, trait or function that lib.rs re-exports from `error`.
        let item = to.starts_with(char::is_uppercase) || to == "self";
        if to == "*" {
            problems.push(format!("{}:{line}: a glob of the crate's root hides what is used", source.path));
        } else if !item && to != from && !allowed.contains(to) {
            problems.push(format!("{}:{line}: {from} must not use {to}", source.path));
        }
    }
    problems
}

/// Returns what `from` may use, or nothing for an unknown module.
fn reachable(from: &str) -> Option<BTreeSet<&'static str>> {
    let arrows_of = |name: &str| ARROWS.iter().find(|(module, _)| *module == name).map(|(_, to)| *to);
    let mut found = BTreeSet::from(FOR_ALL);
    let mut next = arrows_of(from)?.to_vec();
    while let Some(name) = next.pop() {
        if found.insert(name) {
            next.extend(arrows_of(name).unwrap_or_default());
        }
    }
    Some(found)
}

/// Returns the first name below the crate's root of every path that starts there, with its line.
fn uses(source: &Source) -> Vec<(usize, &str)> {
    let mut uses = Vec::new();
    for (index, token) in source.tokens.iter().enumerate() {
        let depth = source.modules().len() + token.inline_modules.len();
        let after = match token.text.as_str() {
            "crate" => index + 1,
            // The binary sees the library from outside.
            "leasehold" if source.path == "src/main.rs" => index + 1,
            "super" if index < 2 || source.at(index - 2) != "super" => {
                let supers = (index..source.tokens.len()).step_by(2).take_while(|&at| source.at(at) == "super").count();
                if supers < depth {
                    continue;
                }
                index + 2 * supers - 1
            }
            _ => continue,
        };
        if source.at(after) == "::" {
            uses.extend(source.names_at(after + 1).into_iter().map(|name| (token.line, name)));
        }
    }
    uses
}
