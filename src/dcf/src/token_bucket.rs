//! A token bucket: so many a second, and a burst of as many more at once.

use crate::time::Micros;

/// Starts full. The rate is the caller's, because it may change while the bucket is in use.
pub struct TokenBucket {
    tokens: f64,
    at: Micros,
}

impl TokenBucket {
    pub fn new(burst: f64, now: Micros) -> Self {
        Self { tokens: burst, at: now }
    }

    /// Takes a token if there is one, at `rate` tokens a second; an infinite one never refuses.
    pub fn take(&mut self, rate: f64, burst: f64, now: Micros) -> bool {
        let earned = rate * now.saturating_sub(self.at) as f64 / 1e6;
        self.tokens = (self.tokens + earned).min(burst);
        self.at = now;
        let enough = self.tokens >= 1.0 || rate.is_infinite();
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }
}
