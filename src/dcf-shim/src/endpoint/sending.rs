//! The endpoint's way out: what goes to whom, and when to look again.

use std::cmp::Reverse;
use std::net::SocketAddr;
use std::rc::Rc;

use super::peers::touch;
use super::{Endpoint, Event};
use crate::bounds::{EXPECTED_PONGS, GIVE_UP};
use crate::congestion::Micros;
use crate::datagrams::Datagrams;
use crate::frames::{self, kind, HEADER_SIZE};

const SWEEP_EVERY: Micros = 7_500_000;
const GREET_AGAIN: Micros = 300_000;

impl Endpoint {
    /// Queues a message of any size, to be repeated until it is acknowledged.
    pub fn send(&mut self, to: SocketAddr, kind: u8, payload: Rc<Vec<u8>>, now: Micros) {
        self.counters.messages_sent += 1;
        self.memory += payload.len();
        self.peer(to, now, true).outbox.queue(kind, payload);
        self.peers.entry(to).and_modify(|peer| touch(peer, to, &mut self.touched));
    }

    /// Sends a PING; `Event::Pong` reports the answer.
    pub fn ping(&mut self, to: SocketAddr, now: Micros) {
        let peer = self.peer(to, now, true);
        let sequence = peer.outbox.reserve(1);
        peer.pings.push_back((sequence, now));
        if peer.pings.len() > EXPECTED_PONGS {
            peer.pings.pop_front();
        }
        self.immediate.push((kind::PING, sequence, 0, to));
    }

    /// Lets HEARTBEATs say that from now on.
    pub fn set_heartbeat(&mut self, payload: Vec<u8>) {
        self.heartbeat = payload;
    }

    /// Sends a HEARTBEAT, once. An empty one is answered by a head with its own.
    pub fn beat(&mut self, to: SocketAddr, now: Micros) {
        let sequence = self.peer(to, now, true).outbox.reserve(1);
        self.immediate.push((kind::HEARTBEAT, sequence, 0, to));
    }

    /// Appends what is to be sent now to `out`, datagrams to one peer in a row.
    pub fn flush(&mut self, now: Micros, wall_clock: u64, out: &mut Datagrams) {
        self.expire(now);
        let mut immediate = std::mem::take(&mut self.immediate);
        for (kind, sequence, timestamp, to) in immediate.drain(..) {
            let ours = matches!(kind, kind::PING | kind::HEARTBEAT);
            let timestamp = if ours { wall_clock } else { timestamp };
            let payload = if kind == kind::HEARTBEAT { &self.heartbeat[..] } else { &[] };
            self.frames.reset(self.peers.get(&to).and_then(|peer| peer.credit));
            if self.frames.afford(HEADER_SIZE + payload.len()) {
                frames::write(&mut self.frames.bytes, kind, sequence, timestamp, payload);
                self.frames.end();
            }
            self.emit(to, false, wall_clock, out);
        }
        self.immediate = immediate;
        let mut touched = std::mem::take(&mut self.touched);
        for to in touched.drain(..) {
            let Some(peer) = self.peers.get_mut(&to) else { continue };
            peer.touched = false;
            let modern = peer.modern;
            self.frames.reset(peer.credit);
            if peer.inbox.must_acknowledge() {
                peer.inbox.acknowledge(wall_clock, modern, &mut self.frames);
            }
            let (resent, held) = peer.outbox.send(now, wall_clock, &mut self.frames);
            self.counters.retransmissions += resent;
            self.counters.held_unvalidated += u64::from(held && peer.held_since.is_none());
            if (modern || peer.opened) && !peer.introduced && !self.frames.is_empty() {
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
            let batching = modern && peer.credit.is_none();
            self.emit(to, batching, wall_clock, out);
            self.schedule(to, now);
        }
        self.touched = touched;
    }

    fn emit(&mut self, to: SocketAddr, batching: bool, wall_clock: u64, out: &mut Datagrams) {
        for (start, end, count) in self.frames.groups(self.room, batching) {
            let messages = &self.frames.bytes[start..end];
            let size = out.push(to, messages, count, wall_clock, self.sealer.as_mut());
            self.counters.datagrams_sent += 1;
            self.counters.bytes_sent += size as u64;
        }
        if let Some(peer) = self.peers.get_mut(&to).filter(|peer| peer.credit.is_some()) {
            peer.credit = self.frames.credit;
        }
    }

    /// When `flush` has to be called next.
    pub fn next_timeout(&self) -> Micros {
        self.timeouts.peek().map_or(self.sweep_at, |Reverse((at, _))| self.sweep_at.min(*at))
    }

    fn schedule(&mut self, address: SocketAddr, now: Micros) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
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

    pub(super) fn expire(&mut self, now: Micros) {
        while let Some(&Reverse((at, address))) = self.timeouts.peek().filter(|t| t.0 .0 <= now) {
            self.timeouts.pop();
            let Some(peer) = self.peers.get_mut(&address) else { continue };
            if peer.timeout != Some(at) {
                continue;
            }
            peer.timeout = None;
            touch(peer, address, &mut self.touched);
            let held_too_long = peer.held_since.is_some_and(|since| now >= since + GIVE_UP);
            if peer.outbox.silent_too_long(now) || held_too_long {
                self.counters.unreachable += 1;
                let proven = peer.credit.is_none();
                if self.limits.edge.is_some() {
                    // What it repeats is then done again, rather than dropped as known.
                    peer.inbox.forget_recent();
                }
                self.events.push(Event::Unreachable { peer: address, proven });
                self.drop_output(address);
            } else if peer.held_since.is_some() {
                self.ping(address, now);
            }
        }
        if now >= self.sweep_at {
            self.sweep_at = now + SWEEP_EVERY;
            self.sweep(now);
        }
    }
}
