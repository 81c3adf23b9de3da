//! Seals and opens datagrams with a 32-byte key, as the mesh does.
//!
//! A sealed datagram is the header, the sender's session id (16 bytes), a counter (u64) and the
//! ChaCha20-Poly1305 ciphertext of the payload (RFC 8439); the header is the associated data.
//! Each process seals with HKDF-SHA256(key, salt = session id), so that its counter alone is a
//! nonce that never repeats.

use std::collections::HashMap;

use ring::aead::{Aad, LessSafeKey, Nonce, UnboundKey, CHACHA20_POLY1305, NONCE_LEN};
use ring::hkdf::{Salt, HKDF_SHA256};
use ring::rand::{SecureRandom, SystemRandom};

use crate::bounds::{MAX_CLOCK_SKEW, MAX_SESSIONS, REPLAY_WINDOW};
use crate::counters::Counters;
use crate::frames::{Header, HEADER_SIZE};
use crate::traffic::Traffic;

const SESSION_SIZE: usize = 16;
const TAG_SIZE: usize = 16;
const SEALED_AT: usize = HEADER_SIZE + SESSION_SIZE + 8;
/// What sealing adds to a datagram.
pub const OVERHEAD: usize = SESSION_SIZE + 8 + TAG_SIZE;
const WINDOW: u64 = REPLAY_WINDOW as u64;

type Session = [u8; SESSION_SIZE];

/// One side's sealing state: our own session and the senders we have heard.
pub struct Sealer {
    traffic: Traffic,
    secret: [u8; 32],
    session: Session,
    key: LessSafeKey,
    counter: u64,
    senders: HashMap<Session, Sender>,
    uses: u64,
}

struct Sender {
    key: LessSafeKey,
    window: ReplayWindow,
    used: u64,
}

impl Sealer {
    /// A sealer for a cluster's messages.
    pub fn new(secret: [u8; 32]) -> Self {
        Self::of(Traffic::Cluster, secret)
    }

    /// A sealer for one kind of traffic: a datagram of one cannot be passed off as one of another.
    pub fn of(traffic: Traffic, secret: [u8; 32]) -> Self {
        let mut session = Session::default();
        SystemRandom::new().fill(&mut session).expect("the system gives random bytes");
        Self::with_session(traffic, secret, session)
    }

    /// As `new` with a given session id, which only test vectors may choose.
    pub fn with_session(traffic: Traffic, secret: [u8; 32], session: Session) -> Self {
        let key = session_key(traffic, &secret, &session);
        Self { traffic, secret, session, key, counter: 0, senders: HashMap::new(), uses: 0 }
    }

    /// Goes on at a higher counter, which only test vectors need.
    pub fn continue_at(&mut self, counter: u64) {
        assert!(counter >= self.counter, "a nonce must never repeat");
        self.counter = counter;
    }

