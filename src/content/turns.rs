//! One at a time for each key; others do not wait for each other.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// The keys that somebody has to himself.
#[derive(Debug)]
pub(super) struct Turns<K> {
    taken: Mutex<HashSet<K>>,
    given_back: Condvar,
}

/// A key that nobody else has while this lives.
#[derive(Debug)]
#[must_use = "dropping it gives the key back"]
pub(super) struct Turn<K: Eq + Hash> {
    turns: Arc<Turns<K>>,
    key: K,
}

impl<K> Default for Turns<K> {
    fn default() -> Turns<K> {
        Turns { taken: Mutex::default(), given_back: Condvar::new() }
    }
}

impl<K: Clone + Eq + Hash> Turns<K> {
    /// Waits until nobody has the key.
    pub fn take(self: &Arc<Self>, key: &K) -> Turn<K> {
        let mut taken = self.lock();
        while taken.contains(key) {
            taken = self.given_back.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        taken.insert(key.clone());
        Turn { turns: self.clone(), key: key.clone() }
    }
}

impl<K> Turns<K> {
    fn lock(&self) -> MutexGuard<'_, HashSet<K>> {
        // Each change is one insertion or removal, so it is whole even after a panic.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash> Drop for Turn<K> {
    fn drop(&mut self) {
        self.turns.lock().remove(&self.key);
        self.turns.given_back.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::Turns;

    #[test]
    fn one_at_a_time_has_a_key() {
        let turns = Arc::new(Turns::default());
        let (inside, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let turn = turns.take(&"one");
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(turn);
                        ended.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(ended.into_inner(), 800);
        drop(turns.take(&"one"));
    }

    #[test]
    fn who_has_one_key_does_not_wait_for_another() {
        let turns = Arc::new(Turns::default());
        let one = turns.take(&1);
        let two = turns.take(&2);
        drop(one);
        drop(turns.take(&1));
        drop(two);
    }
}
