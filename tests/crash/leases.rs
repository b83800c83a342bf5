//! Changes of leases and namespaces, with what there must be after each.

use std::cell::Cell;

use leasehold::store::Column;
use leasehold::types::{Labels, LeaseId, Member, Namespace};
use tonic::{Code, Status};

use crate::common::client::Client;
use crate::common::daemon::Site;
use crate::common::damage::{change, keys};
use crate::points::{CrashAt, Outcome};

/// So many that a lease cannot be deleted in one transaction.
const MANY: usize = 1_200;

/// Every lease with the number of its resources, and every namespace: at first, and after each step.
const STATES: [&str; 5] = [
    "one: big 1200, two: l 0, namespaces one two",
    "one: big 1200, new 0, two: l 0, namespaces one two",
    "one: big 1200, new 1, two: l 0, namespaces one two",
    "one: new 1, two: l 0, namespaces one two",
    "one: new 1, two: namespaces one",
];
/// Leases go one by one before their namespace does.
const BEFORE_THE_LAST: &str = "one: new 1, two: namespaces one two";

/// Makes a stopped pool in the first state.
pub fn template() -> Site {
    let site = Site::new();
    assert!(site.start().stop().success());
    change(site.root(), |txn| {
        for (namespace, id, members) in [("one", "big", MANY), ("two", "l", 0)] {
            let (namespace, id) = (Namespace::parse(namespace).unwrap(), LeaseId::parse(id).unwrap());
            txn.create_lease(&namespace, &id, Labels::default(), None).unwrap().unwrap();
            for number in 0..members {
                txn.add_member(&namespace, &id, &Member::parse("images", number.to_string()).unwrap()).unwrap();
            }
        }
    });
    site
}

/// Takes the steps until they end or the daemon crashes. Returns how many were answered, too.
pub fn run(site: &Site, at: &CrashAt) -> (usize, Outcome) {
    let answered = Cell::new(0);
    let outcome = at.serve(site, |_| {
        let connected = Client::connect(&site.api_socket());
        let client = connected.map_err(|err| Status::unavailable(err.to_string()))?.in_namespace("one");
        let step = |result: Result<(), Status>| result.map(|()| answered.set(answered.get() + 1));
        step(client.create_lease("new", &[("containerd.io/gc.expire", "2099-01-01T00:00:00Z")]).map(drop))?;
        step(client.add_resource("new", "images", "i"))?;
        step(client.delete_lease("big"))?;
        step(client.delete_namespace("two"))
    });
    (answered.get(), outcome)
}

/// Checks what a crash left, after `answered` steps.
pub fn check(site: &Site, answered: usize) {
    let daemon = site.start();
    let client = Client::api(&daemon, "one");
    let state = state(&client);
    let step_was_kept = STATES.get(answered + 1).is_some_and(|next| *next == state);
    let half = answered + 2 == STATES.len() && state == BEFORE_THE_LAST;
    assert!(state == STATES[answered] || step_was_kept || half, "after {answered} steps: {state}");
    // Whatever was left of a deletion is finished by whoever wants the id or the namespace.
    if let Err(status) = client.create_lease("big", &[]) {
        assert_eq!(status.code(), Code::AlreadyExists, "{status}");
    } else {
        assert_eq!(client.resources("big").unwrap(), []);
    }
    client.delete_namespace("one").unwrap();
    assert!(daemon.stop().success());
    for column in [Column::Members, Column::Leased, Column::Expiry] {
        assert_eq!(keys(site.root(), column), Vec::<Vec<u8>>::new(), "left in {column:?}");
    }
    assert_eq!(site.fsck(false), Vec::<String>::new());
}

fn state(client: &Client) -> String {
    let mut state = String::new();
    for namespace in ["one", "two"] {
        let client = client.in_namespace(namespace);
        let leases = client.leases(&[]).unwrap();
        let counted =
            leases.iter().map(|lease| format!("{} {}, ", lease.id, client.resources(&lease.id).unwrap().len()));
        state += &format!("{namespace}: {}", counted.collect::<String>());
    }
    state + "namespaces " + &client.namespaces()
}
