//! What is in flight to one peer: what was lost, what must go again, and how fast.
//!
//! A message in flight keeps its sequence number however often it is sent. It is lost when one sent
//! after it has been acknowledged and its own acknowledgement is later than the round-trip estimate
//! allows (RFC 8985's reasoning: time, not counts, so that reordering is no loss). When nothing at
//! all comes back, the timeout sends the oldest again as a probe, backing off.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::bounds::GIVE_UP;
use crate::congestion::{Pacer, Rtt, Window};
use crate::frames::Range;
use crate::keyed_hash::Map;
use crate::outgoing::{Flight, Outgoing};
use crate::time::Micros;

const PROBES: usize = 2;
const EXPIRATIONS_BEFORE_COLLAPSE: u32 = 2;

/// Sizes in bytes.
#[derive(Default)]
pub struct Recovery {
    flights: Map<u32, Flight>,
    /// Sequences by latest transmission, with the flight's `order` to tell stale entries.
    sent: VecDeque<(u32, u64)>,
    /// Sequences of lost flights, in the order in which they go again.
    again: VecDeque<u32>,
    transmissions: u64,
    in_flight: usize,
    newest_acked: Micros,
    expirations: u32,
    /// When the timeout last passed.
    expired_at: Micros,
    probes: usize,
    silent_since: Micros,
    rtt: Rtt,
    window: Window,
    pacer: Pacer,
}

impl Recovery {
    pub fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// Decides at `now` what was lost, and returns how many bytes the pace lets go.
    pub fn begin_turn(&mut self, now: Micros) -> f64 {
        self.find_lost(now);
        self.pacer.allowance(self.window.pace(&self.rtt), now)
    }

    /// Whether something may go, given what is left of the allowance. Probes are few, and go whatever
    /// window and pace say: else the timeout stays due.
    pub fn may_send(&self, allowance: f64) -> bool {
        self.probes > 0 || (allowance > 0.0 && self.has_room())
    }

    fn has_room(&self) -> bool {
        self.in_flight < self.window.size || self.probes > 0
    }

    /// Forgets what has been measured: the path is another one (RFC 9000, section 9.4). With `broken`,
    /// all that is in flight goes again, now.
    pub fn begin_again(&mut self, broken: bool, now: Micros) {
        (self.window, self.pacer) = Default::default();
        self.rtt = Rtt::of_another_path();
        self.expirations = 0;
        if !broken {
            return;
        }
        while self.oldest().is_some() {
            self.lose_oldest();
        }
        (self.in_flight, self.probes) = (0, self.again.len().min(PROBES));
        if !self.flights.is_empty() {
            self.silent_since = now;
        }
    }

    /// Takes the next of those that must go again.
    pub fn next_lost(&mut self) -> Option<Flight> {
        while let Some(sequence) = self.again.pop_front() {
            if let Some(mut flight) = self.flights.remove(&sequence) {
                flight.lost = false;
                return Some(flight);
            }
        }
        None
    }

    /// Records that `flight` has been sent, with `size` bytes.
    pub fn sent(&mut self, mut flight: Flight, size: usize, now: Micros) {
        self.pacer.spend(size);
        self.probes = self.probes.saturating_sub(1);
        if self.flights.is_empty() && !flight.resent {
            self.silent_since = now;
        }
        self.transmissions += 1;
        (flight.bytes, flight.sent_at, flight.order) = (size, now, self.transmissions);
        self.in_flight += size;
        self.sent.push_back((flight.sequence(), flight.order));
        self.flights.insert(flight.sequence(), flight);
    }

    /// Records a sign of life.
    pub fn heard(&mut self, now: Micros) {
        self.silent_since = now;
        self.expirations = 0;
    }

    /// The message that is in flight under that number, or of which that CHUNK is.
    pub fn message(&self, sequence: u32) -> Option<Rc<Outgoing>> {
        self.flights.get(&sequence).map(|flight| flight.message.clone())
    }

    /// Takes a message back as if it had not been sent.
    pub fn withdraw(&mut self, message: &Outgoing) {
        let in_flight = &mut self.in_flight;
        self.flights.retain(|sequence, flight| {
            let withdrawn = message.has(*sequence);
            *in_flight -= if withdrawn && !flight.lost { flight.bytes } else { 0 };
            !withdrawn
        });
        self.again.retain(|sequence| !message.has(*sequence));
        self.probes = self.probes.min(self.again.len());
    }

