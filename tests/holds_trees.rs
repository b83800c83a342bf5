//! A lease on an index or a manifest keeps what is below it: documents, layers, and the snapshots of the chain. What
//! containerd removes goes when the lease does.

mod common;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use common::client::Client;
use common::content::random_data;
use common::handmade::{INDEX, MANIFEST, chain_ids, digest_of};
use common::pool::Pool;
use common::random::Random;
use common::{is_root, wait_for};
use serde_json::{Value, json};

/// How soon after the end of a hold everything is gone.
const SOON: Duration = Duration::from_secs(2);
const LIMIT: Duration = Duration::from_secs(30);
const FLAT: (&str, &str) = ("containerd.io/gc.flat", "x");

/// An image of two layers, as containerd has it.
struct Image {
    index: String,
    manifest: String,
    config: String,
    layers: Vec<String>,
    /// What its snapshots are called.
    chain: Vec<String>,
}

impl Image {
    /// Puts an image that nobody else has into a pool, and unpacks it in a namespace; `first` is the first of its numbers.
    fn pull(pool: &Pool, namespace: &str, first: u32) -> Image {
        let image = Image::fetch(&pool.containerd);
        let chain: Vec<&str> = image.chain.iter().map(String::as_str).collect();
        pool.unpack(namespace, first, &chain, 0);
        image
    }

    fn fetch(containerd: &Client) -> Image {
        let put = |bytes: &[u8]| containerd.store("default/1/ref", bytes).unwrap();
        let document = |document: Value| put(document.to_string().as_bytes());
        let mut random = Random::new();
        let diff_ids: Vec<String> = (0..2).map(|_| digest_of(&random_data(&mut random, 64))).collect();
        let layers: Vec<String> = (0..2).map(|_| put(&random_data(&mut random, 10_000))).collect();
        let config = document(json!({
            "os": "linux", "architecture": "amd64", "config": { "Env": ["A=b"] },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        }));
        let described: Vec<Value> = layers.iter().map(|layer| json!({ "digest": layer, "size": 10_000 })).collect();
        let manifest = document(json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": { "digest": config, "size": 1 }, "layers": described,
        }));
        // The other platform was never pulled.
        let other = digest_of(config.as_bytes());
        let manifests = [&other, &manifest].map(|digest| json!({ "mediaType": MANIFEST, "digest": digest, "size": 1 }));
        let index = document(json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests }));
        Image { index, manifest, config, layers, chain: chain_ids(&diff_ids) }
    }

    /// Every blob of it.
    fn blobs(&self) -> BTreeSet<String> {
        [&self.index, &self.manifest, &self.config].into_iter().chain(&self.layers).cloned().collect()
    }
}

/// Deletes all that containerd has, as its collector does.
fn remove_all(pool: &Pool) {
    pool.remove_all();
    for digest in pool.containerd.blobs() {
        pool.containerd.delete_blob(&digest).unwrap();
    }
    assert_eq!(pool.containerd.blobs(), Vec::<String>::new());
}

fn blobs(pool: &Pool) -> BTreeSet<String> {
    pool.site.blob_files().into_iter().collect()
}

fn lease(pool: &Pool, id: &str, labels: &[(&str, &str)], digest: &str) {
    pool.operator.create_lease(id, labels).unwrap();
    pool.operator.add_resource(id, "content", digest).unwrap();
}

/// Waits until no blob and no layer is left, and checks that it took no longer than `limit`.
fn expect_gone(pool: &Pool, limit: Duration) {
    let began = Instant::now();
    wait_for("the end of all blobs", LIMIT, || blobs(pool).is_empty());
    pool.expect_gone(LIMIT);
    assert!(began.elapsed() < limit, "{:?}", began.elapsed());
}

/// Checks that nothing but an image is left, whatever else has to be done.
fn expect_only(pool: &Pool, image: &Image) {
    pool.operator.collect().unwrap();
    assert_eq!((blobs(pool), pool.layers()), (image.blobs(), image.chain.len()));
    pool.expect_whole();
}

