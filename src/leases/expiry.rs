//! When a lease ends, by its label.

use std::time::SystemTime;

use crate::types::{Labels, LeaseId, Namespace, label, parse_rfc3339};

/// Reads the end of a new lease. What cannot be read is no end, as in containerd, and is said once: here.
pub(super) fn of(namespace: &Namespace, id: &LeaseId, labels: &Labels) -> Option<SystemTime> {
    let text = labels.get(label::GC_EXPIRE)?;
    let end = parse_rfc3339(text);
    if end.is_none() {
        tracing::warn!(%namespace, lease = %id, value = text, "the end of a lease cannot be read: it never ends");
    }
    end
}
