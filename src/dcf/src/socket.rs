//! A UDP socket that receives and sends in batches, which the standard library cannot.
//!
//! recvmmsg and sendmmsg move up to `BATCH` datagrams a call, and with UDP_GRO and UDP_SEGMENT the
//! kernel joins and cuts runs of equal ones, which is where a forwarder's time goes. Each call is safe for the same reason: every pointer in the structures
//! passed to the kernel is made, right before the call, from a slice that is borrowed until after
//! it, with that slice's length.

use std::io::{self, ErrorKind};
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;

use libc::{c_int, c_void, cmsghdr, iovec, mmsghdr};
use libc::{sockaddr_in, sockaddr_in6, sockaddr_storage};

use crate::bounds::SOCKET_BUFFER;
use crate::datagrams::Datagrams;

const BATCH: usize = 64;
/// What the kernel joins at most; the odd rest keeps buffers from sharing cache sets.
const SLOT: usize = 65_536 + 1_216;
const MAX_SEGMENTS: usize = 64;
const MAX_SEGMENTED: usize = 65_000;

/// One control message that carries an integer, as the kernel lays it out.
#[repr(C)]
#[derive(Clone, Copy)]
struct Control {
    header: cmsghdr,
    value: [u8; 8],
}

/// A UDP socket with the buffers to receive and send in batches.
pub struct BatchSocket {
    socket: UdpSocket,
    buffer: Vec<u8>,
    addresses: Vec<sockaddr_storage>,
    controls: Vec<Control>,
    vectors: Vec<iovec>,
    headers: Vec<mmsghdr>,
    /// Runs of equal datagrams go as one; some network devices cannot cut them.
    joins: bool,
    /// What the system last said of a datagram that it would not send, if it did.
    refused: Option<io::Error>,
}

impl BatchSocket {
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        let fd = socket.as_raw_fd();
        for (option, forced) in
            [(libc::SO_RCVBUF, libc::SO_RCVBUFFORCE), (libc::SO_SNDBUF, libc::SO_SNDBUFFORCE)]
        {
            // The forced one needs CAP_NET_ADMIN; without it as much as the system allows.
            if set_option(fd, libc::SOL_SOCKET, forced, SOCKET_BUFFER as c_int).is_err() {
                set_option(fd, libc::SOL_SOCKET, option, SOCKET_BUFFER as c_int)?;
            }
        }
        // Kernels before 5.0 lack it and deliver datagrams one by one.
        let _ = set_option(fd, libc::SOL_UDP, libc::UDP_GRO, 1);
        // SAFETY: these are plain C structures, for which all zeros is a value.
        let (address, header, control) =
            unsafe { (zeroed::<sockaddr_storage>(), zeroed::<mmsghdr>(), zeroed::<Control>()) };
        Ok(Self {
            socket,
            buffer: vec![0; BATCH * SLOT],
            addresses: vec![address; BATCH],
            controls: vec![control; BATCH],
            vectors: vec![iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH],
            headers: vec![header; BATCH],
            joins: true,
            refused: None,
        })
    }

    pub fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Why a datagram could not be sent, since the last call.
    pub fn take_refused(&mut self) -> Option<io::Error> {
        self.refused.take()
    }

    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Passes each datagram of one batch to `take`; returns whether there may be more.
    pub fn receive(&mut self, mut take: impl FnMut(&mut [u8], SocketAddr)) -> io::Result<bool> {
        for (slot, buffer) in self.buffer.chunks_exact_mut(SLOT).enumerate() {
            self.vectors[slot] = iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: SLOT };
            self.headers[slot].msg_hdr.msg_namelen = size_of::<sockaddr_storage>() as u32;
            self.headers[slot].msg_hdr.msg_controllen = size_of::<Control>() as _;
        }
        self.link();
        // SAFETY: see the module; the kernel writes within the lengths given.
        let count = unsafe {
            let headers = self.headers.as_mut_ptr();
            libc::recvmmsg(self.fd(), headers, BATCH as u32, libc::MSG_DONTWAIT, ptr::null_mut())
        };
        if count < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                ErrorKind::WouldBlock => Ok(false),
                // An ICMP error of an earlier datagram: timeouts deal with the loss.
                ErrorKind::ConnectionRefused | ErrorKind::Interrupted => Ok(true),
                _ => Err(error),
            };
        }
        for (slot, buffer) in self.buffer.chunks_exact_mut(SLOT).take(count as usize).enumerate() {
            let header = &self.headers[slot];
            let Some(from) = address_from(&self.addresses[slot]) else { continue };
            if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
                continue;
            }
            let received = &mut buffer[..header.msg_len as usize];
            if received.is_empty() {
                take(received, from);
                continue;
            }
            let segment = segment_size(header, &self.controls[slot]).unwrap_or(received.len());
            received.chunks_mut(segment).for_each(|datagram| take(datagram, from));
        }
        Ok(count as usize == BATCH)
    }

    /// Sends `datagrams` from where the last call stopped; returns whether all have gone, which
    /// clears them. If not, call it again when the socket is writable.
    pub fn send(&mut self, datagrams: &mut Datagrams) -> io::Result<bool> {
        while !datagrams.is_empty() {
            let mut counts = [0; BATCH];
            let mut at = datagrams.gone;
            let mut slot = 0;
            while slot < BATCH && at < datagrams.items.len() {
                counts[slot] = if self.joins { run_length(&datagrams.items[at..]) } else { 1 };
                self.fill(slot, datagrams, at, counts[slot]);
                at += counts[slot];
                slot += 1;
            }
            self.link();
            // SAFETY: see the module; the kernel only reads.
            let gone = unsafe {
                let headers = self.headers.as_mut_ptr();
                libc::sendmmsg(self.fd(), headers, slot as u32, libc::MSG_DONTWAIT)
            };
            if gone >= 0 {
                datagrams.gone += counts[..gone as usize].iter().sum::<usize>();
                continue;
            }
            let error = io::Error::last_os_error();
            match error.kind() {
                ErrorKind::WouldBlock => return Ok(false),
                ErrorKind::Interrupted => {}
                _ if counts[0] > 1
                    && matches!(
                        error.raw_os_error(),
                        Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE)
                    ) =>
                {
                    self.joins = false;
                }
                // Unreachable just now, or refused: to the protocol a loss like any other.
                _ => {
                    datagrams.gone += counts[0];
                    self.refused = Some(error);
                }
            }
        }
        datagrams.clear();
        Ok(true)
    }

    /// Lays out one message: `count` neighbours that the kernel cuts apart again.
    fn fill(&mut self, slot: usize, datagrams: &Datagrams, at: usize, count: usize) {
        let (first, to) = &datagrams.items[at];
        let bytes = &datagrams.bytes[first.start..datagrams.items[at + count - 1].0.end];
        // The kernel does not write here, so the pointer may be made from a shared slice.
        self.vectors[slot] =
            iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let message = &mut self.headers[slot].msg_hdr;
        message.msg_namelen = address_into(&mut self.addresses[slot], *to);
        message.msg_controllen = 0;
        if count > 1 {
            let control = &mut self.controls[slot];
            control.header.cmsg_len = (size_of::<cmsghdr>() + size_of::<u16>()) as _;
            control.header.cmsg_level = libc::SOL_UDP;
            control.header.cmsg_type = libc::UDP_SEGMENT;
            control.value[..2].copy_from_slice(&(first.len() as u16).to_ne_bytes());
            message.msg_controllen = size_of::<Control>() as _;
        }
    }

    /// Points the headers at the other arrays, element for element.
    fn link(&mut self) {
        let (addresses, vectors) = (self.addresses.as_mut_ptr(), self.vectors.as_mut_ptr());
        let controls = self.controls.as_mut_ptr();
        for (slot, header) in self.headers.iter_mut().enumerate() {
            let message = &mut header.msg_hdr;
            message.msg_name = addresses.wrapping_add(slot).cast::<c_void>();
            message.msg_iov = vectors.wrapping_add(slot);
            message.msg_iovlen = 1;
            message.msg_control = controls.wrapping_add(slot).cast::<c_void>();
            message.msg_flags = 0;
        }
    }
}