#[test]
fn privileged_a_leased_index_keeps_all_that_is_below_it() {
    if !is_root("a_leased_index_keeps_all_that_is_below_it") {
        return;
    }
    let pool = Pool::start("");
    let image = Image::pull(&pool, "default", 1);
    Image::pull(&pool, "default", 11);
    lease(&pool, "keep", &[], &image.index);
    remove_all(&pool);
    expect_only(&pool, &image);
    let plan = pool.operator.plan().unwrap();
    assert_eq!((plan.retained, plan.retained_blobs), (0, 0));

    let chain = ["is named by the document before it"; 2];
    let why = pool.site.cli(&["why", &image.layers[0]]).ok();
    let lines = [
        format!("retained blob {}", image.layers[0]),
        "  lease keep in default: never ends".to_owned(),
        format!("    content {} in default: the lease names it", image.index),
        format!("      content {} in default: {}", image.manifest, chain[0]),
        format!("        content {} in default: {}", image.layers[0], chain[1]),
    ];
    assert_eq!(why.trim_end(), lines.join("\n"));
    let why = pool.operator.why(&image.chain[1]).unwrap();
    let [index, manifest, config] = [&image.index, &image.manifest, &image.config];
    let held = format!("lease keep > content {index} > content {manifest} > content {config} > snapshot leasehold");
    assert_eq!(why, [format!("retained {0}: {held}/{0}", image.chain[1])]);

    // Asking for one makes it containerd's, and changes nothing about the others.
    pool.containerd.blob(&image.config).unwrap();
    expect_only(&pool, &image);
    let pool = pool.restart(true);
    expect_only(&pool, &image);
    pool.containerd.delete_blob(&image.config).unwrap();
    expect_only(&pool, &image);
    pool.operator.delete_lease_with("keep", true).unwrap();
    assert_eq!(blobs(&pool), BTreeSet::new());
    expect_gone(&pool, SOON);
}

#[test]
fn privileged_what_a_tree_would_keep_is_told_before() {
    if !is_root("what_a_tree_would_keep_is_told_before") {
        return;
    }
    let pool = Pool::start("");
    let image = Image::pull(&pool, "default", 1);
    lease(&pool, "keep", &[], &image.manifest);
    for what in [&image.layers[1], &image.chain[0]] {
        let why = pool.site.cli(&["why", what]).ok();
        let after = format!("after a removal: lease keep in default: names {}, below which it is", image.manifest);
        assert!(why.contains(&after), "{why}");
    }
    assert!(pool.site.cli(&["why", &image.index]).ok().contains("after a removal nothing would keep it"));
}

#[test]
fn privileged_a_flat_lease_keeps_what_it_names() {
    if !is_root("a_flat_lease_keeps_what_it_names") {
        return;
    }
    let pool = Pool::start("");
    let image = Image::pull(&pool, "default", 1);
    lease(&pool, "flat", &[FLAT], &image.index);
    lease(&pool, "full", &[], &image.layers[0]);
    remove_all(&pool);
    pool.operator.collect().unwrap();
    assert_eq!(blobs(&pool), [&image.index, &image.layers[0]].into_iter().cloned().collect());
    assert_eq!(pool.layers(), 0);
    pool.operator.delete_lease("flat").unwrap();
    pool.operator.delete_lease("full").unwrap();
    expect_gone(&pool, SOON);
}

#[test]
fn privileged_snapshots_are_held_in_the_namespace_of_the_lease() {
    if !is_root("snapshots_are_held_in_the_namespace_of_the_lease") {
        return;
    }
    let pool = Pool::start("");
    let image = Image::pull(&pool, "default", 1);
    let chain: Vec<&str> = image.chain.iter().map(String::as_str).collect();
    pool.unpack("elsewhere", 11, &chain, 0);
    lease(&pool, "keep", &[], &image.index);
    let elsewhere: BTreeSet<String> = {
        let all: BTreeSet<String> = pool.site.layer_dirs().into_iter().collect();
        let infos = pool.containerd.list(&[]).unwrap();
        let kept = infos.iter().filter(|info| info.name.starts_with("default/")).cloned().collect::<Vec<_>>();
        let kept: BTreeSet<String> = common::client::layer_names(&kept).into_iter().collect();
        all.difference(&kept).cloned().collect()
    };
    assert_eq!(elsewhere.len(), 2);
    remove_all(&pool);
    expect_only(&pool, &image);
    assert!(pool.site.layer_dirs().iter().all(|layer| !elsewhere.contains(layer)));
    pool.operator.delete_lease("keep").unwrap();
    expect_gone(&pool, SOON);
}

#[test]
fn privileged_a_tree_goes_with_its_lease_with_nothing_else_happening() {
    if !is_root("a_tree_goes_with_its_lease_with_nothing_else_happening") {
        return;
    }
    for restart in [None, Some(false), Some(true)] {
        let mut pool = Pool::start("");
        let image = Image::pull(&pool, "default", 1);
        let end = SystemTime::now() + Duration::from_secs(4);
        let label = humantime::format_rfc3339_millis(end).to_string();
        lease(&pool, "short", &[("containerd.io/gc.expire", &label)], &image.index);
        remove_all(&pool);
        if let Some(kill) = restart {
            pool = pool.restart(kill);
        }
        expect_only(&pool, &image);
        assert!(SystemTime::now() < end, "too slow to say anything");
        expect_gone(&pool, end.duration_since(SystemTime::now()).unwrap() + SOON);
        // From now on nothing is retained for a tree that may be.
        let (digest, trash) = (pool.containerd.store("default/1/ref", b"last").unwrap(), pool.site.trash_dirs());
        pool.containerd.delete_blob(&digest).unwrap();
        assert_eq!((blobs(&pool), trash), (BTreeSet::new(), Vec::new()));
    }
}

