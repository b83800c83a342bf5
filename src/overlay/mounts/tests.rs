use std::fmt::Write as _;
use std::path::Path;

use proptest::prelude::*;

use super::{Mount, MountOptions, MountPlan, mounts};
use crate::overlay::testing::{self, TestFs};
use crate::overlay::{Attributes, HostFeatures, LayerDirs, LayerKind, Layout};
use crate::types::LayerId;

/// The settings of a usual host.
fn usual() -> MountOptions {
    MountOptions { remap_ids: true, userns: false, overlay: vec!["index=off".into()] }
}

fn layout() -> Layout {
    Layout::new("/var/lib/leasehold").unwrap()
}

fn ids(parents: &[u64]) -> Vec<LayerId> {
    parents.iter().copied().map(LayerId::new).collect()
}

fn plan(kind: LayerKind, parents: &[LayerId]) -> MountPlan<'_> {
    MountPlan { kind, id: LayerId::new(40), parents, uid_mapping: None, gid_mapping: None, extraction: false }
}

fn show(plan: &MountPlan<'_>, options: &MountOptions) -> String {
    let mut text = String::new();
    for Mount { kind, source, target, options } in mounts(plan, &layout(), options) {
        assert_eq!(target, "");
        writeln!(text, "{kind} {source}").unwrap();
        for option in options {
            writeln!(text, "  {option}").unwrap();
        }
    }
    text
}

