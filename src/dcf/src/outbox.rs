//! The sending side towards one peer: what waits, what is under way, what must go again.
//!
//! A message under way keeps its sequence number however often it is sent. It is lost when one
//! sent after it has been acknowledged and its own acknowledgement is later than the round-trip
//! estimate allows (RFC 8985's reasoning: time, not counts, so that reordering is no loss). When
//! nothing at all comes back, the timeout sends the oldest again as a probe, backing off. Whole
//! messages go before pieces of large ones, so that a token is not held up by a picture.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use crate::bounds::{BUSY_PAUSE, GIVE_UP, MESSAGE_SPAN, TURN};
use crate::congestion::{Pacer, Rtt, Window};
use crate::datagrams::Frames;
use crate::frames::{self, Chunk, Range, CHUNK_HEADER_SIZE, HEADER_SIZE};
use crate::keyed_hash::Map;
use crate::time::Micros;

const PROBES: usize = 2;
const EXPIRATIONS_BEFORE_COLLAPSE: u32 = 2;

/// A message to send; `size` is that of its chunks, 0 if it needs none.
struct Outgoing {
    first: u32,
    message_type: u8,
    payload: Rc<Vec<u8>>,
    size: usize,
    unacknowledged: Cell<usize>,
    /// How many messages to this peer were begun before it.
    number: Cell<u64>,
}

impl Outgoing {
    /// How many CHUNKs, or 1.
    fn count(&self) -> usize {
        if self.size == 0 {
            1
        } else {
            self.payload.len().div_ceil(self.size)
        }
    }
}

/// One message or chunk that has been sent; `bytes` is its size on the wire, `order` counts all
/// transmissions to the peer. A `lost` one waits to be sent again.
struct Flight {
    message: Rc<Outgoing>,
    index: usize,
    bytes: usize,
    sent_at: Micros,
    order: u64,
    lost: bool,
    resent: bool,
}

impl Flight {
    fn new(message: Rc<Outgoing>, index: usize) -> Self {
        Self { message, index, bytes: 0, sent_at: 0, order: 0, lost: false, resent: false }
    }

    fn sequence(&self) -> u32 {
        self.message.first.wrapping_add(self.index as u32)
    }

    fn piece(&self) -> &[u8] {
        let (size, payload) = (self.message.size, &self.message.payload);
        if size == 0 {
            return payload;
        }
        &payload[self.index * size..((self.index + 1) * size).min(payload.len())]
    }

    fn frame_size(&self) -> usize {
        let chunk_header = if self.message.size > 0 { CHUNK_HEADER_SIZE } else { 0 };
        HEADER_SIZE + chunk_header + self.piece().len()
    }

    fn write(&self, out: &mut Vec<u8>, timestamp: u64) {
        let Outgoing { first, message_type, payload, size, .. } = &*self.message;
        if *size == 0 {
            return frames::write(out, *message_type, *first, timestamp, payload);
        }
        let (total, size) = (payload.len() as u32, *size as u16);
        let chunk = Chunk { first: *first, total, size, message_type: *message_type };
        frames::write_chunk(out, self.sequence(), timestamp, chunk, self.piece());
    }
}

/// Queues and sends reliable messages to one peer; sizes in bytes.
pub struct Outbox {
    room: usize,
    next_sequence: u32,
    /// How many sequence numbers have been given out.
    reserved: u64,
    small: VecDeque<Rc<Outgoing>>,
    large: VecDeque<(Rc<Outgoing>, usize)>,
    /// Large messages for which the peer had no memory, and when they go again.
    paused: VecDeque<(Micros, Rc<Outgoing>)>,
    /// Sequences of lost flights, in the order in which they go again.
    again: VecDeque<u32>,
    /// What there was no credit for.
    held: Option<Flight>,
    flights: Map<u32, Flight>,
    /// Sequences by latest transmission, with the flight's `order` to tell stale entries.
    sent: VecDeque<(u32, u64)>,
    transmissions: u64,
    begun: u64,
    /// Of the messages begun since the oldest open one, which are open.
    open: VecDeque<bool>,
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
    pub buffered: usize,
}

impl Outbox {
    /// `room` is the largest datagram before sealing, `sequence` the number to begin with.
    pub fn new(room: usize, sequence: u32) -> Self {
        Self {
            room,
            next_sequence: sequence,
            reserved: 0,
            small: VecDeque::new(),
            large: VecDeque::new(),
            paused: VecDeque::new(),
            again: VecDeque::new(),
            held: None,
            flights: Map::default(),
            sent: VecDeque::new(),
            transmissions: 0,
            begun: 0,
            open: VecDeque::new(),
            in_flight: 0,
            newest_acked: 0,
            expirations: 0,
            expired_at: 0,
            probes: 0,
            silent_since: 0,
            rtt: Rtt::default(),
            window: Window::default(),
            pacer: Pacer::default(),
            buffered: 0,
        }
    }

