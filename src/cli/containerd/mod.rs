//! containerd's images and blobs, as the command line asks for them. Only here does anything of leasehold call containerd's API.

mod client;
mod document;
mod image;
mod lookup;
mod platform;

pub(super) use client::Containerd;
pub(super) use image::{Image, Manifest, Wanted};
pub(super) use lookup::{find, find_in, target};
pub(super) use platform::Platform;

/// An image as containerd has recorded it.
pub(super) use crate::grpc::proto::containerd::services::images::v1::Image as Record;

use std::path::PathBuf;

/// What containerd's own clients look at, too.
const VARIABLE: &str = "CONTAINERD_ADDRESS";
const DEFAULT: &str = "/run/containerd/containerd.sock";

/// Where containerd listens.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Socket {
    /// containerd's socket, where images are looked up; otherwise $CONTAINERD_ADDRESS, otherwise
    /// /run/containerd/containerd.sock.
    #[arg(long = "containerd", value_name = "PATH")]
    path: Option<PathBuf>,
}

impl Socket {
    /// Connects, for a command that is nothing without containerd.
    pub fn connect(&self) -> anyhow::Result<Containerd> {
        Containerd::connect(&self.get())
    }

    fn get(&self) -> PathBuf {
        let said = || std::env::var(VARIABLE).ok().filter(|address| !address.is_empty());
        // The variable may be an address of gRPC.
        let from_variable = || said().map(|address| address.trim_start_matches("unix://").into());
        self.path.clone().or_else(from_variable).unwrap_or_else(|| DEFAULT.into())
    }
}
