//! The edge: decodes requests, calls the core on the blocking pool, encodes answers.
//!
//! The only module that knows tonic, the generated service types and gRPC codes. A request crosses to the blocking pool
//! once, and no handler ever calls containerd.

mod admin;
mod blobs;
mod client;
mod collections;
mod content;
mod convert;
mod diff;
mod introspection;
mod leases;
mod namespaces;
mod peer;
mod request;
mod scope;
mod server;
mod snapshots;
mod socket;
mod status;
mod version;

pub(crate) use admin::fsck_response;
pub use client::{
    ContentClient, ImagesClient, InNamespace, LeasesClient, SnapshotsClient, containerd, content_client, images_client,
    leases_client, snapshots_client,
};
pub use server::{Listener, MAX_MESSAGE, Servers, client};

/// Generated from `proto/`, nested as the packages are, because the generated code refers to types that way.
#[expect(missing_docs, reason = "generated; the proto files have the documentation")]
#[expect(clippy::all, clippy::pedantic, reason = "generated")]
pub mod proto {
    /// containerd's API.
    pub mod containerd {
        /// Types that services share.
        pub mod types {
            tonic::include_proto!("containerd.types");
        }
        /// Services.
        pub mod services {
            /// Content.
            pub mod content {
                /// Version 1.
                pub mod v1 {
                    tonic::include_proto!("containerd.services.content.v1");
                }
            }
            /// Diff.
            pub mod diff {
                /// Version 1.
                pub mod v1 {
                    tonic::include_proto!("containerd.services.diff.v1");
                }
            }
            /// Images.
            pub mod images {
                /// Version 1.
                pub mod v1 {
                    tonic::include_proto!("containerd.services.images.v1");
                }
            }
            /// Introspection.
            pub mod introspection {
                /// Version 1.
                pub mod v1 {
                    tonic::include_proto!("containerd.services.introspection.v1");
                }
            }
            /// Leases.
            pub mod leases {
                /// Version 1.
                pub mod v1 {
                    tonic::include_proto!("containerd.services.leases.v1");
                }
            }
            /// Namespaces.
            pub mod namespaces {
                /// Version 1.
                pub mod v1 {
                    tonic::include_proto!("containerd.services.namespaces.v1");
                }
            }
            /// Version.
            pub mod version {
                /// Version 1.
                pub mod v1 {
                    tonic::include_proto!("containerd.services.version.v1");
                }
            }
            /// Snapshots.
            pub mod snapshots {
                /// Version 1.
                pub mod v1 {
                    tonic::include_proto!("containerd.services.snapshots.v1");
                }
            }
        }
    }
    /// leasehold's own API.
    pub mod leasehold {
        /// What the command line asks.
        pub mod admin {
            /// Version 1.
            pub mod v1 {
                tonic::include_proto!("leasehold.admin.v1");
            }
        }
    }
}
