//! Which blobs are layers that can be unpacked here, by their media types.

use crate::{Error, Result};

/// Tar archives that can be compressed: what a suffix (`+gzip`) says, and what is true, can differ.
const OCI: [&str; 2] =
    ["application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.nondistributable.v1.tar"];
/// The same from before OCI. Those that say nothing of compression have been used for compressed layers, too.
const DOCKER: [&str; 5] = [
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
];

/// Fails for what is no layer, or one that has to be decrypted, or otherwise changed, before it is one.
///
/// # Errors
/// [`Error::Unsupported`], with which containerd asks its next differ.
pub fn require_layer(media_type: &str) -> Result<()> {
    let is_oci = |base: &str| OCI.contains(&base);
    let known = match media_type.split_once('+') {
        None => is_oci(media_type) || DOCKER.contains(&media_type),
        Some((base, suffix)) => is_oci(base) && matches!(suffix, "gzip" | "zstd"),
    };
    if known { Ok(()) } else { Err(Error::Unsupported(format!("a layer of media type {}", shown(media_type)))) }
}

fn shown(media_type: &str) -> String {
    const LIMIT: usize = 128;
    format!("{:?}", media_type.chars().take(LIMIT).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::require_layer;
    use crate::Error;

    #[test]
    fn layers_are_told_from_all_else() {
        for known in [
            "application/vnd.oci.image.layer.v1.tar",
            "application/vnd.oci.image.layer.v1.tar+gzip",
            "application/vnd.oci.image.layer.v1.tar+zstd",
            "application/vnd.oci.image.layer.nondistributable.v1.tar",
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
            "application/vnd.docker.image.rootfs.diff.tar",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
            "application/vnd.docker.image.rootfs.diff.tar.zstd",
            "application/vnd.docker.image.rootfs.foreign.diff.tar",
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        ] {
            require_layer(known).unwrap();
        }
        for unknown in [
            "",
            "application/vnd.oci.image.layer.v1.tar+encrypted",
            "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
            "application/vnd.oci.image.layer.v1.tar+zstd:chunked",
            "application/vnd.oci.image.layer.v1.tar+",
            "application/vnd.docker.image.rootfs.diff.tar.gzip+encrypted",
            "application/vnd.docker.image.rootfs.diff.tar+gzip",
            "application/vnd.oci.image.config.v1+json",
            "application/vnd.erofs.layer.v1",
            "application/octet-stream",
            "APPLICATION/VND.OCI.IMAGE.LAYER.V1.TAR",
        ] {
            let refused = require_layer(unknown).unwrap_err();
            assert!(matches!(refused, Error::Unsupported(_)), "{unknown}: {refused}");
        }
    }

    #[test]
    fn a_message_does_not_repeat_all_of_a_long_type() {
        assert!(require_layer(&"é".repeat(1 << 20)).unwrap_err().to_string().len() < 400);
    }
}
