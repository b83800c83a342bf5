//! `leasehold content ls`: the blobs there are, what holds them, and uploads in progress.

mod common;

use std::collections::BTreeSet;

use common::client::Client;
use common::content::sha256;
use common::daemon::Site;
use serde_json::{Value, json};

/// More than one page.
const MANY: usize = 150;

fn list(site: &Site, args: &[&str]) -> Vec<Value> {
    let list = site.cli(&[&["content", "ls", "--json"], args].concat()).json();
    list.as_array().unwrap().clone()
}

fn of<'l>(list: &'l [Value], digest: &str) -> Vec<&'l Value> {
    list.iter().filter(|one| one["digest"] == digest).collect()
}

#[test]
fn blobs_are_listed_with_who_has_them_and_what_leases_hold() {
    let site = Site::new();
    let daemon = site.start();
    let (containerd, operator) = (Client::new(&daemon), Client::api(&daemon, "team"));
    for n in 0..MANY {
        containerd.store("default/1/ref", format!("blob {n}").as_bytes()).unwrap();
    }
    let [plain, leased, shared] = ["blob 0", "blob 1", "blob 2"].map(|data| sha256(data.as_bytes()));
    operator.create_lease("keep", &[]).unwrap();
    for digest in [&leased, &shared] {
        operator.add_resource("keep", "content", digest).unwrap();
    }
    // Held, or the next collection would take it.
    operator.store("ref", b"blob 2").unwrap();
    operator.update_blob(&shared, &[("a", "b")], &[]).unwrap();
    let all = list(&site, &[]);
    let digests: BTreeSet<&str> = all.iter().map(|one| one["digest"].as_str().unwrap()).collect();
    assert_eq!((all.len(), digests.len()), (MANY + 1, MANY));
    let keep = json!([{ "namespace": "team", "id": "keep" }]);
    let [one] = of(&all, &plain)[..] else { panic!("{all:?}") };
    assert_eq!((&one["namespace"], &one["leases"], &one["size"]), (&Value::Null, &json!([]), &json!(6)));
    let [of_containerd, of_team] = of(&all, &shared)[..] else { panic!("{all:?}") };
    assert_eq!((&of_containerd["namespace"], &of_containerd["leases"]), (&Value::Null, &keep));
    assert_eq!((&of_team["namespace"], &of_team["leases"]), (&json!("team"), &keep));
    assert_eq!((&of_containerd["labels"], &of_team["labels"]["a"]), (&json!({}), &json!("b")));

    containerd.delete_blob(&plain).unwrap();
    containerd.delete_blob(&leased).unwrap();
    let all = list(&site, &[]);
    assert_eq!(of(&all, &plain), Vec::<&Value>::new());
    let [one] = of(&all, &leased)[..] else { panic!("{all:?}") };
    assert_eq!((&one["retained"], &one["leases"]), (&json!(true), &keep));
    assert!(one["removed_at"].is_string());
    let table = site.cli(&["content", "ls"]).ok();
    let short = &leased[.."sha256:".len() + 12];
    let line = table.lines().find(|line| line.contains("retained")).unwrap();
    assert!(line.starts_with(short) && line.ends_with("retained: lease keep of team"), "{line}");
    assert!(site.cli(&["content", "ls", "--full"]).ok().contains(&leased));
    assert!(daemon.stop().success());
    assert!(site.cli(&["content", "ls"]).fails(1).contains("no daemon listens on"));
}

#[test]
fn uploads_are_listed_with_how_far_they_are() {
    let site = Site::new();
    let daemon = site.start();
    let (containerd, operator) = (Client::new(&daemon), Client::api(&daemon, "team"));
    for n in 0..MANY {
        containerd.begin(&format!("default/{n}/layer {n}")).unwrap().close();
    }
    let mut open = operator.begin("layer").unwrap();
    open.write(0, b"so far").unwrap();
    let all = list(&site, &["--uploads"]);
    assert_eq!(all.len(), MANY + 1);
    let named = |name: &str| all.iter().find(|one| one["name"] == name).unwrap();
    let of_team = named("layer");
    assert_eq!(
        (&of_team["namespace"], &of_team["api"], &of_team["open"]),
        (&json!("team"), &json!(true), &json!(true))
    );
    assert_eq!((&of_team["offset"], &of_team["total"]), (&json!(6), &Value::Null));
    let of_containerd = named("layer 7");
    assert_eq!((&of_containerd["namespace"], &of_containerd["ref"]), (&json!("default"), &json!("default/7/layer 7")));
    assert_eq!((&of_containerd["open"], &of_containerd["api"]), (&json!(false), &json!(false)));
    assert!(of_containerd["expires_at"].is_string());
    let table = site.cli(&["content", "ls", "--uploads"]).ok();
    assert!(table.starts_with("NAMESPACE  UPLOAD"), "{table}");
    assert_eq!(table.lines().count(), MANY + 2);
    assert!(list(&site, &[]).is_empty());
}
