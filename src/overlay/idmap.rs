//! Reading the labels that ask for a user namespace.
//!
//! `containerd.io/snapshot/uidmapping` and `gidmapping` hold `container:host:length` triples, separated by commas.
//! Meaning and limits are containerd's: an absent or empty map maps each number to itself, and the last of the 32-bit
//! numbers is nobody's.

use crate::{Error, Result};

/// The number that the kernel reads as "none".
const NOBODY: u32 = u32::MAX;

/// One range of a map.
struct Range {
    container: u32,
    host: u32,
    length: u32,
}

/// Returns the host's user and group of a container's root, and `None` when no mapping is asked for.
///
/// # Errors
/// [`Error::Invalid`] when a map cannot be read, or does not map 0.
pub fn root_pair(uid_mapping: Option<&str>, gid_mapping: Option<&str>) -> Result<Option<(u32, u32)>> {
    if uid_mapping.is_none() && gid_mapping.is_none() {
        return Ok(None);
    }
    let uid = root_in("containerd.io/snapshot/uidmapping", uid_mapping.unwrap_or_default())?;
    let gid = root_in("containerd.io/snapshot/gidmapping", gid_mapping.unwrap_or_default())?;
    Ok(Some((uid, gid)))
}

/// Returns the host's number for 0. The whole map is read first, so that a mistake anywhere in it is found.
fn root_in(label: &'static str, map: &str) -> Result<u32> {
    if map.is_empty() {
        return Ok(0);
    }
    let mut root = None;
    for text in map.split(',') {
        let range = Range::parse(text).ok_or_else(|| {
            Error::invalid(label, format!("{text:?} is not container:host:length, each below 4294967295"))
        })?;
        // 0 is in a range that starts at 0 and is not empty; adding to such a start cannot overflow.
        if root.is_none() && range.container == 0 && range.length > 0 {
            root = Some(range.host);
        }
    }
    root.ok_or_else(|| Error::invalid(label, format!("{map:?} does not map 0, the container's root")))
}

impl Range {
    fn parse(text: &str) -> Option<Range> {
        let mut numbers = text.split(':').map(|number| {
            // `parse` would take a sign.
            let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
            number.parse().ok().filter(|number| digits && *number != NOBODY)
        });
        let range = Range { container: numbers.next()??, host: numbers.next()??, length: numbers.next()?? };
        numbers.next().is_none().then_some(range)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::root_pair;
    use crate::{Chain, Error};

    #[test]
    fn nothing_asked_is_nothing_mapped() {
        assert_eq!(root_pair(None, None).unwrap(), None);
    }

    #[test]
    fn an_absent_or_empty_map_maps_to_itself() {
        for (uid, gid, expected) in [
            (Some("0:1000:1"), None, (1000, 0)),
            (None, Some("0:1000:1"), (0, 1000)),
            (Some(""), None, (0, 0)),
            (Some("0:666:10"), Some("0:777:10"), (666, 777)),
            (Some("5:5:5,0:7:1,0:8:1"), Some("0:4294967294:1"), (7, 4_294_967_294)),
        ] {
            assert_eq!(root_pair(uid, gid).unwrap(), Some(expected), "{uid:?} {gid:?}");
        }
    }

    #[test]
    fn maps_that_cannot_be_read_are_refused() {
        for map in [
            "0",
            "0:1",
            "0:1:2:3",
            "a:1:1",
            "0:-1:1",
            "-1:0:1",
            "0:1:-1",
            "+0:1:1",
            "0:1:1,",
            ",0:1:1",
            " 0:1:1",
            "0:1:1x",
            "4294967295:0:1",
            "0:4294967295:1",
            "0:0:4294967295",
            "0:0:4294967296",
            "99999999999999999999:0:1",
            "::",
            ",",
            "0:1:1;0:1:1",
            "0:1:1,x",
            "٠:1:1",
        ] {
            let err = root_pair(Some(map), None).unwrap_err();
            assert!(matches!(err, Error::Invalid { .. }), "{map:?}: {err:?}");
            assert!(root_pair(None, Some(map)).is_err(), "{map:?}");
        }
    }

    #[test]
    fn a_map_without_root_is_refused() {
        for map in ["1:1000:65536", "0:1000:0", "4294967294:0:4294967294"] {
            let err = root_pair(Some("0:0:1"), Some(map)).unwrap_err();
            assert!(Chain(&err).to_string().contains("gidmapping"), "{}", Chain(&err));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[0-9:,+x -]{0,40}") {
            if let Ok(Some((uid, gid))) = root_pair(Some(&text), Some(&text)) {
                prop_assert_eq!(uid, gid);
                prop_assert!(uid != u32::MAX);
            }
        }

        #[test]
        fn the_first_range_that_has_root_counts(
            before in prop::collection::vec((1..u32::MAX, 0..u32::MAX, 0..u32::MAX), 0..4),
            host in 0..u32::MAX,
            length in 1..u32::MAX,
            after in prop::collection::vec((0..u32::MAX, 0..u32::MAX, 0..u32::MAX), 0..4),
        ) {
            let map: Vec<_> = before.into_iter().chain([(0, host, length)]).chain(after)
                .map(|(container, host, length)| format!("{container}:{host}:{length}"))
                .collect();
            prop_assert_eq!(root_pair(Some(&map.join(",")), None).unwrap(), Some((host, 0)));
        }
    }
}
