//! Layers that could not be deleted yet: why, and when each is tried again.
//!
//! A layer is busy for as long as something is mounted below it, or a file in it is immutable. It is tried again at
//! ever longer intervals, because nobody tells when that ends.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use crate::types::LayerId;
use crate::{Chain, Error};

/// How long a busy layer waits for the next try at first, and at the most.
const RETRY: Duration = Duration::from_secs(5);
const MAX_RETRY: Duration = Duration::from_secs(300);
/// How often it is warned of layers that are busy still.
const REMIND: Duration = Duration::from_secs(3600);

/// A layer that could not be deleted yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusyLayer {
    /// The layer.
    pub layer: LayerId,
    /// What is in the way, with its path.
    pub reason: String,
    /// When it was found to be busy.
    pub since: SystemTime,
    /// When it is tried again by itself; in the past while that is done.
    pub next_try: SystemTime,
}

/// All of them.
#[derive(Default)]
pub(super) struct BusyLayers {
    layers: BTreeMap<LayerId, Entry>,
    /// When which is tried again. Those that are tried now are not in it.
    due: BTreeSet<(Instant, LayerId)>,
    reminded: Option<Instant>,
}

struct Entry {
    reason: String,
    first: Instant,
    since: SystemTime,
    due: Instant,
}

impl BusyLayers {
    /// Notes that a layer could not be deleted, and says so: of a new one at once, of the others now and then.
    pub fn note(&mut self, layer: LayerId, err: &Error, now: Instant) {
        let reason = Chain(err).to_string();
        let known = self.layers.get(&layer).map(|entry| (entry.first, entry.since));
        match known {
            None => tracing::warn!(%layer, error = reason, "a removed layer cannot be deleted yet"),
            Some(_) => self.remind(layer, &reason, now),
        }
        let (first, since) = known.unwrap_or_else(|| (now, SystemTime::now()));
        // As long again as it is busy already. So tries that somebody asked for make no difference.
        let due = now + now.duration_since(first).clamp(RETRY, MAX_RETRY);
        self.due.insert((due, layer));
        if let Some(before) = self.layers.insert(layer, Entry { reason, first, since, due })
            && before.due != due
        {
            self.due.remove(&(before.due, layer));
        }
    }

    /// Notes that a layer is deleted.
    pub fn forget(&mut self, layer: LayerId, now: Instant) {
        if let Some(entry) = self.layers.remove(&layer) {
            self.due.remove(&(entry.due, layer));
            let after = now.duration_since(entry.first);
            tracing::info!(%layer, ?after, "a layer that was busy is deleted");
        }
    }

    /// Returns when the next one is to be tried again.
    pub fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Takes out those that are to be tried again by now, to be tried.
    pub fn take_due(&mut self, now: Instant) -> Vec<LayerId> {
        let mut taken = Vec::new();
        while let Some((due, layer)) = self.due.first().copied()
            && due <= now
        {
            self.due.pop_first();
            taken.push(layer);
        }
        taken
    }

    /// Takes out all that are not being tried, to be tried.
    pub fn take_all(&mut self) -> Vec<LayerId> {
        std::mem::take(&mut self.due).into_iter().map(|(_, layer)| layer).collect()
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Returns all of them.
    pub fn layers(&self) -> impl Iterator<Item = LayerId> {
        self.layers.keys().copied()
    }

    /// Returns how many are not being tried.
    pub fn waiting(&self) -> usize {
        self.due.len()
    }

    /// Returns the first of them, up to `limit`.
    pub fn list(&self, limit: usize, now: Instant) -> Vec<BusyLayer> {
        let show = |(layer, entry): (&LayerId, &Entry)| BusyLayer {
            layer: *layer,
            reason: entry.reason.clone(),
            since: entry.since,
            next_try: SystemTime::now() + entry.due.saturating_duration_since(now),
        };
        self.layers.iter().take(limit).map(show).collect()
    }

    fn remind(&mut self, layer: LayerId, reason: &str, now: Instant) {
        let reminded = *self.reminded.get_or_insert(now);
        if now.duration_since(reminded) < REMIND {
            tracing::debug!(%layer, error = reason, "a removed layer still cannot be deleted");
            return;
        }
        self.reminded = Some(now);
        let layers = self.layers.len();
        tracing::warn!(layers, %layer, error = reason, "removed layers still cannot be deleted; see leasehold info");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYER: LayerId = LayerId::new(7);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_busy_layer_is_tried_at_ever_longer_intervals() {
        let (start, mut busy, mut tries) = (Instant::now(), BusyLayers::default(), Vec::new());
        let mut now = start;
        while now < start + seconds(1500) {
            busy.note(LAYER, &Error::Lost("it"), now);
            let due = busy.next_due().unwrap();
            assert_eq!(busy.take_due(due - seconds(1)), []);
            assert_eq!((busy.take_due(due), busy.next_due(), busy.len()), (vec![LAYER], None, 1));
            tries.push((due - now).as_secs());
            now = due;
        }
        assert_eq!(tries, [5, 5, 10, 20, 40, 80, 160, 300, 300, 300, 300]);
    }

    #[test]
    fn tries_that_somebody_asks_for_do_not_put_off_the_others() {
        let (start, mut busy) = (Instant::now(), BusyLayers::default());
        for _ in 0..100 {
            busy.note(LAYER, &Error::Lost("it"), start);
            assert_eq!((busy.waiting(), busy.take_all(), busy.waiting()), (1, vec![LAYER], 0));
        }
        busy.note(LAYER, &Error::Lost("it"), start);
        // Another one may come while it waits.
        busy.note(LAYER, &Error::Lost("it"), start + seconds(1));
        assert_eq!((busy.next_due(), busy.waiting()), (Some(start + seconds(6)), 1));
        let listed = busy.list(9, start);
        assert_eq!((listed.len(), listed[0].layer, listed[0].reason.as_str()), (1, LAYER, "it ended unexpectedly"));
        busy.forget(LAYER, start);
        assert_eq!((busy.next_due(), busy.len(), busy.list(9, start)), (None, 0, Vec::new()));
    }
}
