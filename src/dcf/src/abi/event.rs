//! Events for C.

use std::ptr;

use super::Address;
use crate::events::Event as Happened;

const UNKNOWN: u64 = u64::MAX;

/// `dcf_event` of dcf.h.
#[repr(C)]
pub struct Event {
    pub peer: Address,
    pub event: u8,
    pub message_type: u8,
    pub proven: u8,
    pub reserved: u8,
    pub sequence: u32,
    pub timestamp: u64,
    pub rtt: u64,
    pub payload: *const u8,
    pub payload_size: usize,
    pub sequences: *const u32,
    pub sequence_count: usize,
}

impl Event {
    /// What C is told of an event, which must outlive it.
    pub(super) fn of(happened: &Happened) -> Self {
        let mut event = Self {
            peer: Address::default(),
            event: 0,
            message_type: 0,
            proven: 0,
            reserved: 0,
            sequence: 0,
            timestamp: 0,
            rtt: 0,
            payload: ptr::null(),
            payload_size: 0,
            sequences: ptr::null(),
            sequence_count: 0,
        };
        let peer = match happened {
            Happened::Message { peer, message_type, sequence, timestamp, payload } => {
                (event.event, event.message_type) = (1, *message_type);
                (event.sequence, event.timestamp) = (*sequence, *timestamp);
                (event.payload, event.payload_size) = (payload.as_ptr(), payload.len());
                peer
            }
            Happened::TooLarge { peer, message_type, sequence, start } => {
                (event.event, event.message_type, event.sequence) = (2, *message_type, *sequence);
                (event.payload, event.payload_size) = (start.as_ptr(), start.len());
                peer
            }
            Happened::Delivered { peer, sequence, rtt } => {
                (event.event, event.sequence) = (3, *sequence);
                event.rtt = rtt.unwrap_or(UNKNOWN);
                peer
            }
            Happened::Pong { peer, rtt } => {
                (event.event, event.rtt) = (4, *rtt);
                peer
            }
            Happened::Unreachable { peer, proven, sequences } => {
                (event.event, event.proven) = (5, u8::from(*proven));
                (event.sequences, event.sequence_count) = (sequences.as_ptr(), sequences.len());
                peer
            }
            Happened::Forgotten { peer } => {
                event.event = 6;
                peer
            }
        };
        event.peer = (*peer).into();
        event
    }
}
