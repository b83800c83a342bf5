//! What is compared: one layer of ours with exactly those below it.
//!
//! The mounts of a request are read as this daemon's snapshotter writes them. For anything else the answer is that it is not
//! supported, upon which containerd's own differ mounts both sides and walks them.

use super::attributes::Dialect;
use crate::overlay::{Layout, Mount};
use crate::types::LayerId;
use crate::{Error, Result};

/// A layer, and those below it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sides {
    /// The layer that is walked.
    pub upper: LayerId,
    /// Those below, nearest first. With one of [`Tree::Plain`] these are all empty, or it is none of ours.
    pub lowers: Vec<LayerId>,
    pub tree: Tree,
}

/// What a directory of a layer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tree {
    /// What it has.
    Plain,
    /// What it changes.
    Overlay(Dialect),
}

impl Sides {
    /// Reads the mounts of both sides.
    ///
    /// # Errors
    /// [`Error::Unsupported`].
    pub fn of(layout: &Layout, left: &[Mount], right: &[Mount]) -> Result<Sides> {
        let below = layers_of(layout, left)?;
        let above = one(right)?;
        let (upper, lowers, tree) = match above.kind.as_str() {
            "bind" => (layer(layout, &above.source)?, Vec::new(), Tree::Plain),
            "overlay" => {
                let (upperdir, lowerdirs) = overlay_options(layout, above)?;
                let mut lowers = lowerdirs.into_iter();
                // Of a view, the topmost layer is what it adds.
                let upper = upperdir.or_else(|| lowers.next());
                let upper = upper.ok_or_else(|| unsupported("an overlay without directories"))?;
                let user = above.options.iter().any(|option| option == "userxattr");
                (upper, lowers.collect(), Tree::Overlay(if user { Dialect::User } else { Dialect::Trusted }))
            }
            kind => return Err(unsupported(&format!("mounts of type {kind:?}"))),
        };
        match tree {
            // A parent that is none, or the view of nothing; who reads it will see whether it is empty.
            Tree::Plain if below.len() <= 1 && !below.contains(&upper) => Ok(Sides { upper, lowers: below, tree }),
            Tree::Overlay(_) if below == lowers && !lowers.is_empty() => Ok(Sides { upper, lowers, tree }),
            _ => Err(unsupported("two sides that are not a layer and what is below it")),
        }
    }
}

/// Returns the layers that the older side shows, nearest first.
fn layers_of(layout: &Layout, mounts: &[Mount]) -> Result<Vec<LayerId>> {
    if mounts.is_empty() {
        return Ok(Vec::new());
    }
    let mount = one(mounts)?;
    match mount.kind.as_str() {
        "bind" => Ok(vec![layer(layout, &mount.source)?]),
        "overlay" => match overlay_options(layout, mount)? {
            (None, lowers) => Ok(lowers),
            (Some(_), _) => Err(unsupported("a parent that can be written to")),
        },
        kind => Err(unsupported(&format!("mounts of type {kind:?}"))),
    }
}

fn one(mounts: &[Mount]) -> Result<&Mount> {
    match mounts {
        [mount] if mount.target.is_empty() => Ok(mount),
        _ => Err(unsupported("anything but one mount at the top")),
    }
}

/// Returns the upperdir and the lowerdirs that an overlay is made of.
fn overlay_options(layout: &Layout, mount: &Mount) -> Result<(Option<LayerId>, Vec<LayerId>)> {
    let (mut upper, mut lowers) = (None, Vec::new());
    for option in &mount.options {
        match option.split_once('=') {
            Some(("upperdir", path)) => upper = Some(layer(layout, path)?),
            Some(("lowerdir", paths)) => {
                lowers = paths.split(':').map(|path| layer(layout, path)).collect::<Result<_>>()?;
            }
            // They change the owners that are seen.
            Some(("uidmap" | "gidmap", _)) => return Err(unsupported("id-mapped mounts")),
            Some(("lowerdir+" | "datadir+", _)) => return Err(unsupported(option)),
            _ => {}
        }
    }
    Ok((upper, lowers))
}

/// Returns the layer that has a path as its directory.
fn layer(layout: &Layout, path: &str) -> Result<LayerId> {
    let named = path.strip_suffix("/fs").and_then(|path| path.rsplit('/').next()).and_then(LayerId::from_dir_name);
    named.filter(|id| layout.upperdir(*id) == path).ok_or_else(|| unsupported("a directory that is no layer's"))
}

