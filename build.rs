//! Compiles `proto/` without protoc.

use std::error::Error;

const FILES: [&str; 3] = [
    "containerd/services/snapshots/v1/snapshots.proto",
    "leasehold/admin/v1/admin.proto",
    "leasehold/records/v1/records.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    tonic_prost_build::configure()
        // Sorted maps make encoded records reproducible.
        .btree_map(".")
        .compile_fds(descriptors)?;
    Ok(())
}
