//! What is forbidden, and where.

use super::source::{Source, Token};

/// Lines of a source file.
const MAX_LINES: usize = 500;
/// Names that say nothing about what is in a module.
const EMPTY_NAMES: [&str; 4] = ["utils", "helpers", "manager", "common"];
/// Where waiting without a thread is allowed. Everything below is synchronous.
const ASYNC_MODULES: [&str; 4] = ["app", "cli", "grpc", "telemetry"];

/// The two ends of the command line's connections, the only files outside of `grpc` that know tonic.
const CLIENTS: [&str; 2] = ["src/cli/daemon.rs", "src/cli/containerd/client.rs"];

/// Reports everything in one file that is against a rule.
pub fn check(source: &Source) -> Vec<String> {
    let mut problems = Vec::new();
    let mut report = |line: usize, problem: &str| problems.push(format!("{}:{line}: {problem}", source.path));
    check_text(source, &mut report);
    // Recorded outputs lie beside the modules that they are of.
    if source.path.starts_with("src/") && source.path.ends_with(".rs") {
        check_module(source, &mut report);
    }
    for (index, token) in source.tokens.iter().enumerate() {
        check_token(source, index, token, &mut report);
    }
    problems
}

fn check_text(source: &Source, report: &mut impl FnMut(usize, &str)) {
    let is_source = [".rs", ".go", ".sh", ".proto"].iter().any(|end| source.path.ends_with(end));
    let lines = source.text.lines().count();
    if is_source && lines > MAX_LINES {
        report(lines, &format!("a file of more than {MAX_LINES} lines"));
    }
    for (number, line) in (1..).zip(source.text.lines()) {
        // Put together, so that these lines do not report themselves.
        if is_source && line.contains(concat!("FIX", "ME")) {
            report(number, "unfinished");
        }
        for start in [concat!("/", "root/"), concat!("/", "work/"), concat!("/", "home/")] {
            if line.match_indices(start).any(|(at, _)| starts_a_path(&line[..at])) {
                report(number, &format!("a path below {start} is of one machine"));
            }
        }
    }
}

/// Whether what follows `before` is absolute, and not the end of a longer path such as `<root>/l/1/fs`.
fn starts_a_path(before: &str) -> bool {
    !before.ends_with(|char: char| char.is_alphanumeric() || "_-.>})]*$".contains(char))
}

fn check_module(source: &Source, report: &mut impl FnMut(usize, &str)) {
    // What a file of tests is about, its name says.
    if !source.path.ends_with("/tests.rs") && !source.text.starts_with("//!") {
        report(1, "a module says first what it owns, with //!");
    }
    for name in source.modules() {
        if EMPTY_NAMES.contains(&name) {
            report(1, &format!("{name} says nothing about what is in it"));
        }
    }
}

fn check_token(source: &Source, index: usize, token: &Token, report: &mut impl FnMut(usize, &str)) {
    let top = source.top_module();
    let in_src = source.path.starts_with("src/");
    let follows = |text: &str| source.at(index + 1) == text;
    match token.text.as_str() {
        "tonic" | "tonic_health" | "tonic_prost"
            if in_src && top != Some("grpc") && !CLIENTS.contains(&source.path.as_str()) =>
        {
            report(token.line, "tonic is for grpc only");
        }
        "rocksdb" if in_src && top != Some("store") => report(token.line, "rocksdb is for store only"),
        "async" | "await" if in_src && !top.is_some_and(|top| ASYNC_MODULES.contains(&top)) => {
            report(token.line, &format!("async is for {} only", ASYNC_MODULES.join(", ")));
        }
        "mod" if in_src && EMPTY_NAMES.contains(&source.at(index + 1)) => {
            report(token.line, &format!("{} says nothing about what is in it", source.at(index + 1)));
        }
        "todo" | "unimplemented" if follows("!") => report(token.line, "unfinished"),
        "ignore" if index >= 2 && source.at(index - 2) == "#" && source.at(index - 1) == "[" => {
            report(token.line, "a test that does not run proves nothing");
        }
        "thread" | "time"
            if is_test(source, token) && follows("::") && source.names_at(index + 2).contains(&"sleep") =>
        {
            report(token.line, "a test waits for a state with a deadline, and does not sleep");
        }
        _ => {}
    }
}

fn is_test(source: &Source, token: &Token) -> bool {
    let is_test_module = |name: &str| name == "tests" || name == "testing";
    !source.path.starts_with("src/")
        || source.modules().into_iter().any(is_test_module)
        || token.inline_modules.iter().any(|name| is_test_module(name))
}
