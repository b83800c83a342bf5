//! leasehold: containerd snapshotter, content store and differ with leases, in one daemon.
//!
//! The layers, and the only arrows between them, are described in `ARCHITECTURE.md`.

// A daemon that panics is an outage; an exception is `#[expect(.., reason = "..")]`.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod app;
mod background;
pub mod cli;
pub mod config;
pub mod content;
pub mod diff;
mod error;
#[doc(hidden)]
pub mod failpoint;
pub mod gc;
pub mod grpc;
pub mod leases;
pub mod metadata;
pub mod namespaces;
pub mod overlay;
pub mod pool;
pub mod snapshotter;
pub mod store;
pub mod telemetry;
pub mod types;

pub use error::{Cause, Chain, Error, FsOp, Resource, Result};
