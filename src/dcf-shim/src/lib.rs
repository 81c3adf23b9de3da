//! The DCF shim: the cluster's UDP entrance for clients outside. `README.md` explains the design.

pub mod bounds;
pub mod bridge;
pub mod clock;
pub mod congestion;
pub mod counters;
pub mod datagrams;
pub mod endpoint;
pub mod frames;
pub mod heads;
mod inbox;
mod keyed_hash;
pub mod logs;
pub mod metrics;
mod outbox;
pub mod payload;
mod recent;
pub mod sealing;
mod seeds;
pub mod settings;
pub mod shares;
pub mod status_port;
pub mod sys;
mod token_bucket;
