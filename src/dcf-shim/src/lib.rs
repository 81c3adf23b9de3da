//! The DCF shim: the cluster's UDP ingress for outside clients. `README.md` explains the design.

pub mod bounds;
pub mod bridge;
pub mod client_names;
pub mod heads;
pub mod logs;
pub mod metrics;
pub mod payload;
mod seeds;
pub mod settings;

pub mod signals;
pub mod status_port;
