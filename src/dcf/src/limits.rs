//! The bounds that an endpoint's user chooses.

/// The bounds within which an endpoint works, sizes in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The largest message that peers may send, or be sent.
    pub max_message: usize,
    /// Messages being reassembled or not yet acknowledged, all peers together.
    pub memory: usize,
    /// Messages being reassembled from one peer; the same for those not yet acknowledged by it.
    pub peer_memory: usize,
    /// Peers that are known at a time.
    pub max_peers: usize,
    /// Datagrams a second from one peer; may be infinite.
    pub datagram_rate: f64,
    /// What addresses get that have not proved that they receive; `None` if all are trusted.
    pub unproven: Option<Unproven>,
}

/// The specification's (docs/transport.md, Limits), for an endpoint that trusts its peers.
impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message: 256 << 20,
            memory: 512 << 20,
            peer_memory: 384 << 20,
            max_peers: 16_384,
            datagram_rate: f64::INFINITY,
            unproven: None,
        }
    }
}

/// The bounds for addresses that have not proved that they receive: whoever sends first from an
/// address may have made it up (RFC 9000, section 8).
#[derive(Clone, Copy, Debug)]
pub struct Unproven {
    /// Bytes that may go to such an address for each byte from it.
    pub amplification: usize,
    /// Bytes of large messages that one may have begun.
    pub peer_memory: usize,
    /// Bytes in use by all peers, beyond which none of these may begin a large message.
    pub memory: usize,
}
