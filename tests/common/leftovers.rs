//! Ends and removes what a containerd leaves when it is killed: shims, containers, mounts, sockets, cgroups.
//!
//! All of it runs in destructors, also while a test panics: a failure is printed, never raised.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};

const LIMIT: Duration = Duration::from_secs(10);
/// Where every containerd's shims have their sockets, and its runc the states of containers, whatever its own
/// directories are.
const SHIM_SOCKETS: &str = "/run/containerd/s";
const RUNC_STATES: &str = "/run/containerd/runc";
const CGROUPS: &str = "/sys/fs/cgroup";

/// Kills every process that has `dir` in its command line, and what descends from it. Sockets of shims are removed.
pub fn kill_processes(dir: &Path) {
    let named = || -> HashSet<i32> {
        let mark = dir.to_string_lossy().into_owned();
        pids().filter(|pid| command_line(*pid).is_some_and(|line| line.contains(&mark))).collect()
    };
    settle("processes do not end", || {
        let mut doomed = named();
        if doomed.is_empty() {
            return true;
        }
        // A shim's containers do not end with it, and do not name the directory.
        let parents: HashMap<i32, i32> = pids().filter_map(|pid| Some((pid, parent(pid)?))).collect();
        while let Some(child) =
            parents.iter().find(|(pid, parent)| doomed.contains(parent) && !doomed.contains(pid)).map(|(pid, _)| *pid)
        {
            doomed.insert(child);
        }
        let sockets = shim_sockets(&doomed);
        for pid in doomed.into_iter().filter_map(Pid::from_raw) {
            // Gone meanwhile is what is wanted.
            _ = kill_process(pid, Signal::KILL);
        }
        for socket in sockets {
            drop(fs::remove_file(socket));
        }
        false
    });
}

/// Unmounts everything that is mounted below `dir`, the last mounted first.
pub fn unmount_below(dir: &Path) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    let below: Vec<_> = points.filter(|point| point.starts_with(dir)).collect();
    for point in below.into_iter().rev() {
        if let Err(err) = unmount(&point, UnmountFlags::DETACH) {
            eprintln!("{} cannot be unmounted: {err}", point.display());
        }
    }
}

/// Removes the cgroups and runc's states of the containers in all namespaces that begin with `prefix`.
pub fn remove_namespaces(prefix: &str) {
    let is_ours = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix));
    for state in entries(Path::new(RUNC_STATES)).into_iter().filter(is_ours) {
        drop(fs::remove_dir_all(state));
    }
    // One hierarchy (v2), or one for each controller (v1).
    let mut hierarchies = entries(Path::new(CGROUPS));
    hierarchies.push(CGROUPS.into());
    for cgroup in hierarchies.iter().flat_map(|dir| entries(dir)).filter(is_ours) {
        // Killed processes leave their cgroup a moment later.
        settle("a cgroup cannot be removed", || remove_cgroup(&cgroup));
    }
}

fn remove_cgroup(dir: &Path) -> bool {
    for child in entries(dir).iter().filter(|path| path.is_dir()) {
        remove_cgroup(child);
    }
    fs::remove_dir(dir).is_ok() || !dir.exists()
}

fn settle(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !done() {
        if Instant::now() > deadline {
            eprintln!("{what}, even after {LIMIT:?}");
            return;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn pids() -> impl Iterator<Item = i32> {
    entries(Path::new("/proc")).into_iter().filter_map(|path| path.file_name()?.to_str()?.parse().ok())
}

/// Returns the paths of the sockets that these processes have among those of all shims.
fn shim_sockets(pids: &HashSet<i32>) -> Vec<PathBuf> {
    let open = pids.iter().flat_map(|pid| entries(Path::new(&format!("/proc/{pid}/fd"))));
    let open: HashSet<PathBuf> = open.filter_map(|fd| fs::read_link(fd).ok()).collect();
    let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let rows = table.lines().map(|line| line.split_whitespace().skip(6).collect::<Vec<_>>());
    let sockets = rows.filter_map(|row| match row[..] {
        [inode, path] => Some((PathBuf::from(format!("socket:[{inode}]")), PathBuf::from(path))),
        _ => None,
    });
    sockets.filter(|(link, path)| path.starts_with(SHIM_SOCKETS) && open.contains(link)).map(|(_, path)| path).collect()
}

fn command_line(pid: i32) -> Option<String> {
    // A zombie has none.
    Some(String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline")).ok()?).into_owned())
}

fn parent(pid: i32) -> Option<i32> {
    // The second field is the program's name, in parentheses, and may hold anything.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}
