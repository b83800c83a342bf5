//! From an image's name to its blobs and layers.

use std::collections::VecDeque;

use anyhow::{Context, bail, ensure};
use oci_spec::image::Descriptor;

use super::Record;
use super::document::{self, Kind};
use super::platform::Platform;

/// How many documents one image may have. The largest indexes in use have some dozens.
const MAX_DOCUMENTS: usize = 1_000;

/// For which machines an image is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Wanted {
    /// For this one.
    Host,
    /// For machines of this kind.
    One(Platform),
    /// For all of them, as far as it is there.
    All,
}

/// An image, as far as it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Image {
    pub name: String,
    /// The digest that it points at.
    pub target: String,
    /// Digests of the indexes in it, those without a manifest that is wanted included.
    pub indexes: Vec<String>,
    pub manifests: Vec<Manifest>,
    /// What is wanted and has not been pulled.
    pub absent: Vec<Platform>,
}

/// What an image is on one platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Manifest {
    pub platform: Platform,
    pub digest: String,
    /// Digests of its blobs: the configuration first, then the layers.
    pub blobs: Vec<String>,
    /// ChainIDs of its layers, from the base layer up.
    pub chain_ids: Vec<String>,
}

/// A manifest that an image has, read or not.
struct Candidate {
    digest: String,
    /// As the index says, which need not.
    platform: Option<Platform>,
}

/// Reads a document by its digest; `None` when it is not there.
type Read<'r> = dyn FnMut(&str) -> anyhow::Result<Option<Vec<u8>>> + 'r;

impl Image {
    /// Resolves what containerd has recorded of an image, with its documents.
    ///
    /// # Errors
    /// For malformed documents, for what is no image, and when nothing that is wanted is there.
    pub fn resolve(record: &Record, wanted: &Wanted, read: &mut Read<'_>) -> anyhow::Result<Image> {
        let name = record.name.clone();
        Image::resolve_record(record, wanted, read).with_context(|| format!("image {name:?}"))
    }

    fn resolve_record(record: &Record, wanted: &Wanted, read: &mut Read<'_>) -> anyhow::Result<Image> {
        let target = record.target.as_ref().context("it points at nothing")?;
        let mut image = Image {
            name: record.name.clone(),
            target: target.digest.clone(),
            indexes: Vec::new(),
            manifests: Vec::new(),
            absent: Vec::new(),
        };
        match Kind::of(&target.media_type) {
            Some(Kind::Index) => {
                let candidates = image.candidates(read)?;
                image.choose(candidates, wanted, read)?;
            }
            Some(Kind::Manifest) => {
                let Some(manifest) = read_manifest(&target.digest, read)? else {
                    bail!("it is not pulled: not all of its documents are there");
                };
                // One that stands alone is the image, whatever it is for, unless something else is asked for.
                if let Wanted::One(own) = wanted
                    && own.distance(&manifest.platform).is_none()
                {
                    bail!("it is for {}, not for {own}", manifest.platform);
                }
                image.manifests.push(manifest);
            }
            None => bail!("{:?} is no type of an image", target.media_type),
        }
        Ok(image)
    }

    /// Reads the indexes, and returns the manifests that they name.
    fn candidates(&mut self, read: &mut Read<'_>) -> anyhow::Result<Vec<Candidate>> {
        let mut candidates = Vec::new();
        let mut next = VecDeque::from([self.target.clone()]);
        while let Some(digest) = next.pop_front() {
            if self.indexes.contains(&digest) {
                continue;
            }
            let Some(bytes) = read(&digest)? else {
                ensure!(digest != self.target, "it is not pulled: {digest} is not there");
                continue;
            };
            for entry in document::index(&digest, &bytes)? {
                match Kind::of(entry.media_type().as_ref()) {
                    Some(Kind::Index) => next.push_back(entry.digest().to_string()),
                    Some(Kind::Manifest) => candidates.extend(Candidate::new(&entry)),
                    None => {}
                }
            }
            self.indexes.push(digest);
            ensure!(self.indexes.len() + candidates.len() <= MAX_DOCUMENTS, "more than {MAX_DOCUMENTS} manifests");
        }
        Ok(candidates)
    }

