//! Blobs, the files that they share, and ingests.

use super::*;
use crate::types::{Digest, FileId, IngestRef, LeaseId, Member, MemberKind, Namespace, label};

fn digest(byte: char) -> Digest {
    Digest::parse(format!("sha256:{}", byte.to_string().repeat(64))).unwrap()
}

fn api(namespace: &str) -> Scope {
    Scope::Api(Namespace::parse(namespace).unwrap())
}

fn begin(metadata: &Metadata, scope: &Scope, name: &str) -> Result<(IngestRef, FileId)> {
    let (name, id) = (IngestRef::parse_in(scope.clone(), name)?, metadata.allocate_file());
    let ingest = Ingest {
        id,
        total: 7,
        expected: None,
        started_at: at(1),
        updated_at: at(1),
        labels: Labels::default(),
        expires_at: Some(at(9)),
        synced: 0,
        boot: "".into(),
        hash: None,
        shared: false,
    };
    let mut txn = metadata.write(at(1))?;
    txn.create_ingest(&name, &ingest, None)?;
    txn.commit()?;
    Ok((name, id))
}

fn store(metadata: &Metadata, scope: &Scope, byte: char, linked: bool) -> Result<(Stored, FileId)> {
    let (name, file) = begin(metadata, scope, "ref")?;
    let mut txn = metadata.write(at(2))?;
    let labels = Labels::default();
    let commit = CommitIngest { name, file, digest: digest(byte), size: 7, labels, linked, lease: None };
    let stored = txn.commit_ingest(commit)?;
    txn.commit()?;
    Ok((stored, file))
}

fn remove(metadata: &Metadata, scope: &Scope, byte: char) -> Result<Option<FileId>> {
    let mut txn = metadata.write(at(3))?;
    let file = txn.remove_blob(scope, &digest(byte))?;
    txn.commit()?;
    Ok(file)
}

#[test]
fn a_file_goes_with_the_last_blob_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    let (one, two) = (Scope::Plugin, api("two"));
    let (stored, own) = store(&metadata, &one, 'a', true).unwrap();
    assert_eq!(stored, Stored::Own);
    let (stored, other) = store(&metadata, &two, 'a', false).unwrap();
    assert_eq!(stored, Stored::Shared);
    assert!(metadata.is_trash(other.in_trash()).unwrap());
    assert!(metadata.namespace(&Namespace::parse("two").unwrap()).unwrap().is_some());
    let (stored, again) = store(&metadata, &two, 'a', false).unwrap();
    assert_eq!(stored, Stored::Exists);
    assert!(metadata.is_trash(again.in_trash()).unwrap());

    assert_eq!(metadata.blob_file(&digest('a')).unwrap().unwrap(), BlobFile { size: 7, references: 2, id: own });
    assert_eq!(remove(&metadata, &one, 'a').unwrap(), None);
    assert!(matches!(remove(&metadata, &one, 'a'), Err(Error::NotFound(Resource::Blob(_)))));
    assert_eq!(metadata.blob(&two, &digest('a')).unwrap().size, 7);
    assert!(!metadata.is_trash(own.in_trash()).unwrap());
    assert_eq!(remove(&metadata, &two, 'a').unwrap(), Some(own));
    assert!(metadata.is_trash(own.in_trash()).unwrap());
    assert_eq!(metadata.blob_file(&digest('a')).unwrap(), None);
}

#[test]
fn a_blob_without_a_file_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    assert!(matches!(store(&metadata, &Scope::Plugin, 'a', false), Err(Error::Lost(_))));
    assert!(matches!(metadata.blob(&Scope::Plugin, &digest('a')), Err(Error::NotFound(_))));
    let name = IngestRef::parse_in(Scope::Plugin, "ref").unwrap();
    assert_eq!(metadata.ingest(&name).unwrap().total, 7);
}

#[test]
fn a_ref_that_was_given_up_is_not_committed_by_its_former_writer() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    let (name, former) = begin(&metadata, &Scope::Plugin, "ref").unwrap();
    assert!(matches!(begin(&metadata, &Scope::Plugin, "ref"), Err(Error::AlreadyExists(Resource::Ingest(_)))));
    let mut txn = metadata.write(at(2)).unwrap();
    assert_eq!(txn.drop_ingest(&name).unwrap(), former);
    txn.commit().unwrap();
    let (_, new) = begin(&metadata, &Scope::Plugin, "ref").unwrap();
    assert_ne!(former, new);
    let mut txn = metadata.write(at(2)).unwrap();
    let commit = |file| CommitIngest {
        name: name.clone(),
        file,
        digest: digest('a'),
        size: 7,
        labels: Labels::default(),
        linked: true,
        lease: None,
    };
    assert!(matches!(txn.commit_ingest(commit(former)), Err(Error::NotFound(Resource::Ingest(_)))));
    assert!(txn.update_ingest(&name, former, |ingest| ingest.total = 9).is_err());
    assert_eq!(txn.commit_ingest(commit(new)).unwrap(), Stored::Own);
    txn.commit().unwrap();
    assert!(matches!(metadata.ingest(&name), Err(Error::NotFound(Resource::Ingest(_)))));
}

