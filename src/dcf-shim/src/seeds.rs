//! Seeds for tasks that have none, so that every run of a task answers alike.

use ring::rand::{SecureRandom, SystemRandom};

/// As Python's programs draw them: exact in JSON's numbers too.
const BITS: u32 = 53;
/// Drawn from the system at once: it is asked rarely.
const POOL: usize = 64;

/// Random numbers, some of them drawn ahead.
pub struct Seeds {
    source: SystemRandom,
    pool: Vec<u64>,
}

impl Default for Seeds {
    fn default() -> Self {
        Self { source: SystemRandom::new(), pool: Vec::new() }
    }
}

impl Seeds {
    pub fn draw(&mut self) -> u64 {
        if self.pool.is_empty() {
            let mut bytes = [0; 8 * POOL];
            self.source.fill(&mut bytes).expect("the system gives random bytes");
            let number =
                |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
            self.pool.extend(bytes.chunks(8).map(|bytes| number(bytes) >> (64 - BITS)));
        }
        self.pool.pop().unwrap_or_default()
    }
}
