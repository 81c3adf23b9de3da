//! The receiving side of one peer: duplicates, acknowledgements, reassembly.

use crate::bounds::{MAX_CONTROL, MAX_SACK_RANGES, REASSEMBLY_TIMEOUT};
use crate::counters::Counters;
use crate::datagrams::Frames;
use crate::frames::{self, message_type, Chunk, Range, HEADER_SIZE, SMALLEST_CHUNK};
use crate::keyed_hash::{Map, Set};
use crate::limits::Limits;
use crate::recent::RecentSet;
use crate::time::Micros;
use crate::traffic::Traffic;

/// One message on its way in; its whole length is reserved from the start.
struct Reassembly {
    chunk: Chunk,
    bytes: Vec<u8>,
    arrived: Vec<bool>,
    missing: usize,
    touched_at: Micros,
}

/// Decides which message is new; collects what is to be acknowledged.
pub struct Inbox {
    traffic: Traffic,
    recent: RecentSet<u32>,
    reassemblies: Map<u32, Reassembly>,
    to_acknowledge: Vec<u32>,
    last_ranges: Vec<Range>,
    /// First numbers of messages for which there was no memory.
    refused: Set<u32>,
    pub buffered: usize,
}

impl Inbox {
    pub fn new(traffic: Traffic) -> Self {
        Self {
            traffic,
            recent: RecentSet::default(),
            reassemblies: Map::default(),
            to_acknowledge: Vec::new(),
            last_ranges: Vec::new(),
            refused: Set::default(),
            buffered: 0,
        }
    }

    /// Acknowledges the message `sequence`; returns whether it is here for the first time.
    pub fn is_new(&mut self, sequence: u32, now: Micros, counters: &mut Counters) -> bool {
        self.to_acknowledge.push(sequence);
        let new = self.recent.add(sequence, now);
        counters.duplicates += u64::from(!new);
        new
    }

    /// Processes a CHUNK; returns type, sequence and payload of a message that it completes.
    pub fn chunk(
        &mut self,
        sequence: u32,
        payload: &[u8],
        now: Micros,
        limits: &Limits,
        memory: &mut usize,
        counters: &mut Counters,
    ) -> Option<(u8, u32, Vec<u8>)> {
        let Some((chunk, piece)) = frames::read_chunk(payload) else {
            counters.dropped_malformed += 1;
            return None;
        };
        if !self.reassemblies.contains_key(&chunk.first) {
            self.begin(sequence, chunk, now, limits, memory, counters)?;
        }
        let reassembly = self.reassemblies.get_mut(&chunk.first)?;
        let Some(new) = reassembly.add(sequence, chunk, piece, now) else {
            counters.dropped_malformed += 1;
            if reassembly.is_empty() {
                self.end(chunk.first, memory);
            }
            return None;
        };
        self.to_acknowledge.push(sequence);
        counters.duplicates += u64::from(!new);
        if reassembly.missing > 0 {
            return None;
        }
        let whole = self.end(chunk.first, memory)?;
        self.recent.add(chunk.first, now);
        Some((chunk.message_type, chunk.first, whole.bytes))
    }

    fn begin(
        &mut self,
        sequence: u32,
        chunk: Chunk,
        now: Micros,
        limits: &Limits,
        memory: &mut usize,
        counters: &mut Counters,
    ) -> Option<()> {
        let (total, size) = (chunk.total as usize, usize::from(chunk.size));
        if self.recent.contains(&chunk.first) {
            self.to_acknowledge.push(sequence);
            counters.duplicates += 1;
            return None;
        }
        let control = self.traffic.is_control(chunk.message_type);
        if total > limits.max_message || (control && total > MAX_CONTROL) {
            // Acknowledged all the same: sent again it would be no smaller.
            self.to_acknowledge.push(sequence);
            counters.dropped_oversized += 1;
            return None;
        }
        if *memory + total > limits.memory || self.buffered + total > limits.peer_memory {
            self.refused.insert(chunk.first);
            counters.dropped_over_memory += 1;
            return None;
        }
        if size < SMALLEST_CHUNK || total == 0 || !self.traffic.is_carried(chunk.message_type) {
            counters.dropped_malformed += 1;
            return None;
        }
        let count = total.div_ceil(size);
        let (bytes, arrived) = (vec![0; total], vec![false; count]);
        let reassembly = Reassembly { chunk, bytes, arrived, missing: count, touched_at: now };
        self.reassemblies.insert(chunk.first, reassembly);
        self.buffered += total;
        *memory += total;
        Some(())
    }

