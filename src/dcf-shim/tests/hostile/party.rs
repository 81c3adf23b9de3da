//! One client or head at the other end of the bridge: what it heard, and what it owes in return.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;

use dcf::counters::Counters;
use dcf::frames::{self, message_type, Chunk, Header, CHUNK_HEADER_SIZE, HEADER_SIZE, PATH_MTU};
use dcf::sealing::{Sealer, OVERHEAD};
use dcf::traffic::Traffic;
use dcf_shim::payload::Task;

use super::WALL;

const PIECE: usize = PATH_MTU - OVERHEAD - HEADER_SIZE - CHUNK_HEADER_SIZE;

/// How a party treats what the bridge sends.
#[derive(Clone, Copy, PartialEq)]
pub enum Habit {
    /// It acknowledges with SACKs and answers PINGs.
    Attentive,
    /// It knows DCF's own types only: an ACK for each message.
    Plain,
    /// It answers nothing.
    Deaf,
    /// Every other message is lost on its way there.
    Lossy,
}

impl Habit {
    pub fn of(number: usize) -> Self {
        [Self::Attentive, Self::Plain, Self::Deaf, Self::Lossy][number % 4]
    }
}

/// A task that a head was given.
pub struct Given {
    pub id: u64,
    pub next: u32,
}

pub struct Party {
    pub address: SocketAddr,
    pub habit: Habit,
    pub next_sequence: u32,
    /// The first sequence of the large message that it last began.
    pub upload: u32,
    /// The same of the one that it last heard of.
    pub download: u32,
    /// Bytes of datagrams that it sent, and that it was sent.
    pub sent: usize,
    pub got: usize,
    /// It has answered something: from then on it is no stranger.
    pub proved: bool,
    /// It has sent something whose meaning nobody knows.
    pub wild: bool,
    pub given: Vec<Given>,
    sealer: Option<Sealer>,
    owed: Vec<u32>,
    pings: Vec<(u32, u64)>,
    heard: HashSet<u32>,
    /// Large messages of which pieces are missing.
    pieces: HashMap<u32, BTreeMap<u32, Vec<u8>>>,
}

impl Party {
    pub fn new(address: SocketAddr, habit: Habit, key: Option<[u8; 32]>) -> Self {
        Self {
            address,
            habit,
            next_sequence: 0x7fff_fff0,
            upload: 0,
            download: 0,
            sent: 0,
            got: 0,
            proved: false,
            wild: false,
            given: Vec::new(),
            sealer: key.map(Sealer::new),
            owed: Vec::new(),
            pings: Vec::new(),
            heard: HashSet::new(),
            pieces: HashMap::new(),
        }
    }

    /// Seals a plain datagram if this side of the bridge has a key.
    pub fn seal(&mut self, datagram: &mut Vec<u8>) {
        if let Some(sealer) = self.sealer.as_mut().filter(|_| datagram.len() >= HEADER_SIZE) {
            sealer.seal(datagram, 0);
        }
    }

    /// Encodes a message of any size: one datagram, or CHUNKs.
    pub fn encode(&mut self, message_type: u8, payload: &[u8], wall: u64) -> Vec<Vec<u8>> {
        let first = self.next_sequence;
        let chunk = Chunk { first, total: payload.len() as u32, size: PIECE as u16, message_type };
        let encode = |index: usize| {
            let mut datagram = Vec::new();
            if payload.len() <= PIECE {
                frames::write(&mut datagram, message_type, first, wall, payload);
            } else {
                let piece = &payload[index * PIECE..((index + 1) * PIECE).min(payload.len())];
                let sequence = first.wrapping_add(index as u32);
                frames::write_chunk(&mut datagram, sequence, wall, chunk, piece);
            }
            datagram
        };
        let datagrams: Vec<_> = (0..payload.len().div_ceil(PIECE).max(1)).map(encode).collect();
        self.next_sequence = first.wrapping_add(datagrams.len() as u32);
        datagrams
    }

    pub fn frame(&self, message_type: u8, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let mut datagram = Vec::new();
        frames::write(&mut datagram, message_type, sequence, WALL, payload);
        datagram
    }

