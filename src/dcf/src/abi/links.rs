//! Links for C.

mod alone;

use std::collections::VecDeque;
use std::ffi::{c_char, CStr};
use std::io;

use super::endpoint::State as Endpoint;
use super::socket::failed;
use super::{give, Address, Guarded, INVALID};
use crate::links::Links;
use crate::time::Micros;

const UNKNOWN: u64 = u64::MAX;
const NAME_SIZE: usize = 16;

/// What is behind a `dcf_links`.
pub struct State {
    links: Links,
    now: Micros,
    /// Datagrams of peers that came with the last step.
    received: VecDeque<(Address, Vec<u8>)>,
    /// What C has been told of last: what it points at.
    told: Vec<u8>,
}

impl State {
    /// The time, which does not go back.
    fn now(&mut self, now: Micros) -> Micros {
        self.now = now.clamp(self.now, Micros::MAX >> 2);
        self.now
    }
}

type Handle = Guarded<State>;

/// `dcf_link` of dcf.h.
#[repr(C)]
pub struct Link {
    pub name: [c_char; NAME_SIZE],
    pub address: Address,
    pub largest: u64,
}

/// `dcf_neighbour` of dcf.h.
#[repr(C)]
pub struct Neighbour {
    pub address: Address,
    pub peer: Address,
    pub rtt: u64,
    pub size: u64,
    pub largest: u64,
    pub echoed: u64,
    pub under_way: u32,
    pub up: u32,
}

/// `dcf_path_change` of dcf.h.
#[repr(C)]
pub struct PathChange {
    pub peer: Address,
    pub neighbour: Address,
    pub size: u64,
}

