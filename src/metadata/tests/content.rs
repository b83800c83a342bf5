//! Blobs, the files that they share, and ingests.

use super::*;
use crate::types::{Digest, FileId, IngestRef, Namespace};

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
