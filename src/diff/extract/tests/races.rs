//! Somebody swaps a directory of the layer for a link to the outside, again and again, while it is written to.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::diff::extract::Whiteouts;
use crate::diff::extract::testing::{Layer, describe, dir, file, hard_link, item, symlink};

/// How often the layer is extracted, for each way to treat whiteouts.
const ROUNDS: u32 = 2000;

#[test]
fn swapped_directories_do_not_lead_outside() {
    for whiteouts in [Whiteouts::Overlay, Whiteouts::Remove] {
        let outside = tempfile::tempdir().unwrap();
        for name in ["file", "secret", "sub/file"] {
            fs::create_dir_all(outside.path().join("sub")).unwrap();
            fs::write(outside.path().join(name), "secret").unwrap();
        }
        let state = || {
            let mut tree = BTreeMap::new();
            describe(outside.path(), "", &mut tree);
            let stat = |path: &str| {
                let stat = fs::metadata(outside.path().join(path)).unwrap();
                (stat.modified().unwrap(), stat.permissions(), std::os::unix::fs::MetadataExt::nlink(&stat))
            };
            (tree, ["", "file", "secret", "sub", "sub/file"].map(stat))
        };
        let before = state();

        let layer = Layer::with(whiteouts);
        let (victim, link) = (layer.path("dir"), layer.path("swap"));
        std::os::unix::fs::symlink(outside.path(), &link).unwrap();
        let (done, swaps) = (AtomicBool::new(false), AtomicU32::new(0));
        let mut failed = 0;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    // Both names always exist, when the directory does.
                    if renameat_with(CWD, &victim, CWD, &link, RenameFlags::EXCHANGE).is_ok() {
                        swaps.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
            for _ in 0..ROUNDS {
                let result = layer.extract(&[
                    dir("dir").mode(0o777).mtime(5),
                    file("dir/file", "overwritten"),
                    dir("dir/sub").mode(0o700),
                    file("dir/sub/file", "overwritten").mode(0o777),
                    symlink("dir/sub/link", "x"),
                    item(b'6', "dir/fifo"),
                    file("dir/new/file", "new"),
                    hard_link("dir/hard", "dir/file").mode(0o600).mtime(7),
                    hard_link("stolen", "dir/secret"),
                ]);
                failed += u32::from(result.is_err());
                let result = layer.extract(&[
                    file("dir/.wh.secret", ""),
                    file("dir/.wh.sub", ""),
                    file("dir/.wh..wh..opq", ""),
                    dir("dir"),
                ]);
                failed += u32::from(result.is_err());
                assert!(state() == before, "{whiteouts:?}");
            }
            done.store(true, Ordering::Relaxed);
        });
        assert!(state() == before, "{whiteouts:?}");
        let swaps = swaps.into_inner();
        assert!(swaps > ROUNDS / 10, "only {swaps} swaps, {failed} failures");
        assert!(failed > 0, "nobody was disturbed");
    }
}
