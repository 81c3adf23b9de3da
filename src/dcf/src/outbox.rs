//! The sending side of one peer: messages queued, cut into CHUNKs, and sent in turn.
//!
//! Whole messages go before pieces of large ones, so that a token is not held up by a picture. What
//! is in flight is in `recovery`.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use crate::bounds::{BUSY_PAUSE, MESSAGE_SPAN, TURN};
use crate::datagrams::Frames;
use crate::frames::{Range, CHUNK_HEADER_SIZE, HEADER_SIZE};
use crate::outgoing::{Flight, Outgoing};
use crate::recovery::Recovery;
use crate::time::Micros;

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
    /// What there was no credit for.
    held: Option<Flight>,
    recovery: Recovery,
    begun: u64,
    /// Of the messages begun since the oldest open one, which are open.
    open: VecDeque<bool>,
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
            held: None,
            recovery: Recovery::default(),
            begun: 0,
            open: VecDeque::new(),
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

    /// Sends another way from now on, with datagrams of `room` bytes before sealing. With `broken`,
    /// what went the other way is lost. Messages that have been cut into CHUNKs stay so.
    pub fn set_path(&mut self, room: usize, broken: bool, now: Micros) {
        self.room = room;
        self.recovery.begin_again(broken, now);
    }

    /// Whether nothing waits and nothing is in flight.
    pub fn idle(&self) -> bool {
        let waiting = !(self.small.is_empty() && self.large.is_empty() && self.paused.is_empty());
        self.recovery.is_empty() && self.held.is_none() && !waiting
    }

    /// Appends to `frames` what window, pace and credit let go; returns how many went again, and
    /// whether it was the credit that held something back.
    pub fn send(&mut self, now: Micros, timestamp: u64, frames: &mut Frames) -> (u64, bool) {
        let mut allowance = self.recovery.begin_turn(now);
        while self.paused.front().is_some_and(|(at, _)| *at <= now) {
            self.large.extend(self.paused.pop_front().map(|(_, message)| (message, 0)));
        }
        let mut resent = 0;
        for _ in 0..TURN {
            if !self.recovery.may_send(allowance) {
                break;
            }
            let Some(flight) = self.next_flight() else { break };
            let size = flight.frame_size();
            if !frames.afford(size) {
                self.held = Some(flight);
                return (resent, true);
            }
            flight.write(&mut frames.bytes, timestamp);
            frames.end();
            allowance -= size as f64;
            resent += u64::from(flight.resent);
            self.recovery.sent(flight, size, now);
        }
        (resent, false)
    }

    fn next_flight(&mut self) -> Option<Flight> {
        if self.held.is_some() {
            return self.held.take();
        }
        let lost = self.recovery.next_lost();
        if lost.is_some() {
            return lost;
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

    /// Acts on the peer's BUSY for the large message `first`: it is taken back as if it had not been
    /// sent, and starts over later, unless something of it has arrived.
    pub fn busy(&mut self, first: u32, now: Micros) {
        self.recovery.heard(now);
        let Some(message) = self.recovery.message(first) else { return };
        let untouched = message.unacknowledged.get() == message.count();
        if message.size == 0 || !untouched {
            return;
        }
        self.recovery.withdraw(&message);
        self.held = self.held.take().filter(|flight| flight.message.first != first);
        self.large.retain(|(other, _)| other.first != first);
        self.end_of(&message);
        self.paused.push_back((now + BUSY_PAUSE, message));
    }

    /// Acts on the peer's acknowledgement of `ranges`; returns whether it named anything that was
    /// in flight, and so proves that the peer receives what we send. `delivered` gets the sequence
    /// of each message that is now acknowledged whole, and the round trip of its last piece.
    pub fn acknowledged(
        &mut self,
        ranges: &[Range],
        now: Micros,
        mut delivered: impl FnMut(u32, Option<Micros>),
    ) -> bool {
        let done = self.recovery.acknowledged(ranges, self.reserved, now);
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

    /// When to call `send` again, or `None`.
    pub fn next_timeout(&mut self) -> Option<Micros> {
        let waiting = !self.small.is_empty() || !self.large.is_empty();
        let timeout = self.recovery.next_timeout(waiting && self.new_may_go());
        let again = self.paused.front().map(|(again, _)| *again);
        timeout.into_iter().chain(again).min()
    }

    /// Whether the peer has acknowledged nothing for `GIVE_UP`.
    pub fn silent_too_long(&self, now: Micros) -> bool {
        self.recovery.silent_too_long(now)
    }

    /// Drops every message; returns the sequence of each.
    pub fn clear(&mut self) -> Vec<u32> {
        let paused = self.paused.drain(..).map(|(_, message)| message);
        let large = self.large.drain(..).map(|(message, _)| message);
        let waiting = self.small.drain(..).chain(large).chain(paused);
        let held = self.held.take().map(|flight| flight.message);
        let all = waiting.chain(held).chain(self.recovery.clear());
        let mut dropped: Vec<u32> = all.map(|message| message.first).collect();
        dropped.sort_unstable();
        dropped.dedup();
        self.open.clear();
        self.buffered = 0;
        dropped
    }
}
