//! Keys of leases, of what they name, and of namespaces.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{END, malformed, split_text};
use crate::Result;
use crate::types::{LeaseId, Member, MemberKind, Namespace};

/// `<namespace>`
pub fn namespace(name: &Namespace) -> Vec<u8> {
    name.as_str().as_bytes().to_vec()
}

pub fn parse_namespace(bytes: &[u8]) -> Result<Namespace> {
    let name = std::str::from_utf8(bytes).ok().and_then(|name| Namespace::parse(name).ok());
    name.ok_or_else(|| malformed("namespaces", bytes))
}

/// `<namespace> 0x00 <lease>`
pub fn lease(namespace: &Namespace, id: &LeaseId) -> Vec<u8> {
    [namespace.as_str().as_bytes(), &[END], id.as_str().as_bytes()].concat()
}

/// The prefix of all leases of a namespace.
pub fn leases_of(namespace: &Namespace) -> Vec<u8> {
    [namespace.as_str().as_bytes(), &[END]].concat()
}

pub fn parse_lease(bytes: &[u8]) -> Result<(Namespace, LeaseId)> {
    parse_lease_text(bytes).ok_or_else(|| malformed("leases", bytes))
}

fn parse_lease_text(bytes: &[u8]) -> Option<(Namespace, LeaseId)> {
    let (namespace, id) = split_text(bytes)?;
    Some((Namespace::parse(namespace).ok()?, LeaseId::parse(id).ok()?))
}

/// `<namespace> 0x00 <lease> 0x00 <type> 0x00 <resource>`: what a lease names, type by type.
pub fn member(namespace: &Namespace, id: &LeaseId, member: &Member) -> Vec<u8> {
    let kind = member.kind().to_string();
    [members_of(namespace, id).as_slice(), kind.as_bytes(), &[END], member.id().as_bytes()].concat()
}

/// The prefix of all that a lease names.
pub fn members_of(namespace: &Namespace, id: &LeaseId) -> Vec<u8> {
    [lease(namespace, id).as_slice(), &[END]].concat()
}

pub fn parse_member(bytes: &[u8]) -> Result<(Namespace, LeaseId, Member)> {
    let parse = || {
        let (namespace, rest) = split_text(bytes)?;
        let (id, rest) = rest.split_once(char::from(END))?;
        let (kind, resource) = rest.split_once(char::from(END))?;
        let member = Member::parse(kind, resource).ok()?;
        Some((Namespace::parse(namespace).ok()?, LeaseId::parse(id).ok()?, member))
    };
    parse().ok_or_else(|| malformed("members", bytes))
}

/// `<namespace> 0x00 <type> 0x00 <resource> 0x00 <lease>`: one prefix scan tells which leases name a resource.
pub fn leased(namespace: &Namespace, id: &LeaseId, member: &Member) -> Vec<u8> {
    [leases_on(namespace, member.kind(), member.id()).as_slice(), id.as_str().as_bytes()].concat()
}

/// The prefix of all leases that name a resource.
pub fn leases_on(namespace: &Namespace, kind: &MemberKind, resource: &str) -> Vec<u8> {
    let (namespace, kind) = (namespace.as_str().as_bytes(), kind.to_string());
    [namespace, &[END], kind.as_bytes(), &[END], resource.as_bytes(), &[END]].concat()
}

/// The prefix of all that leases of a namespace name of a kind.
pub fn leased_of(namespace: &Namespace, kind: &MemberKind) -> Vec<u8> {
    [namespace.as_str().as_bytes(), &[END], kind.to_string().as_bytes(), &[END]].concat()
}

/// Reads a key of `leased` without knowing the resource.
pub fn parse_reverse(bytes: &[u8]) -> Result<(Namespace, LeaseId, Member)> {
    let parse = || {
        let (namespace, rest) = split_text(bytes)?;
        let (kind, rest) = rest.split_once(char::from(END))?;
        let (resource, id) = rest.split_once(char::from(END))?;
        let member = Member::parse(kind, resource).ok()?;
        Some((Namespace::parse(namespace).ok()?, LeaseId::parse(id).ok()?, member))
    };
    parse().ok_or_else(|| malformed("leased", bytes))
}