    /// Takes in a datagram of the bridge's; returns the messages that are here whole for the first
    /// time. Panics unless it is one that any peer could read.
    pub fn hear(&mut self, datagram: &[u8]) -> Vec<(u8, Vec<u8>)> {
        assert!(datagram.len() <= PATH_MTU, "a datagram of {} bytes", datagram.len());
        self.got += datagram.len();
        let mut opened = datagram.to_vec();
        let (header, payload) = frames::split(datagram).expect("a datagram as long as it says");
        // A PONG carries its PING's timestamp: the bridge's clock is not to be told from that.
        let (wall, counters) = (header.timestamp, &mut Counters::default());
        let payload = match &mut self.sealer {
            Some(sealer) => sealer.open(header, &mut opened, wall, counters),
            None => Some(payload),
        };
        let payload = payload.expect("a datagram sealed with the key, once");
        let messages = match header.message_type {
            message_type::BATCH => frames::split_batch(payload).expect("a whole BATCH"),
            _ => vec![(header, payload)],
        };
        let new = messages.into_iter().filter_map(|(header, payload)| {
            self.note(header).then_some(())?;
            match header.message_type {
                message_type::CHUNK => self.assemble(header.sequence, payload),
                other => Some((other, payload.to_vec())),
            }
        });
        new.collect()
    }

    /// Takes in a piece; returns the message that it completes.
    fn assemble(&mut self, sequence: u32, payload: &[u8]) -> Option<(u8, Vec<u8>)> {
        let (chunk, piece) = frames::read_chunk(payload).expect("a CHUNK");
        self.download = chunk.first;
        let pieces = self.pieces.entry(chunk.first).or_default();
        pieces.insert(sequence.wrapping_sub(chunk.first), piece.to_vec());
        if pieces.len() < (chunk.total as usize).div_ceil(chunk.size.into()) {
            return None;
        }
        let pieces = self.pieces.remove(&chunk.first)?;
        Some((chunk.message_type, pieces.into_values().flatten().collect()))
    }

    /// Remembers what it owes for a message; returns whether it brings something new.
    fn note(&mut self, header: Header) -> bool {
        match header.message_type {
            message_type::PING => self.pings.push((header.sequence, header.timestamp)),
            other if Traffic::Cluster.is_reliable(other) || other == message_type::CHUNK => {
                self.owed.push(header.sequence);
                return self.heard.insert(header.sequence);
            }
            _ => {}
        }
        false
    }

    /// Remembers a task that it is to answer; the shim puts its id first.
    pub fn take(&mut self, payload: &[u8]) {
        let Ok(task) = Task::read(payload.to_vec()) else { return };
        let (id, next) = (task.id, task.resume.index);
        if !self.given.iter().any(|given| given.id == id) {
            self.given.push(Given { id, next });
        }
    }

    pub fn owes(&self) -> bool {
        self.habit != Habit::Deaf && !(self.owed.is_empty() && self.pings.is_empty())
    }

    /// What it sends for all that it heard since the last time.
    pub fn answers(&mut self, wall: u64) -> Vec<Vec<u8>> {
        let mut owed = std::mem::take(&mut self.owed);
        let mut pings = std::mem::take(&mut self.pings);
        if self.habit == Habit::Lossy {
            owed.retain(|sequence| sequence % 2 == 0);
            pings.clear();
        }
        self.proved |= !(owed.is_empty() && pings.is_empty());
        let mut datagrams = Vec::new();
        for (sequence, timestamp) in pings {
            frames::write(put(&mut datagrams), message_type::PONG, sequence, timestamp, &[]);
        }
        if self.habit == Habit::Plain {
            for sequence in owed {
                frames::write(put(&mut datagrams), message_type::ACK, sequence, wall, &[]);
            }
        } else {
            for ranges in frames::ranges_of(&mut owed).chunks(frames::MAX_SACK_RANGES) {
                frames::write_sack(put(&mut datagrams), ranges, wall);
            }
        }
        datagrams
    }
}

fn put(datagrams: &mut Vec<Vec<u8>>) -> &mut Vec<u8> {
    datagrams.push(Vec::new());
    datagrams.last_mut().expect("one was put there")
}