/// How many datagrams from the first on go to one address in pieces of one size, the last of
/// which may be short.
fn run_length(items: &[(std::ops::Range<usize>, SocketAddr)]) -> usize {
    let (first, to) = &items[0];
    let most = MAX_SEGMENTS.min(MAX_SEGMENTED / first.len().max(1)).max(1);
    let alike = |(range, address): &&(std::ops::Range<usize>, SocketAddr)| {
        range.len() == first.len() && address == to
    };
    let count = items.iter().take(most).take_while(alike).count();
    let short = items
        .get(count)
        .is_some_and(|(range, address)| count < most && address == to && range.len() < first.len());
    count + usize::from(short)
}

/// The size of the datagrams that the kernel joined, if it did.
fn segment_size(header: &mmsghdr, control: &Control) -> Option<usize> {
    let there = header.msg_hdr.msg_controllen >= size_of::<cmsghdr>() + size_of::<c_int>();
    let joined = (control.header.cmsg_level, control.header.cmsg_type);
    let [a, b, c, d, ..] = control.value;
    let size = c_int::from_ne_bytes([a, b, c, d]);
    (there && joined == (libc::SOL_UDP, libc::UDP_GRO) && size > 0).then_some(size as usize)
}

fn address_from(storage: &sockaddr_storage) -> Option<SocketAddr> {
    match c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says which structure it is; the storage is large enough for any.
            let v4 = unsafe { &*ptr::from_ref(storage).cast::<sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { &*ptr::from_ref(storage).cast::<sockaddr_in6>() };
            let (ip, port) = (Ipv6Addr::from(v6.sin6_addr.s6_addr), u16::from_be(v6.sin6_port));
            Some(SocketAddrV6::new(ip, port, 0, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

pub(crate) fn address_into(storage: &mut sockaddr_storage, address: SocketAddr) -> libc::socklen_t {
    match address {
        SocketAddr::V4(address) => {
            // SAFETY: as in `address_from`.
            let v4 = unsafe { &mut *ptr::from_mut(storage).cast::<sockaddr_in>() };
            v4.sin_family = libc::AF_INET as libc::sa_family_t;
            v4.sin_port = address.port().to_be();
            v4.sin_addr.s_addr = u32::from(*address.ip()).to_be();
            size_of::<sockaddr_in>() as libc::socklen_t
        }
        SocketAddr::V6(address) => {
            // SAFETY: as in `address_from`.
            let v6 = unsafe { &mut *ptr::from_mut(storage).cast::<sockaddr_in6>() };
            v6.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            v6.sin6_port = address.port().to_be();
            v6.sin6_flowinfo = 0;
            v6.sin6_addr.s6_addr = address.ip().octets();
            v6.sin6_scope_id = address.scope_id();
            size_of::<sockaddr_in6>() as libc::socklen_t
        }
    }
}

pub(crate) fn set_option(fd: RawFd, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    let size = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: the kernel reads one integer, which outlives the call.
    let done = unsafe { libc::setsockopt(fd, level, option, ptr::from_ref(&value).cast(), size) };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
