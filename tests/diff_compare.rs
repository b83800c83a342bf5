//! A layer that is made of an upperdir is the one that containerd makes by walking both sides, and it gives the same tree.

#[path = "diff_compare/changes.rs"]
mod changes;
mod common;
#[path = "diff_compare/fixture.rs"]
mod fixture;

use std::fs;
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::Path;

use changes::{Kinds, change};
use common::filesystem::privileged;
use common::random::Random;
use fixture::{Chain, GZIP, TAR, ZSTD, unsupported};
use leasehold::overlay::Mount;
use rustix::fs::{XattrFlags, lsetxattr};

/// Shows names and kinds of the entries of a stream, and fails where it is no whole one.
fn entries(tar: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let mut at = 0;
    loop {
        let block = &tar[at..at + 512];
        if block.iter().all(|byte| *byte == 0) {
            assert!(tar[at..].iter().all(|byte| *byte == 0) && tar.len() == at + 1024, "the end of the stream");
            return found;
        }
        let text = |from: usize, to: usize| {
            let field = &block[from..to];
            String::from_utf8_lossy(&field[..field.iter().position(|byte| *byte == 0).unwrap_or(to - from)])
                .into_owned()
        };
        let size = usize::from_str_radix(&text(124, 136), 8).unwrap();
        if block[156] != b'x' {
            found.push(format!("{}{}", char::from(block[156]), text(0, 100)));
        }
        at += 512 + size.next_multiple_of(512);
    }
}

fn same_as_containerd(chain: &Chain, epoch: Option<i64>) -> Vec<u8> {
    let (ours, written) = chain.compare(TAR, epoch).unwrap();
    let theirs = chain.reference(epoch);
    assert_eq!(entries(&ours), entries(&theirs));
    let first = ours.iter().zip(&theirs).position(|(one, other)| one != other);
    let block =
        |tar: &[u8]| first.map(|at| tar[at / 512 * 512..][..512].escape_ascii().to_string().replace("\\x00", ""));
    assert!(ours == theirs, "first at {first:?}:\n{:?}\n{:?}", block(&ours), block(&theirs));
    assert_eq!(written.size, ours.len() as u64);
    ours
}

#[test]
fn privileged_random_changes_give_containerds_layer() {
    privileged("random changes", || {
        let mut random = Random::new();
        for _ in 0..40 {
            let mut chain = Chain::new();
            for _ in 0..=random.below(3) {
                chain.change(|root| change(root, &mut random, 60, Kinds::Containerd));
                same_as_containerd(&chain, None);
                chain.push();
            }
            let count = random.below(40) as usize;
            chain.change(|root| change(root, &mut random, count, Kinds::Containerd));
            let layer = same_as_containerd(&chain, None);
            same_as_containerd(&chain, Some(1_500_000_000));
            chain.assert_applies(&layer);
        }
    });
}

#[test]
fn privileged_random_changes_with_attributes_give_the_same_tree() {
    privileged("random changes with attributes", || {
        let mut random = Random::new();
        for _ in 0..20 {
            let mut chain = Chain::new();
            for _ in 0..=random.below(2) {
                chain.change(|root| change(root, &mut random, 60, Kinds::All));
                chain.push();
            }
            chain.change(|root| change(root, &mut random, 40, Kinds::All));
            let (layer, _) = chain.compare(TAR, None).unwrap();
            chain.assert_applies(&layer);
        }
    });
}

/// Two layers: the lower one has what `base` makes, the upper one what `changes` does to that.
fn chain(base: impl FnOnce(&Path), changes: impl FnOnce(&Path)) -> Chain {
    let mut chain = Chain::new();
    chain.change(base);
    chain.push();
    chain.change(changes);
    chain
}

fn tree(root: &Path) {
    fs::create_dir_all(root.join("usr/lib/deep")).unwrap();
    for name in ["usr/lib/a", "usr/lib/b", "usr/lib/deep/c", "top"] {
        fs::write(root.join(name), name).unwrap();
    }
}

