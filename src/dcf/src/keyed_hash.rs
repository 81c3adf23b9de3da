//! Hash tables for small keys, some of which strangers choose.
//!
//! The standard hasher takes longer than the rest of a table's work on an integer or an address.
//! This one folds a 128-bit product with a secret odd factor, which every process draws for itself.
//! Without knowing it, no one can find keys that collide.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;

pub type Map<K, V> = HashMap<K, V, Keyed>;
pub type Set<K> = HashSet<K, Keyed>;

/// The process's secret.
#[derive(Clone)]
pub struct Keyed {
    start: u64,
    factor: u64,
}

impl Default for Keyed {
    fn default() -> Self {
        static SECRET: OnceLock<Keyed> = OnceLock::new();
        let draw = || RandomState::new().hash_one(0);
        SECRET.get_or_init(|| Keyed { start: draw(), factor: draw() | 1 }).clone()
    }
}

impl BuildHasher for Keyed {
    type Hasher = Folding;

    fn build_hasher(&self) -> Folding {
        Folding { state: self.start, factor: self.factor }
    }
}

pub struct Folding {
    state: u64,
    factor: u64,
}

impl Hasher for Folding {
    fn write_u64(&mut self, value: u64) {
        let product = u128::from(self.state ^ value) * u128::from(self.factor);
        self.state = product as u64 ^ (product >> 64) as u64;
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(value.into());
    }

    fn write_u16(&mut self, value: u16) {
        self.write_u64(value.into());
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut value = [0; 8];
            value[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_ne_bytes(value));
        }
    }

    fn finish(&self) -> u64 {
        self.state
    }
}
