//! Endpoints for C.

use std::ffi::c_char;
use std::rc::Rc;
use std::{slice, vec};

use super::event::Event;
use super::limits::Limits;
use super::{give, Address, Guarded, INVALID, NO_ROOM, TOO_LARGE};
use crate::datagrams::Datagrams;
use crate::endpoint::{Endpoint, NotQueued};
use crate::events::Event as Happened;
use crate::sealing::Sealer;
use crate::time::Micros;
use crate::traffic::Traffic;

/// Times above it are taken for it: sums with any bound then stay far below the type's end.
const LATEST: Micros = Micros::MAX >> 2;
/// What is behind a `dcf_endpoint`.
pub struct State {
    pub(super) endpoint: Endpoint,
    pub(super) out: Datagrams,
    now: Micros,
    events: vec::IntoIter<Happened>,
    /// The event that C has been told of last: what it points at.
    told: Option<Happened>,
    /// A datagram of C's, which is opened in place.
    datagram: Vec<u8>,
}

impl State {
    /// The time, which does not go back.
    pub(super) fn now(&mut self, now: Micros) -> Micros {
        self.now = now.clamp(self.now, LATEST);
        self.now
    }
}

type Handle = Guarded<State>;

/// Bytes of C's: `None` if there are none where some should be.
///
/// # Safety
///
/// As dcf.h says of pointers.
pub(super) unsafe fn bytes<'a>(pointer: *const u8, size: usize) -> Option<&'a [u8]> {
    match (pointer.is_null(), size) {
        (_, 0) => Some(&[]),
        (true, _) => None,
        (false, size) if size > isize::MAX as usize => None,
        // SAFETY: the caller's promise.
        (false, size) => Some(unsafe { slice::from_raw_parts(pointer, size) }),
    }
}

/// # Safety
///
/// As dcf.h says of pointers; `key` has 32 bytes or is null.
#[no_mangle]
pub unsafe extern "C" fn dcf_endpoint_new(limits: *const Limits, key: *const u8) -> *mut Handle {
    // SAFETY: dcf.h.
    unsafe { new(Traffic::Cluster, limits, key) }
}

/// # Safety
///
/// As dcf.h says of pointers; `key` has 32 bytes or is null.
#[no_mangle]
pub unsafe extern "C" fn dcf_endpoint_new_domain(
    limits: *const Limits,
    key: *const u8,
) -> *mut Handle {
    // SAFETY: dcf.h.
    unsafe { new(Traffic::Domain, limits, key) }
}

