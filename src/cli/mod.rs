//! The command line, one file per command.

mod config;
mod daemon;
mod fsck;
mod gc;
mod info;
mod serve;
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
    /// Compare records and directories; works with the daemon running and without.
    Fsck(fsck::Args),
    /// Collect what nothing holds, now.
    Gc(gc::Args),
    /// Tell what keeps a snapshot, a blob or a directory.
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
    match cli.command {
        Command::Serve => serve::run(config),
        Command::Info(args) => info::run(&config, &args),
        Command::Fsck(args) => fsck::run(&config, &args),
        Command::Gc(args) => gc::run(&config, &args),
        Command::Why(args) => why::run(&config, &args),
        Command::Config(command) => config::run(&config, &command),
    }
}

fn load(path: Option<&Path>) -> anyhow::Result<Config> {
    Ok(match path {
        Some(path) => Config::load(path)?,
        None => Config::load_or_default(Path::new(DEFAULT_CONFIG))?,
    })
}
