//! The C ABI. `include/dcf.h` is its contract: who owns what, for how long, and who may call when.
//!
//! Nothing unwinds into C: every call runs in `Guarded::with` or `catch`, and after a fault its
//! object only answers `FAULT`. What all `unsafe` here relies on is dcf.h: a pointer is null or
//! points to what its type says, for as long as the call lasts, and no other call uses the object.

pub mod clock;
pub mod endpoint;
pub mod event;
pub mod limits;
pub mod links;
pub mod socket;

use std::ffi::{c_char, CStr};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::panic::{catch_unwind, AssertUnwindSafe};

pub const VERSION: u32 = 1;

pub const INVALID: i32 = -1;
pub const TOO_LARGE: i32 = -2;
pub const NO_ROOM: i32 = -3;
pub const SYSTEM: i32 = -4;
pub const FAULT: i32 = -5;

const IPV4: u16 = 4;
const IPV6: u16 = 6;

#[no_mangle]
pub extern "C" fn dcf_abi_version() -> u32 {
    VERSION
}

#[no_mangle]
pub extern "C" fn dcf_describe(result: i32) -> *const c_char {
    let text: &CStr = match result {
        0.. => c"done",
        INVALID => c"an argument is null or makes no sense",
        TOO_LARGE => c"the message is larger than allowed",
        NO_ROOM => c"unacknowledged messages take up the memory; try again later",
        SYSTEM => c"a system call failed; errno says why",
        FAULT => c"a fault in libdcf; free the object",
        _ => c"no result of libdcf",
    };
    text.as_ptr()
}

/// `dcf_address` of dcf.h.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Address {
    pub ip: [u8; 16],
    pub family: u16,
    pub port: u16,
    pub scope_id: u32,
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        let (mut ip, port) = ([0; 16], address.port());
        match address {
            SocketAddr::V4(v4) => {
                ip[..4].copy_from_slice(&v4.ip().octets());
                Self { ip, family: IPV4, port, scope_id: 0 }
            }
            SocketAddr::V6(v6) => {
                let (ip, scope_id) = (v6.ip().octets(), v6.scope_id());
                Self { ip, family: IPV6, port, scope_id }
            }
        }
    }
}

impl Address {
    fn from_v6(address: SocketAddrV6) -> Self {
        SocketAddr::V6(address).into()
    }

    fn to_socket_address(self) -> Option<SocketAddr> {
        let [a, b, c, d, ..] = self.ip;
        match self.family {
            IPV4 => Some((IpAddr::from(Ipv4Addr::new(a, b, c, d)), self.port).into()),
            IPV6 => {
                let ip = Ipv6Addr::from(self.ip);
                Some(SocketAddrV6::new(ip, self.port, 0, self.scope_id).into())
            }
            _ => None,
        }
    }

    /// The address at `pointer`; `None` if there is none, or one of no family known here.
    ///
    /// # Safety
    ///
    /// As dcf.h says of pointers.
    unsafe fn read(pointer: *const Self) -> Option<SocketAddr> {
        // SAFETY: the caller's promise.
        unsafe { pointer.as_ref() }.and_then(|address| address.to_socket_address())
    }
}

/// An object that C holds.
pub struct Guarded<T> {
    inner: T,
    faulty: bool,
}

impl<T> Guarded<T> {
    /// Makes one for C; null if making it fails.
    fn make(make: impl FnOnce() -> Option<T>) -> *mut Self {
        let made = catch_unwind(AssertUnwindSafe(make)).ok().flatten();
        let guarded = made.map(|inner| Box::new(Self { inner, faulty: false }));
        guarded.map_or(std::ptr::null_mut(), Box::into_raw)
    }

    /// Does something with an object of C's.
    ///
    /// # Safety
    ///
    /// As dcf.h says of pointers and threads.
    unsafe fn with(object: *mut Self, work: impl FnOnce(&mut T) -> i32) -> i32 {
        // SAFETY: the caller's promise.
        let Some(guarded) = (unsafe { object.as_mut() }) else { return INVALID };
        if guarded.faulty {
            return FAULT;
        }
        let inner = &mut guarded.inner;
        let done = catch_unwind(AssertUnwindSafe(|| work(inner)));
        guarded.faulty = done.is_err();
        done.unwrap_or(FAULT)
    }

    /// Frees an object of C's.
    ///
    /// # Safety
    ///
    /// As dcf.h says of pointers and threads; nothing uses the object from now on.
    unsafe fn free(object: *mut Self) {
        if !object.is_null() {
            // SAFETY: the caller's promise; it comes from `make`.
            let object = unsafe { Box::from_raw(object) };
            let _ = catch_unwind(AssertUnwindSafe(|| drop(object)));
        }
    }
}

/// Writes what C is to get; `INVALID` if it has no place for it.
///
/// # Safety
///
/// As dcf.h says of pointers.
unsafe fn give<T>(place: *mut T, value: T) -> i32 {
    if place.is_null() {
        return INVALID;
    }
    // SAFETY: the caller's promise.
    unsafe { place.write(value) };
    0
}
