//! `leasehold lease rm`

use std::process::ExitCode;

use crate::grpc::proto::containerd::services::leases::v1::DeleteRequest;

use super::Leases;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Ids of leases.
    #[arg(value_name = "LEASE", required = true)]
    leases: Vec<String>,
    /// Return only when what they held is collected.
    #[arg(long)]
    sync: bool,
}

/// Deletes as many as it can, and prints their ids. Exits with 1 when one could not be deleted.
pub(super) fn run(mut leases: Leases, args: &Args) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for (number, id) in (1..).zip(&args.leases) {
        // One collection is enough for all.
        let sync = args.sync && number == args.leases.len();
        let request = DeleteRequest { id: id.clone(), sync };
        match leases.call(async |client| client.delete(request).await) {
            Ok(()) => println!("{id}"),
            Err(err) => {
                eprintln!("leasehold: {err:#}");
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}
