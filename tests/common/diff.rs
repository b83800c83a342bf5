//! The differ, call by call, and layers for it.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use leasehold::grpc::proto::containerd::services::diff::v1 as api;
use leasehold::grpc::proto::containerd::services::diff::v1::diff_client::DiffClient;
use leasehold::grpc::proto::containerd::types::{Descriptor, Mount};

use super::client::{Answer, Client};
use super::content::sha256;
use super::headers::Connection;

/// The media types that most layers have.
pub const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
pub const TAR_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub const TAR_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

impl Client {
    pub fn diff(&self) -> DiffClient<Connection> {
        DiffClient::new(self.connection())
    }

    /// Has a blob applied, and returns what it was uncompressed.
    pub fn apply(&self, layer: Descriptor, mounts: &[Mount]) -> Answer<Descriptor> {
        let request = apply_request(layer, mounts);
        let mut diff = self.diff();
        self.answer(async move { diff.apply(request).await }).map(|answer| answer.applied.unwrap())
    }
}

pub fn apply_request(layer: Descriptor, mounts: &[Mount]) -> api::ApplyRequest {
    api::ApplyRequest { diff: Some(layer), mounts: mounts.to_vec(), ..Default::default() }
}

/// Describes a blob.
pub fn layer(media_type: &str, blob: &[u8]) -> Descriptor {
    Descriptor { media_type: media_type.into(), digest: sha256(blob), size: blob.len() as i64, ..Descriptor::default() }
}

/// A mount that is bound.
pub fn bind(source: &std::path::Path) -> Mount {
    mount("bind", source.to_str().unwrap(), &["rw", "rbind"])
}

pub fn mount(kind: &str, source: &str, options: &[&str]) -> Mount {
    let options = options.iter().map(ToString::to_string).collect();
    Mount { r#type: kind.into(), source: source.into(), target: String::new(), options }
}

/// A tar archive that is being written.
#[derive(Default)]
pub struct Archive(Vec<u8>);

impl Archive {
    pub fn new() -> Archive {
        Archive::default()
    }

    pub fn dir(self, name: &str) -> Archive {
        self.entry(name, b'5', 0o755, &[])
    }

    pub fn file(self, name: &str, data: &[u8]) -> Archive {
        self.entry(name, b'0', 0o640, data)
    }

    /// Ends the archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }

    fn entry(mut self, name: &str, kind: u8, mode: u32, data: &[u8]) -> Archive {
        let mut header = [0; 512];
        let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, name);
        put(100, &format!("{mode:07o}"));
        put(108, "0000000");
        put(116, "0000000");
        put(124, &format!("{:011o}", data.len()));
        put(136, &format!("{:011o}", 1_700_000_000));
        put(148, "        ");
        put(257, "ustar\x0000");
        header[156] = kind;
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend(header);
        self.0.extend(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }
}

/// An archive of so many small files, which takes a while to make.
pub fn many_files(count: usize) -> Vec<u8> {
    let archive = Archive::new().dir("many/");
    (0..count).fold(archive, |archive, n| archive.file(&format!("many/{n}"), n.to_string().as_bytes())).finish()
}

pub fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(data: &[u8]) -> Vec<u8> {
    zstd::encode_all(data, 1).unwrap()
}