    fn choose(&mut self, mut candidates: Vec<Candidate>, wanted: &Wanted, read: &mut Read<'_>) -> anyhow::Result<()> {
        for candidate in &mut candidates {
            candidate.find_platform(read)?;
        }
        // Those without a platform cannot be read, or are no images.
        candidates.retain(|one| one.platform.as_ref().is_some_and(|platform| !platform.is_unknown()));
        let known = list(candidates.iter().filter_map(|one| one.platform.as_ref()));
        if *wanted != Wanted::All {
            let own = if let Wanted::One(own) = wanted { own.clone() } else { Platform::host() };
            let distance = |one: &Candidate| one.platform.as_ref().and_then(|platform| own.distance(platform));
            candidates.retain(|candidate| distance(candidate).is_some());
            // Of equal ones the first, as in containerd.
            candidates.sort_by_key(distance);
            candidates.truncate(1);
            ensure!(!candidates.is_empty(), "it is for {known}, not for {own}");
        }
        for candidate in candidates {
            match read_manifest(&candidate.digest, read)? {
                Some(manifest) => {
                    // What the index says is what clients choose by.
                    let platform = candidate.platform.unwrap_or_else(|| manifest.platform.clone());
                    self.manifests.push(Manifest { platform, ..manifest });
                }
                None => self.absent.extend(candidate.platform),
            }
        }
        ensure!(!self.manifests.is_empty(), "it is not pulled for {}", list(self.absent.iter()));
        Ok(())
    }
}

impl Candidate {
    fn new(entry: &Descriptor) -> Option<Candidate> {
        let platform = entry.platform().as_ref().map(Platform::from);
        Some(Candidate { digest: entry.digest().to_string(), platform })
    }

    /// Reads the platform from the configuration where the index does not have it.
    fn find_platform(&mut self, read: &mut Read<'_>) -> anyhow::Result<()> {
        if self.platform.is_some() {
            return Ok(());
        }
        let Some(bytes) = read(&self.digest)? else { return Ok(()) };
        // An index may list signatures and the like, which are not malformed, but no images.
        let Ok(manifest) = document::manifest(&self.digest, &bytes) else { return Ok(()) };
        let config = manifest.config().digest().to_string();
        let Some(bytes) = read(&config)? else { return Ok(()) };
        self.platform = document::configuration(&config, &bytes).ok().map(|configuration| configuration.platform());
        Ok(())
    }
}

fn list<'p>(platforms: impl Iterator<Item = &'p Platform>) -> String {
    let names: Vec<String> = platforms.map(Platform::to_string).collect();
    if names.is_empty() { "nothing that can be read".to_owned() } else { names.join(", ") }
}

/// Reads a manifest with its configuration; `None` when one of them is not there.
fn read_manifest(digest: &str, read: &mut Read<'_>) -> anyhow::Result<Option<Manifest>> {
    let Some(bytes) = read(digest)? else { return Ok(None) };
    let manifest = document::manifest(digest, &bytes)?;
    let config = manifest.config().digest().to_string();
    let Some(bytes) = read(&config)? else { return Ok(None) };
    let configuration = document::configuration(&config, &bytes)?;
    let layers = manifest.layers();
    let chain_ids = configuration.chain_ids(layers.len()).with_context(|| format!("manifest {digest}"))?;
    let blobs = std::iter::once(config).chain(layers.iter().map(|layer| layer.digest().to_string())).collect();
    Ok(Some(Manifest { platform: configuration.platform(), digest: digest.to_owned(), blobs, chain_ids }))
}

#[cfg(test)]
mod tests;
