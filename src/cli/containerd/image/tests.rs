use std::collections::HashMap;

use serde_json::{Value, json};

use super::super::document::Kind;
use super::{Image, Record, Wanted};
use crate::cli::containerd::Platform;
use crate::grpc::proto::containerd::types::Descriptor;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Documents by digest. What a digest is made of does not matter here.
#[derive(Default)]
struct Blobs {
    documents: HashMap<String, Vec<u8>>,
    made: usize,
}

fn digest(number: usize) -> String {
    format!("sha256:{number:064x}")
}

impl Blobs {
    fn add(&mut self, document: &Value) -> String {
        self.add_bytes(document.to_string().as_bytes())
    }

    fn add_bytes(&mut self, bytes: &[u8]) -> String {
        let digest = self.next();
        self.made += 1;
        self.documents.insert(digest.clone(), bytes.to_vec());
        digest
    }

    /// Returns the digest that the next document will have.
    fn next(&self) -> String {
        digest(1_000 + self.made)
    }

    /// Adds a manifest of so many layers, with its configuration; an architecture of `-` is not said.
    fn manifest(&mut self, architecture: &str, layers: usize) -> String {
        let diff_ids: Vec<String> = (0..layers).map(digest).collect();
        let mut config = json!({ "rootfs": { "type": "layers", "diff_ids": diff_ids } });
        if architecture != "-" {
            config["os"] = "linux".into();
            config["architecture"] = architecture.into();
        }
        let config = self.add(&config);
        let layer = |number| json!({ "mediaType": "layer", "digest": digest(100 + number), "size": 1 });
        self.add(&json!({
            "schemaVersion": 2,
            "config": { "mediaType": "config", "digest": config, "size": 1 },
            "layers": (0..layers).map(layer).collect::<Vec<_>>(),
        }))
    }

    fn index(&mut self, entries: &[Value]) -> String {
        self.add(&json!({ "schemaVersion": 2, "manifests": entries }))
    }

    fn resolve(&self, media_type: &str, target: &str, wanted: &Wanted) -> Result<Image, String> {
        let target = Some(Descriptor { media_type: media_type.into(), digest: target.into(), ..Descriptor::default() });
        let record = Record { name: "shop".into(), target, ..Record::default() };
        Image::resolve(&record, wanted, &mut |digest| Ok(self.documents.get(digest).cloned()))
            .map_err(|err| format!("{err:#}"))
    }
}

fn entry(media_type: &str, digest: &str, platform: Option<&str>) -> Value {
    let mut entry = json!({ "mediaType": media_type, "digest": digest, "size": 1 });
    if let Some((os, architecture)) = platform.and_then(|platform| platform.split_once('/')) {
        entry["platform"] = json!({ "os": os, "architecture": architecture });
    }
    entry
}

fn platform(text: &str) -> Wanted {
    Wanted::One(Platform::parse(text).unwrap())
}

fn layers(image: &Image) -> Vec<(String, usize)> {
    image.manifests.iter().map(|one| (one.platform.to_string(), one.chain_ids.len())).collect()
}