/// Reads the lease at the end of a key that begins with `prefix`. `None` where more than a lease's id follows: the
/// prefix was made for a resource with NUL in it, which no lease can name.
pub fn parse_leased(prefix: &[u8], bytes: &[u8]) -> Option<LeaseId> {
    LeaseId::parse(std::str::from_utf8(bytes.strip_prefix(prefix)?).ok()?).ok()
}

/// `<nanoseconds since 1970> <namespace> 0x00 <lease>`: leases in the order of their ends.
pub fn expiry(at: SystemTime, namespace: &Namespace, id: &LeaseId) -> Vec<u8> {
    // What ended before 1970 comes first, and is due as well.
    let nanos = at.duration_since(UNIX_EPOCH).map_or(0, |after| u64::try_from(after.as_nanos()).unwrap_or(u64::MAX));
    [nanos.to_be_bytes().as_slice(), &lease(namespace, id)].concat()
}

pub fn parse_expiry(bytes: &[u8]) -> Result<(SystemTime, Namespace, LeaseId)> {
    let parse = || {
        let (nanos, rest) = bytes.split_at_checked(8)?;
        let at = UNIX_EPOCH.checked_add(Duration::from_nanos(super::number(nanos)?))?;
        let (namespace, id) = parse_lease_text(rest)?;
        Some((at, namespace, id))
    };
    parse().ok_or_else(|| malformed("expiry", bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names() -> impl Strategy<Value = (Namespace, LeaseId, Member)> {
        let kinds = prop_oneof!["images", "ingests", "snapshots/[a-z]{1,3}"];
        ("[a-z]{1,3}", "[^\0]{1,9}", kinds, "[^\0]{1,9}").prop_map(|(namespace, id, kind, resource)| {
            (Namespace::parse(namespace).unwrap(), LeaseId::parse(id).unwrap(), Member::parse(&kind, resource).unwrap())
        })
    }

    proptest! {
        #[test]
        fn keys_round_trip((namespace, id, named) in names(), nanos: u64) {
            prop_assert_eq!(parse_namespace(&super::namespace(&namespace)).unwrap(), namespace.clone());
            prop_assert_eq!(parse_lease(&lease(&namespace, &id)).unwrap(), (namespace.clone(), id.clone()));
            let member_key = member(&namespace, &id, &named);
            prop_assert_eq!(parse_member(&member_key).unwrap(), (namespace.clone(), id.clone(), named.clone()));
            let prefix = leases_on(&namespace, named.kind(), named.id());
            prop_assert_eq!(parse_leased(&prefix, &leased(&namespace, &id, &named)), Some(id.clone()));
            let reverse_key = leased(&namespace, &id, &named);
            prop_assert_eq!(parse_reverse(&reverse_key).unwrap(), (namespace.clone(), id.clone(), named.clone()));
            let at = UNIX_EPOCH + Duration::from_nanos(nanos);
            prop_assert_eq!(parse_expiry(&expiry(at, &namespace, &id)).unwrap(), (at, namespace, id));
        }

        #[test]
        fn no_key_is_below_anothers_prefix(a in names(), b in names()) {
            let same_lease = (&a.0, &a.1) == (&b.0, &b.1);
            prop_assert_eq!(member(&b.0, &b.1, &b.2).starts_with(&members_of(&a.0, &a.1)), same_lease);
            let same_resource = (&a.0, &a.2) == (&b.0, &b.2);
            let prefix = leases_on(&a.0, a.2.kind(), a.2.id());
            prop_assert_eq!(leased(&b.0, &b.1, &b.2).starts_with(&prefix), same_resource);
        }

        #[test]
        fn expiry_sorts_by_time(a: u64, b: u64, (namespace, id, _) in names(), (other, other_id, _) in names()) {
            let key = |nanos, namespace, id| expiry(UNIX_EPOCH + Duration::from_nanos(nanos), namespace, id);
            prop_assume!(a != b);
            prop_assert_eq!(key(a, &namespace, &id).cmp(&key(b, &other, &other_id)), a.cmp(&b));
        }

        #[test]
        fn any_bytes_decode_or_fail(bytes: Vec<u8>) {
            let _ = (parse_namespace(&bytes), parse_lease(&bytes), parse_member(&bytes), parse_expiry(&bytes));
            let _ = parse_reverse(&bytes);
        }
    }
}
