//! Which directory mounts mean, and what whiteouts are in it.
//!
//! Nothing is mounted. What containerd would mount to apply a layer to it, and write through to the same directory, is
//! written to directly. Everything else is refused as unsupported, so that containerd's own differ takes it.

use std::path::PathBuf;

use crate::overlay::Mount;
use crate::{Error, Result};

use super::super::extract::Whiteouts;

/// A directory to apply to.
#[derive(Debug)]
pub(super) struct Place {
    /// The directory itself.
    pub dir: PathBuf,
    /// Those of the layers below, nearest first, as the mount has them.
    pub parents: Vec<PathBuf>,
    /// What is made of whiteouts.
    pub whiteouts: Whiteouts,
}

impl Place {
    /// Reads mounts. `userxattr` says whether overlayfs mounts on this host have that option, so that an upperdir without
    /// lower layers, which is no real mount, gets the same attributes.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for mounts that have to be mounted; [`Error::Invalid`] for a path that is not absolute.
    pub fn of(mounts: &[Mount], userxattr: bool) -> Result<Place> {
        let [mount] = mounts else {
            return Err(Error::Unsupported(format!("applying a layer to {} mounts", mounts.len())));
        };
        if !mount.target.is_empty() {
            return Err(Error::Unsupported("applying a layer to a mount below the root".into()));
        }
        let has = |option: &str| mount.options.iter().any(|given| given == option);
        if has("ro") {
            return Err(Error::Unsupported("applying a layer to a read-only mount".into()));
        }
        let place = match mount.kind.as_str() {
            "overlay" => {
                let value = |name: &str| mount.options.iter().rev().find_map(|option| option.strip_prefix(name));
                let Some(upperdir) = value("upperdir=") else {
                    return Err(Error::Unsupported("applying a layer to an overlay without upperdir".into()));
                };
                let lower = value("lowerdir=").unwrap_or_default();
                let parents = lower.split(':').filter(|dir| !dir.is_empty()).map(PathBuf::from).collect();
                let whiteouts = if userxattr || has("userxattr") { Whiteouts::OverlayUser } else { Whiteouts::Overlay };
                Place { dir: upperdir.into(), parents, whiteouts }
            }
            "bind"
                if mount
                    .options
                    .iter()
                    .any(|option| option.starts_with("uidmap=") || option.starts_with("gidmap=")) =>
            {
                return Err(Error::Unsupported("applying a layer to an id-mapped mount".into()));
            }
            "bind" => Place { dir: (&mount.source).into(), parents: Vec::new(), whiteouts: Whiteouts::Remove },
            other => return Err(Error::Unsupported(format!("applying a layer to a mount of type {other:?}"))),
        };
        if place.dir.is_absolute() {
            return Ok(place);
        }
        Err(Error::invalid("mounts", format!("{:?} is no absolute path", place.dir)))
    }
}

/// Returns all directories that writing to mounts may change, whatever else is to be said about them.
pub(super) fn directories(mounts: &[Mount]) -> impl Iterator<Item = &str> {
    mounts.iter().flat_map(|mount| {
        let upperdirs = mount.options.iter().filter_map(|option| option.strip_prefix("upperdir="));
        upperdirs.chain(std::iter::once(&*mount.source))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(kind: &str, source: &str, options: &[&str]) -> Mount {
        let options = options.iter().map(ToString::to_string).collect();
        Mount { kind: kind.into(), source: source.into(), target: String::new(), options }
    }

    #[test]
    fn what_can_be_written_to_without_a_mount_is_a_place() {
        let overlay =
            mount("overlay", "overlay", &["workdir=/l/3/work", "upperdir=/l/3/fs", "lowerdir=/l/2/fs:/l/1/fs"]);
        let place = Place::of(std::slice::from_ref(&overlay), false).unwrap();
        assert_eq!((place.dir, place.whiteouts), ("/l/3/fs".into(), Whiteouts::Overlay));
        assert_eq!(place.parents, [PathBuf::from("/l/2/fs"), PathBuf::from("/l/1/fs")]);
        assert_eq!(Place::of(&[overlay], true).unwrap().whiteouts, Whiteouts::OverlayUser);
        let unprivileged = mount("overlay", "overlay", &["upperdir=/l/3/fs", "userxattr"]);
        assert_eq!(Place::of(&[unprivileged], false).unwrap().whiteouts, Whiteouts::OverlayUser);
        let alone = Place::of(&[mount("overlay", "overlay", &["rw", "upperdir=/l/3/fs"])], false).unwrap();
        assert_eq!((alone.dir, alone.parents), ("/l/3/fs".into(), Vec::<PathBuf>::new()));
        let native = Place::of(&[mount("bind", "/native/7", &["rw", "rbind"])], true).unwrap();
        assert_eq!((native.dir, native.whiteouts), ("/native/7".into(), Whiteouts::Remove));
    }

    #[test]
    fn what_has_to_be_mounted_is_left_to_others() {
        let bind = mount("bind", "/native/7", &["rw", "rbind"]);
        let below = Mount { target: "/etc".into(), ..bind.clone() };
        for mounts in [
            &[][..],
            &[bind.clone(), bind.clone()],
            &[below],
            &[mount("bind", "/native/7", &["ro", "rbind"])],
            &[mount("bind", "/native/7", &["rbind", "uidmap=0:1000:1", "gidmap=0:1000:1"])],
            &[mount("overlay", "overlay", &["lowerdir=/l/2/fs:/l/1/fs"])],
            &[mount("ext4", "/dev/mapper/snap-7", &[])],
            &[mount("btrfs", "/dev/sda1", &["subvol=7"])],
            &[mount("", "", &[])],
        ] {
            let refused = Place::of(mounts, false).unwrap_err();
            assert!(matches!(refused, Error::Unsupported(_)), "{mounts:?}: {refused}");
        }
    }

    #[test]
    fn paths_are_absolute() {
        for mount in [mount("bind", "etc", &["rbind"]), mount("overlay", "overlay", &["upperdir=../fs"])] {
            assert!(matches!(Place::of(&[mount], false), Err(Error::Invalid { .. })));
        }
    }
}
