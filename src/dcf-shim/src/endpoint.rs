//! The protocol of one socket, sans-IO: all its peers, in both directions.
//!
//! The caller passes what the socket received to `received`, acts on `take_events`, sends what
//! `flush` appends to its `Datagrams`, and calls `flush` again no later than `next_timeout`.
//!
//! An endpoint at the `edge` trusts no address before it has proved that it receives: until then
//! it gets no more than three times the bytes that it sent, and may reserve little memory. The
//! proof is the acknowledgement of something we sent, or the answer to the PING that greets it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;

use ring::rand::{SecureRandom, SystemRandom};

use crate::congestion::Micros;
use crate::counters::Counters;
use crate::datagrams::{Datagrams, Frames};
use crate::frames::{self, kind, Chunk, Header, HEADER_SIZE, PATH_MTU};
use crate::inbox::Inbox;
use crate::keyed_hash::Map;
use crate::outbox::{Outbox, GIVE_UP};
use crate::sealing::{Sealer, OVERHEAD};
use crate::token_bucket::TokenBucket;

const AMPLIFICATION: usize = 3;
const UNVALIDATED_MEMORY: usize = 64 << 10;
const PEER_IDLE: Micros = 120_000_000;
/// Before that a client is not forgotten to make room.
const QUIET: Micros = 10_000_000;
const SWEEP_EVERY: Micros = 7_500_000;
const GREET_AGAIN: Micros = 300_000;
const EVICTION_TRIES: usize = 16;
const EXPECTED_PONGS: usize = 16;

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

