//! `leasehold lease`: leases of one namespace, through the Leases service.

mod add;
mod create;
mod drop;
mod expiry;
mod image;
mod ls;
mod resources;
mod rm;
mod show;
#[cfg(test)]
mod tests;
mod view;

use std::process::ExitCode;

use crate::config::Config;
use crate::types::Namespace;

use super::daemon::{Daemon, Leases};
use super::namespace;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    namespace: namespace::One,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List leases.
    Ls(ls::Args),
    /// Create a lease, and print its id.
    Create(create::Args),
    /// Delete leases: what nothing else holds is deleted from disk.
    Rm(rm::Args),
    /// Have a lease hold more.
    Add(add::Args),
    /// Have a lease no longer hold something.
    Drop(drop::Args),
    /// Show a lease and what it names.
    Show(show::Args),
}

/// What the names in a command mean.
struct Place<'c> {
    namespace: Namespace,
    /// What leases call our snapshotter.
    snapshotter: &'c str,
}

pub(super) fn run(config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    let place = Place { namespace: args.namespace.get()?, snapshotter: &config.snapshotter.name };
    let connect = || -> anyhow::Result<Leases> { Daemon::required(config)?.leases(&place.namespace) };
    match &args.command {
        Command::Ls(args) => ls::run(connect()?, args),
        Command::Create(args) => create::run(connect, &place, args),
        Command::Rm(args) => rm::run(connect()?, args),
        Command::Add(args) => add::run(connect, &place, args),
        Command::Drop(args) => drop::run(connect, &place, args),
        Command::Show(args) => show::run(connect()?, &place.namespace, args),
    }
}