#[test]
fn a_manifest_alone_is_the_image_unless_another_one_is_asked_for() {
    let mut blobs = Blobs::default();
    let target = blobs.manifest("arm64", 2);
    let image = blobs.resolve(MANIFEST, &target, &Wanted::Host).unwrap();
    assert_eq!(layers(&image), [("linux/arm64".to_owned(), 2)]);
    let manifest = &image.manifests[0];
    assert_eq!((&manifest.digest, &image.target, image.indexes.len()), (&target, &target, 0));
    assert_eq!(manifest.blobs, [digest(1_000), digest(100), digest(101)]);
    assert_eq!(manifest.chain_ids[0], digest(0));
    assert_eq!(blobs.resolve(MANIFEST, &target, &platform("linux/arm64")).unwrap(), image);
    assert_eq!(blobs.resolve(MANIFEST, &target, &Wanted::All).unwrap(), image);
    let err = blobs.resolve(MANIFEST, &target, &platform("linux/amd64")).unwrap_err();
    assert_eq!(err, r#"image "shop": it is for linux/arm64, not for linux/amd64"#);
}

#[test]
fn an_index_has_one_for_each_platform() {
    let mut blobs = Blobs::default();
    let manifests = [("amd64", 1), ("arm64", 2)].map(|(architecture, layers)| blobs.manifest(architecture, layers));
    let nested = blobs.index(&[entry(MANIFEST, &manifests[1], None)]);
    let unread = blobs.add(&json!("no manifest"));
    let target = blobs.index(&[
        entry(MANIFEST, &digest(7), Some("unknown/unknown")),
        entry("application/spdx+json", &digest(8), None),
        entry(MANIFEST, &unread, None),
        entry(MANIFEST, &manifests[0], Some("linux/amd64")),
        entry(INDEX, &nested, None),
        entry(MANIFEST, &digest(9), Some("linux/s390x")),
        entry(INDEX, &digest(10), None),
    ]);
    let resolve = |wanted: &Wanted| blobs.resolve(INDEX, &target, wanted);
    let amd64 = resolve(&platform("amd64")).unwrap();
    assert_eq!(layers(&amd64), [("linux/amd64".to_owned(), 1)]);
    assert_eq!(amd64.indexes, [target.clone(), nested]);
    // The platform of one that does not say it is in its configuration.
    assert_eq!(layers(&resolve(&platform("arm64")).unwrap()), [("linux/arm64".to_owned(), 2)]);
    let all = resolve(&Wanted::All).unwrap();
    assert_eq!(layers(&all), [("linux/amd64".to_owned(), 1), ("linux/arm64".to_owned(), 2)]);
    assert_eq!(all.absent, [Platform::parse("s390x").unwrap()]);
    let fails = |wanted: &str, why: &str| assert_eq!(resolve(&platform(wanted)).unwrap_err(), why);
    fails("s390x", r#"image "shop": it is not pulled for linux/s390x"#);
    fails("riscv64", r#"image "shop": it is for linux/amd64, linux/s390x, linux/arm64, not for linux/riscv64"#);
}

#[test]
fn what_is_not_there_or_no_image_is_told() {
    let mut blobs = Blobs::default();
    let (good, no_config) = (blobs.manifest("-", 1), blobs.manifest("-", 0));
    blobs.documents.remove(&digest(1_002));
    let malformed = blobs.add_bytes(b"{\"schemaVersion\":2,");
    let empty = blobs.index(&[]);
    let endless = blobs.index(&vec![entry(MANIFEST, &good, Some("linux/amd64")); 1_000]);
    let nothing = blobs.add(&json!({
        "schemaVersion": 2, "config": { "mediaType": "a", "digest": digest(1_000), "size": 1 }, "layers": [],
    }));
    assert!(blobs.resolve(MANIFEST, &good, &Wanted::Host).is_ok());
    for (media_type, target, why) in [
        (MANIFEST, &digest(9), "it is not pulled: not all of its documents are there"),
        (MANIFEST, &no_config, "it is not pulled: not all of its documents are there"),
        (INDEX, &digest(9), "it is not pulled: sha256:00"),
        (MANIFEST, &malformed, "is malformed: EOF while parsing"),
        (INDEX, &malformed, "is malformed: EOF while parsing"),
        (MANIFEST, &empty, "is malformed: missing field `config`"),
        (MANIFEST, &nothing, "malformed: 0 layers, but 1 DiffIDs"),
        (INDEX, &empty, "it is for nothing that can be read, not for "),
        (INDEX, &endless, "more than 1000 manifests"),
        ("application/vnd.docker.distribution.manifest.v1+prettyjws", &good, "is no type of an image"),
    ] {
        let err = blobs.resolve(media_type, target, &Wanted::Host).unwrap_err();
        assert!(err.starts_with("image \"shop\": ") && err.contains(why), "{err}");
    }
    let pointless = Record { name: "shop".into(), ..Record::default() };
    let err = Image::resolve(&pointless, &Wanted::All, &mut |_| Ok(None)).unwrap_err();
    assert_eq!(format!("{err:#}"), r#"image "shop": it points at nothing"#);
    assert_eq!(Kind::of(""), None);
}

#[test]
fn an_index_in_itself_ends() {
    let mut blobs = Blobs::default();
    let manifest = blobs.manifest("amd64", 1);
    let own = blobs.next();
    let target = blobs.index(&[entry(INDEX, &own, None), entry(MANIFEST, &manifest, Some("linux/amd64"))]);
    assert_eq!(own, target);
    assert_eq!(layers(&blobs.resolve(INDEX, &target, &platform("amd64")).unwrap()).len(), 1);
}
