//! The endpoint's way out: what goes to whom, and when to look again.

use std::cmp::Reverse;
use std::net::SocketAddr;
use std::rc::Rc;

use super::{Endpoint, Immediate};
use crate::bounds::{GIVE_UP, MAX_CONTROL};
use crate::datagrams::Datagrams;
use crate::events::Event;
use crate::frames::{self, message_type, HEADER_SIZE};
use crate::peer::expect;
use crate::peers::touch;
use crate::time::Micros;

const SWEEP_EVERY: Micros = 7_500_000;
const GREET_AGAIN: Micros = 300_000;

/// Why a message cannot be queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotQueued {
    /// It exceeds `Limits::max_message`, `MAX_CONTROL`, or the datagram that it has to fit.
    TooLarge,
    /// Messages not yet acknowledged take up the memory of `Limits`.
    NoRoom,
}

impl Endpoint {
    /// Queues a message, to be repeated until it is acknowledged, and returns its sequence number.
    /// Whether it keeps to `Limits` is for the caller to see (`may_send`).
    pub fn send(
        &mut self,
        to: SocketAddr,
        message_type: u8,
        payload: Rc<Vec<u8>>,
        now: Micros,
    ) -> u32 {
        self.counters.messages_sent += 1;
        self.peers.memory += payload.len();
        let peer = self.peers.open(to, &self.limits, now, true);
        let sequence = peer.outbox.queue(message_type, payload);
        self.peers.touch(to);
        sequence
    }

    /// Whether a message of `size` bytes keeps to `Limits`.
    pub fn may_send(&self, to: SocketAddr, message_type: u8, size: usize) -> Result<(), NotQueued> {
        let limits = &self.limits;
        if size > limits.max_message
            || (self.traffic.is_control(message_type) && size > MAX_CONTROL)
        {
            return Err(NotQueued::TooLarge);
        }
        let fits = self.fits_datagram(size);
        if self.traffic.is_unreliable(message_type) && !fits {
            return Err(NotQueued::TooLarge);
        }
        let goes_once = fits && !self.traffic.is_reliable(message_type);
        let peer_full = self.unacknowledged(to) + size > limits.peer_memory;
        if !goes_once && (peer_full || self.memory() + size > limits.memory) {
            return Err(NotQueued::NoRoom);
        }
        Ok(())
    }

    fn fits_datagram(&self, size: usize) -> bool {
        HEADER_SIZE + size <= self.room
    }

    /// Sends a PING; `Event::Pong` reports the answer.
    pub fn ping(&mut self, to: SocketAddr, now: Micros) {
        let peer = self.peers.open(to, &self.limits, now, true);
        let sequence = peer.outbox.reserve(1);
        expect(&mut peer.pings, sequence, now);
        let (message_type, timestamp, payload) = (message_type::PING, 0, None);
        self.immediate.push(Immediate { to, message_type, sequence, timestamp, payload });
    }

    /// Sends a HEARTBEAT and returns its sequence number. One that fits a datagram goes once; a
    /// larger one is repeated until acknowledged.
    pub fn heartbeat(&mut self, to: SocketAddr, payload: Rc<Vec<u8>>, now: Micros) -> u32 {
        if !self.fits_datagram(payload.len()) {
            return self.send(to, message_type::HEARTBEAT, payload, now);
        }
        let peer = self.peers.open(to, &self.limits, now, true);
        let sequence = peer.outbox.reserve(1);
        expect(&mut peer.heartbeats, sequence, now);
        let (message_type, timestamp, payload) = (message_type::HEARTBEAT, 0, Some(payload));
        self.immediate.push(Immediate { to, message_type, sequence, timestamp, payload });
        sequence
    }

    /// Sends a message of an unreliable type, or a PATH, once, and returns its sequence number. Whether it fits
    /// a datagram is for the caller to see (`may_send`).
    pub fn send_once(
        &mut self,
        to: SocketAddr,
        message_type: u8,
        payload: Rc<Vec<u8>>,
        now: Micros,
    ) -> u32 {
        self.counters.messages_sent += 1;
        let peer = self.peers.open(to, &self.limits, now, true);
        let sequence = peer.outbox.reserve(1);
        let (timestamp, payload) = (0, Some(payload));
        self.immediate.push(Immediate { to, message_type, sequence, timestamp, payload });
        sequence
    }

