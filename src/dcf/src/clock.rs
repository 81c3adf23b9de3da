//! Time in which this process was running.
//!
//! A process that was stopped (SIGSTOP, a suspended virtual machine) finds on its return that every
//! peer has been silent: what they sent still waits in its sockets. Timeouts of peers therefore use
//! this clock, which does not count the pauses of this process.

use std::time::Instant;

use crate::bounds::STALL;
use crate::time::Micros;

/// A monotonic clock that has to be read several times a second.
pub struct RunningClock {
    started: Instant,
    read_at: Micros,
    paused: Micros,
}

impl Default for RunningClock {
    fn default() -> Self {
        Self { started: Instant::now(), read_at: 0, paused: 0 }
    }
}

impl RunningClock {
    pub fn now(&mut self) -> Micros {
        self.after(self.started.elapsed().as_micros() as Micros)
    }

    /// What is left out so far.
    pub fn paused(&self) -> Micros {
        self.paused
    }

    /// The time when `elapsed` has passed in all.
    pub fn after(&mut self, elapsed: Micros) -> Micros {
        let gap = elapsed - std::mem::replace(&mut self.read_at, elapsed);
        if gap > STALL {
            self.paused += gap;
        }
        // Above zero, so that zero can stand for long ago.
        1 + elapsed - self.paused
    }
}
