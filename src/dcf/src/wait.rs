//! Waiting for descriptors, with a timeout in microseconds.

use std::io::{self, ErrorKind};
use std::os::fd::RawFd;
use std::ptr;

/// Something to wait for: `ready` is set when it is readable, or with `write`, writable.
pub struct Wait {
    pub fd: RawFd,
    pub write: bool,
    pub ready: bool,
}

/// Waits for any of `waits` for up to `timeout_us` microseconds.
pub fn wait(waits: &mut [Wait], timeout_us: u64) -> io::Result<()> {
    let events = |write| if write { libc::POLLIN | libc::POLLOUT } else { libc::POLLIN };
    let pollfd = |wait: &Wait| libc::pollfd { fd: wait.fd, events: events(wait.write), revents: 0 };
    let mut fds: Vec<libc::pollfd> = waits.iter().map(pollfd).collect();
    let (tv_sec, tv_nsec) = (timeout_us / 1_000_000, timeout_us % 1_000_000 * 1000);
    let timeout = libc::timespec { tv_sec: tv_sec as _, tv_nsec: tv_nsec as _ };
    // SAFETY: the kernel writes `revents` of as many structures as the length says.
    let count = unsafe { libc::ppoll(fds.as_mut_ptr(), fds.len() as _, &timeout, ptr::null()) };
    if count < 0 && io::Error::last_os_error().kind() != ErrorKind::Interrupted {
        return Err(io::Error::last_os_error());
    }
    for (wait, fd) in waits.iter_mut().zip(&fds) {
        wait.ready = fd.revents != 0;
    }
    Ok(())
}
