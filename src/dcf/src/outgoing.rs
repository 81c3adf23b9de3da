//! A message on its way to a peer, and each transmission of it or of one of its CHUNKs.

use std::cell::Cell;
use std::rc::Rc;

use crate::frames::{self, Chunk, CHUNK_HEADER_SIZE, HEADER_SIZE};
use crate::time::Micros;

/// A message to send; `size` is that of its chunks, 0 if it needs none.
pub struct Outgoing {
    pub first: u32,
    pub message_type: u8,
    pub payload: Rc<Vec<u8>>,
    pub size: usize,
    pub unacknowledged: Cell<usize>,
    /// How many messages to this peer were begun before it.
    pub number: Cell<u64>,
}

impl Outgoing {
    /// How many CHUNKs, or 1.
    pub fn count(&self) -> usize {
        if self.size == 0 {
            1
        } else {
            self.payload.len().div_ceil(self.size)
        }
    }

    /// Whether that is the number of the message or of one of its CHUNKs.
    pub fn has(&self, sequence: u32) -> bool {
        (sequence.wrapping_sub(self.first) as usize) < self.count()
    }
}

/// A message or CHUNK, sent or about to be; `bytes` is its size on the wire, `order` counts all
/// transmissions to the peer. A `lost` one waits to be sent again.
pub struct Flight {
    pub message: Rc<Outgoing>,
    pub index: usize,
    pub bytes: usize,
    pub sent_at: Micros,
    pub order: u64,
    pub lost: bool,
    pub resent: bool,
}

impl Flight {
    pub fn new(message: Rc<Outgoing>, index: usize) -> Self {
        Self { message, index, bytes: 0, sent_at: 0, order: 0, lost: false, resent: false }
    }

    pub fn sequence(&self) -> u32 {
        self.message.first.wrapping_add(self.index as u32)
    }

    fn piece(&self) -> &[u8] {
        let (size, payload) = (self.message.size, &self.message.payload);
        if size == 0 {
            return payload;
        }
        &payload[self.index * size..((self.index + 1) * size).min(payload.len())]
    }

    pub fn frame_size(&self) -> usize {
        let chunk_header = if self.message.size > 0 { CHUNK_HEADER_SIZE } else { 0 };
        HEADER_SIZE + chunk_header + self.piece().len()
    }

    pub fn write(&self, out: &mut Vec<u8>, timestamp: u64) {
        let Outgoing { first, message_type, payload, size, .. } = &*self.message;
        if *size == 0 {
            return frames::write(out, *message_type, *first, timestamp, payload);
        }
        let (total, size) = (payload.len() as u32, *size as u16);
        let chunk = Chunk { first: *first, total, size, message_type: *message_type };
        frames::write_chunk(out, self.sequence(), timestamp, chunk, self.piece());
    }
}
