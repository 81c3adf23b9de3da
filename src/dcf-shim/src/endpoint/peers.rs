//! The endpoint's peers: who is known, who is kept, and who makes room.

use std::collections::VecDeque;
use std::net::SocketAddr;

use ring::rand::SecureRandom;

use super::{Endpoint, Event, Limits};
use crate::bounds::{EVICTION_TRIES, PEER_IDLE, QUIET};
use crate::congestion::Micros;
use crate::inbox::Inbox;
use crate::outbox::Outbox;
use crate::token_bucket::TokenBucket;

pub(super) struct Peer {
    pub(super) inbox: Inbox,
    pub(super) outbox: Outbox,
    pub(super) pings: VecDeque<(u32, Micros)>,
    pub(super) bucket: TokenBucket,
    /// Bytes that may still go to an address that has not proved itself.
    pub(super) credit: Option<usize>,
    pub(super) held_since: Option<Micros>,
    /// It has shown that it knows SACK, CHUNK and BATCH.
    pub(super) modern: bool,
    /// We wrote first.
    pub(super) opened: bool,
    /// We have told it that we know the extensions.
    pub(super) introduced: bool,
    /// It is in the endpoint's list of peers to look at.
    pub(super) touched: bool,
    pub(super) seen_at: Micros,
    /// The endpoint's `turn` at that time.
    pub(super) seen_in: u64,
    pub(super) timeout: Option<Micros>,
    /// How many times the bridge needs it kept.
    pub(super) holds: usize,
}

impl Endpoint {
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
        self.memory
    }

    /// The same towards one peer: output that it has not acknowledged.
    pub fn unacknowledged(&self, peer: SocketAddr) -> usize {
        self.peers.get(&peer).map_or(0, |peer| peer.outbox.buffered)
    }

    /// When a peer was last heard.
    pub fn seen_at(&self, peer: SocketAddr) -> Option<Micros> {
        self.peers.get(&peer).map(|peer| peer.seen_at)
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

    /// Takes the message `sequence` for new if it comes again.
    pub fn take_again(&mut self, peer: SocketAddr, sequence: u32) {
        self.peers.entry(peer).and_modify(|peer| peer.inbox.forget(sequence));
    }

    /// Drops what was to be sent to a peer.
    pub fn drop_output(&mut self, address: SocketAddr) {
        if let Some(peer) = self.peers.get_mut(&address) {
            self.memory -= peer.outbox.buffered;
            peer.outbox.clear();
            peer.held_since = None;
        }
    }

    pub(super) fn sweep(&mut self, now: Micros) {
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

    /// Drops all that is known of a peer.
    pub fn forget(&mut self, address: SocketAddr) {
        self.drop_output(address);
        if let Some(mut peer) = self.peers.remove(&address) {
            peer.inbox.clear(&mut self.memory);
            self.events.push(Event::Forgotten { peer: address });
        }
    }

    /// Makes room for another peer by forgetting one that nobody needs: a stranger, or a client
    /// that has nothing under way and has been quiet. What it sent has been acted on: nobody may
    /// answer a peer that is forgotten.
    pub(super) fn evict(&mut self, now: Micros) -> bool {
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

    pub(super) fn peer(&mut self, address: SocketAddr, now: Micros, opened: bool) -> &mut Peer {
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

pub(super) fn touch(peer: &mut Peer, address: SocketAddr, touched: &mut Vec<SocketAddr>) {
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
