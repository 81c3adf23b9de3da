//! The protocol of one socket, sans-IO: all its peers, in both directions.
//!
//! The caller passes what the socket received to `received`, acts on `take_events`, sends what
//! `flush` appends to its `Datagrams`, and calls `flush` again no later than `next_timeout`.
//!
//! An endpoint at the `edge` trusts no address before it has proved that it receives: until then
//! it gets no more than three times the bytes that it sent, and may reserve little memory. The
//! proof is the acknowledgement of something we sent, or the answer to the PING that greets it.

mod peers;
mod sending;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;

use ring::rand::SystemRandom;

use self::peers::{touch, Peer};
use crate::bounds::{AMPLIFICATION, UNPROVEN_MEMORY, UNPROVEN_SHARE};
use crate::congestion::Micros;
use crate::counters::Counters;
use crate::datagrams::Frames;
use crate::frames::{self, kind, Chunk, Header, HEADER_SIZE, PATH_MTU};
use crate::keyed_hash::Map;
use crate::sealing::{Sealer, OVERHEAD};

/// The bounds within which an endpoint works, sizes in bytes.
#[derive(Clone, Copy)]
pub struct Limits {
    pub max_message: usize,
    pub memory: usize,
    pub peer_memory: usize,
    pub max_peers: usize,
    /// Its peers are strangers: no amplification, and this many datagrams a second from each.
    pub edge: Option<f64>,
}

/// What an endpoint tells the bridge.
#[derive(Debug, PartialEq)]
pub enum Event {
    /// A whole message arrived, once.
    Message { peer: SocketAddr, kind: u8, sequence: u32, payload: Vec<u8> },
    /// A message began that is larger than allowed; `start` is its first piece.
    TooLarge { peer: SocketAddr, kind: u8, sequence: u32, start: Vec<u8> },
    /// The peer answered our PING after so long.
    Pong { peer: SocketAddr, rtt: Micros },
    /// The peer acknowledged nothing for `GIVE_UP`; what was queued for it is dropped. One that is
    /// not `proven` may be one of those that never acknowledge.
    Unreachable { peer: SocketAddr, proven: bool },
    /// The peer has been quiet, or made room for another; nothing is known of it any more.
    Forgotten { peer: SocketAddr },
}

/// All peers of one socket.
pub struct Endpoint {
    pub counters: Counters,
    limits: Limits,
    sealer: Option<Sealer>,
    room: usize,
    memory: usize,
    peers: Map<SocketAddr, Peer>,
    /// Addresses in the order in which they become candidates for eviction.
    queue: VecDeque<SocketAddr>,
    touched: Vec<SocketAddr>,
    timeouts: BinaryHeap<Reverse<(Micros, SocketAddr)>>,
    sweep_at: Micros,
    events: Vec<Event>,
    /// How often the events have been taken.
    turn: u64,
    immediate: Vec<(u8, u32, u64, SocketAddr)>,
    /// The payload of its HEARTBEATs; without one they ask how the peer is.
    heartbeat: Vec<u8>,
    frames: Frames,
    random: SystemRandom,
}

impl Endpoint {
    pub fn new(limits: Limits, sealer: Option<Sealer>) -> Self {
        let room = PATH_MTU - if sealer.is_some() { OVERHEAD } else { 0 };
        Self {
            counters: Counters::default(),
            limits,
            sealer,
            room,
            memory: 0,
            peers: Map::default(),
            queue: VecDeque::new(),
            touched: Vec::new(),
            timeouts: BinaryHeap::new(),
            sweep_at: 0,
            events: Vec::new(),
            turn: 0,
            immediate: Vec::new(),
            heartbeat: Vec::new(),
            frames: Frames::new(PATH_MTU - room),
            random: SystemRandom::new(),
        }
    }

    /// Takes in one datagram; whatever is wrong with it is counted. `wall_clock` is in
    /// microseconds since the Epoch. Returns whether it was whole, ours and in time.
    pub fn received(
        &mut self,
        datagram: &mut [u8],
        from: SocketAddr,
        now: Micros,
        wall_clock: u64,
    ) -> bool {
        let size = datagram.len();
        self.counters.datagrams_received += 1;
        self.counters.bytes_received += size as u64;
        let Some((header, _)) = frames::split(datagram) else {
            self.counters.dropped_malformed += 1;
            return false;
        };
        let payload = match &mut self.sealer {
            Some(sealer) => sealer.open(header, datagram, wall_clock, &mut self.counters),
            None => Some(&datagram[HEADER_SIZE..]),
        };
        let Some(payload) = payload else { return false };
        let messages = if header.kind == kind::BATCH {
            match frames::split_batch(payload) {
                Some(messages) => messages,
                None => {
                    self.counters.dropped_malformed += 1;
                    return false;
                }
            }
        } else {
            Vec::new()
        };
        if header.kind == kind::PING && !self.peers.contains_key(&from) {
            self.immediate.push((kind::PONG, header.sequence, header.timestamp, from));
            return true;
        }
        if !self.admit(from, size, header.kind, &messages, now) {
            return false;
        }
        if header.kind != kind::BATCH {
            self.message(header, payload, from, now);
        }
        for (header, payload) in messages {
            self.message(header, payload, from, now);
        }
        true
    }

