//! The programs that the end-to-end tests run, and running them.
//!
//! `tests/go/build.sh` builds most of them into the tools directory. The others are Debian's packages `containerd`,
//! `runc`, `docker-registry` and `busybox-static`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::skip;

/// What must be in the tools directory.
const BUILT: [&str; 10] = [
    "bin/clientpull",
    "bin/nerdctl",
    "bin/refapply",
    "bin/snapsuite.test",
    "bin/tarcases",
    "bin/testimage",
    "bin/treediff",
    "containerd-2.3/containerd",
    "containerd-2.3/containerd-shim-runc-v2",
    "containerd-2.3/ctr",
];

/// What must be installed.
const INSTALLED: [&str; 6] = ["containerd", "containerd-shim-runc-v2", "ctr", "runc", "docker-registry", "busybox"];

/// Where the distribution's programs are when a user's `PATH` leaves the system's directories out.
const SYSTEM_DIRS: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Whether the end-to-end test `test` can run here: as root, with every program. Says so loudly when it cannot, and
/// fails where everything is required.
pub fn ready(test: &str) -> bool {
    let mut missing: Vec<String> = Vec::new();
    let not_built: Vec<_> = BUILT.iter().filter(|name| !built(name).is_file()).copied().collect();
    if !not_built.is_empty() {
        missing.push(format!("tests/go/build.sh to have built {} in {}", not_built.join(", "), tools_dir().display()));
    }
    let not_installed: Vec<_> = INSTALLED.iter().filter(|name| find(name).is_none()).copied().collect();
    if !not_installed.is_empty() {
        missing.push(format!("{} to be installed", not_installed.join(", ")));
    }
    if !rustix::process::geteuid().is_root() {
        missing.push("root".into());
    }
    if !missing.is_empty() {
        skip(test, &missing.join("; "));
    }
    missing.is_empty()
}

/// Returns the path of a program that `tests/go/build.sh` built.
pub fn built(name: &str) -> PathBuf {
    tools_dir().join(name)
}

/// Returns the path of an installed program.
pub fn installed(name: &str) -> PathBuf {
    find(name).unwrap_or_else(|| panic!("{name} is not installed"))
}

/// Returns a `PATH` that finds programs in `first`, then where the distribution has them.
pub fn search_path(first: &Path) -> String {
    format!("{}:{}", first.display(), SYSTEM_DIRS.join(":"))
}

/// Runs a program to its end and returns its standard output; panics with all that it said when it fails.
pub fn run(command: &mut Command) -> String {
    output(command).unwrap_or_else(|err| panic!("{err}"))
}

/// Like [`run`], with the failure as a value.
pub fn output(command: &mut Command) -> Result<String, String> {
    let shown = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|err| panic!("{shown}: {err}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    Err(format!("{shown}: {}\n{}{}", output.status, text(&output.stdout), text(&output.stderr)))
}

fn tools_dir() -> PathBuf {
    if let Some(dir) = env::var_os("LEASEHOLD_TOOLS") {
        return dir.into();
    }
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache");
    env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("leasehold/tools")
}

/// Looks in the distribution's directories only: a newer containerd elsewhere is not the one that is meant.
fn find(name: &str) -> Option<PathBuf> {
    SYSTEM_DIRS.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.is_file())
}
