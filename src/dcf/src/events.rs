//! What an endpoint tells its user.

use std::net::SocketAddr;

use crate::time::Micros;

/// Something that has happened at an endpoint.
#[derive(Debug, PartialEq)]
pub enum Event {
    /// A whole message arrived, once unless it is a HEARTBEAT or of an unreliable type. `timestamp` is its sender's clock, in microseconds since the
    /// Epoch, when it sent the message or the CHUNK that made it whole.
    Message { peer: SocketAddr, message_type: u8, sequence: u32, timestamp: u64, payload: Vec<u8> },
    /// A message began that is larger than allowed; `start` is its first piece.
    TooLarge { peer: SocketAddr, message_type: u8, sequence: u32, start: Vec<u8> },
    /// The peer has acknowledged all of the message that we sent as `sequence`, once for a message.
    /// `rtt` is the round trip of the last piece to be acknowledged, `None` if that was sent more
    /// than once.
    Delivered { peer: SocketAddr, sequence: u32, rtt: Option<Micros> },
    /// The peer answered our PING after so long.
    Pong { peer: SocketAddr, rtt: Micros },
    /// The peer acknowledged nothing for `GIVE_UP`. The messages with these `sequences` may or may
    /// not have arrived; they are not sent again. A peer that is not `proven` may be one of those
    /// that never acknowledge.
    Unreachable { peer: SocketAddr, proven: bool, sequences: Vec<u32> },
    /// The peer was idle, or had to make room for another; nothing is known of it any more.
    Forgotten { peer: SocketAddr },
}