    fn end(&mut self, first: u32, memory: &mut usize) -> Option<Reassembly> {
        let reassembly = self.reassemblies.remove(&first)?;
        self.buffered -= reassembly.bytes.len();
        *memory -= reassembly.bytes.len();
        Some(reassembly)
    }

    pub fn must_acknowledge(&self) -> bool {
        !self.to_acknowledge.is_empty() || !self.refused.is_empty()
    }

    /// Appends each BUSY, ACK or SACK that is due to `frames`.
    ///
    /// A SACK also repeats the ranges of the one before while there is room, so that a lost one
    /// costs nothing. A peer that is not `extended` gets ACKs only, the form that DCF itself has.
    pub fn acknowledge(&mut self, timestamp: u64, extended: bool, frames: &mut Frames) {
        for first in self.refused.drain() {
            if frames.afford(HEADER_SIZE) {
                frames::write(&mut frames.bytes, message_type::BUSY, first, timestamp, &[]);
                frames.end();
            }
        }
        let alone = self.to_acknowledge.len() == 1 && self.reassemblies.is_empty();
        let ranges = if extended && !alone {
            frames::ranges_of(&mut self.to_acknowledge)
        } else {
            Vec::new()
        };
        if !extended || alone {
            for &sequence in &self.to_acknowledge {
                if frames.afford(HEADER_SIZE) {
                    frames::write(&mut frames.bytes, message_type::ACK, sequence, timestamp, &[]);
                    frames.end();
                }
            }
        } else if !ranges.is_empty() {
            for part in ranges.chunks(MAX_SACK_RANGES) {
                let room = self.last_ranges.len().min(MAX_SACK_RANGES - part.len());
                let repeated = [part, &self.last_ranges[..room]].concat();
                if frames.afford(HEADER_SIZE + 8 * repeated.len()) {
                    frames::write_sack(&mut frames.bytes, &repeated, timestamp);
                    frames.end();
                }
            }
            self.last_ranges = ranges[ranges.len().saturating_sub(MAX_SACK_RANGES / 2)..].into();
        }
        self.to_acknowledge.clear();
    }

    /// Drops messages whose CHUNKs have not come for `REASSEMBLY_TIMEOUT`.
    pub fn expire(&mut self, now: Micros, memory: &mut usize, counters: &mut Counters) {
        let late = |(first, r): (&u32, &Reassembly)| {
            (now > r.touched_at + REASSEMBLY_TIMEOUT).then_some(*first)
        };
        for first in self.reassemblies.iter().filter_map(late).collect::<Vec<_>>() {
            self.end(first, memory);
            counters.expired_reassemblies += 1;
        }
    }

    pub fn forget(&mut self, sequence: u32) {
        self.recent.remove(&sequence);
    }

    /// Treats whatever comes from now on as new.
    pub fn forget_recent(&mut self) {
        self.recent = RecentSet::default();
    }

    /// Drops every message that is not whole yet.
    pub fn clear(&mut self, memory: &mut usize) {
        *memory -= self.buffered;
        self.buffered = 0;
        self.reassemblies.clear();
    }
}

impl Reassembly {
    /// Whether no piece is here.
    fn is_empty(&self) -> bool {
        self.missing == self.arrived.len()
    }

    /// Stores one piece: true if it is new, `None` if it cannot belong to this message.
    fn add(&mut self, sequence: u32, chunk: Chunk, piece: &[u8], now: Micros) -> Option<bool> {
        if chunk != self.chunk {
            return None;
        }
        let index = sequence.wrapping_sub(chunk.first) as usize;
        let arrived = self.arrived.get_mut(index)?;
        let start = index * usize::from(chunk.size);
        let end = (start + usize::from(chunk.size)).min(self.bytes.len());
        if end - start != piece.len() {
            return None;
        }
        if *arrived {
            return Some(false);
        }
        *arrived = true;
        self.bytes[start..end].copy_from_slice(piece);
        self.missing -= 1;
        self.touched_at = now;
        Some(true)
    }
}
