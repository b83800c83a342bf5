//! Values that are valid by construction. Parsing happens once, at the edge; the type carries the proof.

mod chain;
mod digest;
mod file_id;
mod filter;
mod ingest_ref;
mod key;
mod labels;
mod layer_id;
mod lease;
mod namespace;
mod scope;
mod timestamp;

pub use chain::chain_ids;
pub use digest::{Algorithm, Digest};
pub use file_id::FileId;
pub use filter::{Adaptor, Filter};
pub use ingest_ref::IngestRef;
pub use key::SnapshotKey;
pub use labels::Labels;
pub use labels::keys as label;
pub use layer_id::LayerId;
pub use lease::{LeaseId, Member, MemberKind, SnapshotLease};
pub use namespace::Namespace;
pub use namespace::validate_identifier;
pub use scope::Scope;
pub use timestamp::{parse_rfc3339, rfc3339_seconds};