#[test]
fn pages_are_of_one_scope() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    let (one, two) = (Scope::Plugin, api("two"));
    for byte in ['a', 'b', 'c'] {
        store(&metadata, &one, byte, true).unwrap();
    }
    store(&metadata, &two, 'd', true).unwrap();
    begin(&metadata, &one, "x").unwrap();
    begin(&metadata, &two, "y").unwrap();
    let page = metadata.blobs(&one, None, 2).unwrap();
    assert_eq!(page.blobs.iter().map(|(digest, _)| digest.clone()).collect::<Vec<_>>(), [digest('a'), digest('b')]);
    let page = metadata.blobs(&one, page.next.as_ref(), 2).unwrap();
    assert_eq!((page.blobs.len(), page.next), (1, None));
    assert_eq!(metadata.blobs(&two, None, 2).unwrap().blobs.len(), 1);
    let page = metadata.ingests(&two, None, 2).unwrap();
    assert_eq!(page.ingests.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["y"]);
    let mut all = (0, 0, 0);
    metadata
        .read(|records| {
            records.each_blob(|entry| Ok(entry.map(|_| all.0 += 1)?))?;
            records.each_blob_file(|_, file| Ok(file.map(|_| all.1 += 1)?))?;
            records.each_ingest(|entry| Ok(entry.map(|_| all.2 += 1)?))
        })
        .unwrap();
    assert_eq!(all, (4, 4, 2));
}

#[test]
fn a_namespace_with_content_is_not_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    let (name, scope) = (Namespace::parse("two").unwrap(), api("two"));
    store(&metadata, &scope, 'a', true).unwrap();
    let delete = || metadata.write(at(4)).unwrap().delete_namespace(&name);
    assert!(matches!(delete(), Err(Error::WrongState { problem, .. }) if problem.contains("blobs")));
    remove(&metadata, &scope, 'a').unwrap();
    begin(&metadata, &scope, "ref").unwrap();
    assert!(matches!(delete(), Err(Error::WrongState { problem, .. }) if problem.contains("uploads")));
}

fn lease(metadata: &Metadata, namespace: &str, id: &str, end: Option<SystemTime>, digest: &Digest) {
    let (namespace, id) = (Namespace::parse(namespace).unwrap(), LeaseId::parse(id).unwrap());
    let mut txn = metadata.write(at(1)).unwrap();
    let flat = Labels::parse([(label::GC_FLAT.to_owned(), "true".to_owned())]).unwrap();
    txn.create_lease(&namespace, &id, flat, end).unwrap();
    txn.add_member(&namespace, &id, &Member::new(MemberKind::Content, digest.as_str()).unwrap()).unwrap();
    txn.commit().unwrap();
}

fn delete(metadata: &Metadata, second: u64, byte: char) -> Result<DeletedBlob> {
    let mut txn = metadata.write(at(second))?;
    let deleted = txn.delete_blob(&digest(byte), None)?;
    txn.commit()?;
    Ok(deleted)
}

fn give_up(metadata: &Metadata, second: u64, byte: char) -> Option<Option<FileId>> {
    let mut txn = metadata.write(at(second)).unwrap();
    let trees = txn.trees_seen();
    let removed_at = metadata.retained_blob(&digest(byte)).unwrap().map_or(at(0), |retained| retained.removed_at);
    let given_up = txn.give_up_blob(&digest(byte), removed_at, trees).unwrap();
    txn.commit().unwrap();
    match given_up {
        GivenUp::Gone(file) => Some(file),
        GivenUp::Kept => None,
        GivenUp::TreesChanged => panic!("by nobody"),
    }
}

#[test]
fn a_lease_of_any_namespace_holds_what_containerd_deletes() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    for byte in ['a', 'b', 'c'] {
        store(&metadata, &Scope::Plugin, byte, true).unwrap();
    }
    lease(&metadata, "one", "of another blob", None, &digest('c'));
    lease(&metadata, "two", "ends", Some(at(10)), &digest('a'));
    lease(&metadata, "two", "has ended", Some(at(2)), &digest('b'));
    let held_by = Some((Namespace::parse("two").unwrap(), LeaseId::parse("ends").unwrap()));
    assert_eq!(metadata.blob_held_by(&digest('a'), at(3)).unwrap(), held_by);
    drop(metadata);
    let metadata = open(&dir);
    assert_eq!(metadata.blob_held_by(&digest('a'), at(3)).unwrap(), held_by);
    assert_eq!(metadata.blob_held_by(&digest('b'), at(3)).unwrap(), None);
    assert!(matches!(delete(&metadata, 3, 'a').unwrap(), DeletedBlob::Retained(..)));
    // Until somebody has looked whether these leases are flat.
    assert_eq!(delete(&metadata, 3, 'b').unwrap(), DeletedBlob::Undecided);
    metadata.forget_trees(trees_seen(&metadata), &[].into());
    store(&metadata, &Scope::Plugin, 'b', false).unwrap();
    assert!(matches!(delete(&metadata, 3, 'b').unwrap(), DeletedBlob::Gone(Some(_))));
}

