//! The network's devices that are links, and their sockets. Linux's.
//!
//! What there is is read from /proc and asked by ioctl, so that no netlink socket is needed, which
//! units often may not open.

use std::fs;
use std::io;
use std::net::{Ipv6Addr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::bounds::{LARGEST_DATAGRAM, MAX_LINKS, PATH_MTU};
use crate::socket::{address_into, set_option};

/// Where HELLOs go: a link-local group (RFC 4291, section 2.7) that no one else is known to use.
pub const GROUP: Ipv6Addr = Ipv6Addr::new(0xff12, 0, 0, 0, 0, 0, 0x0dcf, 0x0027);
pub const PORT: u16 = 7719;
/// Bytes that IPv6 and UDP add to a datagram.
const HEADERS: usize = 40 + 8;
/// No link-local IPv6 address goes without this scope.
const LINK_SCOPE: u32 = 0x20;
/// IFA_F_TENTATIVE and IFA_F_DADFAILED: nothing may be bound there (yet).
const UNUSABLE: u32 = 0x40 | 0x08;

/// A device that is up and has a cable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    pub name: String,
    pub index: u32,
    pub ip: Ipv6Addr,
    /// Bytes of the largest datagram that it takes.
    pub largest: usize,
}

/// The devices whose names begin with `prefix`. `socket` is any, to ask with.
pub fn devices(prefix: &str, socket: &UdpSocket) -> Vec<Device> {
    let listed = fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap_or_default();
    let mut found: Vec<Device> = Vec::new();
    for line in listed.lines() {
        let Some((name, index, ip)) = usable(line) else { continue };
        let known = found.iter().any(|device| device.index == index);
        if known || found.len() == MAX_LINKS || !name.starts_with(prefix) {
            continue;
        }
        if let Some(mtu) = mtu_if_running(name, socket) {
            let largest = mtu.saturating_sub(HEADERS).clamp(PATH_MTU, LARGEST_DATAGRAM);
            found.push(Device { name: name.into(), index, ip, largest });
        }
    }
    found
}

/// Name, index and address of a line of if_inet6 with a link-local address that may be bound.
fn usable(line: &str) -> Option<(&str, u32, Ipv6Addr)> {
    let mut words = line.split_ascii_whitespace();
    let ip = u128::from_str_radix(words.next()?, 16).ok()?;
    let mut number = || u32::from_str_radix(words.next()?, 16).ok();
    let (index, _prefix, scope, flags) = (number()?, number()?, number()?, number()?);
    let usable = scope == LINK_SCOPE && flags & UNUSABLE == 0;
    words.next().filter(|_| usable).map(|name| (name, index, ip.into()))
}

fn mtu_if_running(name: &str, socket: &UdpSocket) -> Option<usize> {
    // SAFETY: a plain C structure, for which all zeros is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return None;
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    let mut ask = |what: libc::Ioctl| {
        // SAFETY: the kernel reads and writes one structure, which outlives the call.
        unsafe { libc::ioctl(socket.as_raw_fd(), what, &mut request) == 0 }.then_some(request)
    };
    let wanted = libc::IFF_UP | libc::IFF_RUNNING;
    // SAFETY: the kernel has written the part of the union that was asked for.
    let flags = i32::from(unsafe { ask(libc::SIOCGIFFLAGS)?.ifr_ifru.ifru_flags });
    if flags & wanted != wanted {
        return None;
    }
    // SAFETY: as above.
    usize::try_from(unsafe { ask(libc::SIOCGIFMTU)?.ifr_ifru.ifru_mtu }).ok()
}

/// A socket on which the HELLOs of a link arrive, beside those of this machine's other processes.
pub fn listen(index: u32) -> io::Result<UdpSocket> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(libc::AF_INET6, kind, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was just opened, and nobody else has it.
    let socket = UdpSocket::from(unsafe { OwnedFd::from_raw_fd(fd) });
    set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    // SAFETY: a plain C structure, for which all zeros is a value.
    let mut place: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    // The scope of a link-local group binds the socket to the device.
    let size = address_into(&mut place, SocketAddrV6::new(GROUP, PORT, 0, index).into());
    // SAFETY: the kernel reads `size` bytes, which `place` has.
    if unsafe { libc::bind(fd, std::ptr::from_ref(&place).cast(), size) } != 0 {
        return Err(io::Error::last_os_error());
    }
    socket.join_multicast_v6(&GROUP, index)?;
    Ok(socket)
}
