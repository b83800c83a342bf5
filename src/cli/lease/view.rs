//! A lease as it is shown.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::grpc::proto::containerd::services::leases::v1::{Lease, ListRequest};
use crate::types::{label, parse_rfc3339};

use super::super::text;
use super::Leases;

/// What a lease's record and labels say.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub id: String,
    pub created_at: Option<SystemTime>,
    pub ends: End,
    pub flat: bool,
    pub labels: BTreeMap<String, String>,
}

/// When a lease ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    Never,
    At(SystemTime),
    /// Its label is no time, so it never does.
    Unreadable(String),
}

impl From<Lease> for View {
    fn from(lease: Lease) -> View {
        View {
            id: lease.id,
            created_at: text::moment(lease.created_at),
            ends: match lease.labels.get(label::GC_EXPIRE) {
                None => End::Never,
                Some(value) => parse_rfc3339(value).map_or_else(|| End::Unreadable(value.clone()), End::At),
            },
            flat: lease.labels.contains_key(label::GC_FLAT),
            labels: lease.labels,
        }
    }
}

impl View {
    /// Asks for one lease; `None` when there is none of that id.
    pub fn find(leases: &mut Leases, id: &str) -> anyhow::Result<Option<View>> {
        // A quoted value of a filter is written as JSON writes text.
        let filters = vec![format!("id=={}", json!(id))];
        let found = leases.call(async |client| client.list(ListRequest { filters }).await)?.leases;
        Ok(found.into_iter().map(View::from).find(|view| view.id == id))
    }

    pub fn created(&self) -> String {
        self.created_at.map_or_else(|| "-".into(), text::time)
    }

    pub fn end(&self, now: SystemTime) -> String {
        match &self.ends {
            End::Never => "never".into(),
            End::Unreadable(value) => format!("never: {:?} is no time", text::name(value, true)),
            End::At(at) => match at.duration_since(now) {
                Ok(left) => format!("{} (in {})", text::time(*at), text::duration(left)),
                Err(_) => format!("{} (ended)", text::time(*at)),
            },
        }
    }

    pub fn flat(&self) -> &'static str {
        if self.flat { "yes" } else { "no" }
    }

    /// Returns the labels, without those that are shown otherwise.
    pub fn labels(&self) -> String {
        let shown = |key: &str| key != label::GC_EXPIRE && key != label::GC_FLAT;
        let labels = self.labels.iter().filter(|(key, _)| shown(key));
        let labels: Vec<String> = labels.map(|(key, value)| text::name(&format!("{key}={value}"), true)).collect();
        labels.join(",")
    }

    pub fn json(&self) -> Value {
        let time = |at| humantime::format_rfc3339_nanos(at).to_string();
        json!({
            "id": self.id,
            "created_at": self.created_at.filter(|at| text::is_shown(*at)).map(time),
            "expires_at": match &self.ends {
                End::At(at) if text::is_shown(*at) => Some(time(*at)),
                _ => None,
            },
            "flat": self.flat,
            "labels": self.labels,
        })
    }
}
