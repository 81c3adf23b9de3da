//! The protocol of one socket, sans-IO: all its peers, in both directions. Start reading here.
//!
//! The caller passes what the socket received to `received`, acts on `take_events`, sends what
//! `flush` appends to its `Datagrams`, and calls `flush` again no later than `next_timeout`.
//!
//! With `Limits::unproven` no address is trusted before it has proved that it receives: until then
//! it gets no more than a few times the bytes that it sent, and may reserve little memory. The proof
//! is the acknowledgement of something we sent, or the answer to the PING that greets it.

mod sending;

pub use self::sending::NotQueued;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::rc::Rc;

use crate::bounds::PATH_MTU;
use crate::counters::Counters;
use crate::datagrams::Frames;
use crate::events::Event;
use crate::frames::{self, message_type, Chunk, Header, HEADER_SIZE};
use crate::limits::Limits;
use crate::peer::answered;
use crate::peers::{touch, Peers};
use crate::sealing::{Sealer, OVERHEAD};
use crate::time::Micros;
use crate::traffic::Traffic;

/// All peers of one socket.
pub struct Endpoint {
    pub counters: Counters,
    pub(crate) traffic: Traffic,
    limits: Limits,
    /// The unreliable types that the application takes.
    subscribed: Vec<u8>,
    /// What came about paths, for those who follow them.
    path_messages: Option<Vec<(SocketAddr, Vec<u8>)>>,
    sealer: Option<Sealer>,
    /// The largest datagram before sealing, on the ordinary network.
    room: usize,
    /// What sealing adds to a datagram.
    overhead: usize,
    peers: Peers,
    timeouts: BinaryHeap<Reverse<(Micros, SocketAddr)>>,
    sweep_at: Micros,
    events: Vec<Event>,
    /// What goes out once, in the order of its making.
    immediate: Vec<Immediate>,
    frames: Frames,
}

/// Messages about paths that wait to be taken; more than come in a turn.
const MAX_PATH_MESSAGES: usize = 1024;

/// A message that goes out once: PING, PONG, ACK, HEARTBEAT, or one of an unreliable type.
struct Immediate {
    to: SocketAddr,
    message_type: u8,
    sequence: u32,
    /// That of the message that it answers.
    timestamp: u64,
    payload: Option<Rc<Vec<u8>>>,
}

impl Endpoint {
    /// An endpoint for a cluster's messages.
    pub fn new(limits: Limits, sealer: Option<Sealer>) -> Self {
        Self::of(Traffic::Cluster, limits, sealer)
    }

    /// An endpoint for what goes over its port. A sealer has to be made for the same.
    pub fn of(traffic: Traffic, limits: Limits, sealer: Option<Sealer>) -> Self {
        let overhead = if sealer.is_some() { OVERHEAD } else { 0 };
        let room = PATH_MTU - overhead;
        Self {
            counters: Counters::default(),
            traffic,
            limits,
            subscribed: traffic.asked_for().to_vec(),
            path_messages: None,
            sealer,
            room,
            overhead,
            peers: Peers::new(traffic, room),
            timeouts: BinaryHeap::new(),
            sweep_at: 0,
            events: Vec::new(),
            immediate: Vec::new(),
            frames: Frames::new(overhead),
        }
    }

    /// Processes one datagram; whatever is wrong with it is counted. `wall_clock` is in
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
        let messages = if header.message_type == message_type::BATCH {
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
        if header.message_type == message_type::PING && self.peers.get(from).is_none() {
            self.answer(message_type::PONG, header.sequence, header.timestamp, from);
            return true;
        }
        if !self.admit(from, size, header.message_type, &messages, now) {
            return false;
        }
        if header.message_type != message_type::BATCH {
            self.message(header, payload, from, now);
        }
        for (header, payload) in messages {
            self.message(header, payload, from, now);
        }
        true
    }

