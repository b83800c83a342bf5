//! Compiles `proto/` without protoc.

use std::error::Error;

const FILES: [&str; 13] = [
    "containerd/services/content/v1/content.proto",
    "containerd/services/diff/v1/diff.proto",
    "containerd/services/images/v1/images.proto",
    "containerd/services/introspection/v1/introspection.proto",
    "containerd/services/leases/v1/leases.proto",
    "containerd/services/namespaces/v1/namespace.proto",
    "containerd/services/snapshots/v1/snapshots.proto",
    "containerd/services/version/v1/version.proto",
    "leasehold/admin/v1/admin.proto",
    "leasehold/admin/v1/blobs.proto",
    "leasehold/admin/v1/collections.proto",
    "leasehold/admin/v1/inventory.proto",
    "leasehold/records/v1/records.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    tonic_prost_build::configure()
        // Sorted maps make encoded records reproducible.
        .btree_map(".")
        // Data of blobs is taken out of a message, and put into one, without a copy.
        .bytes(".containerd.services.content.v1")
        .compile_fds(descriptors)?;
    Ok(())
}
