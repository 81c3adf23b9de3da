//! Links for programs in C that have an endpoint of their own making.

use super::super::endpoint::bytes;
use super::super::{give, Address, Guarded, INVALID};
use super::{Handle, State};

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_links_step(links: *mut Handle, now: u64, wall: u64) -> i32 {
    // SAFETY: dcf.h.
    unsafe {
        Guarded::with(links, |state| {
            let now = state.now(now);
            let State { links, received, .. } = state;
            links.step(now, wall, |datagram, from| {
                received.push_back((from.into(), datagram.to_vec()));
            });
            0
        })
    }
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_links_next_datagram(
    links: *mut Handle,
    datagram: *mut *const u8,
    size: *mut usize,
    from: *mut Address,
) -> i32 {
    if datagram.is_null() || size.is_null() || from.is_null() {
        return INVALID;
    }
    // SAFETY: dcf.h.
    unsafe {
        Guarded::with(links, |state| {
            let Some((address, next)) = state.received.pop_front() else { return 0 };
            state.told = next;
            give(datagram, state.told.as_ptr());
            give(size, state.told.len());
            give(from, address);
            1
        })
    }
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_links_challenged(
    links: *mut Handle,
    payload: *const u8,
    size: usize,
    from: *const Address,
    now: u64,
    wall: u64,
) -> i32 {
    // SAFETY: dcf.h.
    let (payload, from) = unsafe { (bytes(payload, size), Address::read(from)) };
    let (Some(payload), Some(from)) = (payload, from) else { return INVALID };
    // SAFETY: dcf.h.
    unsafe {
        Guarded::with(links, |state| {
            let now = state.now(now);
            state.links.paths.challenged(payload, from, now, wall);
            0
        })
    }
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_links_next_challenge(
    links: *mut Handle,
    payload: *mut *const u8,
    size: *mut usize,
    to: *mut Address,
) -> i32 {
    if payload.is_null() || size.is_null() || to.is_null() {
        return INVALID;
    }
    // SAFETY: dcf.h.
    unsafe {
        Guarded::with(links, |state| {
            let Some((address, next)) = state.links.paths.challenges.pop() else { return 0 };
            state.told = next;
            give(payload, state.told.as_ptr());
            give(size, state.told.len());
            give(to, address.into());
            1
        })
    }
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_links_put(
    links: *mut Handle,
    to: *const Address,
    datagram: *const u8,
    size: usize,
    now: u64,
) -> i32 {
    // SAFETY: dcf.h.
    let (datagram, to) = unsafe { (bytes(datagram, size), Address::read(to)) };
    let (Some(datagram), Some(to)) = (datagram, to) else { return INVALID };
    // SAFETY: dcf.h.
    unsafe {
        Guarded::with(links, |state| {
            let now = state.now(now);
            state.links.put(to, datagram, now).into()
        })
    }
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_links_flush(links: *mut Handle) -> i32 {
    // SAFETY: dcf.h.
    unsafe {
        Guarded::with(links, |state| {
            state.links.flush();
            0
        })
    }
}
