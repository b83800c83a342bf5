//! Backing directories of layers, and what the host can do with them.
//!
//! Owns everything below the pool's root but the metadata database, and knows no record: it is told a layer's
//! number and makes, mounts, measures, retires or deletes its directories. Nothing here decides whether a layer may
//! go. Every path is derived from a [`LayerId`](crate::types::LayerId), never from what a client sent.
//!
//! All functions are synchronous. Those that walk a tree or list a directory ([`disk_usage`], [`remove_tree`],
//! [`LayerDirs::reclaim`], [`LayerDirs::list_layers`], ..) say so, and must not be called inside one of containerd's
//! locks; all others take a constant number of system calls.

mod attributes;
mod boot;
mod dir;
mod fit;
mod idmap;
mod layers;
mod layout;
mod look;
mod lost;
mod mounts;
mod probe;
mod remove;
mod stage;
#[cfg(test)]
mod testing;
mod tree;
mod trial;
mod usage;

pub use attributes::{Copied, copy_attributes};
pub use boot::boot;
pub use dir::Dir;
pub use idmap::root_pair;
pub use layers::{LayerDirs, Listing};
pub use layout::Layout;
pub use look::sync_file_system;
pub use mounts::{Mount, MountOptions, MountPlan, mounts};
pub use probe::{HostFeatures, observe, probe};
pub use remove::{RemoveStats, remove_tree, remove_tree_while};
pub use stage::{Attributes, LayerKind, PendingLayer};
pub use usage::{FreeSpace, Usage, disk_usage, free_bytes};