/// # Safety
///
/// As dcf.h says of pointers; `key` has 32 bytes or is null.
unsafe fn new(traffic: Traffic, limits: *const Limits, key: *const u8) -> *mut Handle {
    // SAFETY: the caller's promise.
    let (limits, key) = unsafe { (limits.as_ref(), key.cast::<[u8; 32]>().as_ref()) };
    Guarded::make(|| {
        Some(State {
            endpoint: Endpoint::of(
                traffic,
                limits?.check()?,
                key.map(|key| Sealer::of(traffic, *key)),
            ),
            out: Datagrams::default(),
            now: 1,
            events: Vec::new().into_iter(),
            told: None,
            datagram: Vec::new(),
        })
    })
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_endpoint_free(endpoint: *mut Handle) {
    // SAFETY: dcf.h.
    unsafe { Guarded::free(endpoint) }
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_endpoint_set_limits(
    endpoint: *mut Handle,
    limits: *const Limits,
) -> i32 {
    // SAFETY: dcf.h.
    let checked = unsafe { limits.as_ref() }.and_then(Limits::check);
    let Some(limits) = checked else { return INVALID };
    // SAFETY: dcf.h.
    unsafe {
        Guarded::with(endpoint, |state| {
            state.endpoint.set_limits(limits);
            0
        })
    }
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_endpoint_subscribe(endpoint: *mut Handle, message_type: u8) -> i32 {
    // SAFETY: dcf.h.
    unsafe {
        Guarded::with(endpoint, |state| {
            if !state.endpoint.traffic.is_unreliable(message_type) {
                return INVALID;
            }
            state.endpoint.subscribe(message_type);
            0
        })
    }
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_endpoint_received(
    endpoint: *mut Handle,
    datagram: *const u8,
    size: usize,
    from: *const Address,
    now: u64,
    wall: u64,
) -> i32 {
    // SAFETY: dcf.h.
    let (datagram, from) = unsafe { (bytes(datagram, size), Address::read(from)) };
    let (Some(datagram), Some(from)) = (datagram, from) else { return INVALID };
    // SAFETY: dcf.h.
    unsafe {
        Guarded::with(endpoint, |state| {
            let now = state.now(now);
            state.datagram.clear();
            state.datagram.extend_from_slice(datagram);
            state.endpoint.received(&mut state.datagram, from, now, wall).into()
        })
    }
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_endpoint_next_event(endpoint: *mut Handle, event: *mut Event) -> i32 {
    if event.is_null() {
        return INVALID;
    }
    // SAFETY: dcf.h.
    unsafe {
        Guarded::with(endpoint, |state| {
            if state.events.len() == 0 {
                let mut events = Vec::new();
                state.endpoint.take_events(&mut events);
                state.events = events.into_iter();
            }
            state.told = state.events.next();
            let Some(told) = &state.told else { return 0 };
            give(event, Event::of(told));
            1
        })
    }
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_endpoint_send(
    endpoint: *mut Handle,
    to: *const Address,
    message_type: u8,
    payload: *const u8,
    size: usize,
    now: u64,
    sequence: *mut u32,
) -> i32 {
    // SAFETY: dcf.h.
    let (payload, to) = unsafe { (bytes(payload, size), Address::read(to)) };
    let (Some(payload), Some(to)) = (payload, to) else { return INVALID };
    // SAFETY: dcf.h.
    unsafe {
        Guarded::with(endpoint, |state| {
            let now = state.now(now);
            let endpoint = &mut state.endpoint;
            let traffic = endpoint.traffic;
            if !traffic.is_carried(message_type) && !traffic.is_unreliable(message_type) {
                return INVALID;
            }
            if let Err(reason) = endpoint.may_send(to, message_type, payload.len()) {
                return match reason {
                    NotQueued::TooLarge => TOO_LARGE,
                    NotQueued::NoRoom => NO_ROOM,
                };
            }
            let payload = Rc::new(payload.to_vec());
            let given = if traffic.is_heartbeat(message_type) {
                endpoint.heartbeat(to, payload, now)
            } else if traffic.is_unreliable(message_type) {
                endpoint.send_once(to, message_type, payload, now)
            } else {
                endpoint.send(to, message_type, payload, now)
            };
            give(sequence, given); // or nobody asks
            0
        })
    }
}

/// Does something about a peer of an endpoint.
///
/// # Safety
///
/// As dcf.h says of pointers and threads.
unsafe fn with_peer(
    endpoint: *mut Handle,
    peer: *const Address,
    now: u64,
    work: impl FnOnce(&mut Endpoint, std::net::SocketAddr, Micros),
) -> i32 {
    // SAFETY: the caller's promise.
    let Some(peer) = (unsafe { Address::read(peer) }) else { return INVALID };
    // SAFETY: the caller's promise.
    unsafe {
        Guarded::with(endpoint, |state| {
            let now = state.now(now);
            work(&mut state.endpoint, peer, now);
            0
        })
    }
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_endpoint_ping(
    endpoint: *mut Handle,
    to: *const Address,
    now: u64,
) -> i32 {
    // SAFETY: dcf.h.
    unsafe { with_peer(endpoint, to, now, Endpoint::ping) }
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_endpoint_trust(endpoint: *mut Handle, peer: *const Address) -> i32 {
    // SAFETY: dcf.h.
    unsafe { with_peer(endpoint, peer, 0, |endpoint, peer, _| endpoint.trust(peer)) }
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_endpoint_hold(
    endpoint: *mut Handle,
    peer: *const Address,
    now: u64,
) -> i32 {
    // SAFETY: dcf.h.
    unsafe { with_peer(endpoint, peer, now, Endpoint::hold) }
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_endpoint_release(endpoint: *mut Handle, peer: *const Address) -> i32 {
    // SAFETY: dcf.h.
    unsafe { with_peer(endpoint, peer, 0, |endpoint, peer, _| endpoint.release(peer)) }
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_endpoint_forget(endpoint: *mut Handle, peer: *const Address) -> i32 {
    // SAFETY: dcf.h.
    unsafe { with_peer(endpoint, peer, 0, |endpoint, peer, _| endpoint.forget(peer)) }
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_endpoint_flush(endpoint: *mut Handle, now: u64, wall: u64) -> i32 {
    // SAFETY: dcf.h.
    unsafe {
        Guarded::with(endpoint, |state| {
            let now = state.now(now);
            if state.out.is_empty() {
                state.out.clear();
                state.endpoint.flush(now, wall, &mut state.out);
            }
            0
        })
    }
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_endpoint_next_datagram(
    endpoint: *mut Handle,
    datagram: *mut *const u8,
    size: *mut usize,
    to: *mut Address,
) -> i32 {
    if datagram.is_null() || size.is_null() || to.is_null() {
        return INVALID;
    }
    // SAFETY: dcf.h.
    unsafe {
        Guarded::with(endpoint, |state| {
            let out = &mut state.out;
            let Some((range, address)) = out.items.get(out.gone) else { return 0 };
            give(datagram, out.bytes[range.clone()].as_ptr());
            give(size, range.len());
            give(to, (*address).into());
            out.gone += 1;
            1
        })
    }
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_endpoint_next_timeout(endpoint: *mut Handle, at: *mut u64) -> i32 {
    // SAFETY: dcf.h.
    unsafe { Guarded::with(endpoint, |state| give(at, state.endpoint.next_timeout())) }
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_endpoint_idle(endpoint: *mut Handle) -> i32 {
    // SAFETY: dcf.h.
    unsafe { Guarded::with(endpoint, |state| state.endpoint.idle().into()) }
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_endpoint_memory(endpoint: *mut Handle, size: *mut u64) -> i32 {
    // SAFETY: dcf.h.
    unsafe { Guarded::with(endpoint, |state| give(size, state.endpoint.memory() as u64)) }
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_endpoint_counter(
    endpoint: *mut Handle,
    index: usize,
    name: *mut *const c_char,
    help: *mut *const c_char,
    value: *mut u64,
) -> i32 {
    // SAFETY: dcf.h.
    unsafe {
        Guarded::with(endpoint, |state| {
            let Some(counter) = state.endpoint.counters.each_for_c().into_iter().nth(index) else {
                return 0;
            };
            give(name, counter.0.as_ptr());
            give(help, counter.1.as_ptr());
            give(value, counter.2);
            1
        })
    }
}