fn trees_seen(metadata: &Metadata) -> TreesSeen {
    metadata.write(at(1)).unwrap().trees_seen()
}

#[test]
fn what_a_tree_may_hold_waits_for_a_look_at_all_trees() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    let before = trees_seen(&metadata);
    lease(&metadata, "one", "flat", None, &digest('f'));
    assert_eq!(trees_seen(&metadata), before);
    let (namespace, id) = (Namespace::parse("two").unwrap(), LeaseId::parse("full").unwrap());
    let mut txn = metadata.write(at(1)).unwrap();
    txn.create_lease(&namespace, &id, Labels::default(), Some(at(10))).unwrap();
    txn.add_member(&namespace, &id, &Member::new(MemberKind::Content, digest('e').as_str()).unwrap()).unwrap();
    txn.commit().unwrap();
    assert_eq!(metadata.namespaces_of_trees(), std::slice::from_ref(&namespace));
    let trees = |second| {
        let mut found = Vec::new();
        let visit = |lease: &LeaseId, digest| found.push((lease.clone(), digest));
        metadata.read(|records| records.each_tree(&namespace, at(second), visit)).unwrap();
        found
    };
    assert_eq!((trees(10), trees(11)), (vec![(id, digest('e'))], Vec::new()));

    store(&metadata, &Scope::Plugin, 'a', true).unwrap();
    assert_eq!(delete(&metadata, 3, 'a').unwrap(), DeletedBlob::Undecided);
    let mut txn = metadata.write(at(3)).unwrap();
    assert_eq!(txn.give_up_blob(&digest('a'), at(3), before).unwrap(), GivenUp::TreesChanged);
    let now = txn.trees_seen();
    // It was deleted anew, after the look.
    assert_eq!(txn.give_up_blob(&digest('a'), at(2), now).unwrap(), GivenUp::Kept);
    assert!(matches!(txn.give_up_blob(&digest('a'), at(3), now).unwrap(), GivenUp::Gone(Some(_))));
    drop(txn);
    // A look that missed a lease makes nobody forget it.
    metadata.forget_trees(before, &[].into());
    assert_eq!(metadata.namespaces_of_trees().len(), 1);
    metadata.forget_trees(now, &[].into());
    assert_eq!(metadata.namespaces_of_trees(), []);
}

#[test]
fn a_retained_blob_is_adopted_or_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(&dir);
    let (_, file) = store(&metadata, &Scope::Plugin, 'a', true).unwrap();
    lease(&metadata, "two", "ends", Some(at(10)), &digest('a'));
    let references = || metadata.blob_file(&digest('a')).unwrap().map(|file| file.references);

    assert!(matches!(delete(&metadata, 3, 'a').unwrap(), DeletedBlob::Retained(..)));
    assert!(matches!(delete(&metadata, 3, 'a'), Err(Error::NotFound(Resource::Blob(_)))));
    assert_eq!(metadata.retained_blobs(None, 9).unwrap(), [digest('a')]);
    assert_eq!(metadata.retained_blob(&digest('a')).unwrap().unwrap().removed_at, at(3));
    assert_eq!((references(), give_up(&metadata, 4, 'a')), (Some(1), None));

    let mut txn = metadata.write(at(5)).unwrap();
    assert_eq!(txn.adopt_blob(&digest('a')).unwrap().unwrap().created_at, at(2));
    assert_eq!(txn.adopt_blob(&digest('a')).unwrap(), None);
    txn.commit().unwrap();
    assert_eq!(metadata.blob(&Scope::Plugin, &digest('a')).unwrap().created_at, at(2));
    assert_eq!((references(), metadata.retained_blobs(None, 9).unwrap()), (Some(1), Vec::new()));

    // Uploaded again, by somebody who did not ask.
    delete(&metadata, 6, 'a').unwrap();
    store(&metadata, &Scope::Plugin, 'a', false).unwrap();
    assert_eq!((references(), metadata.retained_blobs(None, 9).unwrap()), (Some(1), Vec::new()));

    // Another scope's blob has a reference of its own.
    store(&metadata, &api("three"), 'a', false).unwrap();
    delete(&metadata, 6, 'a').unwrap();
    assert_eq!((references(), give_up(&metadata, 11, 'a'), references()), (Some(2), Some(None), Some(1)));
    assert_eq!(remove(&metadata, &api("three"), 'a').unwrap(), Some(file));
    assert_eq!(give_up(&metadata, 11, 'a'), None);

    let (_, file) = store(&metadata, &Scope::Plugin, 'a', true).unwrap();
    assert_eq!(delete(&metadata, 11, 'a').unwrap(), DeletedBlob::Gone(Some(file)));
}