    /// Makes the sender a peer if it may be one, and accounts for what it sent.
    fn admit(
        &mut self,
        from: SocketAddr,
        size: usize,
        message_type: u8,
        batch: &[(Header, &[u8])],
        now: Micros,
    ) -> bool {
        if self.peers.get(from).is_none() {
            let opens = |t| {
                self.traffic.is_carried(t)
                    || t == message_type::CHUNK
                    || self.subscribed.contains(&t)
            };
            if !opens(message_type) && !batch.iter().any(|(header, _)| opens(header.message_type)) {
                self.counters.dropped_unknown_type += u64::from(!frames::is_answer(message_type));
                return false;
            }
            if self.peers.table.len() >= self.limits.max_peers {
                let Some(evicted) = self.peers.evict(now) else {
                    self.counters.dropped_peer_limit += 1;
                    return false;
                };
                self.events.push(Event::Forgotten { peer: evicted });
            }
            self.peers.open(from, &self.limits, now, false);
            if self.limits.unproven.is_some() {
                self.ping(from, now);
            }
        }
        let Peers { table, touched, turn, .. } = &mut self.peers;
        let Some(peer) = table.get_mut(&from) else { return false };
        let rate = self.limits.datagram_rate;
        if !peer.datagrams.take(rate, rate, now) {
            self.counters.dropped_rate += 1;
            return false;
        }
        (peer.seen_at, peer.seen_in) = (now, *turn);
        peer.extended |= frames::is_extended(message_type) || message_type == message_type::BATCH;
        if let (Some(credit), Some(unproven)) = (&mut peer.credit, &self.limits.unproven) {
            *credit += unproven.amplification * size;
            touch(peer, from, touched);
        }
        true
    }

    /// Answers a message at once, with its own sequence number and timestamp.
    fn answer(&mut self, message_type: u8, sequence: u32, timestamp: u64, to: SocketAddr) {
        let payload = None;
        self.immediate.push(Immediate { to, message_type, sequence, timestamp, payload });
    }

    fn message(&mut self, header: Header, payload: &[u8], from: SocketAddr, now: Micros) {
        let Header { message_type, sequence, timestamp, .. } = header;
        let Peers { table, memory, touched, .. } = &mut self.peers;
        let Some(peer) = table.get_mut(&from) else { return };
        let (counters, events) = (&mut self.counters, &mut self.events);
        match message_type {
            message_type::PING => self.answer(message_type::PONG, sequence, timestamp, from),
            _ if self.traffic.is_heartbeat(message_type) => {
                let payload = payload.to_vec();
                events.push(Event::Message {
                    peer: from,
                    message_type,
                    sequence,
                    timestamp,
                    payload,
                });
                self.answer(message_type::ACK, sequence, timestamp, from);
            }
            message_type::PONG => {
                if let Some(sent_at) = answered(&mut peer.pings, sequence) {
                    peer.credit = None;
                    touch(peer, from, touched);
                    events.push(Event::Pong { peer: from, rtt: now - sent_at });
                }
            }
            message_type::ACK | message_type::SACK => {
                let sack = match message_type {
                    message_type::SACK => frames::read_sack(payload),
                    _ => None,
                };
                let ranges = match &sack {
                    Some(ranges) => ranges.as_slice(),
                    None if message_type == message_type::ACK => &[(sequence, sequence)],
                    None => {
                        counters.dropped_malformed += 1;
                        return;
                    }
                };
                let delivered = |sequence, rtt| {
                    events.push(Event::Delivered { peer: from, sequence, rtt });
                };
                let before = peer.outbox.buffered;
                if peer.outbox.acknowledged(ranges, now, delivered) {
                    peer.credit = None;
                }
                *memory -= before - peer.outbox.buffered;
                let heartbeat = match message_type {
                    message_type::ACK => answered(&mut peer.heartbeats, sequence),
                    _ => None,
                };
                if let Some(sent_at) = heartbeat {
                    peer.credit = None;
                    let rtt = Some(now - sent_at);
                    events.push(Event::Delivered { peer: from, sequence, rtt });
                }
                touch(peer, from, touched);
            }
            message_type::BUSY => {
                peer.outbox.busy(sequence, now);
                touch(peer, from, touched);
            }
            message_type::CHUNK => {
                let oversized = counters.dropped_oversized;
                let mut limits = self.limits;
                if let (Some(_), Some(unproven)) = (peer.credit, limits.unproven) {
                    limits.peer_memory = unproven.peer_memory.min(limits.peer_memory);
                    limits.memory = unproven.memory.min(limits.memory);
                }
                let whole = peer.inbox.chunk(sequence, payload, now, &limits, memory, counters);
                touch(peer, from, touched);
                if counters.dropped_oversized > oversized {
                    // Only its first piece says more of a message than that there is one.
                    let chunk = frames::read_chunk(payload).filter(|(c, _)| c.first == sequence);
                    let new = |_: &_| peer.inbox.is_new(sequence, now, counters);
                    if let Some((Chunk { message_type, .. }, start)) = chunk.filter(new) {
                        let start = start.to_vec();
                        events.push(Event::TooLarge { peer: from, message_type, sequence, start });
                    }
                }
                if let Some((message_type, sequence, payload)) = whole {
                    counters.messages_received += 1;
                    events.push(Event::Message {
                        peer: from,
                        message_type,
                        sequence,
                        timestamp,
                        payload,
                    });
                }
            }
            message_type::PATH if self.path_messages.is_some() => {
                let waiting = self.path_messages.as_mut();
                if let Some(waiting) = waiting.filter(|some| some.len() < MAX_PATH_MESSAGES) {
                    waiting.push((from, payload.to_vec()));
                }
            }
            _ if self.traffic.is_reliable(message_type)
                || self.subscribed.contains(&message_type) =>
            {
                let once = !self.traffic.is_reliable(message_type);
                if once || peer.inbox.is_new(sequence, now, counters) {
                    counters.messages_received += 1;
                    let payload = payload.to_vec();
                    events.push(Event::Message {
                        peer: from,
                        message_type,
                        sequence,
                        timestamp,
                        payload,
                    });
                }
                if !once {
                    touch(peer, from, touched);
                }
            }
            _ => counters.dropped_unknown_type += 1,
        }
    }

