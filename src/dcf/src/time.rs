//! How time is counted.

/// Microseconds of a monotonic clock; above zero, so that zero can stand for long ago.
pub type Micros = u64;
