//! What a lease names for an image of containerd's.

use crate::types::{Member, MemberKind};

use super::super::containerd::{Containerd, Image, Manifest, Platform, Socket, Wanted, find};
use super::Place;

/// Which images, and what of them.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Images {
    /// Images that containerd has, by name, short name or digest: their layers, and the blob that the name stands for.
    /// A flat lease names the other blobs as well, because it does not follow references.
    #[arg(long = "image", value_name = "NAME", num_args = 1..)]
    names: Vec<String>,
    /// Of images for several platforms, the one for this: linux/arm64, say. Otherwise for this machine.
    #[arg(long, value_name = "PLATFORM", value_parser = Platform::parse, requires = "names")]
    platform: Option<Platform>,
    /// Of images for several platforms, all that were pulled.
    #[arg(long, requires = "names", conflicts_with = "platform")]
    all_platforms: bool,
    #[command(flatten)]
    socket: Socket,
}

/// What is to be named, and what the operator should know about it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    pub members: Vec<Member>,
    pub notes: Vec<String>,
    /// The images whose layers containerd had, and the topmost of these.
    there: Vec<(String, String)>,
}

impl Images {
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Looks the images up in containerd. Asks for nothing where there are none.
    pub fn named(&self, place: &Place<'_>, flat: bool) -> anyhow::Result<Named> {
        let mut named = Named::default();
        if self.is_empty() {
            return Ok(named);
        }
        let containerd = self.socket.connect()?;
        let wanted = match &self.platform {
            Some(platform) => Wanted::One(platform.clone()),
            None if self.all_platforms => Wanted::All,
            None => Wanted::Host,
        };
        for name in &self.names {
            let record = find(&containerd, &place.namespace, name)?;
            let image = Image::resolve(&record, &wanted, &mut |digest| containerd.document(&place.namespace, digest))?;
            named.image(&containerd, place, &image, flat)?;
        }
        Ok(named)
    }

    /// Looks again, after a lease names it all: what containerd removed just before that is not held. Fails where
    /// something is not there any more.
    pub fn require_there(&self, place: &Place<'_>, named: &Named) -> anyhow::Result<()> {
        if named.there.is_empty() {
            return Ok(());
        }
        let containerd = self.socket.connect()?;
        for (image, chain_id) in &named.there {
            anyhow::ensure!(
                containerd.has_snapshot(&place.namespace, place.snapshotter, chain_id)?,
                "{image} was removed from containerd while it was being leased: the lease names it, but may hold nothing of \
                 it; `leasehold why {chain_id}` tells"
            );
        }
        Ok(())
    }
}

impl Named {
    fn image(&mut self, containerd: &Containerd, place: &Place<'_>, image: &Image, flat: bool) -> anyhow::Result<()> {
        for manifest in &image.manifests {
            self.layers(containerd, place, &image.name, manifest)?;
        }
        self.content(&image.target)?;
        if flat {
            let manifests = image.manifests.iter();
            let blobs = manifests.flat_map(|manifest| std::iter::once(&manifest.digest).chain(&manifest.blobs));
            let (mut all, mut missing) = (0, 0);
            for digest in image.indexes.iter().chain(blobs) {
                self.content(digest)?;
                all += 1;
                missing += usize::from(!containerd.has_blob(&place.namespace, digest)?);
            }
            if missing > 0 {
                self.notes.push(format!("{}: {missing} of its {all} blobs are not there", image.name));
            }
        }
        for platform in &image.absent {
            self.notes.push(format!("{}: it is not pulled for {platform}", image.name));
        }
        Ok(())
    }

    /// Names the top of the chain, with which everything below it is held, and what is there of it so far.
    fn layers(
        &mut self,
        containerd: &Containerd,
        place: &Place<'_>,
        image: &str,
        manifest: &Manifest,
    ) -> anyhow::Result<()> {
        let Some(top) = manifest.chain_ids.last() else { return Ok(()) };
        let snapshots = || MemberKind::Snapshots(place.snapshotter.into());
        self.member(Member::new(snapshots(), top)?);
        let (mut there, all) = (manifest.chain_ids.len(), manifest.chain_ids.len());
        for chain_id in manifest.chain_ids.iter().rev() {
            if containerd.has_snapshot(&place.namespace, place.snapshotter, chain_id)? {
                self.member(Member::new(snapshots(), chain_id)?);
                self.there.push((image.to_owned(), chain_id.clone()));
                break;
            }
            there -= 1;
        }
        if there < all {
            let platform = &manifest.platform;
            self.notes.push(format!(
                "{image}: {there} of its {all} layers for {platform} are unpacked in snapshotter {}; \
                 the others are held from when they are",
                place.snapshotter
            ));
        }
        Ok(())
    }

    fn content(&mut self, digest: &str) -> anyhow::Result<()> {
        self.member(Member::new(MemberKind::Content, digest)?);
        Ok(())
    }

    /// What images have in common is named once.
    fn member(&mut self, member: Member) {
        if !self.members.contains(&member) {
            self.members.push(member);
        }
    }
}

/// Tells what is not as it may seem.
pub(super) fn print(notes: &[String]) {
    for note in notes {
        eprintln!("leasehold: note: {}", super::super::text::name(note, true));
    }
}
