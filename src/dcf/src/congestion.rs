//! How fast to send to one peer: round-trip time, congestion window and pace.
//!
//! The estimator is RFC 6298's. The window follows delay and heavy loss, not single losses: on
//! wireless links a few per cent are lost with no queue anywhere. Once a round trip it grows while
//! the queue that it builds (RFC 6817's measure: the round's least RTT over the least seen) is
//! short, and shrinks when that queue is long or more than a tenth of the round was lost.

use crate::bounds::{LARGEST_WINDOW, PATH_MTU};
use crate::time::Micros;

const GRANULARITY: f64 = 2e3;
const INITIAL_TIMEOUT: f64 = 1e6;
const MIN_TIMEOUT: f64 = 1e5;
const MAX_TIMEOUT: f64 = 4e6;

/// The same where the path has changed: a peer may not have noticed yet, and answer the old way.
const INITIAL_TIMEOUT_AGAIN: f64 = 2e5;

/// Smoothed round-trip time in microseconds; `smoothed` is `None` until the first sample.
pub struct Rtt {
    pub smoothed: Option<f64>,
    variation: f64,
    initial_timeout: f64,
}

impl Default for Rtt {
    fn default() -> Self {
        Self { smoothed: None, variation: 0.0, initial_timeout: INITIAL_TIMEOUT }
    }
}

impl Rtt {
    /// The estimate of another path to a peer that was there.
    pub fn of_another_path() -> Self {
        Self { initial_timeout: INITIAL_TIMEOUT_AGAIN, ..Self::default() }
    }

    /// Adds one measured round trip (RFC 6298, section 2). The more messages are in flight, the less
    /// each sample weighs: a round trip's worth counts as one (RFC 7323, appendix G).
    pub fn sample(&mut self, rtt: f64, in_flight: usize) {
        let samples = (in_flight as f64 / 2.0).max(1.0);
        match &mut self.smoothed {
            None => (self.smoothed, self.variation) = (Some(rtt), rtt / 2.0),
            Some(smoothed) => {
                self.variation += ((*smoothed - rtt).abs() - self.variation) / (4.0 * samples);
                *smoothed += (rtt - *smoothed) / (8.0 * samples);
            }
        }
    }

    /// The time by which nearly every acknowledgement has come.
    pub fn spread(&self) -> Micros {
        let estimate = |smoothed| smoothed + GRANULARITY.max(4.0 * self.variation);
        self.smoothed.map_or(self.initial_timeout, estimate) as Micros
    }

    /// The retransmission timeout, doubled for each of `expirations` in a row.
    pub fn timeout(&self, expirations: u32) -> Micros {
        let base = (self.spread() as f64).max(MIN_TIMEOUT);
        (base * f64::from(1u32 << expirations.min(16))).min(MAX_TIMEOUT) as Micros
    }
}

const SMALLEST_WINDOW: usize = 8 * PATH_MTU;
const QUEUE_TARGET: f64 = 15e3;
const BASE_RTT_LIFETIME: Micros = 30_000_000;

/// A window in bytes.
pub struct Window {
    pub size: usize,
    growing: bool,
    round_started: Micros,
    round_rtt: f64,
    base_rtt: f64,
    base_since: Micros,
    acked: usize,
    lost: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            size: 16 * PATH_MTU,
            growing: true,
            round_started: 0,
            round_rtt: f64::INFINITY,
            base_rtt: f64::INFINITY,
            base_since: 0,
            acked: 0,
            lost: 0,
        }
    }
}

impl Window {
    /// Counts `size` bytes, the newest of them sent at `sent_at`, as arrived; `in_use` says that
    /// the window was what held the sender back.
    pub fn acknowledged(&mut self, size: usize, sent_at: Micros, in_use: bool, now: Micros) {
        self.acked += size;
        if self.growing && in_use {
            self.size = (self.size + size).min(LARGEST_WINDOW);
        }
        if sent_at >= self.round_started {
            self.end_round(in_use, now);
        }
    }

    pub fn lost(&mut self, size: usize) {
        self.lost += size;
    }

    /// Subtracts `size` bytes that had arrived after all.
    pub fn not_lost(&mut self, size: usize) {
        self.lost = self.lost.saturating_sub(size);
    }

    /// Falls back to the smallest window: the peer has gone silent.
    pub fn collapse(&mut self) {
        (self.size, self.growing) = (SMALLEST_WINDOW, true);
    }

    /// Adds one round-trip time in microseconds.
    pub fn measured(&mut self, rtt: f64, now: Micros) {
        self.round_rtt = self.round_rtt.min(rtt);
        if rtt <= self.base_rtt || now - self.base_since > BASE_RTT_LIFETIME {
            (self.base_rtt, self.base_since) = (rtt, now);
        }
    }

    /// The rate in bytes a microsecond that spreads the window over a round trip.
    pub fn pace(&self, rtt: &Rtt) -> f64 {
        let gain = if self.growing { 2.0 } else { 1.25 };
        rtt.smoothed.map_or(f64::INFINITY, |rtt| gain * self.size as f64 / rtt.max(100.0))
    }

    fn end_round(&mut self, in_use: bool, now: Micros) {
        let queue = self.round_rtt - self.base_rtt;
        if self.lost > 4 * PATH_MTU && self.lost * 10 > self.acked + self.lost {
            self.shrink(0.7);
        } else if self.round_rtt.is_finite() && queue > QUEUE_TARGET {
            self.shrink(0.85);
        } else if in_use && !self.growing {
            self.size = (self.size + (10 * PATH_MTU).max(self.size / 20)).min(LARGEST_WINDOW);
        }
        (self.round_started, self.round_rtt, self.acked, self.lost) = (now, f64::INFINITY, 0, 0);
    }

    fn shrink(&mut self, factor: f64) {
        self.growing = false;
        self.size = ((self.size as f64 * factor) as usize).max(SMALLEST_WINDOW);
    }
}

const SMALLEST_BURST: f64 = 16.0 * 1024.0;
const LARGEST_BURST: f64 = 256.0 * 1024.0;
const BURST_US: f64 = 2e3;

/// Lets bytes go at a rate, in bursts no longer than the event loop's reach.
pub struct Pacer {
    allowance: f64,
    at: Micros,
}

impl Default for Pacer {
    fn default() -> Self {
        Self { allowance: SMALLEST_BURST, at: 0 }
    }
}

impl Pacer {
    /// How many bytes may go at `now`, given a rate in bytes a microsecond.
    pub fn allowance(&mut self, rate: f64, now: Micros) -> f64 {
        if rate.is_infinite() {
            // No time need pass, and none may: it is not known how long to wait.
            (self.allowance, self.at) = (LARGEST_BURST, now);
        } else if now > self.at {
            let earned = rate * (now - self.at) as f64;
            self.allowance = (self.allowance + earned).min(burst(rate));
            self.at = now;
        }
        self.allowance
    }

    pub fn spend(&mut self, size: usize) {
        self.allowance -= size as f64;
    }

    /// When an exhausted allowance is back to half a burst.
    pub fn ready_at(&self, rate: f64) -> Micros {
        self.at + ((burst(rate) / 2.0 - self.allowance).max(0.0) / rate) as Micros
    }
}

fn burst(rate: f64) -> f64 {
    (rate * BURST_US).clamp(SMALLEST_BURST, LARGEST_BURST)
}
