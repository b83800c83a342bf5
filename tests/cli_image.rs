//! Images by containerd's names on the command line: `lease --image`, `du --image` and `why`.

mod common;

use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use common::containerd::{Release, Session, Unpack};
use common::handmade::{Handmade, INDEX, MANIFEST, chain_ids, digest_of};
use common::node::Node;
use common::tools::ready;
use serde_json::Value;

/// Bytes of a layer: far more than its directories take.
const UNIT: usize = 1 << 20;
/// How long the command line may take to find that containerd does not answer.
const PATIENCE: Duration = Duration::from_secs(30);

const FOREIGN: &str = "linux/s390x";

fn host() -> String {
    format!("linux/{}", oci_spec::image::Arch::default())
}

fn diff_ids(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| digest_of(name.as_bytes())).collect()
}

/// What a lease names, as `type id`, without the snapshotter's name.
fn named(node: &Node, session: &Session<'_>, lease: &str) -> Vec<String> {
    let mut named = node.operator(&session.namespace).resources(lease).unwrap();
    named.sort();
    named.into_iter().map(|(kind, id)| format!("{} {id}", kind.trim_end_matches("/leasehold"))).collect()
}

fn content(digests: &[&String]) -> Vec<String> {
    digests.iter().map(|digest| format!("content {digest}")).collect()
}

fn sorted(mut all: Vec<String>) -> Vec<String> {
    all.sort();
    all.dedup();
    all
}

/// Commits the layers of a chain, each one unit larger than the one below it.
fn unpack(made: &Handmade, chain: &[String]) {
    for (number, chain_id) in chain.iter().enumerate() {
        let parent = if number == 0 { "" } else { &chain[number - 1] };
        made.layer(chain_id, parent, (number + 1) * UNIT);
    }
}

#[test]
fn privileged_a_lease_names_what_an_image_is_made_of() {
    if !ready("a_lease_names_what_an_image_is_made_of") {
        return;
    }
    let node = Node::start(Release::V2, Unpack::Parallel);
    let session = node.containerd.session("named");
    let made = Handmade::new(&session);
    let cli = |args: &[&str]| node.cli(&session.namespace, args);
    let (own, other) = (diff_ids(&["base", "top"]), diff_ids(&["base", "other", "third"]));
    let (own_chain, other_chain) = (chain_ids(&own), chain_ids(&other));
    let manifest = made.manifest(&host(), &own);
    let foreign = made.manifest(FOREIGN, &other);
    let absent = digest_of(b"never pulled");
    let index = made.index(&[(&host(), &manifest[0]), (FOREIGN, &foreign[0]), ("linux/mips", &absent)]);
    made.image("docker.io/library/shop:latest", INDEX, &index);
    unpack(&made, &own_chain);

    let top = |chain: &[String]| format!("snapshots {}", chain.last().unwrap());
    cli(&["lease", "create", "plain", "--image", "shop"]).ok();
    let plain = sorted([content(&[&index]), vec![top(&own_chain)]].concat());
    assert_eq!(named(&node, &session, "plain"), plain);
    // By whatever an operator has at hand.
    for (lease, name) in [("whole", "docker.io/library/shop:latest"), ("digest", &index), ("id", &index[7..19])] {
        cli(&["lease", "create", lease, "--image", name]).ok();
        assert_eq!(named(&node, &session, lease), plain, "{name}");
    }
    // A flat lease does not follow references.
    cli(&["lease", "create", "flat", "--flat", "--image", "shop"]).ok();
    let flat = sorted([plain.clone(), content(&manifest.iter().collect::<Vec<_>>())].concat());
    assert_eq!(named(&node, &session, "flat"), flat);
    let (_, note) = cli(&["lease", "add", "flat", "--image", "shop", "--platform", FOREIGN]).noted();
    let name = "docker.io/library/shop:latest";
    assert_eq!(
        note,
        format!(
            "leasehold: note: {name}: 1 of its 3 layers for {FOREIGN} are unpacked in snapshotter leasehold; \
             the others are held from when they are\n"
        )
    );
    // The base, which both images have, is there.
    let base = top(&other_chain[..1]);
    let both = [flat.clone(), content(&foreign.iter().collect::<Vec<_>>()), vec![top(&other_chain), base]].concat();
    assert_eq!(named(&node, &session, "flat"), sorted(both));
    cli(&["lease", "drop", "flat", "--image", "shop", "--platform", FOREIGN]).ok();
    let base = made.blob(own[0].as_bytes());
    // What both had in common went with the one: a lease names a thing once.
    let left: Vec<String> = flat.into_iter().filter(|one| !content(&[&index, &base]).contains(one)).collect();
    assert_eq!(named(&node, &session, "flat"), left);

    // Of what is half unpacked, what is there is held now.
    made.layer(&other_chain[1], &other_chain[0], UNIT);
    let (_, note) = cli(&["lease", "create", "all", "--image", "shop", "--all-platforms"]).noted();
    assert!(note.contains(": 2 of its 3 layers for linux/s390x are unpacked"), "{note}");
    assert!(note.contains("it is not pulled for linux/mips"), "{note}");
    let half = vec![top(&own_chain), top(&other_chain), top(&other_chain[..2])];
    assert_eq!(named(&node, &session, "all"), sorted([content(&[&index]), half].concat()));
    for lease in ["plain", "all"] {
        let all = ["--all-platforms"].iter().filter(|_| lease == "all").copied();
        cli(&["lease", "drop", lease, "--image", "shop"].into_iter().chain(all).collect::<Vec<_>>()).ok();
        assert_eq!(named(&node, &session, lease), Vec::<String>::new());
    }
}