    /// Returns the next sequence number, for a message sent outside the queues.
    pub fn reserve(&mut self, count: usize) -> u32 {
        let first = self.next_sequence;
        self.next_sequence = first.wrapping_add(count as u32);
        self.reserved += count as u64;
        first
    }

    /// Queues a message of any size and returns its sequence number.
    pub fn queue(&mut self, message_type: u8, payload: Rc<Vec<u8>>) -> u32 {
        self.buffered += payload.len();
        let whole = HEADER_SIZE + payload.len() <= self.room;
        let size = if whole { 0 } else { self.room - HEADER_SIZE - CHUNK_HEADER_SIZE };
        let count = if whole { 1 } else { payload.len().div_ceil(size) };
        let first = self.reserve(count);
        let (unacknowledged, number) = (Cell::new(count), Cell::new(0));
        let message =
            Rc::new(Outgoing { first, message_type, payload, size, unacknowledged, number });
        if whole {
            self.small.push_back(message);
        } else {
            self.large.push_back((message, 0));
        }
        first
    }

    /// Whether nothing waits and nothing is under way.
    pub fn idle(&self) -> bool {
        let waiting = !(self.small.is_empty() && self.large.is_empty() && self.paused.is_empty());
        self.flights.is_empty() && self.held.is_none() && !waiting
    }

