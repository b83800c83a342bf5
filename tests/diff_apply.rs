//! Apply: a blob of a content store becomes the directory of a snapshot, or nothing happens.

mod common;

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use common::applies::Applies;
use common::client::{Client, upperdir_of_mounts};
use common::content::{sha256, sha512};
use common::daemon::{Daemon, Site};
use common::diff::{Archive, TAR, TAR_GZIP, TAR_ZSTD, bind, gzip, layer, mount, zstd};
use common::is_root;
use common::metrics::Metrics;
use leasehold::grpc::proto::containerd::services::introspection::v1::PluginsRequest;
use leasehold::grpc::proto::containerd::services::introspection::v1::introspection_client::IntrospectionClient;
use leasehold::grpc::proto::containerd::types::Descriptor;
use tonic::{Code, Status};

fn base() -> Vec<u8> {
    Archive::new().dir("etc/").file("etc/passwd", b"root").file("etc/hosts", &[b'x'; 100_000]).finish()
}

fn code<T>(answer: Result<T, Status>) -> Option<Code> {
    answer.err().map(|status| status.code())
}

/// Returns all paths below a directory, sorted.
fn paths(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut next = vec![dir.to_owned()];
    while let Some(parent) = next.pop() {
        for entry in fs::read_dir(parent).unwrap() {
            let entry = entry.unwrap();
            found.push(entry.path().strip_prefix(dir).unwrap().to_str().unwrap().to_owned());
            if entry.file_type().unwrap().is_dir() {
                next.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

fn expect_base(dir: &Path) {
    assert_eq!(paths(dir), ["etc", "etc/hosts", "etc/passwd"]);
    assert_eq!(fs::read(dir.join("etc/passwd")).unwrap(), b"root");
    assert_eq!(fs::read(dir.join("etc/hosts")).unwrap(), [b'x'; 100_000]);
    let file = fs::metadata(dir.join("etc/passwd")).unwrap();
    assert_eq!((file.mode() & 0o7777, file.mtime(), file.mtime_nsec()), (0o640, 1_700_000_000, 0));
}

/// Starts a daemon that reads blobs below `content` of its site's directory, as containerd would lay them out.
fn start(settings: &str) -> (Site, Daemon) {
    let site = Site::new();
    let content_root = site.dir().join("content");
    fs::create_dir_all(content_root.join("blobs/sha256")).unwrap();
    fs::create_dir_all(content_root.join("blobs/sha512")).unwrap();
    let site = site.set_settings(&format!("[diff]\ncontent_root = {content_root:?}\n{settings}"));
    let daemon = site.start();
    (site, daemon)
}

/// Puts a blob where containerd has its own.
fn put(site: &Site, digest: &str, blob: &[u8]) {
    fs::write(site.dir().join("content/blobs").join(digest.replace(':', "/")), blob).unwrap();
}

#[test]
fn privileged_a_layer_is_applied_on_both_sockets() {
    if !is_root("a_layer_is_applied_on_both_sockets") {
        return;
    }
    let metrics = Metrics::somewhere();
    // Nothing holds what is uploaded to the API socket, and the first collection must not come in between.
    let site = Site::with_settings(&format!("{}[gc]\nstartup_delay = \"10m\"\n", metrics.settings()));
    let daemon = site.start();
    let blob = gzip(&base());
    let clients = [(Client::new(&daemon), "a/1/extract-1"), (Client::api(&daemon, "a"), "extract-1")];
    for (n, (client, key)) in clients.into_iter().enumerate() {
        let digest = client.store("ref", &blob).unwrap();
        assert_eq!(digest, sha256(&blob));
        let mounts = client.prepare(key, "").unwrap();
        let applied = client.apply(layer(TAR_GZIP, &blob), &mounts).unwrap();
        let expected = Descriptor {
            media_type: TAR.into(),
            digest: sha256(&base()),
            size: base().len() as i64,
            ..Descriptor::default()
        };
        assert_eq!(applied, expected);
        client.commit("committed", key).unwrap();
        expect_base(Path::new(&client.view("view", "committed").unwrap()[0].source));
        // The second socket finds what the first has unpacked.
        let applies = Applies::read(&metrics);
        assert_eq!((applies.extracted, applies.reused), (1, n));
    }
    assert_eq!(site.fsck(false), Vec::<String>::new());
}

#[test]
fn privileged_the_differ_is_a_plugin_of_the_api_socket() {
    if !is_root("the_differ_is_a_plugin_of_the_api_socket") {
        return;
    }
    let site = Site::new();
    let daemon = site.start();
    let client = Client::api(&daemon, "a");
    let mut introspection = IntrospectionClient::new(client.connection());
    let request = PluginsRequest { filters: vec!["type==io.containerd.differ.v1".into()] };
    let plugins = client.answer(async move { introspection.plugins(request).await }).unwrap().plugins;
    assert_eq!(plugins.iter().map(|plugin| plugin.id.as_str()).collect::<Vec<_>>(), ["leasehold"]);
    assert_eq!(
        code(Client::connect(daemon.api_socket()).unwrap().apply(layer(TAR, b""), &[])),
        Some(Code::FailedPrecondition)
    );
}

#[test]
fn privileged_media_types_may_lie_about_compression_and_about_nothing_else() {
    if !is_root("media_types_may_lie_about_compression_and_about_nothing_else") {
        return;
    }
    let (site, daemon) = start("reuse = \"off\"\n");
    let client = Client::new(&daemon);
    let blobs = [base(), gzip(&base()), zstd(&base())];
    for (n, blob) in blobs.iter().enumerate() {
        client.store(&format!("ref {n}"), blob).unwrap();
        for media_type in [TAR, TAR_GZIP, TAR_ZSTD, "application/vnd.docker.image.rootfs.diff.tar"] {
            let mounts = client.prepare(&format!("a/{n}/{media_type}"), "").unwrap();
            assert_eq!(client.apply(layer(media_type, blob), &mounts).unwrap().digest, sha256(&base()));
            expect_base(&upperdir_of_mounts(&mounts));
        }
    }
    let mounts = client.prepare("a/9/other", "").unwrap();
    for media_type in ["application/vnd.oci.image.layer.v1.tar+gzip+encrypted", "application/vnd.erofs.layer.v1", ""] {
        assert_eq!(code(client.apply(layer(media_type, &blobs[1]), &mounts)), Some(Code::Unimplemented));
    }
    assert_eq!(paths(&upperdir_of_mounts(&mounts)), Vec::<String>::new());
    assert_eq!(site.fsck(false), Vec::<String>::new());
}

#[test]
fn privileged_blobs_in_containerds_directory_are_checked() {
    if !is_root("blobs_in_containerds_directory_are_checked") {
        return;
    }
    let (site, daemon) = start("");
    let (client, api) = (Client::new(&daemon), Client::api(&daemon, "a"));
    let blob = gzip(&base());
    let target = client.prepare("a/1/extract-1", "").unwrap();
    let upperdir = upperdir_of_mounts(&target);
    let known = |digest: String, size: usize| Descriptor { digest, size: size as i64, ..layer(TAR_GZIP, &blob) };

    // Another differ may know where it is.
    assert_eq!(code(client.apply(layer(TAR_GZIP, &blob), &target)), Some(Code::Unimplemented));
    for digest in [sha256(&blob), sha512(&blob)] {
        let mounts = client.prepare(&format!("a/2/{digest}"), "").unwrap();
        put(&site, &digest, &blob);
        assert_eq!(client.apply(known(digest, blob.len()), &mounts).unwrap().digest, sha256(&base()));
        expect_base(&upperdir_of_mounts(&mounts));
    }
    // A namespace of the API socket has its own blobs only.
    assert_eq!(code(api.apply(layer(TAR_GZIP, &blob), &target)), Some(Code::NotFound));

    let other = gzip(&Archive::new().file("evil", b"evil").finish());
    put(&site, &sha256(&blob), &other);
    let refused = client.apply(known(sha256(&blob), other.len()), &target).unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains(&sha256(&other)), "{refused}");
    let refused = client.apply(known(sha256(&blob), blob.len()), &target).unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains(&format!("{} bytes", other.len())), "{refused}");
    assert_eq!(code(client.apply(known("sha256:../../etc/passwd".into(), 1), &target)), Some(Code::InvalidArgument));
    assert_eq!(paths(&upperdir), Vec::<String>::new());

    // What is no file is not read, and not waited for.
    let fifo = site.dir().join("content/blobs").join(sha256(b"fifo").replace(':', "/"));
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(code(client.apply(layer(TAR_GZIP, b"fifo"), &target)), Some(Code::Internal));
}

#[test]
fn privileged_directories_of_others_are_applied_to_as_by_containerd() {
    if !is_root("directories_of_others_are_applied_to_as_by_containerd") {
        return;
    }
    let (site, daemon) = start("");
    let client = Client::new(&daemon);
    let [upper, lower, native] = ["upper", "lower", "native"].map(|name| site.dir().join(name));
    for dir in [&upper, &lower, &native] {
        fs::create_dir_all(dir.join("var/log")).unwrap();
    }
    fs::set_permissions(lower.join("var"), fs::Permissions::from_mode(0o711)).unwrap();
    fs::remove_dir_all(upper.join("var")).unwrap();
    let blob = Archive::new().file("var/new", b"").file("var/.wh.log", b"").finish();
    client.store("ref", &blob).unwrap();
    let options = [format!("upperdir={}", upper.display()), format!("lowerdir={}", lower.display())];
    let overlay = mount("overlay", "overlay", &[&options[0], &options[1], "workdir=/none"]);
    client.apply(layer(TAR, &blob), &[overlay]).unwrap();
    // A directory without an entry is a copy of the one below.
    assert_eq!(fs::metadata(upper.join("var")).unwrap().mode() & 0o7777, 0o711);
    let whiteout = fs::symlink_metadata(upper.join("var/log")).unwrap();
    assert!(whiteout.file_type().is_char_device() && whiteout.rdev() == 0);
    client.apply(layer(TAR, &blob), &[bind(&native)]).unwrap();
    assert_eq!(paths(&native), ["var", "var/new"]);

    for mounts in [
        vec![],
        vec![bind(&native), bind(&native)],
        vec![mount("bind", native.to_str().unwrap(), &["ro", "rbind"])],
        vec![mount("overlay", "overlay", &[&options[1]])],
        vec![mount("ext4", "/dev/mapper/one", &[])],
    ] {
        assert_eq!(code(client.apply(layer(TAR, &blob), &mounts)), Some(Code::Unimplemented), "{mounts:?}");
    }
    assert_eq!(code(client.apply(layer(TAR, &blob), &[bind(&site.dir().join("none"))])), Some(Code::Internal));
}

#[test]
fn privileged_what_is_no_layer_leaves_nothing_behind() {
    if !is_root("what_is_no_layer_leaves_nothing_behind") {
        return;
    }
    let (_site, daemon) = start("max_layer_size = \"4MiB\"\nmax_entries = 100\n");
    let client = Client::new(&daemon);
    let mounts = client.prepare("a/1/extract-1", "").unwrap();
    let upperdir = upperdir_of_mounts(&mounts);
    fs::set_permissions(&upperdir, fs::Permissions::from_mode(0o751)).unwrap();
    let before = fs::metadata(&upperdir).unwrap();
    let good = Archive::new().dir("./").dir("etc/").file("etc/passwd", &[7; 60_000]);
    let entries = (0..100).fold(Archive::new(), |archive, n| archive.file(&n.to_string(), b""));
    let whole = gzip(&Archive::new().dir("etc/").file("etc/passwd", &[7; 60_000]).finish());
    let bomb = Archive::new().file("etc", b"").file("zeros", &vec![0; 8 << 20]).finish();
    let half = [&good.finish()[..10_000]].concat();
    let flipped: Vec<u8> = whole.iter().enumerate().map(|(n, byte)| byte ^ u8::from(n == whole.len() - 6)).collect();
    for (what, blob) in [
        ("an archive that ends early", half.clone()),
        ("the same, compressed", gzip(&half)),
        ("a stream that ends early", whole[..whole.len() - 4].to_vec()),
        ("a stream with another checksum", flipped),
        ("garbage behind it", [&whole[..], b"garbage"].concat()),
        ("a bomb", gzip(&bomb)),
        ("the other kind of bomb", zstd(&bomb)),
        ("too many entries", gzip(&entries.file("one more", b"").finish())),
        (
            "a way out",
            gzip(&Archive::new().file("etc", b"").file("etc/../../../evil", b"").file("x/.wh..", b"").finish()),
        ),
        ("no archive", b"#!/bin/sh\n".repeat(1000)),
    ] {
        client.store(what, &blob).unwrap();
        match client.apply(layer(TAR_GZIP, &blob), &mounts) {
            Err(refused) => assert_eq!(refused.code(), Code::InvalidArgument, "{what}: {refused}"),
            Ok(_) => panic!("{what} was applied: {:?}", paths(&upperdir)),
        }
        assert_eq!(paths(&upperdir), Vec::<String>::new(), "{what}");
        let after = fs::metadata(&upperdir).unwrap();
        assert_eq!((after.mode(), after.mtime_nsec()), (before.mode(), before.mtime_nsec()), "{what}");
    }
    let blob = gzip(&base());
    client.store("good", &blob).unwrap();
    client.apply(layer(TAR_GZIP, &blob), &mounts).unwrap();
    expect_base(&upperdir);
}

#[test]
fn privileged_a_second_layer_goes_on_top_of_the_first() {
    if !is_root("a_second_layer_goes_on_top_of_the_first") {
        return;
    }
    let (_site, daemon) = start("");
    let client = Client::new(&daemon);
    let mounts = client.prepare("a/1/extract-1", "").unwrap();
    let (first, second, broken) = (base(), Archive::new().file("etc/more", b"").finish(), b"x".repeat(2000));
    for (n, blob) in [&first, &second, &broken].into_iter().enumerate() {
        client.store(&n.to_string(), blob).unwrap();
    }
    let known = client.prepare("a/0/extract-0", "").unwrap();
    client.apply(layer(TAR, &first), &known).unwrap();
    client.commit("known", "a/0/extract-0").unwrap();
    client.apply(layer(TAR, &first), &mounts).unwrap();
    client.apply(layer(TAR, &second), &mounts).unwrap();
    // So does one that was not extracted again.
    let staged = client.prepare("a/2/extract-2", "").unwrap();
    client.apply(layer(TAR, &first), &staged).unwrap();
    assert_eq!(paths(&upperdir_of_mounts(&staged)), Vec::<String>::new());
    client.apply(layer(TAR, &second), &staged).unwrap();
    assert_eq!(paths(&upperdir_of_mounts(&staged)), ["etc", "etc/hosts", "etc/more", "etc/passwd"]);
    // What was there before stays when another one fails.
    assert_eq!(code(client.apply(layer(TAR, &broken), &mounts)), Some(Code::InvalidArgument));
    assert_eq!(paths(&upperdir_of_mounts(&mounts)), ["etc", "etc/hosts", "etc/more", "etc/passwd"]);
}