#[test]
fn privileged_mistakes_about_images_are_told() {
    if !ready("mistakes_about_images_are_told") {
        return;
    }
    let node = Node::start(Release::V2, Unpack::Parallel);
    let session = node.containerd.session("mistakes");
    let elsewhere = node.containerd.session("elsewhere");
    let made = Handmade::new(&session);
    let layers = diff_ids(&["base"]);
    let foreign = made.manifest(FOREIGN, &layers);
    made.image("foreign:1", MANIFEST, &foreign[0]);
    made.image("other:1", INDEX, &made.index(&[(FOREIGN, &foreign[0])]));
    made.image("unpulled:1", INDEX, &made.index(&[(&host(), &digest_of(b"not there"))]));
    made.image("malformed:1", MANIFEST, &made.blob(b"{\"schemaVersion\": 2, "));
    made.image("hostile:1", INDEX, &made.blob(br#"{"schemaVersion":2,"manifests":[{"digest":"../../etc"}]}"#));
    made.image("mismatch:1", MANIFEST, &mismatch(&made));
    made.image("huge:1", MANIFEST, &made.blob(&vec![b' '; 9 << 20]));
    made.image("old:1", "application/vnd.docker.distribution.manifest.v1+json", &foreign[0]);
    Handmade::new(&elsewhere).image("docker.io/library/shop:latest", MANIFEST, &digest_of(b"a"));
    let lease = |args: &[&str]| node.cli(&session.namespace, &[&["lease", "create", "never"], args].concat());
    let here = &session.namespace;
    for (args, why) in [
        (
            &["--image", "gone:1"][..],
            format!("no image \"gone:1\" in namespace {here}, nor as \"docker.io/library/gone:1\""),
        ),
        (&["--image", "a b"], format!("containerd has no image \"a b\" in namespace {here}\n")),
        (&["--image", ""], format!("containerd has no image \"\" in namespace {here}\n")),
        (&["--image", "\u{1b}[2J"], "containerd has no image \"\\u{1b}[2J\"".to_owned()),
        (
            &["--image", "shop"],
            format!("\"shop\" in namespace {}, not in {here}: use --namespace", elsewhere.namespace),
        ),
        (&["--image", "other:1"], format!("image \"other:1\": it is for {FOREIGN}, not for {}", host())),
        (&["--image", "foreign:1", "--platform", "linux/mips"], format!("it is for {FOREIGN}, not for linux/mips")),
        (&["--image", "unpulled:1"], format!("image \"unpulled:1\": it is not pulled for {}", host())),
        (&["--image", "malformed:1"], "is malformed: EOF while parsing a value at line 1 column 21".to_owned()),
        (&["--image", "hostile:1"], "index sha256:".to_owned()),
        (&["--image", "mismatch:1"], "malformed: 0 layers, but 1 DiffIDs".to_owned()),
        (&["--image", "huge:1"], "is no document of an image: it is larger than 8 MiB".to_owned()),
        (&["--image", "old:1"], "is no type of an image".to_owned()),
        (&["--image", "foreign:1", "malformed:1"], "image \"malformed:1\": manifest sha256:".to_owned()),
    ] {
        let err = lease(args).fails(1);
        assert!(err.starts_with("leasehold: ") && err.contains(&why), "{args:?}: {err}");
    }
    for (args, why) in [
        (&["--platform", "linux/arm64"][..], "--image <NAME>"),
        (&["--all-platforms"], "--image <NAME>"),
        (&["--image", "a", "--platform", "a b"], "a platform has the form"),
        (&["--image", "a", "--platform", "arm64", "--all-platforms"], "cannot be used with"),
    ] {
        let err = lease(args).fails(2);
        assert!(err.contains(why), "{args:?}: {err}");
    }
    // Nothing was made, and one that stands alone is what it is.
    assert_eq!(node.operator(here).lease_ids(&[]), "");
    lease(&["--image", "foreign:1"]).noted();
    let (out, note) = node.cli(here, &["du", "--json", "--image"]).noted();
    assert_eq!(note.lines().count(), 5, "{note}");
    let all: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(all["images"].as_array().unwrap().len(), 7, "two names of one blob are one image: {all:#}");
    assert!(note.lines().all(|line| line.starts_with("leasehold: note: image \"")), "{note}");
}

/// Makes a manifest without layers, whose configuration has one.
fn mismatch(made: &Handmade) -> String {
    let config = made.blob(format!(r#"{{"rootfs":{{"diff_ids":["{}"]}}}}"#, digest_of(b"a")).as_bytes());
    let manifest =
        format!(r#"{{"schemaVersion":2,"config":{{"mediaType":"a","digest":"{config}","size":1}},"layers":[]}}"#);
    made.blob(manifest.as_bytes())
}

#[test]
fn privileged_a_containerd_that_is_not_there_is_told() {
    if !ready("a_containerd_that_is_not_there_is_told") {
        return;
    }
    let site = common::daemon::Site::new();
    let _daemon = site.start();
    let nowhere = site.dir().join("nowhere.sock");
    let fails = |args: &[&str], why: &str| {
        let err = site.cli(&[args, &["--containerd", nowhere.to_str().unwrap()]].concat()).fails(1);
        assert!(err.contains(&format!("no containerd listens on {}", nowhere.display())) && err.contains(why), "{err}");
    };
    fails(&["lease", "create", "a", "--image", "shop"], "--containerd");
    fails(&["du", "--image"], "--containerd");
    fails(&["why", "shop"], "there is nothing of that name, unless it is an image's");
    // Without a question about images, it is not needed.
    site.cli(&["du", "--containerd", nowhere.to_str().unwrap()]).ok();
    site.cli(&["lease", "create", "a", "--containerd", nowhere.to_str().unwrap()]).ok();
    // The address of a client of gRPC is one, too.
    let err = site.cli_with(&["du", "--image"], |command| {
        command.env_remove("CONTAINERD_NAMESPACE").env("CONTAINERD_ADDRESS", format!("unix://{}", nowhere.display()))
    });
    assert!(err.fails(1).contains(&format!("listens on {}.", nowhere.display())));

    let silent = UnixListener::bind(site.dir().join("silent.sock")).unwrap();
    let address = silent.local_addr().unwrap();
    let began = Instant::now();
    let err = site.cli(&["why", "shop", "--containerd", address.as_pathname().unwrap().to_str().unwrap()]).fails(1);
    assert!(err.contains("did not answer within 10 s"), "{err}");
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
}

/// Returns names, layers, and size, shared and unique bytes in units.
fn rows(usage: &Value) -> Vec<(String, [u64; 4])> {
    let number = |of: &Value, name: &str| of[name].as_u64().unwrap_or_else(|| panic!("{of}"));
    let row = |image: &Value| {
        let (usage, unit) = (&image["usage"], UNIT as u64);
        let bytes = ["size", "shared", "unique"].map(|name| number(usage, name) / unit);
        let names: Vec<&str> = image["names"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        (names.join(" "), [number(usage, "layers"), bytes[0], bytes[1], bytes[2]])
    };
    usage["images"].as_array().unwrap().iter().map(row).collect()
}

#[test]
fn privileged_usage_is_by_image() {
    if !ready("usage_is_by_image") {
        return;
    }
    let node = Node::start(Release::V2, Unpack::Parallel);
    let [session, other] = ["usage", "other"].map(|name| node.containerd.session(name));
    let made = Handmade::new(&session);
    let cli = |args: &[&str]| node.cli(&session.namespace, args);
    let images = |args: &[&str]| rows(&cli(&[&["du", "--json", "--image"], args].concat()).json());
    let own = |name: &str, row| (name.to_owned(), row);
    // One unit for the base, two for what is on top of it, three for the third.
    let (left, right) = (diff_ids(&["base", "left"]), diff_ids(&["base", "right", "end"]));
    for (name, layers) in [("docker.io/library/left:1", &left), ("right:1", &right)] {
        made.image(name, MANIFEST, &made.manifest(&host(), layers)[0]);
    }
    unpack(&made, &chain_ids(&left));
    let chain = chain_ids(&right);
    made.layer(&chain[1], &chain[0], 2 * UNIT);
    made.layer(&chain[2], &chain[1], 3 * UNIT);
    // As Kubernetes does, which removes all names of an image together.
    let target = made.manifest(&host(), &right)[0].clone();
    made.image(&format!("right@{target}"), MANIFEST, &target);
    made.image("not-unpacked:1", MANIFEST, &made.manifest(&host(), &diff_ids(&["nowhere"]))[0]);
    // What another namespace has is told, but it has layers of its own.
    let theirs = Handmade::new(&other);
    theirs.image("left:1", MANIFEST, &theirs.manifest(&host(), &left)[0]);
    unpack(&theirs, &chain_ids(&left));

    let right_names = format!("right:1 right@{target}");
    let all = [
        own(&right_names, [3, 6, 1, 5]),
        own("docker.io/library/left:1", [2, 3, 1, 2]),
        own("not-unpacked:1", [0, 0, 0, 0]),
    ];
    assert_eq!(images(&[]), all);
    assert_eq!(images(&["left:1"]), all[1..2]);
    assert_eq!(images(&["left:1", &target[..19]]), all[..2]);
    // The name that was asked for comes first.
    let by_digest = images(&[&format!("right@{target}")]);
    assert_eq!(by_digest, [own(&format!("right@{target} right:1"), [3, 6, 1, 5])]);
    let socket = node.containerd.socket();
    let everywhere = ["du", "--image", "gone:1", "--containerd", socket.to_str().unwrap()];
    assert!(node.site.cli(&everywhere).fails(1).contains("no image \"gone:1\" in any namespace"));
    let everywhere = node.site.cli_with(&["du", "--json", "--image"], |command| {
        command.env("CONTAINERD_NAMESPACE", "").env("CONTAINERD_ADDRESS", node.containerd.socket())
    });
    let everywhere = rows(&everywhere.json());
    assert_eq!(everywhere.len(), 4);
    assert!(everywhere.contains(&own("left:1", [2, 3, 0, 3])), "{everywhere:?}");

    // A container on it is a reason to stay.
    made.prepare("till", &chain[1]);
    assert_eq!(images(&["right:1"]), [own(&right_names, [3, 6, 3, 3])]);
    made.remove("till");
    // So is a lease, which is listed with what it has.
    cli(&["lease", "create", "keep", "--image", "left:1"]).ok();
    assert_eq!(images(&["left:1"]), [own("docker.io/library/left:1", [2, 3, 3, 0])]);
    // Then it is all that the other one shares.
    made.remove_image("docker.io/library/left:1");
    let table = cli(&["du", "--image"]).ok();
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0][..3], ["NAMESPACE", "IMAGE", "UNPACKED"]);
    assert_eq!(lines[1][1..5], ["right:1", "(+1)", "yes", "3"]);
    assert_eq!(lines[2][1..4], ["not-unpacked:1", "no", "0"]);
    assert!(lines.iter().any(|line| line.get(1) == Some(&"keep")), "{table}");
    let err = cli(&["du", "--image", "gone"]).fails(1);
    assert!(err.contains("containerd has no image \"gone\" in namespace"), "{err}");
}

#[test]
fn privileged_why_explains_an_image() {
    if !ready("why_explains_an_image") {
        return;
    }
    let node = Node::start(Release::V2, Unpack::Parallel);
    let session = node.containerd.session("why");
    let made = Handmade::new(&session);
    let cli = |args: &[&str]| node.cli(&session.namespace, args);
    let layers = diff_ids(&["base", "top"]);
    let manifest = made.manifest(&host(), &layers);
    made.image("docker.io/library/shop:1", MANIFEST, &manifest[0]);
    let said = cli(&["why", "shop:1"]).ok();
    let first = format!("image docker.io/library/shop:1 in {}", session.namespace);
    assert_eq!(said, format!("{first}\n  none of its layers is here: it is not unpacked by leasehold\n"));
    unpack(&made, &chain_ids(&layers));
    let said = cli(&["why", "shop:1"]).ok();
    let lines: Vec<&str> = said.lines().collect();
    let top = &chain_ids(&layers)[1];
    assert_eq!(lines[0], first);
    assert!(lines[1].starts_with("snapshot of containerd ") && lines[1].contains(top.as_str()), "{said}");
    assert!(lines[2].contains("containerd has it"), "{said}");
    let json = cli(&["why", "--json", &manifest[0]]).json();
    assert_eq!((json[0]["kind"].as_str(), json.as_array().unwrap().len()), (Some("containerd"), 1));
    let err = cli(&["why", "shop:2"]).fails(1);
    assert_eq!(err, "leasehold: there is nothing of that name\n");
}