    /// Seals the plain datagram that begins at `start` and ends `out`.
    pub fn seal(&mut self, out: &mut Vec<u8>, start: usize) {
        let end = out.len();
        let length = (end - start - HEADER_SIZE + OVERHEAD) as u32;
        out[start + HEADER_SIZE - 4..start + HEADER_SIZE].copy_from_slice(&length.to_be_bytes());
        let mut header = [0; HEADER_SIZE];
        header.copy_from_slice(&out[start..start + HEADER_SIZE]);
        out.resize(end + SEALED_AT - HEADER_SIZE, 0);
        out.copy_within(start + HEADER_SIZE..end, start + SEALED_AT);
        out[start + HEADER_SIZE..start + SEALED_AT - 8].copy_from_slice(&self.session);
        out[start + SEALED_AT - 8..start + SEALED_AT].copy_from_slice(&self.counter.to_be_bytes());
        let text = &mut out[start + SEALED_AT..];
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce(self.counter), Aad::from(header), text)
            .expect("a datagram is far below the cipher's limit");
        self.counter += 1;
        out.extend_from_slice(tag.as_ref());
    }

    /// Opens a sealed datagram in place and returns its payload, or `None` if it is to be dropped.
    ///
    /// `wall_clock` is in microseconds since the Epoch.
    pub fn open<'a>(
        &mut self,
        header: Header,
        datagram: &'a mut [u8],
        wall_clock: u64,
        counters: &mut Counters,
    ) -> Option<&'a [u8]> {
        if datagram.len() < HEADER_SIZE + OVERHEAD {
            counters.dropped_forged += 1;
            return None;
        }
        let (clear, sealed) = datagram.split_at_mut(SEALED_AT);
        let mut session = Session::default();
        session.copy_from_slice(&clear[HEADER_SIZE..SEALED_AT - 8]);
        let mut counter = [0; 8];
        counter.copy_from_slice(&clear[SEALED_AT - 8..]);
        let counter = u64::from_be_bytes(counter);
        let aad = Aad::from(&clear[..HEADER_SIZE]);
        self.uses += 1;
        let mut fresh = None;
        let sender = match self.senders.get_mut(&session) {
            Some(known) => known,
            None if session == self.session => {
                counters.dropped_replayed += 1;
                return None;
            }
            None if header.timestamp.abs_diff(wall_clock) > MAX_CLOCK_SKEW => {
                counters.dropped_clock_skew += 1;
                return None;
            }
            None => fresh.insert(Sender {
                key: session_key(self.traffic, &self.secret, &session),
                window: ReplayWindow::default(),
                used: 0,
            }),
        };
        let Ok(payload) = sender.key.open_in_place(nonce(counter), aad, sealed) else {
            counters.dropped_forged += 1;
            return None;
        };
        if !sender.window.accept(counter) {
            counters.dropped_replayed += 1;
            return None;
        }
        sender.used = self.uses;
        if let Some(sender) = fresh {
            if self.senders.len() >= MAX_SESSIONS {
                let oldest = self.senders.iter().min_by_key(|(_, sender)| sender.used);
                let oldest = oldest.map(|(session, _)| *session);
                oldest.map(|session| self.senders.remove(&session));
            }
            self.senders.insert(session, sender);
        }
        Some(payload)
    }
}

fn session_key(traffic: Traffic, secret: &[u8], session: &Session) -> LessSafeKey {
    let extracted = Salt::new(HKDF_SHA256, session).extract(secret);
    let info: [&[u8]; 1] = match traffic {
        Traffic::Cluster => [b"daiic mesh 1"],
        Traffic::Domain => [b"daiic domain 1"],
    };
    let expanded = extracted.expand(&info, &CHACHA20_POLY1305).expect("one key is short enough");
    LessSafeKey::new(UnboundKey::from(expanded))
}

fn nonce(counter: u64) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[4..].copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

/// Accepts each counter once, and none that is `REPLAY_WINDOW` or more behind the highest.
///
/// Bit `counter % WINDOW` tells whether that counter has been seen; the bits that the
/// window moves over are cleared.
pub struct ReplayWindow {
    seen: Box<[u64]>,
    highest: Option<u64>,
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self { seen: vec![0; REPLAY_WINDOW / 64].into(), highest: None }
    }
}

impl ReplayWindow {
    pub fn accept(&mut self, counter: u64) -> bool {
        let highest = self.highest.unwrap_or(0);
        if self.highest.is_some() && highest.saturating_sub(counter) >= WINDOW {
            return false;
        }
        if counter > highest {
            if counter - highest >= WINDOW {
                self.seen.fill(0);
            } else {
                (highest + 1..=counter).for_each(|passed| *self.word(passed) &= !bit(passed));
            }
        }
        self.highest = Some(counter.max(highest));
        let word = self.word(counter);
        let new = *word & bit(counter) == 0;
        *word |= bit(counter);
        new
    }

    fn word(&mut self, counter: u64) -> &mut u64 {
        &mut self.seen[(counter % WINDOW / 64) as usize]
    }
}

fn bit(counter: u64) -> u64 {
    1 << (counter % 64)
}