#[test]
fn privileged_what_was_only_copied_up_is_no_change() {
    privileged("copied up", || {
        let chain = chain(tree, |root| {
            fs::File::options().append(true).open(root.join("usr/lib/a")).unwrap();
            fs::write(root.join("usr/lib/deep/new"), "").unwrap();
            fs::create_dir(root.join("usr/lib/gone")).unwrap();
            fs::remove_dir(root.join("usr/lib/gone")).unwrap();
        });
        assert!(chain.upperdir().join("usr/lib/a").exists(), "it was not copied up");
        let layer = same_as_containerd(&chain, None);
        assert_eq!(entries(&layer), ["5usr/", "5usr/lib/", "5usr/lib/deep/", "0usr/lib/deep/new"]);
    });
}

#[test]
fn privileged_deleted_and_replaced_directories() {
    privileged("deleted and replaced directories", || {
        let chain = chain(tree, |root| {
            fs::remove_file(root.join("top")).unwrap();
            fs::remove_dir_all(root.join("usr/lib/deep")).unwrap();
            fs::remove_dir_all(root.join("usr/lib")).unwrap();
            fs::create_dir_all(root.join("usr/lib/deep")).unwrap();
            fs::write(root.join("usr/lib/b"), "new").unwrap();
        });
        let layer = same_as_containerd(&chain, None);
        let expected =
            ["0.wh.top", "5usr/", "5usr/lib/", "0usr/lib/.wh.a", "0usr/lib/b", "5usr/lib/deep/", "0usr/lib/deep/.wh.c"];
        assert_eq!(entries(&layer), expected);
        chain.assert_applies(&layer);
    });
}

#[test]
fn privileged_a_name_of_an_unchanged_file_follows_the_changed_one() {
    privileged("hard links", || {
        let chain = chain(tree, |root| {
            fs::hard_link(root.join("usr/lib/a"), root.join("usr/z")).unwrap();
            fs::hard_link(root.join("usr/z"), root.join("usr/zz")).unwrap();
        });
        let layer = same_as_containerd(&chain, None);
        assert_eq!(entries(&layer), ["5usr/", "0usr/z", "5usr/lib/", "1usr/lib/a", "1usr/zz"]);
        chain.assert_applies(&layer);
    });
}

#[test]
fn privileged_a_view_is_compared_by_its_topmost_layer() {
    privileged("a view", || {
        let chain = chain(tree, |root| fs::write(root.join("usr/new"), "new").unwrap());
        let (left, _) = chain.sides();
        let (layer, _) = chain.compare_sides(&left, &chain.view_of_all(), TAR, None).unwrap();
        assert_eq!(layer, same_as_containerd(&chain, None));
    });
}

#[test]
fn privileged_a_layer_without_a_parent_has_everything() {
    privileged("no parent", || {
        let chain = Chain::new();
        chain.change(|root| {
            tree(root);
            // Below nothing it deletes nothing.
            let (kind, mode) = (nix::sys::stat::SFlag::S_IFCHR, nix::sys::stat::Mode::empty());
            nix::sys::stat::mknod(&root.join("device"), kind, mode, 0).unwrap();
        });
        let layer = same_as_containerd(&chain, None);
        assert!(entries(&layer).contains(&"3device".to_owned()));
        // With the view of nothing as the other side.
        let (_, right) = chain.sides();
        let empty = chain.layout.upperdir(leasehold::types::LayerId::new(99));
        fs::create_dir_all(&empty).unwrap();
        let left = [Mount { source: empty.clone(), options: vec!["ro".into(), "rbind".into()], ..right[0].clone() }];
        assert_eq!(chain.compare_sides(&left, &right, TAR, None).unwrap().0, layer);
        fs::write(format!("{empty}/x"), "").unwrap();
        unsupported(chain.compare_sides(&left, &right, TAR, None));
    });
}

