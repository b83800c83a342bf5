//! What to mount for a snapshot.
//!
//! Pure: layer numbers and settings in, a description out. The options and their order are those of containerd's own
//! overlayfs snapshotter, because clients read them: the applier takes `upperdir=` and `lowerdir=` apart, and an
//! operator compares the two.
//!
//! A list of lowerdirs never names one directory twice, because the kernel refuses to. Several snapshots of a chain may
//! share one layer; the lower of two equal layers cannot be seen, so it is left out.

use super::layout::Layout;
use super::probe::HostFeatures;
use super::stage::LayerKind;
use crate::types::LayerId;

/// A mount, in containerd's terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// `bind` or `overlay`.
    pub kind: String,
    /// Directory to bind, or `overlay`.
    pub source: String,
    /// Directory below the target; empty for the target itself.
    pub target: String,
    /// Options, as fstab would have them.
    pub options: Vec<String>,
}

/// The snapshot to mount.
#[derive(Clone, Copy, Debug)]
pub struct MountPlan<'a> {
    /// Whether it is written to.
    pub kind: LayerKind,
    /// Its own layer.
    pub id: LayerId,
    /// The layers below, nearest first.
    pub parents: &'a [LayerId],
    /// The label `containerd.io/snapshot/uidmapping`.
    pub uid_mapping: Option<&'a str>,
    /// The label `containerd.io/snapshot/gidmapping`.
    pub gid_mapping: Option<&'a str>,
    /// Whether a layer is to be extracted into it that may belong on top of others (a rebase at commit). A foreign
    /// applier translates whiteouts only when it is told that the directory is an upperdir.
    pub extraction: bool,
}

/// What the host and the operator add to every mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountOptions {
    /// Whether to pass mappings on to the mounter, which needs id-mapped mounts.
    pub remap_ids: bool,
    /// Whether the daemon runs in a user namespace.
    pub userns: bool,
    /// Options that every overlay mount ends with. Bind mounts do not get them.
    pub overlay: Vec<String>,
}

impl MountOptions {
    /// Completes the operator's options with what this host needs. What the operator has set is never overridden: the
    /// kernel takes the last of two equal options.
    pub fn new(configured: &[String], remap_ids: bool, host: &HostFeatures) -> MountOptions {
        let mut overlay = configured.to_vec();
        if host.userxattr && !has_option(configured, "userxattr") {
            overlay.push("userxattr".into());
        }
        if host.index_off && !has_option(configured, "index") {
            overlay.push("index=off".into());
        }
        MountOptions { remap_ids: remap_ids && host.idmapped, userns: host.userns, overlay }
    }

    /// Whether overlayfs has its attributes where users have theirs.
    pub fn user_xattrs(&self) -> bool {
        has_option(&self.overlay, "userxattr")
    }
}

/// Returns the mounts that show a snapshot, in the order in which to make them.
pub fn mounts(plan: &MountPlan<'_>, layout: &Layout, options: &MountOptions) -> Vec<Mount> {
    let active = plan.kind == LayerKind::Active;
    let mut lowers = distinct(plan);
    let nearest = lowers.next();
    let second = lowers.next();

    // Two mappings, two directories of the layer, the lowerdirs.
    let mut list = Vec::with_capacity(5 + options.overlay.len());
    if options.remap_ids {
        list.extend(plan.uid_mapping.map(|map| format!("uidmap={map}")));
        list.extend(plan.gid_mapping.map(|map| format!("gidmap={map}")));
    }
    let mount = match (nearest, second) {
        (None, _) if active && plan.extraction && !options.userns => {
            list.push("rw".into());
            list.push(option("upperdir=", layout, |path| layout.push_upperdir(path, plan.id)));
            overlay(list)
        }
        (None, _) => bind(layout.upperdir(plan.id), if active { "rw" } else { "ro" }, list),
        (Some(only), None) if !active => bind(layout.upperdir(only), "ro", list),
        (Some(nearest), second) => {
            if active {
                list.push(option("workdir=", layout, |path| layout.push_workdir(path, plan.id)));
                list.push(option("upperdir=", layout, |path| layout.push_upperdir(path, plan.id)));
            }
            let mut lowerdir =
                String::with_capacity("lowerdir=".len() + plan.parents.len() * (layout.upperdir_len() + 1));
            lowerdir.push_str("lowerdir=");
            layout.push_upperdir(&mut lowerdir, nearest);
            for id in second.into_iter().chain(lowers) {
                lowerdir.push(':');
                layout.push_upperdir(&mut lowerdir, id);
            }
            list.push(lowerdir);
            list.extend(options.overlay.iter().cloned());
            overlay(list)
        }
    };
    vec![mount]
}

/// Returns the layers below a snapshot, nearest first, each once. An active layer is no lowerdir of itself.
fn distinct<'a>(plan: &MountPlan<'a>) -> impl Iterator<Item = LayerId> + use<'a> {
    let parents = plan.parents;
    let own = (plan.kind == LayerKind::Active).then_some(plan.id);
    // Further down is usually older, which means a smaller number than all before. Only other layers are looked for.
    let mut oldest = None;
    parents.iter().copied().enumerate().filter_map(move |(n, id)| {
        let unseen = if oldest.is_none_or(|oldest| id < oldest) {
            oldest = Some(id);
            true
        } else {
            !parents.iter().take(n).any(|before| *before == id)
        };
        (unseen && Some(id) != own).then_some(id)
    })
}

fn bind(source: String, access: &str, mut options: Vec<String>) -> Mount {
    options.push(access.into());
    options.push("rbind".into());
    Mount { kind: "bind".into(), source, target: String::new(), options }
}

fn overlay(options: Vec<String>) -> Mount {
    Mount { kind: "overlay".into(), source: "overlay".into(), target: String::new(), options }
}

fn option(key: &str, layout: &Layout, path: impl FnOnce(&mut String)) -> String {
    let mut option = String::with_capacity(key.len() + layout.upperdir_len());
    option.push_str(key);
    path(&mut option);
    option
}

/// Tells whether an option is set, as a flag or with a value.
fn has_option(options: &[String], key: &str) -> bool {
    options.iter().any(|option| option.split('=').next() == Some(key))
}

#[cfg(test)]
mod tests;
