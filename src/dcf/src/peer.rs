//! One peer: both directions, and what is known of it.

use std::collections::VecDeque;

use crate::bounds::{EVICTION_AGE, EXPECTED_ANSWERS, PEER_IDLE};
use crate::inbox::Inbox;
use crate::limits::Limits;
use crate::outbox::Outbox;
use crate::time::Micros;
use crate::token_bucket::TokenBucket;
use crate::traffic::Traffic;

pub struct Peer {
    pub inbox: Inbox,
    pub outbox: Outbox,
    /// Sequence numbers of PINGs that await their PONG, and when they went.
    pub pings: VecDeque<(u32, Micros)>,
    /// Sequence numbers of HEARTBEATs that await their ACK, and when they went.
    pub heartbeats: VecDeque<(u32, Micros)>,
    pub datagrams: TokenBucket,
    /// Bytes that may still go to an address that has not proved itself.
    pub credit: Option<usize>,
    /// Since when output waits for credit.
    pub held_since: Option<Micros>,
    /// It has shown that it knows SACK, CHUNK and BATCH.
    pub extended: bool,
    /// We wrote first.
    pub opened: bool,
    /// We have told it that we know the extensions.
    pub introduced: bool,
    /// It is in the endpoint's list of peers to look at.
    pub touched: bool,
    pub seen_at: Micros,
    /// How often events had been taken at that time.
    pub seen_in: u64,
    pub timeout: Option<Micros>,
    /// How many times the application needs it kept.
    pub holds: usize,
}

impl Peer {
    /// `room` is the largest datagram before sealing, `sequence` the number to begin with.
    pub fn new(traffic: Traffic, room: usize, sequence: u32, limits: &Limits, now: Micros) -> Self {
        Self {
            inbox: Inbox::new(traffic),
            outbox: Outbox::new(room, sequence),
            pings: VecDeque::new(),
            heartbeats: VecDeque::new(),
            datagrams: TokenBucket::new(limits.datagram_rate, now),
            credit: limits.unproven.map(|_| 0),
            held_since: None,
            extended: false,
            opened: false,
            introduced: false,
            touched: false,
            seen_at: now,
            seen_in: 0,
            timeout: None,
            holds: 0,
        }
    }

    /// Whether it may be forgotten in favour of another: an unproven address, or a peer that has
    /// been idle for a while.
    pub fn evictable(&self, now: Micros) -> bool {
        let unproven = self.credit.is_some() && self.holds == 0;
        unproven || (self.idle() && now > self.seen_at + EVICTION_AGE)
    }

    /// Whether it is to be forgotten for its long silence.
    pub fn expired(&self, now: Micros) -> bool {
        self.idle() && now > self.seen_at + PEER_IDLE
    }

    /// Whether nothing would be lost by forgetting it.
    fn idle(&self) -> bool {
        self.holds == 0 && self.inbox.buffered == 0 && self.outbox.idle()
    }
}

/// Notes that a message sent at `now` will be answered; a peer may never answer.
pub fn expect(answers: &mut VecDeque<(u32, Micros)>, sequence: u32, now: Micros) {
    answers.push_back((sequence, now));
    if answers.len() > EXPECTED_ANSWERS {
        answers.pop_front();
    }
}

/// Takes what was expected under `sequence`: when it was sent.
pub fn answered(answers: &mut VecDeque<(u32, Micros)>, sequence: u32) -> Option<Micros> {
    let found = answers.iter().position(|(sent, _)| *sent == sequence)?;
    answers.remove(found).map(|(_, sent_at)| sent_at)
}
