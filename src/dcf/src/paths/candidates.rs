//! Ordinary addresses that may be of a process on a link, and when each is asked.

use std::net::SocketAddr;

use ring::rand::{SecureRandom, SystemRandom};

use super::messages::Nonce;
use crate::bounds::{CANDIDATE_IDLE, CHALLENGE_FIRST, CHALLENGE_LONGEST, MAX_CANDIDATES};
use crate::keyed_hash::Map;
use crate::time::Micros;

struct Candidate {
    nonce: Nonce,
    used_at: Micros,
    asked_at: Option<Micros>,
    ask_at: Micros,
    pause: Micros,
    /// Neighbours over whom it is reached.
    found: usize,
}

#[derive(Default)]
pub struct Candidates {
    table: Map<SocketAddr, Candidate>,
    /// No one needs to be asked before.
    ask_at: Micros,
}

impl Candidates {
    /// Notes that something is sent to an ordinary address.
    pub fn used(&mut self, address: SocketAddr, now: Micros) {
        if let Some(candidate) = self.table.get_mut(&address) {
            candidate.used_at = now;
            return;
        }
        let ip = address.ip();
        let linked = matches!(ip, std::net::IpAddr::V6(ip) if ip.is_unicast_link_local());
        if self.table.len() >= MAX_CANDIDATES || ip.is_loopback() || ip.is_multicast() || linked {
            return;
        }
        let candidate = Candidate {
            nonce: nonce(),
            used_at: now,
            asked_at: None,
            ask_at: now,
            pause: CHALLENGE_FIRST,
            found: 0,
        };
        self.table.insert(address, candidate);
        self.ask_at = self.ask_at.min(now);
    }

    /// Asks all that are not found again soon: someone new is on a link.
    pub fn ask_again(&mut self, now: Micros) {
        for candidate in self.table.values_mut().filter(|candidate| candidate.found == 0) {
            // Strangers that come and go have nobody asked more often than this.
            let soonest = candidate.asked_at.map_or(now, |at| now.max(at + CHALLENGE_FIRST));
            (candidate.ask_at, candidate.pause) = (candidate.ask_at.min(soonest), CHALLENGE_FIRST);
            self.ask_at = self.ask_at.min(candidate.ask_at);
        }
    }

    /// The address that was asked with that nonce.
    pub fn of(&self, nonce: Nonce) -> Option<SocketAddr> {
        let asked = |(address, candidate): (&SocketAddr, &Candidate)| {
            (candidate.nonce == nonce).then_some(*address)
        };
        self.table.iter().find_map(asked)
    }

    /// Notes that the path to it over a neighbour is up.
    pub fn found(&mut self, address: SocketAddr) {
        if let Some(candidate) = self.table.get_mut(&address) {
            candidate.found += 1;
        }
    }

    /// Undoes `found`; once it is reached over none, the address is asked again, with another nonce.
    pub fn lost(&mut self, address: SocketAddr, now: Micros) {
        let Some(candidate) = self.table.get_mut(&address) else { return };
        candidate.found = candidate.found.saturating_sub(1);
        if candidate.found == 0 {
            (candidate.nonce, candidate.ask_at, candidate.pause) = (nonce(), now, CHALLENGE_FIRST);
            self.ask_at = self.ask_at.min(now);
        }
    }

    /// When to call `due` again.
    pub fn next_timeout(&self) -> Micros {
        self.ask_at
    }

    /// The addresses that are to be asked now, with their nonces. Those to which nothing has been
    /// sent for long are forgotten.
    pub fn due(&mut self, now: Micros) -> Vec<(SocketAddr, Nonce)> {
        if now < self.ask_at {
            return Vec::new();
        }
        self.table.retain(|_, one| one.found > 0 || now < one.used_at + CANDIDATE_IDLE);
        let mut due = Vec::new();
        self.ask_at = now + CHALLENGE_LONGEST;
        for (address, candidate) in &mut self.table {
            if candidate.found > 0 {
                continue;
            }
            if candidate.ask_at <= now {
                due.push((*address, candidate.nonce));
                candidate.asked_at = Some(now);
                candidate.ask_at = now + candidate.pause;
                candidate.pause = (2 * candidate.pause).min(CHALLENGE_LONGEST);
            }
            self.ask_at = self.ask_at.min(candidate.ask_at);
        }
        due
    }
}

fn nonce() -> Nonce {
    let mut nonce = Nonce::default();
    SystemRandom::new().fill(&mut nonce).expect("the system gives random bytes");
    nonce
}