    /// Appends to `frames` what window, pace and credit let go; returns how many went again, and
    /// whether it was the credit that held something back.
    pub fn send(&mut self, now: Micros, timestamp: u64, frames: &mut Frames) -> (u64, bool) {
        self.find_lost(now);
        while self.paused.front().is_some_and(|(at, _)| *at <= now) {
            self.large.extend(self.paused.pop_front().map(|(_, message)| (message, 0)));
        }
        let rate = self.window.pace(&self.rtt);
        let mut allowance = self.pacer.allowance(rate, now);
        let mut resent = 0;
        for _ in 0..TURN {
            // Probes are few, and go whatever window and pace say: else the timeout stays due.
            if self.probes == 0 && (allowance <= 0.0 || !self.has_room()) {
                break;
            }
            let Some(mut flight) = self.next_flight() else { break };
            let size = flight.frame_size();
            if !frames.afford(size) {
                self.held = Some(flight);
                return (resent, true);
            }
            flight.write(&mut frames.bytes, timestamp);
            frames.end();
            allowance -= size as f64;
            self.pacer.spend(size);
            resent += u64::from(flight.resent);
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
        (resent, false)
    }

    fn has_room(&self) -> bool {
        self.in_flight < self.window.size || self.probes > 0
    }

    fn next_flight(&mut self) -> Option<Flight> {
        if self.held.is_some() {
            return self.held.take();
        }
        while let Some(sequence) = self.again.pop_front() {
            if let Some(mut flight) = self.flights.remove(&sequence) {
                flight.lost = false;
                return Some(flight);
            }
        }
        if !self.new_may_go() {
            return None;
        }
        if let Some(message) = self.pop_small() {
            self.begin(&message);
            return Some(Flight::new(message, 0));
        }
        let (message, index) = self.large.pop_front()?;
        if index == 0 {
            self.begin(&message);
        }
        if (index + 1) * message.size < message.payload.len() {
            self.large.push_back((message.clone(), index + 1));
        }
        Some(Flight::new(message, index))
    }

    fn pop_small(&mut self) -> Option<Rc<Outgoing>> {
        if self.open.len() < MESSAGE_SPAN {
            self.small.pop_front()
        } else {
            None
        }
    }

    fn begin(&mut self, message: &Outgoing) {
        message.number.set(self.begun);
        self.begun += 1;
        self.open.push_back(true);
    }

    fn new_may_go(&self) -> bool {
        self.open.len() < MESSAGE_SPAN || self.large.front().is_some_and(|(_, next)| *next > 0)
    }

    /// Records a sign of life.
    pub fn heard(&mut self, now: Micros) {
        self.silent_since = now;
        self.expirations = 0;
    }

    /// Takes in that the peer has no memory for the large message `first`: it is taken back as if
    /// it had not been sent, to begin again later, unless something of it has arrived.
    pub fn busy(&mut self, first: u32, now: Micros) {
        self.heard(now);
        let Some(flight) = self.flights.get(&first) else { return };
        let message = flight.message.clone();
        let untouched = message.unacknowledged.get() == message.count();
        if message.size == 0 || !untouched {
            return;
        }
        let of_it = |sequence: u32| (sequence.wrapping_sub(first) as usize) < message.count();
        self.flights.retain(|sequence, flight| {
            let under_way = if of_it(*sequence) && !flight.lost { flight.bytes } else { 0 };
            self.in_flight -= under_way;
            !of_it(*sequence)
        });
        self.again.retain(|sequence| !of_it(*sequence));
        self.probes = self.probes.min(self.again.len());
        self.held = self.held.take().filter(|flight| flight.message.first != first);
        self.large.retain(|(other, _)| other.first != first);
        self.end_of(&message);
        self.paused.push_back((now + BUSY_PAUSE, message));
    }

    /// Acts on the peer's acknowledgement of `ranges`; returns whether it named anything that was
    /// in flight, and so proves that the peer receives what we send. A range wider than all that
    /// was ever sent is a guess, and counts for nothing. `delivered` gets the sequence of each
    /// message that is now acknowledged whole, and the round trip of its last piece.
    pub fn acknowledged(
        &mut self,
        ranges: &[Range],
        now: Micros,
        mut delivered: impl FnMut(u32, Option<Micros>),
    ) -> bool {
        self.heard(now);
        let mut done = Vec::new();
        for &(start, end) in ranges {
            let span = end.wrapping_sub(start) as usize;
            if span as u64 >= self.reserved {
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
        for flight in &done {
            let message = &flight.message;
            message.unacknowledged.set(message.unacknowledged.get() - 1);
            if message.unacknowledged.get() == 0 {
                self.buffered -= message.payload.len();
                self.end_of(message);
                // Karn's rule: of a piece sent twice it is unknown which one was answered.
                let rtt = (!flight.resent).then(|| now - flight.sent_at);
                delivered(message.first, rtt);
            }
        }
        !done.is_empty()
    }

    /// Counts a message that was begun as open no more.
    fn end_of(&mut self, message: &Outgoing) {
        let oldest = self.begun - self.open.len() as u64;
        self.open[(message.number.get() - oldest) as usize] = false;
        while self.open.front() == Some(&false) {
            self.open.pop_front();
        }
    }

    fn account(&mut self, done: &[Flight], now: Micros) {
        let in_use = 2 * self.in_flight > self.window.size;
        let under_way = self.flights.len() + done.len();
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
            self.rtt.sample((now - newest.sent_at) as f64, under_way);
            self.window.measured((now - newest.sent_at) as f64, now);
        }
        self.window.acknowledged(size, newest.sent_at, in_use, now);
    }

    /// Decides which flights have to go again.
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
        // Of those sent together the next is no sooner due because its timeout grows no more.
        let again = self.expired_at + self.rtt.timeout(0);
        again.max(since + self.rtt.timeout(self.expirations))
    }

    /// When to call `send` again, or `None`.
    pub fn next_timeout(&mut self) -> Option<Micros> {
        let (newest_acked, spread) = (self.newest_acked, self.rtt.spread());
        let mut timeout = None;
        if let Some(oldest) = self.oldest() {
            let sent_at = oldest.sent_at;
            let lost_at = if sent_at < newest_acked { sent_at + spread } else { self.timeout_at() };
            timeout = Some(lost_at.min(self.silent_since + GIVE_UP));
        }
        let fresh = !self.small.is_empty() || !self.large.is_empty();
        if self.has_room() && (!self.again.is_empty() || (fresh && self.new_may_go())) {
            let ready = self.pacer.ready_at(self.window.pace(&self.rtt));
            timeout = Some(timeout.map_or(ready, |at: Micros| at.min(ready)));
        }
        if let Some((again, _)) = self.paused.front() {
            timeout = Some(timeout.map_or(*again, |at| at.min(*again)));
        }
        timeout
    }

    /// Whether the peer has acknowledged nothing for `GIVE_UP`.
    pub fn silent_too_long(&self, now: Micros) -> bool {
        !self.flights.is_empty() && now >= self.silent_since + GIVE_UP
    }

    /// Drops every message; returns the sequence of each.
    pub fn clear(&mut self) -> Vec<u32> {
        let paused = self.paused.drain(..).map(|(_, message)| message);
        let large = self.large.drain(..).map(|(message, _)| message);
        let sent = self.flights.drain().map(|(_, flight)| flight.message);
        let waiting = self.small.drain(..).chain(large).chain(paused);
        let all = waiting.chain(self.held.take().map(|flight| flight.message)).chain(sent);
        let mut dropped: Vec<u32> = all.map(|message| message.first).collect();
        dropped.sort_unstable();
        dropped.dedup();
        self.again.clear();
        self.sent.clear();
        self.open.clear();
        (self.buffered, self.in_flight, self.probes, self.expirations) = (0, 0, 0, 0);
        dropped
    }
}
