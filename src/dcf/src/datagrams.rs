//! Output on its way: messages for one peer, and the datagrams they are packed into.

use std::net::SocketAddr;
use std::ops::Range;

use crate::frames::{self, message_type, Header, HEADER_SIZE};
use crate::sealing::Sealer;

/// Encoded messages for one peer, in order.
#[derive(Default)]
pub struct Frames {
    pub bytes: Vec<u8>,
    ends: Vec<usize>,
    /// Bytes that may still go to an address that has not proved itself.
    pub credit: Option<usize>,
    /// What sealing adds to each datagram.
    overhead: usize,
}

impl Frames {
    pub fn new(overhead: usize) -> Self {
        Self { overhead, ..Self::default() }
    }

    /// Starts over for a peer with that credit.
    pub fn reset(&mut self, credit: Option<usize>) {
        self.bytes.clear();
        self.ends.clear();
        self.credit = credit;
    }

    /// Accounts for a message of `size` bytes if the credit allows it.
    pub fn afford(&mut self, size: usize) -> bool {
        let left = self.credit.map(|credit| credit.checked_sub(size + self.overhead));
        match left {
            Some(None) => false,
            Some(left) => {
                self.credit = left;
                true
            }
            None => true,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Whether one of the messages tells the peer that we know the extensions.
    pub fn extended(&self) -> bool {
        let starts = std::iter::once(&0).chain(&self.ends).take(self.ends.len());
        starts.into_iter().any(|start| frames::is_extended(self.bytes[*start]))
    }

    /// Ends the message that was appended to `bytes`.
    pub fn end(&mut self) {
        self.ends.push(self.bytes.len());
    }

    /// The messages that fit together in datagrams of `room` bytes, as (first byte, end, count);
    /// each stays alone unless `batching`.
    pub fn groups(&self, room: usize, batching: bool) -> Vec<(usize, usize, usize)> {
        let mut groups: Vec<(usize, usize, usize)> = Vec::new();
        let mut start = 0;
        for &end in &self.ends {
            match groups.last_mut() {
                Some((first, last, count)) if batching && HEADER_SIZE + end - *first <= room => {
                    (*last, *count) = (end, *count + 1);
                }
                _ => groups.push((start, end, 1)),
            }
            start = end;
        }
        groups
    }
}

/// Datagrams ready to send, back to back in one buffer that is used again.
///
/// Neighbours of one size to one address can go as one segmented send: they lie side by side.
#[derive(Default)]
pub struct Datagrams {
    pub bytes: Vec<u8>,
    pub items: Vec<(Range<usize>, SocketAddr)>,
    /// How many of the items have gone.
    pub gone: usize,
}

impl Datagrams {
    /// Whether all have gone.
    pub fn is_empty(&self) -> bool {
        self.gone == self.items.len()
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.items.clear();
        self.gone = 0;
    }

    /// Appends a datagram of `count` encoded messages, a BATCH if there are several, and returns
    /// its size.
    pub fn push(
        &mut self,
        to: SocketAddr,
        messages: &[u8],
        count: usize,
        timestamp: u64,
        sealer: Option<&mut Sealer>,
    ) -> usize {
        let start = self.bytes.len();
        if count > 1 {
            let length = messages.len() as u32;
            let header =
                Header { message_type: message_type::BATCH, sequence: 0, timestamp, length };
            self.bytes.extend_from_slice(&header.to_bytes());
        }
        self.bytes.extend_from_slice(messages);
        if let Some(sealer) = sealer {
            sealer.seal(&mut self.bytes, start);
        }
        self.items.push((start..self.bytes.len(), to));
        self.bytes.len() - start
    }
}