#[test]
fn privileged_what_is_no_document_holds_nothing() {
    if !is_root("what_is_no_document_holds_nothing") {
        return;
    }
    let pool = Pool::start("");
    let held = pool.containerd.store("default/1/ref", b"named by all of them").unwrap();
    let named = json!({ "digest": held, "size": 1 });
    let manifests = json!({ "manifests": [named] }).to_string();
    // Larger than anything that is read.
    let large = manifests.clone() + &" ".repeat(8 << 20);
    let cut = manifests.trim_end_matches('}').to_owned();
    let odd = json!({ "manifests": { "a": named }, "layers": [named], "config": [named] }).to_string();
    let archive = format!("\u{1f}\u{8b}{manifests}");
    for (number, text) in [large, cut, odd, archive, String::new()].iter().enumerate() {
        let digest = pool.containerd.store("default/1/ref", text.as_bytes()).unwrap();
        lease(&pool, &format!("lease {number}"), &[], &digest);
    }
    // One that names itself in a circle cannot be made; one that names what is not there, and the same twice, can.
    let nowhere = json!({ "digest": digest_of(b"not here") });
    let text = json!({ "manifests": [nowhere, nowhere], "subject": { "digest": "sha256:x" } }).to_string();
    let digest = pool.containerd.store("default/1/ref", text.as_bytes()).unwrap();
    lease(&pool, "last", &[], &digest);
    let all = blobs(&pool).len();
    remove_all(&pool);
    pool.operator.collect().unwrap();
    let left = blobs(&pool);
    assert!(!left.contains(&held) && left.len() == all - 1, "{left:?}");
    // A lease on what comes later counts as well.
    let digest = digest_of(manifests.as_bytes());
    lease(&pool, "ahead", &[], &digest);
    pool.containerd.store("default/1/ref", b"named by all of them").unwrap();
    assert_eq!(pool.containerd.store("default/1/ref", manifests.as_bytes()).unwrap(), digest);
    for digest in [&held, &digest] {
        pool.containerd.delete_blob(digest).unwrap();
    }
    pool.operator.collect().unwrap();
    assert!(blobs(&pool).contains(&held) && blobs(&pool).contains(&digest));
}

#[test]
fn privileged_nothing_is_lost_to_collections_while_leases_come_and_go() {
    if !is_root("nothing_is_lost_to_collections_while_leases_come_and_go") {
        return;
    }
    const IMAGES: usize = 24;
    let pool = Pool::start("");
    let stopped = AtomicBool::new(false);
    let images: Vec<Image> = std::thread::scope(|scope| {
        // Collections all the time, in which what is not decided is.
        scope.spawn(|| {
            let operator = Client::api(&pool.daemon, "default");
            while !stopped.load(Ordering::Relaxed) {
                operator.collect().unwrap();
            }
        });
        let images = (0..IMAGES).map(|number| {
            let image = Image::fetch(&pool.containerd);
            // What was held until now goes, and this comes to be held, just before it is deleted.
            if number % 2 == 0 {
                lease(&pool, &format!("lease {number}"), &[], &image.index);
            }
            for digest in image.blobs() {
                pool.containerd.delete_blob(&digest).unwrap();
            }
            image
        });
        let images = images.collect();
        stopped.store(true, Ordering::Relaxed);
        images
    });
    pool.operator.collect().unwrap();
    let held: BTreeSet<String> = images.iter().step_by(2).flat_map(Image::blobs).collect();
    assert_eq!(blobs(&pool), held);
    for number in (0..IMAGES).step_by(2) {
        pool.operator.delete_lease(&format!("lease {number}")).unwrap();
    }
    expect_gone(&pool, SOON);
}

#[test]
fn privileged_below_a_damaged_document_nothing_is_given_up() {
    if !is_root("below_a_damaged_document_nothing_is_given_up") {
        return;
    }
    let pool = Pool::start("");
    let image = Image::pull(&pool, "default", 1);
    let file = pool.site.blob_file(&image.manifest);
    let whole = std::fs::read(&file).unwrap();
    // No document any more, by its looks.
    std::fs::write(&file, vec![0; whole.len()]).unwrap();
    lease(&pool, "keep", &[], &image.index);
    remove_all(&pool);
    expect_only(&pool, &image);
    assert!(std::fs::read_to_string(pool.site.log()).unwrap().contains("fsck --content"));
    // What it says counts again as soon as it can be read.
    std::fs::write(&file, whole).unwrap();
    expect_only(&pool, &image);
    pool.operator.delete_lease_with("keep", true).unwrap();
    expect_gone(&pool, LIMIT);
}
