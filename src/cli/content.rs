//! `leasehold content`: blobs.

mod check;
mod import;
mod ls;

use std::process::ExitCode;

use crate::config::Config;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List blobs, and what is retained of those that containerd deleted.
    Ls(ls::Args),
    /// Tell which blobs containerd knows and the pool does not have.
    ///
    /// Before a node is switched these are the ones to be imported; afterwards, those without which images cannot be
    /// used. Exits with 1 when there are any.
    Check(check::Args),
    /// Take over the blobs of containerd's own store, so that nothing has to be pulled again.
    ///
    /// To switch a node: import while containerd runs, have it use leasehold's content store (leasehold config
    /// containerd --content), stop containerd, import again what came meanwhile, start containerd. What is not in the
    /// pool then, containerd believes to have and does not find. Blobs that it does not know go with its next
    /// collection of content.
    ///
    /// Nothing is changed in containerd's store. On the same file system both share the blobs' files, so that it
    /// takes no space; else they are copied. All of them are read, to compare them with their digests. What is there
    /// already is passed over: an import that was broken off goes on. Exits with 1 when something was not brought.
    Import(import::Args),
}

pub(super) fn run(config: &Config, args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Ls(args) => ls::run(config, args),
        Command::Check(args) => check::run(config, args),
        Command::Import(args) => import::run(config, args),
    }
}
