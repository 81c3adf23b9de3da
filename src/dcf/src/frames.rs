//! Message types, the 17-byte header and the layouts of SACK, CHUNK and BATCH.
//!
//! Everything is big-endian and fixed-width; `docs/transport.md` specifies it.

pub use crate::bounds::{MAX_SACK_RANGES, PATH_MTU};

pub const HEADER_SIZE: usize = 17;
pub const CHUNK_HEADER_SIZE: usize = 11;
pub const SMALLEST_CHUNK: usize = 256;

/// The `msg_type` values that DAIIC knows; DCF's own lie below 0x20, extensions from there.
pub mod message_type {
    pub const HEARTBEAT: u8 = 0x01;
    pub const TASK: u8 = 0x02;
    pub const RESULT: u8 = 0x03;
    pub const ACK: u8 = 0x06;
    pub const PING: u8 = 0x07;
    pub const PONG: u8 = 0x08;
    pub const MESH: u8 = 0x0b;
    pub const SACK: u8 = 0x20;
    pub const CHUNK: u8 = 0x21;
    pub const CANCEL: u8 = 0x22;
    pub const ERROR: u8 = 0x23;
    pub const BATCH: u8 = 0x24;
    pub const BUSY: u8 = 0x25;
    pub const SYNC: u8 = 0x26;
    pub const PATH: u8 = 0x27;
}

/// Whether messages of this type only answer others, so that they mean nothing from a stranger.
pub fn is_answer(message: u8) -> bool {
    use message_type::{ACK, BATCH, BUSY, PONG, SACK};
    matches!(message, ACK | SACK | PONG | BATCH | BUSY)
}

/// Whether the sender of a message of this type knows the extensions.
pub fn is_extended(message: u8) -> bool {
    matches!(message, message_type::SACK | message_type::CHUNK | message_type::BUSY)
}

/// What opens every message; `timestamp` is in microseconds since the Epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub message_type: u8,
    pub sequence: u32,
    pub timestamp: u64,
    pub length: u32,
}

impl Header {
    pub fn read(bytes: &[u8]) -> Option<Header> {
        let bytes: &[u8; HEADER_SIZE] = bytes.get(..HEADER_SIZE)?.try_into().ok()?;
        Some(Header {
            message_type: bytes[0],
            sequence: u32_at(bytes, 1),
            timestamp: u64::from_be_bytes(bytes[5..13].try_into().ok()?),
            length: u32_at(bytes, 13),
        })
    }

    pub fn to_bytes(self) -> [u8; HEADER_SIZE] {
        let mut bytes = [0; HEADER_SIZE];
        bytes[0] = self.message_type;
        bytes[1..5].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[5..13].copy_from_slice(&self.timestamp.to_be_bytes());
        bytes[13..].copy_from_slice(&self.length.to_be_bytes());
        bytes
    }
}

/// Appends one message to `out`.
pub fn write(out: &mut Vec<u8>, message_type: u8, sequence: u32, timestamp: u64, payload: &[u8]) {
    let header = Header { message_type, sequence, timestamp, length: payload.len() as u32 };
    out.extend_from_slice(&header.to_bytes());
    out.extend_from_slice(payload);
}

/// Returns header and payload of a datagram, or `None` if its length is not what it says.
pub fn split(datagram: &[u8]) -> Option<(Header, &[u8])> {
    let header = Header::read(datagram)?;
    let payload = &datagram[HEADER_SIZE..];
    (payload.len() == header.length as usize).then_some((header, payload))
}

/// Returns the messages in a BATCH's payload; `None` if the lengths do not add up, or if one of
/// them has to travel alone.
pub fn split_batch(mut payload: &[u8]) -> Option<Vec<(Header, &[u8])>> {
    let mut messages = Vec::new();
    while !payload.is_empty() {
        let header = Header::read(payload)?;
        let body = payload[HEADER_SIZE..].get(..header.length as usize)?;
        if matches!(header.message_type, message_type::BATCH | message_type::PING) {
            return None;
        }
        payload = &payload[HEADER_SIZE + body.len()..];
        messages.push((header, body));
    }
    Some(messages)
}

/// An inclusive range of sequence numbers, which may wrap.
pub type Range = (u32, u32);

/// Returns the ranges of a SACK's payload, or `None` if it is malformed.
pub fn read_sack(payload: &[u8]) -> Option<Vec<Range>> {
    if !payload.len().is_multiple_of(8) || payload.len() > 8 * MAX_SACK_RANGES {
        return None;
    }
    Some(payload.chunks_exact(8).map(|pair| (u32_at(pair, 0), u32_at(pair, 4))).collect())
}

pub fn write_sack(out: &mut Vec<u8>, ranges: &[Range], timestamp: u64) {
    let header = Header {
        message_type: message_type::SACK,
        sequence: 0,
        timestamp,
        length: 8 * ranges.len() as u32,
    };
    out.extend_from_slice(&header.to_bytes());
    for (start, end) in ranges {
        out.extend_from_slice(&start.to_be_bytes());
        out.extend_from_slice(&end.to_be_bytes());
    }
}

/// Folds sequence numbers into ranges, ascending.
pub fn ranges_of(sequences: &mut [u32]) -> Vec<Range> {
    sequences.sort_unstable();
    let mut ranges: Vec<Range> = Vec::new();
    for &sequence in sequences.iter() {
        match ranges.last_mut() {
            Some((_, end)) if sequence == *end => {}
            Some((_, end)) if sequence == end.wrapping_add(1) => *end = sequence,
            _ => ranges.push((sequence, sequence)),
        }
    }
    ranges
}

/// What opens a CHUNK's payload: the whole message's first sequence, length in bytes and type,
/// and the size of its pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    pub first: u32,
    pub total: u32,
    pub size: u16,
    pub message_type: u8,
}

/// Returns a CHUNK's own header and its piece; `None` if there is no piece.
pub fn read_chunk(payload: &[u8]) -> Option<(Chunk, &[u8])> {
    if payload.len() <= CHUNK_HEADER_SIZE {
        return None;
    }
    let size = u16::from_be_bytes([payload[8], payload[9]]);
    let chunk = Chunk {
        first: u32_at(payload, 0),
        total: u32_at(payload, 4),
        size,
        message_type: payload[10],
    };
    Some((chunk, &payload[CHUNK_HEADER_SIZE..]))
}

pub fn write_chunk(out: &mut Vec<u8>, sequence: u32, timestamp: u64, chunk: Chunk, piece: &[u8]) {
    let length = (CHUNK_HEADER_SIZE + piece.len()) as u32;
    let header = Header { message_type: message_type::CHUNK, sequence, timestamp, length };
    out.extend_from_slice(&header.to_bytes());
    out.extend_from_slice(&chunk.first.to_be_bytes());
    out.extend_from_slice(&chunk.total.to_be_bytes());
    out.extend_from_slice(&chunk.size.to_be_bytes());
    out.push(chunk.message_type);
    out.extend_from_slice(piece);
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