fn unsupported(what: &str) -> Error {
    Error::Unsupported(format!("comparing {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(kind: &str, source: &str, options: &[&str]) -> Vec<Mount> {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        vec![Mount { kind: kind.into(), source: source.into(), target: String::new(), options }]
    }

    fn sides(left: &[Mount], right: &[Mount]) -> Option<(u64, Vec<u64>, Tree)> {
        let layout = Layout::new("/p").unwrap();
        match Sides::of(&layout, left, right) {
            Ok(sides) => Some((sides.upper.get(), sides.lowers.iter().map(|id| id.get()).collect(), sides.tree)),
            Err(Error::Unsupported(_)) => None,
            Err(err) => panic!("{err}"),
        }
    }

    #[test]
    fn what_the_snapshotter_mounts_is_understood() {
        let one = mount("bind", "/p/l/1/fs", &["ro", "rbind"]);
        let two = mount("overlay", "overlay", &["lowerdir=/p/l/2/fs:/p/l/1/fs", "index=off"]);
        let active = |lower: &str| {
            let lower = format!("lowerdir={lower}");
            mount("overlay", "overlay", &["workdir=/p/l/3/work", "upperdir=/p/l/3/fs", &lower, "index=off"])
        };
        let trusted = Tree::Overlay(Dialect::Trusted);
        assert_eq!(sides(&one, &active("/p/l/1/fs")), Some((3, vec![1], trusted)));
        assert_eq!(sides(&two, &active("/p/l/2/fs:/p/l/1/fs")), Some((3, vec![2, 1], trusted)));
        // A view of the layer above.
        assert_eq!(sides(&one, &two), Some((2, vec![1], trusted)));
        let user = mount("overlay", "overlay", &["lowerdir=/p/l/2/fs:/p/l/1/fs", "userxattr"]);
        assert_eq!(sides(&one, &user), Some((2, vec![1], Tree::Overlay(Dialect::User))));
        // Without a parent.
        assert_eq!(sides(&[], &one), Some((1, vec![], Tree::Plain)));
        assert_eq!(sides(&mount("bind", "/p/l/9/fs", &["ro"]), &one), Some((1, vec![9], Tree::Plain)));
    }

    #[test]
    fn everything_else_is_left_to_others() {
        let one = mount("bind", "/p/l/1/fs", &["ro", "rbind"]);
        let two = mount("overlay", "overlay", &["lowerdir=/p/l/2/fs:/p/l/1/fs"]);
        let three = mount("overlay", "overlay", &["upperdir=/p/l/3/fs", "lowerdir=/p/l/2/fs:/p/l/1/fs"]);
        for (left, right) in [
            (&one, &three),
            (&two, &two),
            (&two, &one),
            (&one, &one),
            (&three, &three),
            (&vec![], &two),
            (&vec![], &mount("overlay", "overlay", &["upperdir=/p/l/3/fs"])),
            (&vec![], &mount("overlay", "overlay", &["ro"])),
            (&two, &mount("overlay", "overlay", &["upperdir=/p/l/3/fs", "lowerdir=/p/l/1/fs:/p/l/2/fs"])),
            (&vec![], &mount("bind", "/p/l/01/fs", &[])),
            (&vec![], &mount("bind", "/p/l/1", &[])),
            (&vec![], &mount("bind", "/q/l/1/fs", &[])),
            (&vec![], &mount("bind", "/p/l/1/../2/fs", &[])),
            (&vec![], &mount("ext4", "/p/l/1/fs", &[])),
            (&vec![], &[one.clone(), one.clone()].concat()),
            (&vec![], &vec![Mount { target: "a".into(), ..one.first().unwrap().clone() }]),
            (&one, &mount("overlay", "overlay", &["uidmap=0:1:1", "upperdir=/p/l/3/fs", "lowerdir=/p/l/1/fs"])),
            (&one, &mount("overlay", "overlay", &["upperdir=/p/l/3/fs", "lowerdir+=/p/l/1/fs"])),
        ] {
            assert_eq!(sides(left, right), None, "{left:?} {right:?}");
        }
    }
}