    /// Takes what the peer's acknowledgement of `ranges` names. `reserved` is how many numbers were
    /// ever given out: a range that is wider is a guess, and counts for nothing.
    pub fn acknowledged(&mut self, ranges: &[Range], reserved: u64, now: Micros) -> Vec<Flight> {
        self.heard(now);
        let mut done = Vec::new();
        for &(start, end) in ranges {
            let span = end.wrapping_sub(start) as usize;
            if span as u64 >= reserved {
                continue;
            }
            if span < 2 * self.flights.len() {
                let sequences = (0..=span).map(|step| start.wrapping_add(step as u32));
                done.extend(sequences.filter_map(|sequence| self.flights.remove(&sequence)));
            } else {
                let within = |s: &&u32| s.wrapping_sub(start) as usize <= span;
                let covered: Vec<u32> = self.flights.keys().filter(within).copied().collect();
                done.extend(covered.iter().filter_map(|sequence| self.flights.remove(sequence)));
            }
        }
        self.account(&done, now);
        done
    }

    fn account(&mut self, done: &[Flight], now: Micros) {
        let in_use = 2 * self.in_flight > self.window.size;
        let in_flight = self.flights.len() + done.len();
        let (mut size, mut newest) = (0, None::<&Flight>);
        for flight in done {
            if flight.lost {
                self.window.not_lost(flight.bytes);
                continue;
            }
            size += flight.bytes;
            if newest.is_none_or(|newest| flight.sent_at > newest.sent_at) {
                newest = Some(flight);
            }
        }
        let Some(newest) = newest else { return };
        self.in_flight -= size;
        self.newest_acked = self.newest_acked.max(newest.sent_at);
        if !newest.resent {
            // Karn's rule: of a message sent twice it is unknown which one was answered.
            self.rtt.sample((now - newest.sent_at) as f64, in_flight);
            self.window.measured((now - newest.sent_at) as f64, now);
        }
        self.window.acknowledged(size, newest.sent_at, in_use, now);
    }

    fn find_lost(&mut self, now: Micros) {
        let (newest_acked, patience) = (self.newest_acked, self.rtt.spread());
        let before = self.again.len();
        while let Some(oldest) = self.oldest() {
            if oldest.sent_at >= newest_acked || oldest.sent_at + patience > now {
                break;
            }
            let bytes = self.lose_oldest();
            self.window.lost(bytes);
        }
        if self.again.len() == before && self.oldest().is_some() && now >= self.timeout_at() {
            while self.again.len() < before + PROBES && self.oldest().is_some() {
                self.lose_oldest();
            }
            self.probes = self.again.len() - before;
            self.expirations += 1;
            self.expired_at = now;
            if self.expirations == EXPIRATIONS_BEFORE_COLLAPSE {
                self.window.collapse();
            }
        }
    }

    /// The flight sent longest ago; entries of `sent` that no longer count are dropped.
    fn oldest(&mut self) -> Option<&mut Flight> {
        while let Some((sequence, order)) = self.sent.front() {
            let current = |flight: &Flight| flight.order == *order && !flight.lost;
            if self.flights.get(sequence).is_some_and(current) {
                break;
            }
            self.sent.pop_front();
        }
        self.sent.front().and_then(|(sequence, _)| self.flights.get_mut(sequence))
    }

    fn lose_oldest(&mut self) -> usize {
        let Some(flight) = self.oldest() else { return 0 };
        (flight.lost, flight.resent) = (true, true);
        let (sequence, bytes) = (flight.sequence(), flight.bytes);
        self.again.push_back(sequence);
        self.in_flight -= bytes;
        bytes
    }

    fn timeout_at(&mut self) -> Micros {
        let silent_since = self.silent_since;
        let since = self.oldest().map_or(0, |oldest| oldest.sent_at).max(silent_since);
        // Those that were sent together with it are not due sooner once the timeout stops growing.
        let again = self.expired_at + self.rtt.timeout(0);
        again.max(since + self.rtt.timeout(self.expirations))
    }

    /// When to send again, or `None`; `fresh` says whether a new message may go.
    pub fn next_timeout(&mut self, fresh: bool) -> Option<Micros> {
        let (newest_acked, spread) = (self.newest_acked, self.rtt.spread());
        let mut timeout = None;
        if let Some(oldest) = self.oldest() {
            let sent_at = oldest.sent_at;
            let lost_at = if sent_at < newest_acked { sent_at + spread } else { self.timeout_at() };
            timeout = Some(lost_at.min(self.silent_since + GIVE_UP));
        }
        if self.has_room() && (fresh || !self.again.is_empty()) {
            let ready = self.pacer.ready_at(self.window.pace(&self.rtt));
            timeout = Some(timeout.map_or(ready, |at: Micros| at.min(ready)));
        }
        timeout
    }

    /// Whether the peer has acknowledged nothing for `GIVE_UP`.
    pub fn silent_too_long(&self, now: Micros) -> bool {
        !self.flights.is_empty() && now >= self.silent_since + GIVE_UP
    }

    /// Forgets what is in flight; returns the message of each flight.
    pub fn clear(&mut self) -> Vec<Rc<Outgoing>> {
        let messages = self.flights.drain().map(|(_, flight)| flight.message).collect();
        self.again.clear();
        self.sent.clear();
        (self.in_flight, self.probes, self.expirations) = (0, 0, 0);
        messages
    }
}
