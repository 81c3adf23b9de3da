//! Clocks for C.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Guarded;
use crate::clock::RunningClock;

type Handle = Guarded<RunningClock>;

#[no_mangle]
pub extern "C" fn dcf_clock_new() -> *mut Handle {
    Guarded::make(|| Some(RunningClock::default()))
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_clock_free(clock: *mut Handle) {
    // SAFETY: dcf.h.
    unsafe { Guarded::free(clock) }
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_clock_now(clock: *mut Handle) -> u64 {
    let mut now = 0;
    // SAFETY: dcf.h.
    unsafe {
        Guarded::with(clock, |clock| {
            now = clock.now();
            0
        })
    };
    now
}

#[no_mangle]
pub extern "C" fn dcf_clock_wall() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_micros() as u64
}
