//! The heads that the shim knows, and which of them are alive.
//!
//! Those in the settings come first. Each second, and twice in `timeout`, every head is sent a PING
//! and an empty HEARTBEAT, to which it answers with the heads that its workers report to: so one that
//! is named is enough to learn of the others. Anything a head sends is a sign of life; without one for `timeout` it is
//! lost until it is heard again. The first that lives and is not shutting down gets the tasks: the
//! others are spares, so that one head sees the whole queue.

use std::net::SocketAddr;

use dcf::time::Micros;
use tracing::{info, warn};

use crate::bounds::{FORGET_HEAD, MAX_HEADS};

const ASK_EVERY: Micros = 1_000_000;

struct Head {
    address: SocketAddr,
    /// It stands in the settings.
    named: bool,
    alive: bool,
    draining: bool,
    heard_at: Micros,
    named_at: Micros,
    ask_at: Micros,
    rtt: Option<Micros>,
}

pub struct Heads {
    heads: Vec<Head>,
    timeout: Micros,
    /// Two questions in `timeout`: a head that was asked only now has not left one unanswered.
    ask_every: Micros,
    /// Whether heads on other machines may be spoken to.
    remote: bool,
}

impl Heads {
    /// `remote` says whether heads beyond loopback may be learned of.
    pub fn new(named: &[SocketAddr], timeout: Micros, remote: bool) -> Self {
        let heads = named.iter().map(|address| Head::new(*address, true, 0)).collect();
        Self { heads, timeout, ask_every: ASK_EVERY.min(timeout / 2), remote }
    }

    fn find(&mut self, address: SocketAddr) -> Option<&mut Head> {
        self.heads.iter_mut().find(|head| head.address == address)
    }

    pub fn knows(&self, address: SocketAddr) -> bool {
        self.heads.iter().any(|head| head.address == address)
    }

    /// The head to give a task to; one that is shutting down only if there is no other.
    pub fn best(&self) -> Option<SocketAddr> {
        let mut alive = self.heads.iter().filter(|head| head.alive);
        let first = alive.clone().next();
        alive.find(|head| head.serves()).or(first).map(|head| head.address)
    }

    /// A head that takes new tasks.
    pub fn serving(&self) -> Option<SocketAddr> {
        self.heads.iter().find(|head| head.serves()).map(|head| head.address)
    }

    /// A head that takes new tasks, other than `not`.
    pub fn other(&self, not: SocketAddr) -> Option<SocketAddr> {
        let fit = |head: &&Head| head.serves() && head.address != not;
        self.heads.iter().find(fit).map(|head| head.address)
    }

    pub fn alive(&self) -> usize {
        self.heads.iter().filter(|head| head.alive).count()
    }

    /// Address, whether it is alive, and round trip of each.
    pub fn each(&self) -> impl Iterator<Item = (SocketAddr, bool, Option<Micros>)> + '_ {
        self.heads.iter().map(|head| (head.address, head.alive, head.rtt))
    }

    pub fn heard(&mut self, address: SocketAddr, now: Micros) {
        let Some(head) = self.find(address) else { return };
        head.heard_at = now;
        if !std::mem::replace(&mut head.alive, true) {
            head.draining = false;
            info!(head = %address, "head answers");
        }
    }

    pub fn measured(&mut self, address: SocketAddr, rtt: Micros) {
        if let Some(head) = self.find(address) {
            head.rtt = Some(rtt);
        }
    }

    /// Notes whether a head is shutting down.
    pub fn draining(&mut self, address: SocketAddr, draining: bool) {
        if let Some(head) = self.find(address) {
            head.draining = draining;
        }
    }

    /// Learns of the heads that another named, as "address:port".
    pub fn learn(&mut self, others: &[String], now: Micros) {
        for address in others.iter().filter_map(|text| text.parse::<SocketAddr>().ok()) {
            if let Some(head) = self.find(address) {
                head.named_at = now;
                continue;
            }
            let same_family = address.is_ipv6() == self.heads[0].address.is_ipv6();
            if self.heads.len() < MAX_HEADS
                && same_family
                && (self.remote || address.ip().is_loopback())
            {
                info!(head = %address, "learned of a head");
                self.heads.push(Head::new(address, false, now));
            }
        }
    }

    /// Notes that a head is lost; returns whether it was alive until now.
    pub fn lost(&mut self, address: SocketAddr) -> bool {
        let Some(head) = self.find(address) else { return false };
        head.rtt = None;
        std::mem::replace(&mut head.alive, false)
    }

    /// Those whose state is to be asked now.
    pub fn due(&mut self, now: Micros) -> Vec<SocketAddr> {
        let ask_every = self.ask_every;
        let due = self.heads.iter_mut().filter(|head| now >= head.ask_at);
        due.map(|head| {
            head.ask_at = now + ask_every;
            head.address
        })
        .collect()
    }

    /// Those that were alive and have not been heard for too long.
    pub fn silent(&self, now: Micros) -> Vec<SocketAddr> {
        let silent = |head: &&Head| head.alive && now > head.heard_at + self.timeout;
        self.heads.iter().filter(silent).map(|head| head.address).collect()
    }

    /// Forgets those that no head names any longer, and returns them.
    pub fn expire(&mut self, now: Micros) -> Vec<SocketAddr> {
        let mut forgotten = Vec::new();
        self.heads.retain(|head| {
            let keep = head.named || head.alive || now <= head.named_at + FORGET_HEAD;
            if !keep {
                warn!(head = %head.address, "forgot a head that neither answers nor is named");
                forgotten.push(head.address);
            }
            keep
        });
        forgotten
    }
}

impl Head {
    fn serves(&self) -> bool {
        self.alive && !self.draining
    }

    fn new(address: SocketAddr, named: bool, now: Micros) -> Self {
        Self {
            address,
            named,
            alive: false,
            draining: false,
            heard_at: 0,
            named_at: now,
            ask_at: 0,
            rtt: None,
        }
    }
}
