//! Paths over links, such as a Thunderbolt cable, to peers that are known by ordinary addresses;
//! sans-IO.
//!
//! A process says HELLO on its links, by multicast. Whoever hears it, a neighbour, may be one of the
//! peers that a process sends to over the ordinary network. To find out, each of those is asked
//! there (CHALLENGE) to say a nonce on the link (PROOF): so an address is believed only to be of
//! whom it reaches. Then PROBEs say whether datagrams go there and back, and the ECHO whether the
//! other end has found out the same. While they do, the path is up: `route` says where datagrams
//! to an ordinary address go, and `origin` from which address those that come seem to come.

pub mod candidates;
mod hearing;
pub mod messages;
mod neighbour;

use std::net::{SocketAddr, SocketAddrV6};

use ring::rand::{SecureRandom, SystemRandom};

use self::candidates::Candidates;
use self::messages::{Challenge, Id, Said, Sender, MAX_NAMED, PROBE_SIZE};
use self::neighbour::Neighbour;
use crate::bounds::{HELLO_EVERY, PROBE_EVERY};
use crate::counters::{Counters, LinkCounters};
use crate::frames::{self, message_type, HEADER_SIZE};
use crate::keyed_hash::Map;
use crate::sealing::{Sealer, OVERHEAD};
use crate::time::Micros;

/// A device with a cable: this process's own address there, whose scope is the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub address: SocketAddrV6,
    /// Bytes of the largest datagram that the device takes.
    pub largest: usize,
}

/// Where something is to be sent on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// Everyone on the link with that scope.
    All(u32),
    One(SocketAddrV6),
}

/// A path came up, took larger datagrams (`size`, in bytes), or went down (`None`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub ordinary: SocketAddr,
    pub size: Option<usize>,
    pub neighbour: SocketAddrV6,
}

/// What is known of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    pub address: SocketAddrV6,
    pub ordinary: Option<SocketAddr>,
    pub up: bool,
    pub size: usize,
    pub largest: usize,
    pub rtt: Option<Micros>,
    pub echoed: u64,
    pub under_way: usize,
}

/// All links of a process, and who is there.
pub struct Paths {
    pub counters: LinkCounters,
    /// Of the sealer.
    pub drops: Counters,
    id: Id,
    sealer: Option<Sealer>,
    overhead: usize,
    links: Vec<Link>,
    neighbours: Vec<Neighbour>,
    candidates: Candidates,
    routes: Map<SocketAddr, SocketAddrV6>,
    origins: Map<SocketAddrV6, SocketAddr>,
    hello_at: Micros,
    probes: u64,
    /// What is to be sent on links.
    pub out: Vec<(To, Vec<u8>)>,
    /// What is to be sent, as PATH messages, over the ordinary network.
    pub challenges: Vec<(SocketAddr, Vec<u8>)>,
    pub changes: Vec<Change>,
}

impl Paths {
    pub fn new(sealer: Option<Sealer>) -> Self {
        let mut id = Id::default();
        SystemRandom::new().fill(&mut id).expect("the system gives random bytes");
        Self::with_id(sealer, id)
    }

