//! The command line, one file per command.

mod config;
mod containerd;
mod content;
mod daemon;
mod du;
mod fsck;
mod gc;
mod info;
mod lease;
mod namespace;
mod progress;
mod serve;
mod snapshot;
#[cfg(test)]
mod tests;
mod text;
mod why;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Config;

/// Where the configuration is when no other file is named.
const DEFAULT_CONFIG: &str = "/etc/leasehold/config.toml";

/// containerd snapshotter in one daemon.
#[derive(Debug, Parser)]
#[command(name = "leasehold", version, disable_help_subcommand = true)]
struct Cli {
    /// Configuration file. Without one, a missing /etc/leasehold/config.toml means the defaults.
    #[arg(long, short, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon.
    Serve,
    /// Show what the daemon is, what it probed on this host, and how the pool is doing.
    Info(info::Args),
    /// Compare records with directories and files; works with the daemon running and without.
    Fsck(fsck::Args),
    /// Keep chosen images' layers through any removal, until a lease ends.
    Lease(Box<lease::Args>),
    /// Show what there is, and what holds it.
    Snapshot(snapshot::Args),
    /// Show blobs, and take over those of containerd's own store.
    Content(content::Args),
    /// Show what namespaces, leases and images take on disk.
    ///
    /// Unique is what nobody else has: what comes back when the lease ends, the namespace is emptied, or the image is
    /// removed with all of its names. For a lease, others are containerd, clients of the API socket and other leases; for
    /// a namespace, other namespaces; for an image, other images, containers and leases. Layers that were not counted
    /// yet are counted now.
    Du(du::Args),
    /// Collect what nothing holds, now.
    Gc(gc::Args),
    /// Tell what keeps a snapshot, a blob, a directory or an image's layers.
    Why(why::Args),
    /// Print configuration for other programs.
    #[command(subcommand)]
    Config(config::Command),
}

/// Runs the command that the arguments name.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    match execute(cli) {
        Ok(code) => code,
        Err(err) => {
            // The alternate form prints the chain of causes.
            eprintln!("leasehold: {err:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(cli: Cli) -> anyhow::Result<ExitCode> {
    let config = load(cli.config.as_deref())?;
    if !matches!(cli.command, Command::Serve) {
        end_with_the_reader();
    }
    match cli.command {
        Command::Serve => serve::run(config),
        Command::Info(args) => info::run(&config, &args),
        Command::Fsck(args) => fsck::run(&config, &args),
        Command::Lease(args) => lease::run(&config, &args),
        Command::Snapshot(args) => snapshot::run(&config, &args),
        Command::Content(args) => content::run(&config, &args),
        Command::Du(args) => du::run(&config, &args),
        Command::Gc(args) => gc::run(&config, &args),
        Command::Why(args) => why::run(&config, &args),
        Command::Config(command) => config::run(&config, &command),
    }
}

/// Ends the process quietly when nobody reads its output any more, as in `leasehold info | head -1`.
#[expect(unsafe_code, reason = "changing what a signal does is unsafe in every library")]
fn end_with_the_reader() {
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: no handler runs; the default action ends the process. Nothing else here changes this signal.
    let _ = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
}

fn load(path: Option<&Path>) -> anyhow::Result<Config> {
    Ok(match path {
        Some(path) => Config::load(path)?,
        None => Config::load_or_default(Path::new(DEFAULT_CONFIG))?,
    })
}
