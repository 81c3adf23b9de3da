//! The table of peers: which are known, which are kept, and which make room for others.

use std::collections::VecDeque;
use std::net::SocketAddr;

use ring::rand::{SecureRandom, SystemRandom};

use crate::bounds::EVICTION_TRIES;
use crate::counters::Counters;
use crate::keyed_hash::{Map, Set};
use crate::limits::Limits;
use crate::peer::Peer;
use crate::time::Micros;
use crate::traffic::Traffic;

pub struct Peers {
    pub table: Map<SocketAddr, Peer>,
    /// Bytes of messages being reassembled or not yet acknowledged.
    pub memory: usize,
    /// Those that may have something to send.
    pub touched: Vec<SocketAddr>,
    /// How often the endpoint's events have been taken.
    pub turn: u64,
    /// Addresses in the order in which they become candidates for eviction.
    queue: VecDeque<SocketAddr>,
    /// Addresses that need not prove themselves.
    trusted: Set<SocketAddr>,
    traffic: Traffic,
    /// The largest datagram before sealing; of some peers, another.
    room: usize,
    rooms: Map<SocketAddr, usize>,
    random: SystemRandom,
}

impl Peers {
    pub fn new(traffic: Traffic, room: usize) -> Self {
        Self {
            table: Map::default(),
            memory: 0,
            touched: Vec::new(),
            turn: 0,
            queue: VecDeque::new(),
            trusted: Set::default(),
            traffic,
            room,
            rooms: Map::default(),
            random: SystemRandom::new(),
        }
    }

    pub fn get(&self, address: SocketAddr) -> Option<&Peer> {
        self.table.get(&address)
    }

    pub fn get_mut(&mut self, address: SocketAddr) -> Option<&mut Peer> {
        self.table.get_mut(&address)
    }

    /// Returns the peer at that address, which becomes one if need be; `opened` if we write first.
    pub fn open(
        &mut self,
        address: SocketAddr,
        limits: &Limits,
        now: Micros,
        opened: bool,
    ) -> &mut Peer {
        let room = self.room(address);
        self.table.entry(address).or_insert_with(|| {
            self.queue.push_back(address);
            let mut sequence = [0; 4];
            self.random.fill(&mut sequence).expect("the system gives random bytes");
            let sequence = u32::from_ne_bytes(sequence);
            let mut peer = Peer::new(self.traffic, room, sequence, limits, now);
            if self.trusted.contains(&address) {
                peer.credit = None;
            }
            peer.opened = opened && peer.credit.is_none();
            peer.seen_in = self.turn;
            peer
        })
    }

    /// The largest datagram to a peer, before sealing.
    pub fn room(&self, address: SocketAddr) -> usize {
        if self.rooms.is_empty() {
            return self.room;
        }
        self.rooms.get(&address).copied().unwrap_or(self.room)
    }

    /// Reaches a peer in another way, with datagrams of `room` bytes before sealing, or in the
    /// ordinary one.
    pub fn set_path(&mut self, address: SocketAddr, room: Option<usize>, now: Micros) {
        match room {
            Some(room) => self.rooms.insert(address, room.max(self.room)),
            None => self.rooms.remove(&address),
        };
        let new = self.room(address);
        if let Some(peer) = self.table.get_mut(&address) {
            peer.outbox.set_path(new, room.is_none(), now);
        }
        self.touch(address);
    }

    /// Has the endpoint look whether there is something to send to it.
    pub fn touch(&mut self, address: SocketAddr) {
        if let Some(peer) = self.table.get_mut(&address) {
            touch(peer, address, &mut self.touched);
        }
    }

    /// Drops what was to be sent to a peer; returns the sequence of each message.
    pub fn drop_output(&mut self, address: SocketAddr) -> Vec<u32> {
        let Some(peer) = self.table.get_mut(&address) else { return Vec::new() };
        self.memory -= peer.outbox.buffered;
        peer.held_since = None;
        peer.outbox.clear()
    }

    /// Gives an address, which the application has chosen, no credit to keep to.
    pub fn trust(&mut self, address: SocketAddr) {
        self.trusted.insert(address);
        if let Some(peer) = self.table.get_mut(&address) {
            peer.credit = None;
        }
        self.touch(address);
    }

    /// Drops all that is known of a peer; returns whether there was one.
    pub fn forget(&mut self, address: SocketAddr) -> bool {
        self.drop_output(address);
        let Some(mut peer) = self.table.remove(&address) else { return false };
        peer.inbox.clear(&mut self.memory);
        true
    }

    /// Drops messages whose rest did not come, and peers that have been silent for long; returns
    /// the latter.
    pub fn sweep(&mut self, now: Micros, counters: &mut Counters) -> Vec<SocketAddr> {
        for peer in self.table.values_mut() {
            peer.inbox.expire(now, &mut self.memory, counters);
        }
        let expired = |(address, peer): (&SocketAddr, &Peer)| peer.expired(now).then_some(*address);
        let forgotten: Vec<_> = self.table.iter().filter_map(expired).collect();
        for address in &forgotten {
            self.forget(*address);
        }
        self.queue.retain(|address| self.table.contains_key(address));
        if self.queue.len() > 2 * self.table.len() {
            self.queue = self.table.keys().copied().collect();
        }
        forgotten
    }

    /// Makes room for another peer by forgetting one that can be spared, and returns it. What that
    /// one sent has been acted on: nobody can answer a peer that is forgotten.
    pub fn evict(&mut self, now: Micros) -> Option<SocketAddr> {
        for _ in 0..EVICTION_TRIES {
            let address = self.queue.pop_front()?;
            match self.table.get(&address) {
                None => {}
                Some(peer) if peer.seen_in < self.turn && peer.evictable(now) => {
                    self.forget(address);
                    return Some(address);
                }
                Some(_) => self.queue.push_back(address),
            }
        }
        None
    }
}

/// As `Peers::touch`, for a peer that is borrowed already.
pub fn touch(peer: &mut Peer, address: SocketAddr, touched: &mut Vec<SocketAddr>) {
    if !std::mem::replace(&mut peer.touched, true) {
        touched.push(address);
    }
}