    /// Makes the sender a peer if it may be one, and books what it sent.
    fn admit(
        &mut self,
        from: SocketAddr,
        size: usize,
        kind: u8,
        batch: &[(Header, &[u8])],
        now: Micros,
    ) -> bool {
        if !self.peers.contains_key(&from) {
            let opens = |kind| frames::is_carried(kind) || kind == kind::CHUNK;
            if !opens(kind) && !batch.iter().any(|(header, _)| opens(header.kind)) {
                let answers =
                    [kind::ACK, kind::SACK, kind::PONG, kind::BATCH, kind::BUSY].contains(&kind);
                self.counters.dropped_unknown_type += u64::from(!answers);
                return false;
            }
            if self.peers.len() >= self.limits.max_peers && !self.evict(now) {
                self.counters.dropped_peer_limit += 1;
                return false;
            }
            self.peer(from, now, false);
            if self.limits.edge.is_some() {
                self.ping(from, now);
            }
        }
        let Some(peer) = self.peers.get_mut(&from) else { return false };
        let rate = self.limits.edge.unwrap_or(f64::INFINITY);
        if !peer.bucket.take(rate, rate, now) {
            self.counters.dropped_rate += 1;
            return false;
        }
        (peer.seen_at, peer.seen_in) = (now, self.turn);
        peer.modern |= matches!(kind, kind::SACK | kind::CHUNK | kind::BATCH | kind::BUSY);
        if let Some(credit) = &mut peer.credit {
            *credit += AMPLIFICATION * size;
            touch(peer, from, &mut self.touched);
        }
        true
    }

    fn message(&mut self, header: Header, payload: &[u8], from: SocketAddr, now: Micros) {
        let Header { kind, sequence, timestamp, .. } = header;
        let Some(peer) = self.peers.get_mut(&from) else { return };
        let counters = &mut self.counters;
        match kind {
            kind::PING => self.immediate.push((kind::PONG, sequence, timestamp, from)),
            kind::HEARTBEAT => {
                self.immediate.push((kind::ACK, sequence, timestamp, from));
                let payload = payload.to_vec();
                self.events.push(Event::Message { peer: from, kind, sequence, payload });
            }
            kind::PONG => {
                let found = peer.pings.iter().position(|(ping, _)| *ping == sequence);
                if let Some((_, sent_at)) = found.and_then(|index| peer.pings.remove(index)) {
                    peer.credit = None;
                    touch(peer, from, &mut self.touched);
                    self.events.push(Event::Pong { peer: from, rtt: now - sent_at });
                }
            }
            kind::ACK | kind::SACK => {
                let sack = if kind == kind::SACK { frames::read_sack(payload) } else { None };
                let ranges = match &sack {
                    Some(ranges) => ranges.as_slice(),
                    None if kind == kind::ACK => &[(sequence, sequence)],
                    None => {
                        counters.dropped_malformed += 1;
                        return;
                    }
                };
                let before = peer.outbox.buffered;
                if peer.outbox.acknowledged(ranges, now) {
                    peer.credit = None;
                }
                self.memory -= before - peer.outbox.buffered;
                touch(peer, from, &mut self.touched);
            }
            kind::BUSY => {
                peer.outbox.busy(sequence, now);
                touch(peer, from, &mut self.touched);
            }
            kind::CHUNK => {
                let oversized = counters.dropped_oversized;
                let mut limits = self.limits;
                if peer.credit.is_some() {
                    limits.peer_memory = UNPROVEN_MEMORY.min(limits.peer_memory);
                    limits.memory /= UNPROVEN_SHARE;
                }
                let memory = &mut self.memory;
                let whole = peer.inbox.chunk(sequence, payload, now, &limits, memory, counters);
                touch(peer, from, &mut self.touched);
                if counters.dropped_oversized > oversized {
                    // Of the whole message only the first piece says more than that it is there.
                    let chunk = frames::read_chunk(payload).filter(|(c, _)| c.first == sequence);
                    let new = |_: &_| peer.inbox.is_new(sequence, now, counters);
                    if let Some((Chunk { kind, .. }, start)) = chunk.filter(new) {
                        let start = start.to_vec();
                        self.events.push(Event::TooLarge { peer: from, kind, sequence, start });
                    }
                }
                if let Some((kind, sequence, payload)) = whole {
                    counters.messages_received += 1;
                    self.events.push(Event::Message { peer: from, kind, sequence, payload });
                }
            }
            _ if frames::is_reliable(kind) => {
                if peer.inbox.is_new(sequence, now, counters) {
                    counters.messages_received += 1;
                    let payload = payload.to_vec();
                    self.events.push(Event::Message { peer: from, kind, sequence, payload });
                }
                touch(peer, from, &mut self.touched);
            }
            _ => counters.dropped_unknown_type += 1,
        }
    }

    /// Exchanges what has happened since the last call for an empty list.
    pub fn take_events(&mut self, events: &mut Vec<Event>) {
        std::mem::swap(&mut self.events, events);
        self.turn += 1;
    }
}
