//! What the fuzz targets share: the sources of the differ that they are about, and a place to let them loose in.
//!
//! The sources are taken by path, with the few modules that they use, because the crate itself has RocksDB among its
//! dependencies, which takes a quarter of an hour to compile and would have to be instrumented with the rest.

#![allow(dead_code, unused_imports, reason = "a part of the crate is here, and its tests are not")]

pub mod archive;
pub mod jail;
pub mod memory;

#[path = "../../src/error.rs"]
mod error;
#[path = "../../src/failpoint.rs"]
pub mod failpoint;
#[path = "../../src/overlay/mod.rs"]
pub mod overlay;
#[path = "../../src/types/mod.rs"]
pub mod types;

#[path = "../../src/diff"]
pub mod diff {
    pub mod extract;
    pub mod stream;
}

#[path = "../../src/content"]
mod content {
    mod hasher;
    pub(crate) use hasher::Hasher;
}

mod metadata {
    /// Stands in for a record, which is made of generated code.
    pub struct HashState {
        pub algorithm: crate::types::Algorithm,
        pub offset: u64,
        pub state: Vec<u8>,
        pub format: u32,
    }
}

pub use error::{Cause, Chain, Error, FsOp, Resource, Result};
