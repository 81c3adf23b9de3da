//! What an endpoint tells its user.

use std::net::SocketAddr;

use crate::time::Micros;

/// Something that has happened at an endpoint.
#[derive(Debug, PartialEq)]
pub enum Event {
    /// A whole message arrived, once.
    Message { peer: SocketAddr, message_type: u8, sequence: u32, payload: Vec<u8> },
    /// A message began that is larger than allowed; `start` is its first piece.
    TooLarge { peer: SocketAddr, message_type: u8, sequence: u32, start: Vec<u8> },
    /// The peer has acknowledged all of the message that we sent as `sequence`.
    Delivered { peer: SocketAddr, sequence: u32 },
    /// The peer answered our PING after so long.
    Pong { peer: SocketAddr, rtt: Micros },
    /// The peer acknowledged nothing for `GIVE_UP`; what was queued for it is dropped. One that is
    /// not `proven` may be one of those that never acknowledge.
    Unreachable { peer: SocketAddr, proven: bool },
    /// The peer was idle, or had to make room for another; nothing is known of it any more.
    Forgotten { peer: SocketAddr },
}