struct Peer {
    inbox: Inbox,
    outbox: Outbox,
    pings: VecDeque<(u32, Micros)>,
    bucket: TokenBucket,
    /// Bytes that may still go to an address that has not proved itself.
    credit: Option<usize>,
    held_since: Option<Micros>,
    /// It has shown that it knows SACK, CHUNK and BATCH.
    modern: bool,
    /// We wrote first.
    opened: bool,
    /// We have told it that we know the extensions.
    introduced: bool,
    /// It is in the endpoint's list of peers to look at.
    touched: bool,
    seen_at: Micros,
    /// The endpoint's `turn` at that time.
    seen_in: u64,
    timeout: Option<Micros>,
    /// How many times the bridge needs it kept.
    holds: usize,
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
            frames: Frames::new(PATH_MTU - room),
            random: SystemRandom::new(),
        }
    }

    // ---------------------------------------------------------------- receiving

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
                let answers = [kind::ACK, kind::SACK, kind::PONG, kind::BATCH].contains(&kind);
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
        peer.modern |= matches!(kind, kind::SACK | kind::CHUNK | kind::BATCH);
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
            kind::CHUNK => {
                let oversized = counters.dropped_oversized;
                let mut limits = self.limits;
                if peer.credit.is_some() {
                    limits.peer_memory = UNVALIDATED_MEMORY.min(limits.peer_memory);
                    limits.memory /= 4; // strangers together leave room for clients
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

    // ------------------------------------------------------------------ sending

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

    /// Sends an empty HEARTBEAT, to which a head answers with its own.
    pub fn ask(&mut self, to: SocketAddr, now: Micros) {
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
            self.frames.reset(self.peers.get(&to).and_then(|peer| peer.credit));
            if self.frames.afford(HEADER_SIZE) {
                frames::write(&mut self.frames.bytes, kind, sequence, timestamp, &[]);
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
            if (modern || peer.opened)
                && !peer.introduced
                && !self.frames.is_empty()
                && self.frames.afford(HEADER_SIZE)
            {
                // An empty SACK says that we know the extensions.
                frames::write_sack(&mut self.frames.bytes, &[], wall_clock);
                self.frames.end();
                peer.introduced = true;
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

    // ------------------------------------------------------------------- timing

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

    fn expire(&mut self, now: Micros) {
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
                if !proven {
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

    fn sweep(&mut self, now: Micros) {
        for peer in self.peers.values_mut() {
            peer.inbox.expire(now, &mut self.memory, &mut self.counters);
        }
        let unused = |(address, peer): (&SocketAddr, &Peer)| {
            (peer.dispensable() && now > peer.seen_at + PEER_IDLE).then_some(*address)
        };
        for address in self.peers.iter().filter_map(unused).collect::<Vec<_>>() {
            self.forget(address);
        }
        self.queue.retain(|address| self.peers.contains_key(address));
        if self.queue.len() > 2 * self.peers.len() {
            self.queue = self.peers.keys().copied().collect();
        }
    }

    // -------------------------------------------------------------------- peers

    /// Works within other bounds from now on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Bytes of messages being reassembled or not yet acknowledged.
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// The same towards one peer: output that it has not acknowledged.
    pub fn unacknowledged(&self, peer: SocketAddr) -> usize {
        self.peers.get(&peer).map_or(0, |peer| peer.outbox.buffered)
    }

    pub fn peer_count(&self) -> usize {
        self.peers.len()
    }

    /// Whether every message has been acknowledged or given up.
    pub fn idle(&self) -> bool {
        self.peers.values().all(|peer| peer.outbox.idle())
    }

    /// Keeps a peer that is quiet because it waits for us; `release` undoes it.
    pub fn hold(&mut self, address: SocketAddr, now: Micros) {
        self.peer(address, now, false).holds += 1;
    }

    pub fn release(&mut self, address: SocketAddr) {
        self.peers.entry(address).and_modify(|peer| peer.holds -= 1);
    }

    /// Drops what was to be sent to a peer.
    pub fn drop_output(&mut self, address: SocketAddr) {
        if let Some(peer) = self.peers.get_mut(&address) {
            self.memory -= peer.outbox.buffered;
            peer.outbox.clear();
            peer.held_since = None;
        }
    }

    fn forget(&mut self, address: SocketAddr) {
        self.drop_output(address);
        if let Some(mut peer) = self.peers.remove(&address) {
            peer.inbox.clear(&mut self.memory);
            self.events.push(Event::Forgotten { peer: address });
        }
    }

    /// Makes room for another peer by forgetting one that nobody needs: a stranger, or a client
    /// that has nothing under way and has been quiet. What it sent has been acted on: nobody may
    /// answer a peer that is forgotten.
    fn evict(&mut self, now: Micros) -> bool {
        for _ in 0..EVICTION_TRIES {
            let Some(address) = self.queue.pop_front() else { return false };
            match self.peers.get(&address) {
                None => {}
                Some(peer) if peer.seen_in < self.turn && peer.evictable(now) => {
                    self.forget(address);
                    return true;
                }
                Some(_) => self.queue.push_back(address),
            }
        }
        false
    }

    fn peer(&mut self, address: SocketAddr, now: Micros, opened: bool) -> &mut Peer {
        self.peers.entry(address).or_insert_with(|| {
            self.queue.push_back(address);
            let mut sequence = [0; 4];
            self.random.fill(&mut sequence).expect("the system gives random bytes");
            Peer {
                inbox: Inbox::default(),
                outbox: Outbox::new(self.room, u32::from_ne_bytes(sequence)),
                pings: VecDeque::new(),
                bucket: TokenBucket::new(self.limits.edge.unwrap_or_default(), now),
                credit: self.limits.edge.map(|_| 0),
                held_since: None,
                modern: false,
                opened: opened && self.limits.edge.is_none(),
                introduced: false,
                touched: false,
                seen_at: now,
                seen_in: self.turn,
                timeout: None,
                holds: 0,
            }
        })
    }
}

fn touch(peer: &mut Peer, address: SocketAddr, touched: &mut Vec<SocketAddr>) {
    if !std::mem::replace(&mut peer.touched, true) {
        touched.push(address);
    }
}

impl Peer {
    fn evictable(&self, now: Micros) -> bool {
        let stranger = self.credit.is_some() && self.holds == 0;
        stranger || (self.dispensable() && now > self.seen_at + QUIET)
    }

    /// Whether nothing would be lost by forgetting it.
    fn dispensable(&self) -> bool {
        self.holds == 0 && self.inbox.buffered == 0 && self.outbox.idle()
    }
}