    /// As `new` with a given id, which only test vectors may choose.
    pub fn with_id(sealer: Option<Sealer>, id: Id) -> Self {
        Self {
            counters: LinkCounters::default(),
            drops: Counters::default(),
            id,
            overhead: HEADER_SIZE + if sealer.is_some() { OVERHEAD } else { 0 },
            sealer,
            links: Vec::new(),
            neighbours: Vec::new(),
            candidates: Candidates::default(),
            routes: Map::default(),
            origins: Map::default(),
            hello_at: 0,
            probes: 0,
            out: Vec::new(),
            challenges: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// Uses exactly these links from now on. One that has changed is a new one.
    pub fn set_links(&mut self, links: &[Link], now: Micros) {
        let (before, after) = (std::mem::take(&mut self.links), links.to_vec());
        self.links = after;
        for link in before.iter().filter(|link| !links.contains(link)) {
            self.remove(|one| one.address.scope_id() == link.address.scope_id(), now);
        }
        if links.iter().any(|link| !before.contains(link)) {
            self.hello_at = now;
        }
    }

    pub fn links(&self) -> &[Link] {
        &self.links
    }

    fn link(&self, scope: u32) -> Option<Link> {
        self.links.iter().find(|link| link.address.scope_id() == scope).copied()
    }

    /// Where datagrams to an ordinary address go. Notes that some do, so that it can be found.
    pub fn route(&mut self, to: SocketAddr, now: Micros) -> Option<SocketAddrV6> {
        if self.links.is_empty() {
            return None;
        }
        let route = self.routes.get(&to).copied();
        if route.is_none() {
            self.candidates.used(to, now);
        }
        route
    }

    /// The ordinary address of a proved neighbour.
    pub fn origin(&self, from: SocketAddrV6) -> Option<SocketAddr> {
        self.origins.get(&from).copied()
    }

    /// The neighbours, in the order in which they came.
    pub fn view(&self, index: usize) -> Option<View> {
        let one = self.neighbours.get(index)?;
        Some(View {
            address: one.address,
            ordinary: one.ordinary.map(|(ordinary, _)| ordinary),
            up: one.up,
            size: one.size,
            largest: one.largest,
            rtt: one.rtt,
            echoed: one.echoed,
            under_way: one.under_way(),
        })
    }

    // ------------------------------------------------------------------------------------- time

    /// When `poll` has to be called next.
    pub fn next_timeout(&self) -> Micros {
        if self.links.is_empty() {
            return Micros::MAX >> 2;
        }
        let neighbours = self.neighbours.iter().map(Neighbour::next_timeout);
        let asked = self.searching().then(|| self.candidates.next_timeout());
        neighbours.chain(asked).chain([self.hello_at]).min().unwrap_or(self.hello_at)
    }

    /// Whether there is a neighbour who may be a peer that is reached over the ordinary network.
    fn searching(&self) -> bool {
        self.neighbours.iter().any(|one| !one.up)
    }

    /// Does what is due: fills `out`, `challenges` and `changes`.
    pub fn poll(&mut self, now: Micros, wall: u64) {
        if self.links.is_empty() {
            return;
        }
        if now >= self.hello_at {
            self.hello_at = now + HELLO_EVERY;
            for link in self.links.clone() {
                self.say(To::All(link.address.scope_id()), link, Said::Hello, 0, wall);
            }
        }
        self.remove(|one| one.gone(now), now);
        for at in 0..self.neighbours.len() {
            if self.neighbours[at].up && self.neighbours[at].silent(now) {
                self.down(at, now);
            }
            if let Some(size_too) = self.neighbours[at].due(now) {
                self.probe(at, PROBE_SIZE, now, wall);
                if size_too {
                    let full = self.neighbours[at].largest - self.overhead;
                    self.probe(at, full, now, wall);
                }
            }
        }
        if self.searching() {
            let places = self.links.iter().take(MAX_NAMED);
            let addresses: Vec<_> =
                places.map(|link| (*link.address.ip(), link.address.port())).collect();
            for (to, nonce) in self.candidates.due(now) {
                let challenge = Challenge { id: self.id, nonce, addresses: addresses.clone() };
                self.challenges.push((to, challenge.to_bytes()));
            }
        }
    }

    /// Sends a PROBE of `size` bytes of payload to a neighbour, whatever is due. Returns whether
    /// there is one at that place.
    pub fn measure(&mut self, at: usize, size: usize, now: Micros, wall: u64) -> bool {
        let Some(one) = self.neighbours.get(at) else { return false };
        let size = size.clamp(PROBE_SIZE, one.largest - self.overhead);
        self.probe(at, size, now, wall);
        true
    }

    fn probe(&mut self, at: usize, size: usize, now: Micros, wall: u64) {
        let one = &mut self.neighbours[at];
        let Some(link) =
            self.links.iter().find(|link| link.address.scope_id() == one.address.scope_id())
        else {
            return;
        };
        self.probes += 1;
        let tag = one.ordinary.map_or([0; 16], |(_, nonce)| nonce);
        one.probed(self.probes, size, now);
        let (to, said) = (To::One(one.address), Said::Probe { number: self.probes, tag });
        self.say(to, *link, said, size, wall);
    }

    // ------------------------------------------------------------------------------------- ends

    /// Stops using the path to the neighbour at that place; another one to the same peer takes over.
    fn down(&mut self, at: usize, now: Micros) {
        let one = &mut self.neighbours[at];
        let (Some((ordinary, _)), true) = (one.ordinary, one.up) else { return };
        let address = one.address;
        one.down();
        self.counters.link_paths_down += 1;
        self.candidates.lost(ordinary, now);
        if self.routes.get(&ordinary) != Some(&address) {
            return;
        }
        let mut others = self.neighbours.iter();
        let other = others.find(|one| one.up && one.ordinary.is_some_and(|(a, _)| a == ordinary));
        let change = match other {
            Some(other) => {
                self.routes.insert(ordinary, other.address);
                Change { ordinary, size: Some(other.size), neighbour: other.address }
            }
            None => {
                self.routes.remove(&ordinary);
                Change { ordinary, size: None, neighbour: address }
            }
        };
        self.changes.push(change);
    }

    fn remove(&mut self, is_it: impl Fn(&Neighbour) -> bool, now: Micros) {
        let mut at = 0;
        while at < self.neighbours.len() {
            if !is_it(&self.neighbours[at]) {
                at += 1;
                continue;
            }
            self.down(at, now);
            let one = self.neighbours.remove(at);
            self.origins.remove(&one.address);
        }
    }

    fn say(&mut self, to: To, link: Link, said: Said, size: usize, wall: u64) {
        let sender = Sender {
            id: self.id,
            ip: *link.address.ip(),
            port: link.address.port(),
            largest: link.largest.min(usize::from(u16::MAX)) as u16,
        };
        let mut payload = Vec::new();
        messages::write(&mut payload, &sender, said, size);
        let mut datagram = Vec::new();
        frames::write(&mut datagram, message_type::PATH, 0, wall, &payload);
        if let Some(sealer) = &mut self.sealer {
            sealer.seal(&mut datagram, 0);
        }
        self.out.push((to, datagram));
    }
}

const _: () = assert!(PROBE_EVERY < HELLO_EVERY);
