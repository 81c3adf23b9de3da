//! Duplicate detection: the numbers seen lately.

use std::hash::Hash;

use crate::bounds::{REMEMBERED, REMEMBERED_FOR};
use crate::keyed_hash::Set;
use crate::time::Micros;

/// Two generations of sets: the younger becomes the older when it is full or old. No order is
/// assumed, so a peer that restarts at another number is not mistaken for its old self.
pub struct RecentSet<T> {
    younger: Set<T>,
    older: Set<T>,
    since: Micros,
}

impl<T> Default for RecentSet<T> {
    fn default() -> Self {
        Self { younger: Set::default(), older: Set::default(), since: 0 }
    }
}

impl<T: Eq + Hash> RecentSet<T> {
    pub fn contains(&self, number: &T) -> bool {
        self.younger.contains(number) || self.older.contains(number)
    }

    /// Forgets `number`.
    pub fn remove(&mut self, number: &T) {
        self.younger.remove(number);
        self.older.remove(number);
    }

    /// Remembers `number`; returns whether it is new.
    pub fn add(&mut self, number: T, now: Micros) -> bool {
        if self.older.contains(&number) {
            return false;
        }
        if self.younger.is_empty() {
            self.since = now;
        } else if self.younger.len() >= REMEMBERED || now - self.since > REMEMBERED_FOR {
            self.older = std::mem::take(&mut self.younger);
            self.since = now;
            if self.older.contains(&number) {
                return false;
            }
        }
        self.younger.insert(number)
    }
}
