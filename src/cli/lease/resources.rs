//! What a lease is to name, as an operator says it.

use crate::Result;
use crate::grpc::proto::containerd::services::leases::v1::Resource;
use crate::types::{Member, MemberKind};

use super::image::Images;

/// The options of which `add` and `drop` need one.
pub(super) const OPTIONS: [&str; 5] = ["names", "chain", "snapshot", "content", "api_image"];

#[derive(Debug, Default, clap::Args)]
pub(super) struct Resources {
    #[command(flatten)]
    pub images: Images,
    /// Committed snapshots by their chain ids, the layers of an image. Naming the top one holds all below it.
    #[arg(long, value_name = "CHAIN_ID", num_args = 1..)]
    chain: Vec<String>,
    /// Snapshots by their keys or names, as containerd's clients say them. Their parents are held as well.
    #[arg(long, value_name = "KEY", num_args = 1..)]
    snapshot: Vec<String>,
    /// Blobs by their digests.
    #[arg(long, value_name = "DIGEST", num_args = 1..)]
    content: Vec<String>,
    /// Images of the API socket by their names.
    #[arg(long, value_name = "NAME", num_args = 1..)]
    api_image: Vec<String>,
}

impl Resources {
    /// Returns what is named, without the images of containerd's; `snapshotter` is how leases call ours.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for what no lease can name.
    pub fn members(&self, snapshotter: &str) -> Result<Vec<Member>> {
        let snapshots = || MemberKind::Snapshots(snapshotter.into());
        let mut members = Vec::new();
        for chain in &self.chain {
            // A chain id is a digest; a mistyped one would hold nothing, without a word.
            Member::new(MemberKind::Content, chain)?;
            members.push(Member::new(snapshots(), chain)?);
        }
        for key in &self.snapshot {
            members.push(Member::new(snapshots(), key)?);
        }
        for digest in &self.content {
            members.push(Member::new(MemberKind::Content, digest)?);
        }
        for name in &self.api_image {
            members.push(Member::new(MemberKind::Images, name)?);
        }
        Ok(members)
    }
}

/// Encodes what a lease names.
pub(super) fn resource(member: &Member) -> Resource {
    Resource { id: member.id().to_owned(), r#type: member.kind().to_string() }
}
