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

/// Reads a clock; 0 if there is none.
///
/// # Safety
///
/// As dcf.h says of pointers and threads.
unsafe fn read(clock: *mut Handle, reading: impl FnOnce(&mut RunningClock) -> u64) -> u64 {
    let mut value = 0;
    // SAFETY: the caller's promise.
    unsafe {
        Guarded::with(clock, |clock| {
            value = reading(clock);
            0
        })
    };
    value
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_clock_now(clock: *mut Handle) -> u64 {
    // SAFETY: dcf.h.
    unsafe { read(clock, RunningClock::now) }
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_clock_paused(clock: *mut Handle) -> u64 {
    // SAFETY: dcf.h.
    unsafe { read(clock, |clock| clock.paused()) }
}

#[no_mangle]
pub extern "C" fn dcf_clock_wall() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_micros() as u64
}
