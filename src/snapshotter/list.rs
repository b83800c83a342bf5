//! List: pages of what matches a filter.

use crate::Result;
use crate::types::{Filter, Scope, SnapshotKey};

use super::{Info, Snapshotter};

/// How many records one page reads. With the longest labels, names and parents they fit a message of 16 MiB.
const PAGE: usize = 64;

/// A listing under way. Between pages it holds nothing but its position, so that a slow reader stops nobody.
pub struct List {
    scope: Scope,
    filter: Filter,
    position: Position,
}

enum Position {
    Start,
    After(SnapshotKey),
    End,
}

impl List {
    /// Begins a listing of what is in `scope` and matches `filter`.
    pub fn new(scope: Scope, filter: Filter) -> List {
        List { scope, filter, position: Position::Start }
    }
}

impl Snapshotter {
    /// Returns the next snapshots of a listing, in key order; `None` after the last.
    ///
    /// # Errors
    /// Those of the store.
    pub fn next_page(&self, list: &mut List) -> Result<Option<Vec<Info>>> {
        loop {
            let after = match &list.position {
                Position::Start => None,
                Position::After(key) => Some(key),
                Position::End => return Ok(None),
            };
            let page = self.metadata.snapshots(&list.scope, after, PAGE)?;
            list.position = page.next.map_or(Position::End, Position::After);
            let matching: Vec<Info> = page
                .snapshots
                .into_iter()
                .map(|(key, snapshot)| self.info(key, snapshot))
                .filter(|info| list.filter.matches(info))
                .collect();
            if !matching.is_empty() {
                return Ok(Some(matching));
            }
        }
    }
}
