//! Links with their sockets: what `paths` decides, done. Linux's.
//!
//! Beside an endpoint and its socket: `receive` gives the endpoint what came over links as if it had
//! come from ordinary addresses, and `send` takes from its output what goes over a link.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::bounds::{LINK_BACKLOG, LINK_LOOK};
use crate::datagrams::Datagrams;
use crate::endpoint::Endpoint;
use crate::frames::message_type;
use crate::link_devices::{devices, listen, Device, GROUP, PORT};
use crate::paths::{Change, Link, Paths, To};
use crate::sealing::Sealer;
use crate::socket::{set_option, BatchSocket};
use crate::time::Micros;

/// The largest HELLO, sealed, and far more.
const HELLO_ROOM: usize = 2048;
/// HELLOs that are taken in one turn.
const HELLO_TURN: usize = 64;
/// Changes that nobody has asked for yet.
const MAX_CHANGES: usize = 256;

struct Open {
    device: Device,
    socket: BatchSocket,
    hellos: UdpSocket,
    backlog: Datagrams,
    /// The descriptor for all is also ready when this one can be written to.
    armed: bool,
}

/// All links of a process.
pub struct Links {
    pub paths: Paths,
    prefix: String,
    open: Vec<Open>,
    /// Ready when a link has something to be read, or takes what it had no room for.
    all: OwnedFd,
    asking: UdpSocket,
    look_at: Micros,
    changes: Vec<Change>,
}

impl Links {
    /// `prefix` is what the names of devices begin with that are links.
    pub fn new(prefix: &str, key: Option<[u8; 32]>) -> io::Result<Self> {
        // SAFETY: no pointers.
        let all = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if all < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            paths: Paths::new(key.map(Sealer::new)),
            prefix: prefix.into(),
            open: Vec::new(),
            // SAFETY: it was just opened, and nobody else has it.
            all: unsafe { OwnedFd::from_raw_fd(all) },
            asking: UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?,
            look_at: 0,
            changes: Vec::new(),
        })
    }

    pub fn fd(&self) -> RawFd {
        self.all.as_raw_fd()
    }

    pub fn next_timeout(&self) -> Micros {
        self.look_at.min(self.paths.next_timeout())
    }

    /// The devices in use.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        self.open.iter().map(|open| &open.device)
    }

    /// What has become of paths, oldest first.
    pub fn next_change(&mut self) -> Option<Change> {
        (!self.changes.is_empty()).then(|| self.changes.remove(0))
    }

    // ------------------------------------------------------------------------------- with others

    /// Does all but the sending of peers' datagrams, for an endpoint.
    pub fn receive(&mut self, endpoint: &mut Endpoint, now: Micros, wall: u64) {
        for (from, payload) in endpoint.take_path_messages() {
            self.paths.challenged(&payload, from, now, wall);
        }
        let known = self.changes.len();
        self.step(now, wall, |datagram, from| {
            endpoint.received(datagram, from, now, wall);
        });
        for (to, payload) in std::mem::take(&mut self.paths.challenges) {
            endpoint.send_once(to, message_type::PATH, payload.into(), now);
        }
        for change in &self.changes[known.min(self.changes.len())..] {
            endpoint.set_path(change.ordinary, change.size, now);
        }
    }

    /// Takes what goes over links from an endpoint's output, and sends it.
    pub fn send(&mut self, datagrams: &mut Datagrams, now: Micros) {
        if self.open.is_empty() {
            return;
        }
        let left = datagrams.items.split_off(datagrams.gone);
        (datagrams.items, datagrams.gone) = (Vec::with_capacity(left.len()), 0);
        for (range, to) in left {
            if !self.put(to, &datagrams.bytes[range.clone()], now) {
                datagrams.items.push((range, to));
            }
        }
        self.flush();
    }

    /// Has every peer reached over the ordinary network again.
    pub fn close(&mut self, endpoint: &mut Endpoint, now: Micros) {
        self.open.clear();
        self.paths.set_links(&[], now);
        for change in std::mem::take(&mut self.paths.changes) {
            endpoint.set_path(change.ordinary, None, now);
        }
    }

    // -------------------------------------------------------------------------------------- alone

    /// Looks at devices, takes what came, and says what is due. `take` gets the datagrams of peers
    /// with their ordinary addresses.
    pub fn step(&mut self, now: Micros, wall: u64, mut take: impl FnMut(&mut [u8], SocketAddr)) {
        if now >= self.look_at {
            self.look(now);
        }
        let paths = &mut self.paths;
        for Open { device, socket, hellos, .. } in &mut self.open {
            let mut hello = [0; HELLO_ROOM];
            for _ in 0..HELLO_TURN {
                let Ok((size, SocketAddr::V6(from))) = hellos.recv_from(&mut hello) else { break };
                paths.received(&mut hello[..size], on(from, device.index), now, wall);
            }
            // A link that fails is found out by PROBEs.
            let _ = socket.receive(|datagram, from| {
                let SocketAddr::V6(from) = from else { return };
                let from = on(from, device.index);
                if datagram.first() == Some(&message_type::PATH) {
                    paths.received(datagram, from, now, wall);
                } else if let Some(ordinary) = paths.origin(from) {
                    paths.counters.link_datagrams_received += 1;
                    paths.counters.link_bytes_received += datagram.len() as u64;
                    take(datagram, ordinary);
                } else {
                    paths.counters.link_dropped_unknown += 1;
                }
            });
        }
        self.paths.poll(now, wall);
        self.say();
        self.changes.append(&mut self.paths.changes);
        let more = self.changes.len().saturating_sub(MAX_CHANGES);
        self.changes.drain(..more);
    }

    /// Sends a PROBE of a size beside those that are due; returns whether there is that neighbour.
    pub fn measure(&mut self, at: usize, size: usize, now: Micros, wall: u64) -> bool {
        let there = self.paths.measure(at, size, now, wall);
        self.say();
        there
    }

    /// Takes a datagram for an ordinary address, to go with the next `flush`, if a path leads there.
    pub fn put(&mut self, to: SocketAddr, datagram: &[u8], now: Micros) -> bool {
        let Some(address) = self.paths.route(to, now) else { return false };
        let there = self.open.iter_mut().find(|open| open.device.index == address.scope_id());
        let Some(open) = there else { return false };
        let counters = &mut self.paths.counters;
        if open.backlog.bytes.len() + datagram.len() > LINK_BACKLOG {
            counters.link_dropped_backlog += 1;
            return true;
        }
        counters.link_datagrams_sent += 1;
        counters.link_bytes_sent += datagram.len() as u64;
        open.append(datagram, address);
        true
    }

    /// Sends what has been taken, as far as devices have room; the rest when they do.
    pub fn flush(&mut self) {
        for open in &mut self.open {
            let all_gone = open.socket.send(&mut open.backlog).unwrap_or(true);
            if all_gone == open.armed {
                open.armed = !all_gone;
                let events = if all_gone { libc::EPOLLIN } else { libc::EPOLLIN | libc::EPOLLOUT };
                let _ = watch(&self.all, libc::EPOLL_CTL_MOD, open.socket.fd(), events);
            }
            if open.socket.take_refused().is_some() {
                // Perhaps the cable is out.
                self.look_at = 0;
            }
        }
    }

    // ------------------------------------------------------------------------------------ devices

    fn look(&mut self, now: Micros) {
        let found = devices(&self.prefix, &self.asking);
        self.open.retain(|open| found.contains(&open.device));
        for device in found {
            if self.open.iter().all(|open| open.device != device) {
                // What cannot be opened yet is tried again with the next look.
                self.open.extend(Open::new(device, &self.all));
            }
        }
        let links: Vec<Link> = self.open.iter().filter_map(Open::link).collect();
        self.paths.set_links(&links, now);
        self.look_at = now + if self.open.is_empty() { 10 * LINK_LOOK } else { LINK_LOOK };
    }

    /// Sends what the rules have to say.
    fn say(&mut self) {
        for (to, datagram) in std::mem::take(&mut self.paths.out) {
            let address = match to {
                To::All(scope) => SocketAddrV6::new(GROUP, PORT, 0, scope),
                To::One(address) => address,
            };
            let mut open = self.open.iter_mut();
            if let Some(open) = open.find(|open| open.device.index == address.scope_id()) {
                if open.backlog.bytes.len() <= LINK_BACKLOG {
                    open.append(&datagram, address);
                }
            }
        }
        self.flush();
    }
}

