//! What Commit does with the directory of a layer to which something was applied, before the record is changed.
//!
//! Everything here is bounded by what the extraction listed; no tree is walked. It may be done again: a commit that failed
//! after it leaves an active layer that can be committed or removed.

use crate::metadata::{AppliedLayer, CommitActive, Known, Settled, Snapshot, Unsettled, Variant};
use crate::types::{LayerId, label};
use crate::{Error, Resource, Result, failpoint};

use super::Snapshotter;
use super::create::root_attributes;

impl Snapshotter {
    /// Makes the directory of a layer fit what will be below it, and finds out what becomes of it.
    ///
    /// # Errors
    /// [`Error::WrongState`] where what was applied cannot be committed like that; those of the file system and of the store.
    pub(super) fn settle(&self, commit: &CommitActive, of: Unsettled) -> Result<Settled> {
        let refuse = |problem| {
            let resource = Resource::Snapshot(commit.key.as_str().to_owned());
            Err(Error::WrongState { resource, problem })
        };
        if of.applied.base && !of.below.is_empty() {
            return refuse("was made a base layer by an earlier commit, and cannot be on top of others");
        }
        let AppliedLayer { implicit_unlisted, hiding_unlisted, .. } = of.applied;
        if of.rebased && implicit_unlisted {
            return refuse(
                "has too many directories without an entry to be unpacked before its parent; unpack it on that",
            );
        }
        if of.below.is_empty() && hiding_unlisted {
            return refuse("has too many whiteouts for a layer with nothing below it");
        }
        match of.applied.staged {
            Some(staged) => match self.objection(commit, staged, &of)? {
                Some(problem) => refuse(problem),
                None => Ok(Settled { of, known: None, other: None, usage: None }),
            },
            None => self.fit(commit, of),
        }
    }

    /// Says why a staged layer cannot be what is committed.
    fn objection(&self, commit: &CommitActive, staged: LayerId, of: &Unsettled) -> Result<Option<&'static str>> {
        if self.dirs.has_content(of.layer)? {
            return Ok(Some("was written to after a known layer had taken its place"));
        }
        let Snapshot { labels, parent_layers, .. } = self.metadata.snapshot(&commit.key)?;
        let is_mapped = [label::UID_MAPPING, label::GID_MAPPING].iter().any(|name| labels.get(name).is_some());
        let made = || root_attributes(&self.dirs, &labels, parent_layers.first().copied());
        if !is_mapped && self.dirs.attributes_of(of.layer)? != made()? {
            return Ok(Some("has another root directory than when a known layer took its place"));
        }
        let Some(known) = self.metadata.layer(staged)?.and_then(|layer| layer.known) else { return Ok(None) };
        if known.hides && of.below.is_empty() {
            return Ok(Some("has whiteouts, and nothing is below it"));
        }
        let nearest = of.below.first().filter(|_| of.rebased && known.implicit_root);
        if let Some(nearest) = nearest
            && self.dirs.attributes_of(*nearest)? != self.dirs.attributes_of(staged)?
        {
            // The next time it is extracted.
            let mut txn = self.metadata.write(self.now())?;
            txn.only_on_known(staged)?;
            txn.commit_unsynced()?;
            return Ok(Some(
                "needs another root directory than the known layer has that took its place; unpack it again",
            ));
        }
        Ok(None)
    }

    /// Settles a layer that was extracted.
    fn fit(&self, commit: &CommitActive, mut of: Unsettled) -> Result<Settled> {
        let sync = of.applied.boot.is_empty();
        let mut usage = of.applied.usage;
        if of.rebased && !of.applied.implicit.is_empty() {
            let user_xattrs = self.settings.mounts.user_xattrs();
            self.dirs.fit_implicit(of.layer, &of.applied.implicit, &of.below, user_xattrs, sync)?;
            failpoint::hit("commit: directories fitted");
            if of.applied.has_implicit_directories() {
                // Extended attributes take space.
                usage = None;
            }
        }
        if of.below.is_empty() && of.applied.hides() {
            if !of.applied.base {
                of.applied.base = true;
                let mut txn = self.metadata.write(self.now())?;
                txn.set_applied(of.layer, &of.applied)?;
                txn.commit()?;
                failpoint::hit("commit: base noted");
            }
            let AppliedLayer { whiteouts, opaque, .. } = &of.applied;
            self.dirs.unhide(of.layer, whiteouts, opaque, sync)?;
            failpoint::hit("commit: whiteouts removed");
            usage = None;
        }
        // Who had the mounts since Prepare may have used them, and asked for nothing.
        let untouched = of.applied.verified && !self.dirs.was_mounted(of.layer)?;
        let verified = untouched && !of.applied.base && self.is_sound(&of.applied.boot);
        let known = self.shares_in(&commit.key).filter(|_| verified).map(|namespace| Known {
            diff_id: of.applied.diff_id.clone(),
            size: of.applied.size,
            blobs: of.applied.blob.iter().cloned().collect(),
            variant: if of.applied.has_implicit_directories() { Variant::on(&of.below) } else { Variant::any() },
            namespace,
            implicit_root: of.applied.has_implicit_root(),
            hides: of.applied.hides(),
            boot: of.applied.boot.clone(),
            only_on_known: false,
        });
        let other = match &known {
            Some(known) => self.same_layer(known, of.layer)?,
            None => None,
        };
        let usage = usage.filter(|_| untouched);
        Ok(Settled { of, known, other, usage })
    }

    /// Finds another layer that holds the same, and whether it can take the place of this one.
    fn same_layer(&self, known: &Known, layer: LayerId) -> Result<Option<(LayerId, bool)>> {
        let variant = std::slice::from_ref(&known.variant);
        let Some((other, of_other)) = self.metadata.known_layer(&known.namespace, &known.diff_id, variant)? else {
            return Ok(None);
        };
        let is_less_durable = known.boot.is_empty() && !of_other.boot.is_empty();
        if self.is_sound(&of_other.boot) && !is_less_durable {
            return Ok(Some((other, self.can_replace(other, &of_other, layer)?)));
        }
        // Nobody else will use it; this one, on whose durability somebody may rely, takes its place for those to come.
        let mut txn = self.metadata.write(self.now())?;
        txn.no_longer_known(other)?;
        txn.commit_unsynced()?;
        Ok(None)
    }
}