#[test]
fn active_without_parents_is_a_writable_bind() {
    insta::assert_snapshot!(show(&plan(LayerKind::Active, &[]), &usual()), @r"
    bind /var/lib/leasehold/l/14/fs
      rw
      rbind
    ");
}

#[test]
fn view_without_parents_is_a_read_only_bind() {
    insta::assert_snapshot!(show(&plan(LayerKind::View, &[]), &usual()), @r"
    bind /var/lib/leasehold/l/14/fs
      ro
      rbind
    ");
}

#[test]
fn view_of_one_layer_is_a_bind_of_that_layer() {
    insta::assert_snapshot!(show(&plan(LayerKind::View, &ids(&[3])), &usual()), @r"
    bind /var/lib/leasehold/l/3/fs
      ro
      rbind
    ");
}

#[test]
fn view_of_several_layers_has_neither_upperdir_nor_workdir() {
    insta::assert_snapshot!(show(&plan(LayerKind::View, &ids(&[3, 2, 1])), &usual()), @r"
    overlay overlay
      lowerdir=/var/lib/leasehold/l/3/fs:/var/lib/leasehold/l/2/fs:/var/lib/leasehold/l/1/fs
      index=off
    ");
}

#[test]
fn active_is_an_overlay_even_over_one_layer() {
    insta::assert_snapshot!(show(&plan(LayerKind::Active, &ids(&[3])), &usual()), @r"
    overlay overlay
      workdir=/var/lib/leasehold/l/14/work
      upperdir=/var/lib/leasehold/l/14/fs
      lowerdir=/var/lib/leasehold/l/3/fs
      index=off
    ");
}

#[test]
fn active_options_come_in_the_order_of_containerd() {
    let parents = ids(&[39, 37, 36]);
    let plan = MountPlan {
        uid_mapping: Some("0:1000:65536"),
        gid_mapping: Some("0:2000:65536"),
        ..plan(LayerKind::Active, &parents)
    };
    let options = MountOptions { overlay: vec!["volatile".into(), "userxattr".into(), "index=off".into()], ..usual() };
    insta::assert_snapshot!(show(&plan, &options), @r"
    overlay overlay
      uidmap=0:1000:65536
      gidmap=0:2000:65536
      workdir=/var/lib/leasehold/l/14/work
      upperdir=/var/lib/leasehold/l/14/fs
      lowerdir=/var/lib/leasehold/l/13/fs:/var/lib/leasehold/l/11/fs:/var/lib/leasehold/l/10/fs
      volatile
      userxattr
      index=off
    ");
}

#[test]
fn mappings_go_first_in_bind_mounts_too() {
    let plan = MountPlan { uid_mapping: Some("0:1000:1"), ..plan(LayerKind::Active, &[]) };
    insta::assert_snapshot!(show(&plan, &usual()), @r"
    bind /var/lib/leasehold/l/14/fs
      uidmap=0:1000:1
      rw
      rbind
    ");
}

#[test]
fn mappings_stay_here_when_the_host_cannot_map() {
    let plan = MountPlan { uid_mapping: Some("0:1000:1"), gid_mapping: Some("0:1:1"), ..plan(LayerKind::Active, &[]) };
    let options = MountOptions { remap_ids: false, ..usual() };
    assert!(!show(&plan, &options).contains("map="));
}

#[test]
fn extraction_without_parents_is_marked_as_upperdir() {
    let plan = MountPlan { extraction: true, ..plan(LayerKind::Active, &[]) };
    insta::assert_snapshot!(show(&plan, &usual()), @r"
    overlay overlay
      rw
      upperdir=/var/lib/leasehold/l/14/fs
    ");
}

#[test]
fn extraction_changes_nothing_else() {
    let parents = ids(&[3]);
    for plan in [plan(LayerKind::Active, &parents), plan(LayerKind::View, &parents), plan(LayerKind::View, &[])] {
        let extraction = MountPlan { extraction: true, ..plan };
        assert_eq!(show(&extraction, &usual()), show(&plan, &usual()));
    }
    // Whiteouts cannot be made by a foreign applier in a user namespace.
    let options = MountOptions { userns: true, ..usual() };
    let active = plan(LayerKind::Active, &[]);
    assert_eq!(show(&MountPlan { extraction: true, ..active }, &options), show(&active, &options));
}

#[test]
fn the_nearest_of_equal_layers_stays() {
    insta::assert_snapshot!(show(&plan(LayerKind::Active, &ids(&[3, 2, 3, 1, 2])), &usual()), @r"
    overlay overlay
      workdir=/var/lib/leasehold/l/14/work
      upperdir=/var/lib/leasehold/l/14/fs
      lowerdir=/var/lib/leasehold/l/3/fs:/var/lib/leasehold/l/2/fs:/var/lib/leasehold/l/1/fs
      index=off
    ");
}

#[test]
fn a_view_of_equal_layers_is_a_bind() {
    assert_eq!(
        show(&plan(LayerKind::View, &ids(&[3, 3, 3])), &usual()),
        show(&plan(LayerKind::View, &ids(&[3])), &usual())
    );
}

#[test]
fn only_an_active_layer_is_left_out_of_its_own_lowerdirs() {
    assert_eq!(
        show(&plan(LayerKind::Active, &ids(&[40, 3])), &usual()),
        show(&plan(LayerKind::Active, &ids(&[3])), &usual())
    );
    assert!(show(&plan(LayerKind::View, &ids(&[40])), &usual()).contains("/l/14/fs"));
}

#[test]
fn a_mount_of_128_layers_fits_a_page() {
    // Five digits: the pool has made a million layers for each of these.
    let parents: Vec<_> = (0..128).map(|n| LayerId::new(36_u64.pow(5) - 1 - n)).collect();
    let plan = MountPlan {
        uid_mapping: None,
        gid_mapping: None,
        id: LayerId::new(36_u64.pow(5) - 200),
        ..plan(LayerKind::Active, &parents)
    };
    let mounts = mounts(&plan, &layout(), &usual());
    // What mount(2) copies: the options with commas between them, and a NUL.
    let bytes = mounts[0].options.join(",").len() + 1;
    assert!(bytes <= 4096, "{bytes}");
    assert_eq!(mounts[0].options[2].matches(':').count(), 127);
}

#[test]
fn privileged_the_kernel_takes_a_mount_of_128_layers() {
    testing::privileged("a mount of 128 layers", || {
        let fs = TestFs::tmpfs();
        let layout = Layout::new(fs.path().join("p")).unwrap();
        layout.create().unwrap();
        let dirs = LayerDirs::open(&layout).unwrap();
        // The lowest numbers are furthest down, and the whole chain is there twice.
        let chain: Vec<_> = (1..=128).rev().map(LayerId::new).collect();
        for id in &chain {
            dirs.create(*id, LayerKind::View, Attributes::default()).unwrap().keep();
            std::fs::write(Path::new(&layout.upperdir(*id)).join("top"), id.to_string()).unwrap();
        }
        let top = LayerId::new(200);
        dirs.create(top, LayerKind::Active, Attributes::default()).unwrap().keep();
        let twice = chain.repeat(2);
        let plan = MountPlan { id: top, ..plan(LayerKind::Active, &twice) };
        let Mount { kind, source, options, .. } = mounts(&plan, &layout, &usual()).remove(0);
        let target = fs.path().join("merged");
        std::fs::create_dir(&target).unwrap();
        let (kind, source, options) = (Some(&*kind), Some(&*source), options.join(","));
        nix::mount::mount(source, &target, kind, nix::mount::MsFlags::empty(), Some(&*options)).unwrap();
        assert_eq!(std::fs::read_to_string(target.join("top")).unwrap(), LayerId::new(128).to_string());
    });
}

fn host() -> HostFeatures {
    HostFeatures {
        kernel: "6.1.0".into(),
        file_system: "ext4".into(),
        index_off: true,
        userns: false,
        userxattr: false,
        idmapped: true,
        openat2: true,
        redirects: false,
    }
}

#[test]
fn the_host_adds_to_what_the_operator_set_and_overrides_nothing() {
    let userns = HostFeatures { userns: true, userxattr: true, ..host() };
    let old = HostFeatures { index_off: false, idmapped: false, ..host() };
    for (configured, host, expected) in [
        (&[][..], &host(), &["index=off"][..]),
        (&["volatile"], &host(), &["volatile", "index=off"]),
        (&["index=on"], &host(), &["index=on"]),
        (&["indexed"], &host(), &["indexed", "index=off"]),
        (&[], &userns, &["userxattr", "index=off"]),
        (&["userxattr"], &userns, &["userxattr", "index=off"]),
        (&[], &old, &[]),
    ] {
        let configured: Vec<_> = configured.iter().map(|option| option.to_string()).collect();
        let options = MountOptions::new(&configured, true, host);
        assert_eq!(options.overlay, expected);
        assert_eq!((options.remap_ids, options.userns), (host.idmapped, host.userns));
        assert!(!MountOptions::new(&configured, false, host).remap_ids);
    }
}

proptest! {
    #[test]
    fn lowerdirs_are_the_distinct_parents_in_order(
        parents in prop::collection::vec(0_u64..50, 0..150),
        active: bool,
        extraction: bool,
    ) {
        let parents = ids(&parents);
        let kind = if active { LayerKind::Active } else { LayerKind::View };
        let plan = MountPlan { extraction, ..plan(kind, &parents) };
        let mut expected = Vec::new();
        for id in &parents {
            let own = active && *id == plan.id;
            if !own && !expected.contains(id) {
                expected.push(*id);
            }
        }
        let all = mounts(&plan, &layout(), &usual());
        prop_assert_eq!(all.len(), 1);
        let mount = &all[0];
        let found: Vec<_> = match mount.options.iter().find_map(|option| option.strip_prefix("lowerdir=")) {
            Some(list) => list.split(':').map(str::to_owned).collect(),
            None if mount.source != layout().upperdir(plan.id) && mount.kind == "bind" => vec![mount.source.clone()],
            None => vec![],
        };
        let mut expected: Vec<_> = expected.into_iter().map(|id| layout().upperdir(id)).collect();
        if !active && expected == [layout().upperdir(plan.id)] {
            expected.clear();
        }
        prop_assert_eq!(found, expected);
    }
}