impl Open {
    fn new(device: Device, all: &OwnedFd) -> io::Result<Self> {
        // The scope of a link-local address binds the socket to the device.
        let socket = BatchSocket::bind(SocketAddrV6::new(device.ip, 0, 0, device.index).into())?;
        // This machine's other processes are no neighbours.
        set_option(socket.fd(), libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_LOOP, 0)?;
        let hellos = listen(device.index)?;
        watch(all, libc::EPOLL_CTL_ADD, socket.fd(), libc::EPOLLIN)?;
        watch(all, libc::EPOLL_CTL_ADD, hellos.as_raw_fd(), libc::EPOLLIN)?;
        Ok(Self { device, socket, hellos, backlog: Datagrams::default(), armed: false })
    }

    fn link(&self) -> Option<Link> {
        match self.socket.local_address() {
            Ok(SocketAddr::V6(address)) => {
                let address = on(address, self.device.index);
                Some(Link { address, largest: self.device.largest })
            }
            _ => None,
        }
    }

    fn append(&mut self, datagram: &[u8], to: SocketAddrV6) {
        let start = self.backlog.bytes.len();
        self.backlog.bytes.extend_from_slice(datagram);
        self.backlog.items.push((start..start + datagram.len(), to.into()));
    }
}

/// The address as it is on the device with that number, whatever else the system says of it.
fn on(address: SocketAddrV6, index: u32) -> SocketAddrV6 {
    SocketAddrV6::new(*address.ip(), address.port(), 0, index)
}

fn watch(all: &OwnedFd, how: i32, fd: RawFd, events: i32) -> io::Result<()> {
    let mut event = libc::epoll_event { events: events as u32, u64: fd as u64 };
    // SAFETY: the kernel reads one structure, which outlives the call.
    match unsafe { libc::epoll_ctl(all.as_raw_fd(), how, fd, &mut event) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
