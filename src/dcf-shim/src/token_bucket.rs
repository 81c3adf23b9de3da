//! A token bucket: so many a second, and a burst of as many more at once.

use crate::congestion::Micros;

/// Starts full.
pub struct TokenBucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    at: Micros,
}

impl TokenBucket {
    /// `rate` is in tokens a second; an infinite one never refuses.
    pub fn new(rate: f64, burst: f64, now: Micros) -> Self {
        Self { rate, burst, tokens: burst, at: now }
    }

    /// Takes `count` tokens if they are there.
    pub fn take(&mut self, count: f64, now: Micros) -> bool {
        if self.rate.is_infinite() {
            return true;
        }
        self.refill(now);
        let enough = self.tokens >= count;
        if enough {
            self.tokens -= count;
        }
        enough
    }

    fn refill(&mut self, now: Micros) {
        let earned = self.rate * now.saturating_sub(self.at) as f64 / 1e6;
        self.tokens = (self.tokens + earned).min(self.burst);
        self.at = now;
    }
}
