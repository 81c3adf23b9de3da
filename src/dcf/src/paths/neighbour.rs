//! One process at the other end of a link: who it is, and whether the path to it works.

use std::collections::VecDeque;
use std::net::{SocketAddr, SocketAddrV6};

use super::messages::{Id, Nonce};
use crate::bounds::{MISSED_PROBES, NEIGHBOUR_LIFETIME, PATH_MTU, PROBE_EVERY, SIZE_PROBE_EVERY};
use crate::time::Micros;

/// CHALLENGEs of one neighbour that are remembered: it may know us by several addresses.
const REMEMBERED: usize = 4;
/// PROBEs of a measurement whose answers are waited for.
const MEASURED: usize = 256;

pub struct Neighbour {
    pub id: Id,
    pub address: SocketAddrV6,
    /// Bytes of the largest datagram that both ends of the link take.
    pub largest: usize,
    /// Its ordinary address, proved, and the nonce that proved it.
    pub ordinary: Option<(SocketAddr, Nonce)>,
    /// Where its CHALLENGEs came from, by their nonces.
    pub asked: VecDeque<(Nonce, SocketAddr)>,
    /// The path is in use.
    pub up: bool,
    /// Bytes of the largest datagram that has been there and back, or the ordinary one.
    pub size: usize,
    /// The latest round trip.
    pub rtt: Option<Micros>,
    /// Bytes of payload that it has said arrived.
    pub echoed: u64,
    heard_at: Micros,
    probe_at: Micros,
    size_probe_at: Micros,
    /// Small PROBEs that went since the last answer.
    unanswered: usize,
    /// PROBEs that went, and when: number, time, bytes of payload.
    sent: VecDeque<(u64, Micros, usize)>,
}

impl Neighbour {
    pub fn new(id: Id, address: SocketAddrV6, largest: usize, now: Micros) -> Self {
        Self {
            id,
            address,
            largest,
            ordinary: None,
            asked: VecDeque::new(),
            up: false,
            size: PATH_MTU,
            rtt: None,
            echoed: 0,
            heard_at: now,
            probe_at: now,
            size_probe_at: now,
            unanswered: 0,
            sent: VecDeque::new(),
        }
    }

    pub fn heard(&mut self, now: Micros) {
        self.heard_at = now;
    }

    /// Whether nothing has come from it for long.
    pub fn gone(&self, now: Micros) -> bool {
        now >= self.heard_at + NEIGHBOUR_LIFETIME
    }

    /// Notes that its CHALLENGE with that nonce came from an ordinary address.
    pub fn asked_from(&mut self, nonce: Nonce, from: SocketAddr) {
        self.asked.retain(|(other, _)| *other != nonce);
        self.asked.push_back((nonce, from));
        if self.asked.len() > REMEMBERED {
            self.asked.pop_front();
        }
    }

    /// Whether what comes from it under that nonce comes, for us, from the address that we know it by.
    pub fn ready(&self, tag: Nonce) -> bool {
        self.ordinary.is_some_and(|(ordinary, _)| self.asked.contains(&(tag, ordinary)))
    }

    /// Takes note that its ordinary address has been proved.
    pub fn proved(&mut self, ordinary: SocketAddr, nonce: Nonce, now: Micros) {
        self.ordinary = Some((ordinary, nonce));
        self.probe_at = now;
    }

    /// When to look at it again.
    pub fn next_timeout(&self) -> Micros {
        let gone_at = self.heard_at + NEIGHBOUR_LIFETIME;
        match self.ordinary {
            Some(_) => gone_at.min(self.probe_at),
            None => gone_at,
        }
    }

    /// Whether too many PROBEs in a row have had no answer.
    pub fn silent(&self, now: Micros) -> bool {
        self.unanswered >= MISSED_PROBES && now >= self.probe_at
    }

    /// Whether a PROBE is due; then whether one of full size is due too.
    pub fn due(&mut self, now: Micros) -> Option<bool> {
        if self.ordinary.is_none() || now < self.probe_at {
            return None;
        }
        self.probe_at = now + PROBE_EVERY;
        self.unanswered += 1;
        let tries = self.up && self.size < self.largest && now >= self.size_probe_at;
        if tries {
            self.size_probe_at = now + SIZE_PROBE_EVERY;
        }
        Some(tries)
    }

    /// Notes that a PROBE has gone.
    pub fn probed(&mut self, number: u64, size: usize, now: Micros) {
        self.sent.push_back((number, now, size));
        if self.sent.len() > MEASURED {
            self.sent.pop_front();
        }
    }

    /// PROBEs whose answers have not come; those of earlier ones that were lost count until later
    /// ones are answered.
    pub fn under_way(&self) -> usize {
        self.sent.len()
    }

    /// Takes the answer to a PROBE; returns whether one was waited for. `padding` is what the
    /// datagram of a PROBE has beside its payload.
    pub fn echo(&mut self, number: u64, size: usize, padding: usize, now: Micros) -> bool {
        let Some(at) =
            self.sent.iter().position(|(sent, _, bytes)| (*sent, *bytes) == (number, size))
        else {
            return false;
        };
        let (_, sent_at, _) = self.sent[at];
        self.sent.drain(..=at);
        self.rtt = Some(now - sent_at);
        self.echoed += size as u64;
        self.unanswered = 0;
        self.size = self.size.max((size + padding).min(self.largest));
        true
    }

    /// Stops using the path.
    pub fn down(&mut self) {
        self.up = false;
        self.size = PATH_MTU;
    }
}
