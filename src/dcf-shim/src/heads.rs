//! The heads that the shim knows, and which of them answer.
//!
//! Each is sent a PING every second. Anything it sends counts as a sign of life; without one for
//! `timeout` it is lost until it is heard again. The first in the settings' order that is alive
//! gets the tasks: the others are spares, so that one head sees the whole queue.

use std::net::SocketAddr;

use tracing::info;

use crate::congestion::Micros;

const PING_EVERY: Micros = 1_000_000;

struct Head {
    address: SocketAddr,
    alive: bool,
    heard_at: Micros,
    ping_at: Micros,
    rtt: Option<Micros>,
}

pub struct Heads {
    heads: Vec<Head>,
    timeout: Micros,
}

impl Heads {
    pub fn new(addresses: &[SocketAddr], timeout: Micros) -> Self {
        let head = |address: &SocketAddr| Head {
            address: *address,
            alive: false,
            heard_at: 0,
            ping_at: 0,
            rtt: None,
        };
        Self { heads: addresses.iter().map(head).collect(), timeout }
    }

    pub fn address(&self, head: usize) -> SocketAddr {
        self.heads[head].address
    }

    pub fn find(&self, address: SocketAddr) -> Option<usize> {
        self.heads.iter().position(|head| head.address == address)
    }

    /// The head to give a task to, other than `not`.
    pub fn best(&self, not: Option<usize>) -> Option<usize> {
        (0..self.heads.len()).find(|&head| self.heads[head].alive && Some(head) != not)
    }

    pub fn is_alive(&self, head: usize) -> bool {
        self.heads[head].alive
    }

    pub fn alive(&self) -> usize {
        self.heads.iter().filter(|head| head.alive).count()
    }

    /// Address, life and round trip of each.
    pub fn each(&self) -> impl Iterator<Item = (SocketAddr, bool, Option<Micros>)> + '_ {
        self.heads.iter().map(|head| (head.address, head.alive, head.rtt))
    }

    pub fn heard(&mut self, head: usize, now: Micros) {
        let head = &mut self.heads[head];
        head.heard_at = now;
        if !std::mem::replace(&mut head.alive, true) {
            info!(head = %head.address, "head answers");
        }
    }

    pub fn measured(&mut self, address: SocketAddr, rtt: Micros) {
        if let Some(head) = self.find(address) {
            self.heads[head].rtt = Some(rtt);
        }
    }

    pub fn lost(&mut self, head: usize) {
        (self.heads[head].alive, self.heads[head].rtt) = (false, None);
    }

    /// Those to be sent a PING now.
    pub fn due_for_ping(&mut self, now: Micros) -> Vec<SocketAddr> {
        let due = self.heads.iter_mut().filter(|head| now >= head.ping_at);
        due.map(|head| {
            head.ping_at = now + PING_EVERY;
            head.address
        })
        .collect()
    }

    /// Those that were alive and have not been heard for too long.
    pub fn silent(&self, now: Micros) -> Vec<usize> {
        let silent = |head: &Head| head.alive && now > head.heard_at + self.timeout;
        (0..self.heads.len()).filter(|&index| silent(&self.heads[index])).collect()
    }
}
