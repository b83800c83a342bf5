//! The documents of an image: indexes, manifests and configurations, and the ChainIDs that follow from them.

use anyhow::{Context, ensure};
use oci_spec::image::{Descriptor, Digest, ImageIndex, ImageManifest};
use serde::Deserialize;

use crate::types::chain_ids;

use super::platform::Platform;

/// What an image or an entry of an index is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Index,
    Manifest,
}

impl Kind {
    /// Reads a media type of OCI or of Docker; `None` for anything else.
    pub fn of(media_type: &str) -> Option<Kind> {
        match media_type {
            "application/vnd.oci.image.index.v1+json" | "application/vnd.docker.distribution.manifest.list.v2+json" => {
                Some(Kind::Index)
            }
            "application/vnd.oci.image.manifest.v1+json" | "application/vnd.docker.distribution.manifest.v2+json" => {
                Some(Kind::Manifest)
            }
            _ => None,
        }
    }
}

/// What a configuration says about layers. What it says about processes is not ours, and not always well-formed.
#[derive(Debug, Deserialize)]
pub(super) struct Configuration {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: String,
    rootfs: RootFs,
}

#[derive(Debug, Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Vec<Digest>,
}

/// Reads an index.
pub(super) fn index(digest: &str, bytes: &[u8]) -> anyhow::Result<Vec<Descriptor>> {
    let index: ImageIndex = parse("index", digest, bytes)?;
    Ok(index.manifests().clone())
}

/// Reads a manifest.
pub(super) fn manifest(digest: &str, bytes: &[u8]) -> anyhow::Result<ImageManifest> {
    parse("manifest", digest, bytes)
}

/// Reads a configuration.
pub(super) fn configuration(digest: &str, bytes: &[u8]) -> anyhow::Result<Configuration> {
    parse("configuration", digest, bytes)
}

fn parse<'b, T: Deserialize<'b>>(what: &str, digest: &str, bytes: &'b [u8]) -> anyhow::Result<T> {
    serde_json::from_slice(bytes).with_context(|| format!("{what} {digest} is malformed"))
}

impl Configuration {
    /// Returns what the image is for: what is not said is as on this machine.
    pub fn platform(&self) -> Platform {
        Platform::new_or_host(&self.os, &self.architecture, &self.variant)
    }

    /// Returns the ChainIDs of the layers, from the base layer up.
    pub fn chain_ids(&self, layers: usize) -> anyhow::Result<Vec<String>> {
        let diff_ids = &self.rootfs.diff_ids;
        ensure!(diff_ids.len() == layers, "malformed: {layers} layers, but {} DiffIDs", diff_ids.len());
        Ok(chain_ids(diff_ids.iter().map(Digest::as_ref)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_of_oci_and_docker_are_known() {
        let oci = |kind: &str| Kind::of(&format!("application/vnd.oci.image.{kind}.v1+json"));
        assert_eq!((oci("index"), oci("manifest"), oci("config")), (Some(Kind::Index), Some(Kind::Manifest), None));
        let docker = |kind: &str| Kind::of(&format!("application/vnd.docker.distribution.{kind}.v2+json"));
        assert_eq!((docker("manifest.list"), docker("manifest")), (Some(Kind::Index), Some(Kind::Manifest)));
    }

    #[test]
    fn chain_ids_are_those_of_the_specification() {
        let [a, b, c] = ["a", "b", "c"].map(|digit| format!("sha256:{}", digit.repeat(64)));
        let bytes = format!(r#"{{"rootfs":{{"type":"layers","diff_ids":["{a}","{b}","{c}"]}}}}"#);
        let configuration = configuration("", bytes.as_bytes()).unwrap();
        // As printed by `printf 'sha256:aa.. sha256:bb..' | sha256sum`, and so on.
        let second = "sha256:ccd722928bd92476ba1745586fed6e45a102504185ad88cd89e01ff116fd146c";
        let third = "sha256:c1377126441fb2f5ec2c21ae2a60255331d639e830f0ee1b40a36e52d4c40588";
        assert_eq!(configuration.chain_ids(3).unwrap(), [a.as_str(), second, third]);
        let err = configuration.chain_ids(2).unwrap_err();
        assert_eq!(err.to_string(), "malformed: 2 layers, but 3 DiffIDs");
        assert_eq!(configuration.platform(), Platform::host());
    }

    #[test]
    fn an_odd_process_is_no_reason_to_refuse_an_image() {
        let bytes = r#"{"os":"linux","architecture":"arm64","config":{"Volumes":{"/a":null},"Env":3},"rootfs":{}}"#;
        let configuration = configuration("", bytes.as_bytes()).unwrap();
        assert_eq!(configuration.platform().to_string(), "linux/arm64");
        assert_eq!(configuration.chain_ids(0).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn what_is_malformed_is_named() {
        for bytes in ["", "[]", "{", "null", r#"{"rootfs":{"diff_ids":["x"]}}"#, r#"{"rootfs":{"diff_ids":[7]}}"#] {
            let err = configuration("sha256:1", bytes.as_bytes()).unwrap_err();
            assert_eq!(err.to_string(), "configuration sha256:1 is malformed", "{bytes}");
        }
        let err = manifest("sha256:1", br#"{"schemaVersion":2,"layers":[]}"#).unwrap_err();
        assert!(format!("{err:#}").starts_with("manifest sha256:1 is malformed: missing field `config`"), "{err:#}");
        let bad = br#"{"schemaVersion":2,"manifests":[{"mediaType":"a","digest":"../a:b","size":1}]}"#;
        assert!(index("sha256:1", bad).is_err());
    }
}
