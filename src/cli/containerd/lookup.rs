//! Which image an operator means.

use anyhow::bail;
use oci_spec::distribution::Reference;

use crate::grpc::proto::containerd::services::images::v1::Image;
use crate::types::Namespace;

use super::client::Containerd;

/// As many digits of a digest as clients print at least.
const SHORTEST_ID: usize = 7;

/// Finds an image by its name, by what its name is short for, or by its digest or the beginning of that.
pub(in crate::cli) fn find(containerd: &Containerd, namespace: &Namespace, asked: &str) -> anyhow::Result<Image> {
    if let Some(found) = find_in(containerd, namespace, asked)? {
        return Ok(found);
    }
    let mut elsewhere = Vec::new();
    for other in containerd.namespaces()?.iter().filter(|other| *other != namespace) {
        if find_in(containerd, other, asked)?.is_some() {
            elsewhere.push(other.as_str().to_owned());
        }
    }
    let full = match familiar(asked) {
        Some(full) if full != asked => format!(", nor as {full:?}"),
        _ => String::new(),
    };
    if elsewhere.is_empty() {
        bail!("containerd has no image {asked:?} in namespace {namespace}{full}");
    }
    bail!("containerd has image {asked:?} in namespace {}, not in {namespace}: use --namespace", elsewhere.join(", "))
}

/// Like [`find`], without an error for an image that is not there.
pub(in crate::cli) fn find_in(
    containerd: &Containerd,
    namespace: &Namespace,
    asked: &str,
) -> anyhow::Result<Option<Image>> {
    if asked.is_empty() {
        return Ok(None);
    }
    if let Some(found) = containerd.image(namespace, asked)? {
        return Ok(Some(found));
    }
    if let Some(full) = familiar(asked).filter(|full| full != asked)
        && let Some(found) = containerd.image(namespace, &full)?
    {
        return Ok(Some(found));
    }
    let Some(filter) = by_digest(asked) else { return Ok(None) };
    let mut found = containerd.images(namespace, vec![filter])?;
    // Many names may be of one image.
    found.sort_by(|a, b| target(a).cmp(target(b)));
    found.dedup_by(|a, b| target(a) == target(b));
    if found.len() > 1 {
        bail!("{asked:?} is the beginning of {} digests: give more of it", found.len());
    }
    Ok(found.pop())
}

/// Returns the digest that an image points at.
pub(in crate::cli) fn target(image: &Image) -> &str {
    image.target.as_ref().map_or("", |target| &target.digest)
}

/// Returns the whole name that a short one stands for: `alpine` is `docker.io/library/alpine:latest`.
fn familiar(name: &str) -> Option<String> {
    name.parse::<Reference>().ok().map(|reference| reference.whole())
}

/// Returns the filter for images of a digest.
fn by_digest(asked: &str) -> Option<String> {
    let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    match asked.split_once(':') {
        Some((algorithm, digits)) if algorithm.starts_with("sha") && !digits.is_empty() && is_hex(digits) => {
            Some(format!("target.digest~=^{asked}"))
        }
        None if asked.len() >= SHORTEST_ID && is_hex(asked) => Some(format!("target.digest~=^sha256:{asked}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_stand_for_whole_ones() {
        for (short, whole) in [
            ("alpine", "docker.io/library/alpine:latest"),
            ("alpine:3", "docker.io/library/alpine:3"),
            ("a/b", "docker.io/a/b:latest"),
            ("docker.io/alpine", "docker.io/library/alpine:latest"),
            ("ghcr.io/a/b", "ghcr.io/a/b:latest"),
            ("localhost/b", "localhost/b:latest"),
            ("127.0.0.1:5000/b:1", "127.0.0.1:5000/b:1"),
        ] {
            assert_eq!(familiar(short).as_deref(), Some(whole));
        }
        let digest = format!("alpine@sha256:{}", "0a".repeat(32));
        assert_eq!(familiar(&digest), Some(format!("docker.io/library/{digest}")));
        for none in ["", "Alpine", "a b", "/a", "a:", "sha256:", "a@b", "é"] {
            assert_eq!(familiar(none), None, "{none:?}");
        }
    }

    #[test]
    fn digests_and_their_beginnings_are_filters() {
        assert_eq!(by_digest("0123456789ab").unwrap(), "target.digest~=^sha256:0123456789ab");
        assert_eq!(by_digest("sha512:0123").unwrap(), "target.digest~=^sha512:0123");
        for none in ["012345", "busybox", "0123456789AB", "sha256:", "sha256:0x", "cafe:0123456789", ".*.*.*.*"] {
            assert_eq!(by_digest(none), None, "{none:?}");
        }
    }
}