    /// Appends what is to be sent now to `out`, datagrams to one peer in a row.
    pub fn flush(&mut self, now: Micros, wall_clock: u64, out: &mut Datagrams) {
        self.expire(now);
        let mut immediate = std::mem::take(&mut self.immediate);
        for Immediate { to, message_type, sequence, timestamp, payload } in immediate.drain(..) {
            let answers = matches!(message_type, message_type::PONG | message_type::ACK);
            let timestamp = if answers { timestamp } else { wall_clock };
            let payload = payload.as_deref().map_or(&[][..], Vec::as_slice);
            self.frames.reset(self.peers.get(to).and_then(|peer| peer.credit));
            if self.frames.afford(HEADER_SIZE + payload.len()) {
                frames::write(&mut self.frames.bytes, message_type, sequence, timestamp, payload);
                self.frames.end();
            }
            self.emit(to, false, wall_clock, out);
        }
        self.immediate = immediate;
        let mut touched = std::mem::take(&mut self.peers.touched);
        for to in touched.drain(..) {
            let Some(peer) = self.peers.get_mut(to) else { continue };
            peer.touched = false;
            let extended = peer.extended;
            self.frames.reset(peer.credit);
            if peer.inbox.must_acknowledge() {
                peer.inbox.acknowledge(wall_clock, extended, &mut self.frames);
            }
            let (resent, held) = peer.outbox.send(now, wall_clock, &mut self.frames);
            self.counters.retransmissions += resent;
            self.counters.held_unvalidated += u64::from(held && peer.held_since.is_none());
            if (extended || peer.opened) && !peer.introduced && !self.frames.is_empty() {
                peer.introduced = self.frames.extended();
                if !peer.introduced && self.frames.afford(HEADER_SIZE) {
                    // An empty SACK says that we know the extensions.
                    frames::write_sack(&mut self.frames.bytes, &[], wall_clock);
                    self.frames.end();
                    peer.introduced = true;
                }
            }
            peer.held_since = held.then(|| peer.held_since.unwrap_or(now));
            // An address without proof pays for each datagram, so nothing is joined for it.
            let batching = extended && peer.credit.is_none();
            self.emit(to, batching, wall_clock, out);
            self.schedule(to, now);
        }
        self.peers.touched = touched;
    }

    fn emit(&mut self, to: SocketAddr, batching: bool, wall_clock: u64, out: &mut Datagrams) {
        for (start, end, count) in self.frames.groups(self.peers.room(to), batching) {
            let messages = &self.frames.bytes[start..end];
            let size = out.push(to, messages, count, wall_clock, self.sealer.as_mut());
            self.counters.datagrams_sent += 1;
            self.counters.bytes_sent += size as u64;
        }
        if let Some(peer) = self.peers.get_mut(to).filter(|peer| peer.credit.is_some()) {
            peer.credit = self.frames.credit;
        }
    }

    /// When `flush` has to be called next.
    pub fn next_timeout(&self) -> Micros {
        self.timeouts.peek().map_or(self.sweep_at, |Reverse((at, _))| self.sweep_at.min(*at))
    }

    fn schedule(&mut self, address: SocketAddr, now: Micros) {
        let Some(peer) = self.peers.get_mut(address) else { return };
        let at = match peer.held_since {
            Some(_) => Some(now + GREET_AGAIN),
            None => peer.outbox.next_timeout(),
        };
        // A timeout that has moved back is looked at when the earlier one is due.
        if let Some(at) = at.filter(|at| peer.timeout.is_none_or(|earlier| *at < earlier)) {
            peer.timeout = Some(at);
            self.timeouts.push(Reverse((at, address)));
        }
    }

    fn expire(&mut self, now: Micros) {
        while let Some(&Reverse((at, address))) = self.timeouts.peek().filter(|t| t.0 .0 <= now) {
            self.timeouts.pop();
            let Some(peer) = self.peers.table.get_mut(&address) else { continue };
            if peer.timeout != Some(at) {
                continue;
            }
            peer.timeout = None;
            touch(peer, address, &mut self.peers.touched);
            let held_too_long = peer.held_since.is_some_and(|since| now >= since + GIVE_UP);
            if peer.outbox.silent_too_long(now) || held_too_long {
                self.counters.unreachable += 1;
                let proven = peer.credit.is_none();
                if self.limits.unproven.is_some() {
                    // What it repeats is then done again, rather than dropped as known.
                    peer.inbox.forget_recent();
                }
                let sequences = self.peers.drop_output(address);
                self.events.push(Event::Unreachable { peer: address, proven, sequences });
            } else if peer.held_since.is_some() {
                self.ping(address, now);
            }
        }
        if now >= self.sweep_at {
            self.sweep_at = now + SWEEP_EVERY;
            for peer in self.peers.sweep(now, &mut self.counters) {
                self.events.push(Event::Forgotten { peer });
            }
        }
    }
}
