//! Images that are put into a containerd blob by blob, so that they can be anything.

use std::collections::BTreeMap;

use leasehold::grpc::proto::containerd::services::content::v1 as content;
use leasehold::grpc::proto::containerd::services::content::v1::content_client::ContentClient;
use leasehold::grpc::proto::containerd::services::images::v1 as images;
use leasehold::grpc::proto::containerd::services::images::v1::images_client::ImagesClient;
use leasehold::grpc::proto::containerd::services::snapshots::v1 as snapshots;
use leasehold::grpc::proto::containerd::types::Descriptor;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tonic::Response;

use super::client::{Client, upperdir_of_mounts};
use super::containerd::Session;

pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A maker of images in one namespace of a containerd.
pub struct Handmade {
    client: Client,
}

/// Returns the digest of some bytes.
pub fn digest_of(bytes: &[u8]) -> String {
    let digits = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("sha256:{digits}")
}

/// Returns the ChainIDs of layers, from the base layer up.
pub fn chain_ids(diff_ids: &[String]) -> Vec<String> {
    let mut chain: Vec<String> = Vec::new();
    for diff_id in diff_ids {
        chain.push(chain.last().map_or(diff_id.clone(), |below| digest_of(format!("{below} {diff_id}").as_bytes())));
    }
    chain
}

/// Keeps something that nothing refers to.
fn kept() -> BTreeMap<String, String> {
    BTreeMap::from([("containerd.io/gc.root".to_owned(), "true".to_owned())])
}

impl Handmade {
    pub fn new(session: &Session<'_>) -> Handmade {
        Handmade { client: session.api() }
    }

    /// Puts a blob there, and returns its digest.
    pub fn blob(&self, bytes: &[u8]) -> String {
        let digest = digest_of(bytes);
        let request = content::WriteContentRequest {
            action: content::WriteAction::Commit.into(),
            r#ref: format!("make {digest}"),
            total: bytes.len() as i64,
            expected: digest.clone(),
            data: bytes.to_vec().into(),
            labels: kept(),
            ..Default::default()
        };
        let mut client = ContentClient::new(self.client.connection()).max_encoding_message_size(16 << 20);
        let written = self.client.answer(async {
            let mut answers = client.write(tokio_stream::once(request)).await?.into_inner();
            while answers.message().await?.is_some() {}
            Ok(Response::new(()))
        });
        match written {
            Err(status) if status.code() != tonic::Code::AlreadyExists => panic!("{status}"),
            _ => digest,
        }
    }

    fn document(&self, document: &Value) -> String {
        self.blob(document.to_string().as_bytes())
    }

    /// Puts the manifest of an image for a platform there, and returns digests: its own, then those of its blobs.
    pub fn manifest(&self, platform: &str, diff_ids: &[String]) -> Vec<String> {
        let (os, architecture) = platform.split_once('/').unwrap();
        let config = self.document(&json!({
            "os": os, "architecture": architecture, "rootfs": { "type": "layers", "diff_ids": diff_ids },
        }));
        // What is in these does not matter: nobody unpacks them.
        let layers: Vec<String> = diff_ids.iter().map(|diff_id| self.blob(diff_id.as_bytes())).collect();
        let described = |kind: &str, digest: &String| json!({ "mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest, "size": 1 });
        let manifest = self.document(&json!({
            "schemaVersion": 2,
            "config": described("config.v1+json", &config),
            "layers": layers.iter().map(|layer| described("layer.v1.tar", layer)).collect::<Vec<_>>(),
        }));
        [vec![manifest, config], layers].concat()
    }

    /// Puts an index of manifests there, each for a platform, and returns its digest.
    pub fn index(&self, manifests: &[(&str, &str)]) -> String {
        let entry = |(platform, digest): &(&str, &str)| {
            let (os, architecture) = platform.split_once('/').unwrap();
            let platform = json!({ "os": os, "architecture": architecture });
            json!({ "mediaType": MANIFEST, "digest": digest, "size": 1, "platform": platform })
        };
        let entries: Vec<Value> = manifests.iter().map(entry).collect();
        self.document(&json!({ "schemaVersion": 2, "manifests": entries }))
    }

    /// Gives something a name.
    pub fn image(&self, name: &str, media_type: &str, digest: &str) {
        let target = Descriptor { media_type: media_type.into(), digest: digest.into(), size: 1, ..Default::default() };
        let image = images::Image { name: name.into(), target: Some(target), ..Default::default() };
        let request = images::CreateImageRequest { image: Some(image), ..Default::default() };
        let mut client = ImagesClient::new(self.client.connection());
        self.client.answer(async { client.create(request).await }).unwrap();
    }

    /// Takes a name away.
    pub fn remove_image(&self, name: &str) {
        let request = images::DeleteImageRequest { name: name.into(), ..Default::default() };
        let mut client = ImagesClient::new(self.client.connection());
        self.client.answer(async { client.delete(request).await }).unwrap();
    }

    /// Unpacks a layer: a file of so many bytes, on top of another layer.
    pub fn layer(&self, chain_id: &str, parent: &str, bytes: usize) {
        let key = format!("make {chain_id}");
        let mounts = self.prepare(&key, parent);
        std::fs::write(upperdir_of_mounts(&mounts).join("file"), vec![1; bytes]).unwrap();
        let request = snapshots::CommitSnapshotRequest {
            snapshotter: "leasehold".into(),
            name: chain_id.into(),
            key,
            labels: kept(),
            ..Default::default()
        };
        self.client.call(async |mut client| client.commit(request).await).unwrap();
    }

    /// Prepares a container's snapshot.
    pub fn prepare(&self, key: &str, parent: &str) -> Vec<leasehold::grpc::proto::containerd::types::Mount> {
        let request = snapshots::PrepareSnapshotRequest {
            snapshotter: "leasehold".into(),
            key: key.into(),
            parent: parent.into(),
            labels: kept(),
        };
        self.client.call(async |mut client| client.prepare(request).await).unwrap().mounts
    }

    /// Removes a snapshot.
    pub fn remove(&self, key: &str) {
        let request = snapshots::RemoveSnapshotRequest { snapshotter: "leasehold".into(), key: key.into() };
        self.client.call(async |mut client| client.remove(request).await).unwrap();
    }
}