/// # Safety
///
/// As dcf.h says of pointers; `key` has 32 bytes or is null.
#[no_mangle]
pub unsafe extern "C" fn dcf_links_new(
    prefix: *const c_char,
    key: *const u8,
    links: *mut *mut Handle,
) -> i32 {
    if prefix.is_null() || links.is_null() {
        return INVALID;
    }
    // SAFETY: dcf.h.
    let (prefix, key) = unsafe { (CStr::from_ptr(prefix), key.cast::<[u8; 32]>().as_ref()) };
    let Some(prefix) = prefix.to_str().ok().filter(|prefix| !prefix.is_empty()) else {
        return INVALID;
    };
    let mut reason = None;
    let made = Guarded::make(|| {
        let links = Links::new(prefix, key.copied()).map_err(|error| reason = Some(error)).ok()?;
        Some(State { links, now: 1, received: VecDeque::new(), told: Vec::new() })
    });
    if made.is_null() {
        return failed(&reason.unwrap_or_else(|| io::Error::from_raw_os_error(libc::EIO)));
    }
    // SAFETY: dcf.h.
    unsafe { give(links, made) }
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_links_free(links: *mut Handle) {
    // SAFETY: dcf.h.
    unsafe { Guarded::free(links) }
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_links_fd(links: *mut Handle) -> i32 {
    // SAFETY: dcf.h.
    unsafe { Guarded::with(links, |state| state.links.fd()) }
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_links_next_timeout(links: *mut Handle, at: *mut u64) -> i32 {
    // SAFETY: dcf.h.
    unsafe { Guarded::with(links, |state| give(at, state.links.next_timeout())) }
}

/// Does something with links and an endpoint at the links' time.
///
/// # Safety
///
/// As dcf.h says of pointers and threads.
unsafe fn with_both(
    links: *mut Handle,
    endpoint: *mut Guarded<Endpoint>,
    now: u64,
    work: impl FnOnce(&mut Links, &mut Endpoint, Micros),
) -> i32 {
    // SAFETY: the caller's promise.
    unsafe {
        Guarded::with(links, |state| {
            let now = state.now(now);
            Guarded::with(endpoint, |endpoint| {
                let now = endpoint.now(now);
                work(&mut state.links, endpoint, now);
                0
            })
        })
    }
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_links_receive(
    links: *mut Handle,
    endpoint: *mut Guarded<Endpoint>,
    now: u64,
    wall: u64,
) -> i32 {
    // SAFETY: dcf.h.
    unsafe {
        with_both(links, endpoint, now, |links, endpoint, now| {
            links.receive(&mut endpoint.endpoint, now, wall);
        })
    }
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_links_send(
    links: *mut Handle,
    endpoint: *mut Guarded<Endpoint>,
    now: u64,
) -> i32 {
    // SAFETY: dcf.h.
    unsafe {
        with_both(links, endpoint, now, |links, endpoint, now| links.send(&mut endpoint.out, now))
    }
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_links_close(
    links: *mut Handle,
    endpoint: *mut Guarded<Endpoint>,
    now: u64,
) -> i32 {
    // SAFETY: dcf.h.
    unsafe {
        with_both(links, endpoint, now, |links, endpoint, now| {
            links.close(&mut endpoint.endpoint, now);
        })
    }
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_links_next_change(links: *mut Handle, change: *mut PathChange) -> i32 {
    if change.is_null() {
        return INVALID;
    }
    // SAFETY: dcf.h.
    unsafe {
        Guarded::with(links, |state| {
            let Some(next) = state.links.next_change() else { return 0 };
            let (peer, neighbour) = (next.ordinary.into(), Address::from_v6(next.neighbour));
            give(change, PathChange { peer, neighbour, size: next.size.unwrap_or(0) as u64 });
            1
        })
    }
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_links_link(links: *mut Handle, index: usize, link: *mut Link) -> i32 {
    if link.is_null() {
        return INVALID;
    }
    // SAFETY: dcf.h.
    unsafe {
        Guarded::with(links, |state| {
            let devices = state.links.devices();
            let both = devices.zip(state.links.paths.links()).nth(index);
            let Some((device, at)) = both else { return 0 };
            let mut name = [0; NAME_SIZE];
            for (to, from) in name[..NAME_SIZE - 1].iter_mut().zip(device.name.bytes()) {
                *to = from as c_char;
            }
            let (address, largest) = (Address::from_v6(at.address), device.largest as u64);
            give(link, Link { name, address, largest });
            1
        })
    }
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_links_neighbour(
    links: *mut Handle,
    index: usize,
    neighbour: *mut Neighbour,
) -> i32 {
    if neighbour.is_null() {
        return INVALID;
    }
    // SAFETY: dcf.h.
    unsafe {
        Guarded::with(links, |state| {
            let Some(view) = state.links.paths.view(index) else { return 0 };
            let told = Neighbour {
                address: Address::from_v6(view.address),
                peer: view.ordinary.map_or_else(Address::default, Into::into),
                rtt: view.rtt.unwrap_or(UNKNOWN),
                size: view.size as u64,
                largest: view.largest as u64,
                echoed: view.echoed,
                under_way: view.under_way as u32,
                up: view.up.into(),
            };
            give(neighbour, told);
            1
        })
    }
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_links_measure(
    links: *mut Handle,
    index: usize,
    size: usize,
    now: u64,
    wall: u64,
) -> i32 {
    // SAFETY: dcf.h.
    unsafe {
        Guarded::with(links, |state| {
            let now = state.now(now);
            state.links.measure(index, size, now, wall).into()
        })
    }
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_links_counter(
    links: *mut Handle,
    index: usize,
    name: *mut *const c_char,
    help: *mut *const c_char,
    value: *mut u64,
) -> i32 {
    // SAFETY: dcf.h.
    unsafe {
        Guarded::with(links, |state| {
            let counters = state.links.paths.counters.each_for_c();
            let Some(counter) = counters.into_iter().nth(index) else { return 0 };
            give(name, counter.0.as_ptr());
            give(help, counter.1.as_ptr());
            give(value, counter.2);
            1
        })
    }
}
