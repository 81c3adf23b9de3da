//! Sockets for C.

use std::io;

use super::{endpoint, give, Address, Guarded, INVALID, SYSTEM};
use crate::socket::BatchSocket;
use crate::wait::{wait, Wait};

type Handle = Guarded<BatchSocket>;
type Endpoint = Guarded<endpoint::State>;

/// Puts the reason where C looks for it.
pub(super) fn failed(error: &io::Error) -> i32 {
    // SAFETY: the C library's, for this thread, and always there.
    unsafe { *libc::__errno_location() = error.raw_os_error().unwrap_or(libc::EIO) };
    SYSTEM
}

/// # Safety
///
/// As dcf.h says of pointers.
#[no_mangle]
pub unsafe extern "C" fn dcf_socket_bind(address: *const Address, socket: *mut *mut Handle) -> i32 {
    // SAFETY: dcf.h.
    let Some(address) = (unsafe { Address::read(address) }) else { return INVALID };
    if socket.is_null() {
        return INVALID;
    }
    let mut reason = None;
    let made = Guarded::make(|| BatchSocket::bind(address).map_err(|e| reason = Some(e)).ok());
    if made.is_null() {
        return failed(&reason.unwrap_or_else(|| io::Error::from_raw_os_error(libc::EIO)));
    }
    // SAFETY: dcf.h.
    unsafe { give(socket, made) }
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_socket_free(socket: *mut Handle) {
    // SAFETY: dcf.h.
    unsafe { Guarded::free(socket) }
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_socket_address(socket: *mut Handle, address: *mut Address) -> i32 {
    // SAFETY: dcf.h.
    unsafe {
        Guarded::with(socket, |socket| match socket.local_address() {
            Ok(bound) => give(address, bound.into()),
            Err(error) => failed(&error),
        })
    }
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_socket_fd(socket: *mut Handle) -> i32 {
    // SAFETY: dcf.h.
    unsafe { Guarded::with(socket, |socket| socket.fd()) }
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_socket_receive(
    socket: *mut Handle,
    endpoint: *mut Endpoint,
    now: u64,
    wall: u64,
) -> i32 {
    // SAFETY: dcf.h.
    unsafe {
        Guarded::with(endpoint, |state| {
            let now = state.now(now);
            let endpoint = &mut state.endpoint;
            Guarded::with(socket, |socket| {
                let received = socket.receive(|datagram, from| {
                    endpoint.received(datagram, from, now, wall);
                });
                received.map_or_else(|error| failed(&error), i32::from)
            })
        })
    }
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_socket_send(socket: *mut Handle, endpoint: *mut Endpoint) -> i32 {
    // SAFETY: dcf.h.
    unsafe {
        Guarded::with(endpoint, |state| {
            Guarded::with(socket, |socket| {
                socket.send(&mut state.out).map_or_else(|error| failed(&error), i32::from)
            })
        })
    }
}

/// # Safety
///
/// As dcf.h says of pointers and threads.
#[no_mangle]
pub unsafe extern "C" fn dcf_socket_wait(socket: *mut Handle, writable: i32, timeout: u64) -> i32 {
    // SAFETY: dcf.h.
    unsafe {
        Guarded::with(socket, |socket| {
            let mut waits = [Wait { fd: socket.fd(), write: writable != 0, ready: false }];
            match wait(&mut waits, timeout) {
                Ok(()) => waits[0].ready.into(),
                Err(error) => failed(&error),
            }
        })
    }
}