#[test]
fn privileged_every_compression_holds_the_same_stream() {
    privileged("compressions", || {
        let chain = chain(tree, |root| fs::write(root.join("usr/new"), vec![7; 3 << 20]).unwrap());
        let (plain, expected) = chain.compare(TAR, None).unwrap();
        for media_type in [GZIP, ZSTD, ""] {
            let (layer, written) = chain.compare(media_type, None).unwrap();
            assert_eq!(written, expected);
            let unpacked = if media_type == ZSTD {
                zstd::decode_all(&layer[..]).unwrap()
            } else {
                // No time, no name, no host.
                assert_eq!(layer[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
                let mut unpacked = Vec::new();
                std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&layer[..]), &mut unpacked).unwrap();
                unpacked
            };
            assert!(unpacked == plain);
            assert!(chain.compare(media_type, None).unwrap().0 == layer, "{media_type} differs from time to time");
        }
        unsupported(chain.compare("application/vnd.docker.image.rootfs.diff.tar.gzip", None));
    });
}

#[test]
fn privileged_sockets_and_attributes_of_the_host_are_left_out() {
    privileged("sockets and attributes", || {
        let chain = chain(tree, |root| {
            drop(std::os::unix::net::UnixListener::bind(root.join("usr/socket")).unwrap());
            lsetxattr(root.join("usr/lib/a"), "trusted.x", b"1", XattrFlags::empty()).unwrap();
            lsetxattr(root.join("usr/lib/b"), "user.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
            lsetxattr(root.join("usr/lib/deep/c"), "user.a=b", b"1", XattrFlags::empty()).unwrap();
        });
        assert_eq!(entries(&same_as_containerd(&chain, None)), Vec::<String>::new());
    });
}

#[test]
fn privileged_an_acl_and_an_attribute_of_a_user_are_changes() {
    privileged("attributes", || {
        let acl = [&2_u32.to_le_bytes()[..], &acl(1, 6), &acl(2, 4), &acl(4, 4), &acl(16, 4), &acl(32, 0)].concat();
        let chain = chain(tree, |root| {
            lsetxattr(root.join("usr/lib/a"), "system.posix_acl_access", &acl, XattrFlags::empty()).unwrap();
            lsetxattr(root.join("usr/lib/deep"), "system.posix_acl_default", &acl, XattrFlags::empty()).unwrap();
            lsetxattr(root.join("top"), "user.x", b"1", XattrFlags::empty()).unwrap();
        });
        let (layer, _) = chain.compare(TAR, None).unwrap();
        assert_eq!(entries(&layer), ["0top", "5usr/", "5usr/lib/", "0usr/lib/a", "5usr/lib/deep/"]);
        chain.assert_applies(&layer);
    });
}

/// An entry of an ACL; that with tag 2 is of user 1000.
fn acl(tag: u16, permissions: u16) -> [u8; 8] {
    let id: u32 = if tag == 2 { 1000 } else { u32::MAX };
    let mut entry = [0; 8];
    entry[..2].copy_from_slice(&tag.to_le_bytes());
    entry[2..4].copy_from_slice(&permissions.to_le_bytes());
    entry[4..].copy_from_slice(&id.to_le_bytes());
    entry
}

#[test]
fn privileged_what_only_a_mount_can_show_is_left_to_others() {
    privileged("redirects", || {
        for (path, name) in [("usr", "redirect"), ("top", "metacopy")] {
            let chain = chain(tree, |root| {
                fs::write(root.join("usr/new"), "").unwrap();
                fs::write(root.join("top"), "new").unwrap();
            });
            let path = chain.upperdir().join(path);
            lsetxattr(path, format!("trusted.overlay.{name}"), b"x", XattrFlags::empty()).unwrap();
            unsupported(chain.compare(TAR, None));
        }
    });
}

#[test]
fn privileged_sparse_files_are_dense_and_large_sizes_fit() {
    privileged("a large sparse file", || {
        let chain = chain(tree, |root| {
            let file = fs::File::create(root.join("sparse")).unwrap();
            file.set_len(3 << 20).unwrap();
            file.write_all_at(b"end", (3 << 20) - 3).unwrap();
            symlink("x".repeat(3000), root.join("link")).unwrap();
        });
        same_as_containerd(&chain, None);
    });
}
