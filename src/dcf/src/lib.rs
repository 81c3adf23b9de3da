//! The DCF transport: reliable messages over UDP, sans-IO. `README.md` explains the design;
//! `endpoint.rs` is where to start reading, `docs/transport.md` is the specification.

pub mod abi;
pub mod bounds;
pub mod clock;
mod congestion;
pub mod counters;
pub mod datagrams;
pub mod endpoint;
pub mod events;
pub mod frames;
mod inbox;
pub mod keyed_hash;
pub mod limits;
mod link_devices;
pub mod links;
mod outbox;
mod outgoing;
pub mod paths;
mod peer;
mod peers;
pub mod recent;
mod recovery;
pub mod sealing;
pub mod socket;
pub mod time;
pub mod token_bucket;
pub mod wait;
