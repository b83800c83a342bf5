//! A layer as a tar stream: what an upperdir changes of what is below it.
//!
//! Only the upperdir is walked ([`walk`]). What it has is compared with what the lower layers show in the same place
//! ([`lower`]), so that the stream has the changes that containerd's differ finds, in its order and with its bytes
//! ([`archive`], [`header`]). It is compressed on a second thread, and becomes a blob of the content store. Sides
//! that are not a layer of ours and what is below it ([`sides`]), and what only a mount can show, are not supported.

mod archive;
mod attributes;
mod chunks;
mod comparison;
mod compress;
mod entry;
mod header;
mod lower;
mod sides;
mod store;
mod walk;

use crate::Result;
use crate::content::Content;
use crate::overlay::{Layout, Mount};
use crate::types::{Digest, IngestRef, Labels, LeaseId, Scope};

use store::Upload;

pub use comparison::Comparison;
pub use compress::{Sink, Written};

/// A request to make a layer of what one side has and the other has not.
#[derive(Clone, Debug)]
pub struct Compare {
    /// Who gets the blob.
    pub scope: Scope,
    /// The lease that names it from its beginning.
    pub lease: Option<LeaseId>,
    /// What is below.
    pub left: Vec<Mount>,
    /// What was made of it.
    pub right: Vec<Mount>,
    /// What the blob is to be; empty for gzip.
    pub media_type: String,
    /// The ref of the upload; empty for one of its own.
    pub name: String,
    /// What the blob is to have attached.
    pub labels: Labels,
    /// In seconds since 1970: no time in the layer is later.
    pub source_date_epoch: Option<i64>,
}

/// A layer that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// The blob.
    pub digest: Digest,
    /// Bytes in it.
    pub size: u64,
    /// What it is.
    pub media_type: &'static str,
    /// Digest of the stream in it.
    pub diff_id: Digest,
}

/// Makes a layer of what `right` has and `left` has not, and a blob of the layer. Walks the upperdir, and waits for the disk.
/// `stop` is asked now and then, and ends it with an error. Whatever ends it leaves nothing.
///
/// # Errors
/// [`Error::Unsupported`] for sides that are not a layer of ours and what is below it, for what only a mount can show, and for
/// other media types; [`Error::WrongState`] when files became shorter meanwhile; those of an upload.
pub fn compare(content: &Content, layout: &Layout, request: Compare, stop: &dyn Fn() -> bool) -> Result<Compared> {
    let Compare { scope, lease, left, right, media_type, name, labels, source_date_epoch } = request;
    let comparison = Comparison::new(layout, &left, &right, &media_type, source_date_epoch)?;
    let name = if name.is_empty() { format!("diff-{}", uuid::Uuid::new_v4()) } else { name };
    let mut upload = Upload::begin(content, IngestRef::parse_in(scope, name)?, lease)?;
    let Written { diff_id, uncompressed, .. } = comparison.write(&mut upload, stop)?;
    let (digest, size) = upload.commit(&diff_id, labels)?;
    tracing::debug!(%digest, size, uncompressed, "a layer was compared");
    Ok(Compared { digest, size, media_type: comparison.media_type(), diff_id })
}
