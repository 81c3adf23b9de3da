//! Limits for C, checked before they are used.

use super::give;
use crate::limits::{Limits as EndpointLimits, Unproven};

/// Sizes above it make no sense, and below it no sum of two can overflow.
const LARGEST: u64 = 1 << 48;
const MOST_AMPLIFICATION: u64 = 1 << 16;

/// `dcf_limits` of dcf.h.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Limits {
    pub max_message: u64,
    pub memory: u64,
    pub peer_memory: u64,
    pub max_peers: u64,
    pub datagram_rate: f64,
    pub amplification: u64,
    pub unproven_peer_memory: u64,
    pub unproven_memory: u64,
}

impl Limits {
    /// The limits of an endpoint, unless these make no sense.
    pub(super) fn check(&self) -> Option<EndpointLimits> {
        let ordered = self.max_message <= self.peer_memory && self.peer_memory <= self.memory;
        let sizes = ordered && self.max_message <= u32::MAX.into() && self.memory <= LARGEST;
        let peers = (1..=LARGEST).contains(&self.max_peers);
        let rate = self.datagram_rate >= 0.0; // and a number
        if !(sizes && peers && rate && self.amplification <= MOST_AMPLIFICATION) {
            return None;
        }
        let unproven = Unproven {
            amplification: self.amplification as usize,
            peer_memory: self.unproven_peer_memory as usize,
            memory: self.unproven_memory as usize,
        };
        Some(EndpointLimits {
            max_message: self.max_message as usize,
            memory: self.memory as usize,
            peer_memory: self.peer_memory as usize,
            max_peers: self.max_peers as usize,
            datagram_rate: match self.datagram_rate {
                0.0 => f64::INFINITY,
                rate => rate,
            },
            unproven: (self.amplification > 0).then_some(unproven),
        })
    }
}

/// # Safety
///
/// As dcf.h says of pointers.
#[no_mangle]
pub unsafe extern "C" fn dcf_limits_default(limits: *mut Limits) -> i32 {
    let defaults = EndpointLimits::default();
    let value = Limits {
        max_message: defaults.max_message as u64,
        memory: defaults.memory as u64,
        peer_memory: defaults.peer_memory as u64,
        max_peers: defaults.max_peers as u64,
        ..Limits::default()
    };
    // SAFETY: dcf.h.
    unsafe { give(limits, value) }
}
