//! Repairs of leases decide on what there is by then, not on what was found.

use super::leases::{add, change, entries, holder, id, image, lease, members, namespace};
use super::*;
use crate::store::Column;

fn repair_member(metadata: &Metadata, name: &str) {
    change(metadata, |txn| txn.repair_member(&namespace("one"), &id(name), &image("x"))).unwrap();
}

fn repair_expiry(metadata: &Metadata, name: &str, wrong: Option<u64>) {
    change(metadata, |txn| txn.repair_expiry(&namespace("one"), &id(name), wrong.map(at))).unwrap();
}

/// Deletes one side of a member, as damage does.
fn lose(metadata: &Metadata, column: Column, name: &str) {
    let key = match column {
        Column::Members => schema::leases::member(&namespace("one"), &id(name), &image("x")),
        _ => schema::leases::leased(&namespace("one"), &id(name), &image("x")),
    };
    let mut txn = metadata.store.write().unwrap();
    txn.delete(column, key);
    txn.commit().unwrap();
}

#[test]
fn one_side_of_a_member_is_a_hold_where_there_is_the_lease() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    for column in [Column::Members, Column::Leased] {
        lease(&metadata, "one", "l", None);
        add(&metadata, "one", "l", &image("x"));
        lose(&metadata, column, "l");
        repair_member(&metadata, "l");
        assert_eq!((holder(&metadata, "one", "x", 2).as_deref(), members(&metadata, "one", "l").len()), (Some("l"), 1));
        // Deleted since it was found, with its lease or without: it does not come back.
        change(&metadata, |txn| txn.remove_member(&namespace("one"), &id("l"), &image("x"))).unwrap();
        repair_member(&metadata, "l");
        assert_eq!(entries(&metadata), [1, 0, 0, 0]);
        add(&metadata, "one", "l", &image("x"));
        lose(&metadata, column, "l");
        change(&metadata, |txn| txn.delete_lease(&namespace("one"), &id("l"))).unwrap();
        repair_member(&metadata, "l");
        assert_eq!(entries(&metadata), [0; 4]);
    }
}

#[test]
fn a_lease_that_is_being_deleted_gets_no_member_back() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    lease(&metadata, "one", "l", None);
    change(&metadata, |txn| {
        (0..600).try_for_each(|n| txn.add_member(&namespace("one"), &id("l"), &image(&n.to_string())))
    })
    .unwrap();
    // The last of all, so that the deletion has not come to it.
    add(&metadata, "one", "l", &image("x"));
    change(&metadata, |txn| txn.delete_lease(&namespace("one"), &id("l"))).unwrap();
    let before = entries(&metadata);
    repair_member(&metadata, "l");
    assert_eq!(entries(&metadata), before);
    lose(&metadata, Column::Leased, "l");
    repair_member(&metadata, "l");
    assert_eq!(entries(&metadata), [before[0], before[1] - 1, before[2] - 1, before[3]]);
}

#[test]
fn an_end_is_entered_as_the_lease_says_it() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    lease(&metadata, "one", "ends", Some(30));
    lease(&metadata, "one", "never", None);
    for (name, wrong) in [("ends", None), ("ends", Some(20)), ("ends", Some(30)), ("never", Some(7)), ("gone", Some(7))]
    {
        repair_expiry(&metadata, name, wrong);
        assert_eq!((entries(&metadata)[3], metadata.next_expiry().unwrap()), (1, Some(at(30))), "{name} {wrong:?}");
    }
}

#[test]
fn a_lease_made_again_under_the_id_of_an_ended_one_stays() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    lease(&metadata, "one", "l", Some(0));
    let due = metadata.expired(at(9), 9).unwrap();
    assert_eq!((due.len(), due[0].state), (1, DueState::Ended));
    // Between the collector's look and its deletion.
    change(&metadata, |txn| txn.delete_lease(&namespace("one"), &id("l"))).unwrap();
    lease(&metadata, "one", "l", None);
    assert_eq!(change(&metadata, |txn| txn.delete_ended(&namespace("one"), &id("l"))).unwrap(), None);
    assert!(metadata.lease(&namespace("one"), &id("l")).is_ok());
}
