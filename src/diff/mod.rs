//! The differ: layers out of blobs, and blobs out of layers.
//!
//! [`extract`] puts the entries of a tar stream into a directory, [`stream`] makes that stream of a blob and hashes it on the
//! way, [`compare`] makes a tar stream of an upperdir. All functions are synchronous.

pub mod compare;
pub mod extract;
pub mod stream;