    /// Exchanges what has happened since the last call for an empty list.
    pub fn take_events(&mut self, events: &mut Vec<Event>) {
        std::mem::swap(&mut self.events, events);
        self.peers.turn += 1;
    }

    /// Has messages of an unreliable type reported from now on, each time that one arrives. Without
    /// that they are dropped as of an unknown type.
    pub fn subscribe(&mut self, message_type: u8) {
        if self.traffic.is_unreliable(message_type) && !self.subscribed.contains(&message_type) {
            self.subscribed.push(message_type);
        }
    }

    /// What peers have said about paths since the last call; before the first, nothing is kept.
    pub fn take_path_messages(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        self.path_messages.replace(Vec::new()).unwrap_or_default()
    }

    /// Takes note that a peer is reached in another way: one that takes datagrams of `size` bytes, or
    /// the ordinary one. What was in flight the other way before may be lost.
    pub fn set_path(&mut self, peer: SocketAddr, size: Option<usize>, now: Micros) {
        self.peers.set_path(peer, size.map(|size| size - self.overhead), now);
    }

    /// Works within other bounds from now on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Bytes of the largest message that its peers may send, or be sent.
    pub fn max_message(&self) -> usize {
        self.limits.max_message
    }

    /// Bytes of messages being reassembled or not yet acknowledged.
    pub fn memory(&self) -> usize {
        self.peers.memory
    }

    /// The same towards one peer: output that it has not acknowledged.
    pub fn unacknowledged(&self, peer: SocketAddr) -> usize {
        self.peers.get(peer).map_or(0, |peer| peer.outbox.buffered)
    }

    /// When a peer was last heard.
    pub fn seen_at(&self, peer: SocketAddr) -> Option<Micros> {
        self.peers.get(peer).map(|peer| peer.seen_at)
    }

    pub fn peer_count(&self) -> usize {
        self.peers.table.len()
    }

    /// Whether every message has been acknowledged or given up.
    pub fn idle(&self) -> bool {
        self.peers.table.values().all(|peer| peer.outbox.idle())
    }

    /// Keeps a peer that is quiet because it waits for us; `release` undoes it.
    pub fn hold(&mut self, address: SocketAddr, now: Micros) {
        self.peers.open(address, &self.limits, now, false).holds += 1;
    }

    pub fn release(&mut self, address: SocketAddr) {
        if let Some(peer) = self.peers.get_mut(address) {
            peer.holds = peer.holds.saturating_sub(1);
        }
    }

    /// Treats the message `sequence` as new if it comes again.
    pub fn accept_again(&mut self, peer: SocketAddr, sequence: u32) {
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.inbox.forget(sequence);
        }
    }

    /// Drops what was to be sent to a peer.
    pub fn drop_output(&mut self, address: SocketAddr) {
        self.peers.drop_output(address);
    }

    /// Sends without reserve to an address that the application has chosen, not a stranger.
    pub fn trust(&mut self, address: SocketAddr) {
        self.peers.trust(address);
    }

    /// Drops all that is known of a peer.
    pub fn forget(&mut self, address: SocketAddr) {
        if self.peers.forget(address) {
            self.events.push(Event::Forgotten { peer: address });
        }
    }
}
