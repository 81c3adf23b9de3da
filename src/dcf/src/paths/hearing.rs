//! What is said on links and asked over the ordinary network, and what is made of it.

use std::net::{SocketAddr, SocketAddrV6};

use super::messages::{self, Challenge, Said, Sender};
use super::neighbour::Neighbour;
use super::{Change, Link, Paths, To};
use crate::bounds::{MAX_NEIGHBOURS, PATH_MTU};
use crate::frames::{self, message_type, HEADER_SIZE};
use crate::time::Micros;

impl Paths {
    /// Processes a PATH datagram that came on a link; whatever is wrong with it is counted.
    pub fn received(&mut self, datagram: &mut [u8], from: SocketAddrV6, now: Micros, wall: u64) {
        let split = frames::split(datagram).map(|(header, _)| header);
        let Some(header) = split.filter(|header| header.message_type == message_type::PATH) else {
            self.counters.link_dropped_malformed += 1;
            return;
        };
        let payload = match &mut self.sealer {
            Some(sealer) => sealer.open(header, datagram, wall, &mut self.drops),
            None => Some(&datagram[HEADER_SIZE..]),
        };
        let Some(payload) = payload else {
            self.counters.link_dropped_forged += 1;
            return;
        };
        let said = messages::read(payload).filter(|(sender, _)| {
            // Seen from elsewhere, it was recorded and sent again by another.
            (sender.ip, sender.port) == (*from.ip(), from.port()) && sender.id != self.id
        });
        let (Some((sender, said)), Some(link)) = (said, self.link(from.scope_id())) else {
            self.counters.link_dropped_malformed += 1;
            return;
        };
        let size = payload.len();
        let Some(at) = self.meet(&sender, from, link, now, wall) else { return };
        match said {
            Said::Hello => {}
            Said::Proof(nonce) => self.proved(at, nonce, now),
            Said::Probe { number, tag } => {
                let ready = self.neighbours[at].ready(tag);
                let size = size as u16;
                self.say(To::One(from), link, Said::Echo { number, size, ready }, 0, wall);
            }
            Said::Echo { number, size, ready } => {
                self.echo(at, number, usize::from(size), ready, now);
            }
        }
    }

    /// Returns the place of the neighbour that `sender` is, which may be a new one.
    fn meet(
        &mut self,
        sender: &Sender,
        from: SocketAddrV6,
        link: Link,
        now: Micros,
        wall: u64,
    ) -> Option<usize> {
        let largest = link.largest.min(usize::from(sender.largest)).max(PATH_MTU);
        let known = self.neighbours.iter().position(|one| one.address == from);
        if let Some(at) = known {
            if self.neighbours[at].id == sender.id {
                self.neighbours[at].heard(now);
                if self.neighbours[at].largest != largest {
                    // Another size has to show that it gets there.
                    self.down(at, now);
                    self.neighbours[at].largest = largest;
                }
                return Some(at);
            }
            if self.neighbours[at].up {
                // While the one there answers, it is not somebody else.
                self.counters.link_dropped_malformed += 1;
                return None;
            }
            self.remove(|one| one.address == from, now);
        }
        if self.neighbours.len() >= MAX_NEIGHBOURS {
            let spared = self.neighbours.iter().find(|one| one.ordinary.is_none())?.address;
            self.remove(|one| one.address == spared, now);
        }
        self.neighbours.push(Neighbour::new(sender.id, from, largest, now));
        // So that it need not wait for ours to know us.
        self.say(To::One(from), link, Said::Hello, 0, wall);
        self.candidates.ask_again(now);
        Some(self.neighbours.len() - 1)
    }

    /// Processes the payload of a PATH message that came over the ordinary network.
    pub fn challenged(&mut self, payload: &[u8], from: SocketAddr, now: Micros, wall: u64) {
        let Some(challenge) = Challenge::read(payload) else {
            self.counters.link_dropped_malformed += 1;
            return;
        };
        let mut answers = Vec::new();
        for one in &mut self.neighbours {
            if one.id == challenge.id && challenge.names(one.address) {
                one.asked_from(challenge.nonce, from);
                answers.push(one.address);
            }
        }
        for to in answers {
            if let Some(link) = self.link(to.scope_id()) {
                self.say(To::One(to), link, Said::Proof(challenge.nonce), 0, wall);
            }
        }
        self.candidates.used(from, now);
    }

    fn proved(&mut self, at: usize, nonce: messages::Nonce, now: Micros) {
        let Some(ordinary) = self.candidates.of(nonce) else { return };
        let one = &mut self.neighbours[at];
        if !one.up {
            one.proved(ordinary, nonce, now);
            self.origins.insert(one.address, ordinary);
        }
    }

    fn echo(&mut self, at: usize, number: u64, size: usize, ready: bool, now: Micros) {
        let one = &mut self.neighbours[at];
        let before = one.size;
        if !one.echo(number, size, self.overhead, now) {
            return;
        }
        let Some((ordinary, _)) = one.ordinary else { return };
        let (was_up, address) = (one.up, one.address);
        match (was_up, ready) {
            (false, false) => {}
            (true, false) => self.down(at, now),
            (_, true) => {
                one.up = true;
                if !was_up {
                    self.candidates.found(ordinary);
                }
                let one = &self.neighbours[at];
                let size = Some(one.size);
                let grown = one.size > before;
                let route = *self.routes.entry(ordinary).or_insert(address);
                self.counters.link_paths_up += u64::from(!was_up);
                if route == address && (!was_up || grown) {
                    self.changes.push(Change { ordinary, size, neighbour: address });
                }
            }
        }
    }
}
