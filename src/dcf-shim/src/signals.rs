//! Signals as something to wait for: the only `unsafe` of the shim.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

/// Readable when SIGTERM, SIGINT or SIGHUP has arrived.
pub struct Signals(OwnedFd);

impl Signals {
    pub fn new() -> io::Result<Self> {
        // SAFETY: the set is initialised by sigemptyset before it is read; the descriptor is new
        // and owned by nobody else.
        unsafe {
            let mut set = zeroed();
            libc::sigemptyset(&mut set);
            for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
                libc::sigaddset(&mut set, signal);
            }
            libc::sigprocmask(libc::SIG_BLOCK, &set, ptr::null_mut());
            let fd = libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            if fd < 0 {
                Err(io::Error::last_os_error())
            } else {
                Ok(Self(OwnedFd::from_raw_fd(fd)))
            }
        }
    }

    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Takes one signal; returns whether it asks to read the settings again, not to stop.
    pub fn take_hangup(&self) -> bool {
        let mut information = [0u8; size_of::<libc::signalfd_siginfo>()];
        // SAFETY: the kernel writes at most the length given.
        unsafe { libc::read(self.fd(), information.as_mut_ptr().cast(), information.len()) };
        let [a, b, c, d, ..] = information; // the signal's number comes first
        u32::from_ne_bytes([a, b, c, d]) == libc::SIGHUP as u32
    }
}
