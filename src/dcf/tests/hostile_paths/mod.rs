//! The rules of paths over links, which hear and live through whatever a list of bytes says, and what
//! must hold after every step.
//!
//! `tests/paths_hostile.rs` draws the bytes at random; `dcf-fuzz` lets libFuzzer choose them.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};

use dcf::bounds::{LARGEST_DATAGRAM, MAX_NEIGHBOURS, PATH_MTU};
use dcf::frames::{self, message_type};
use dcf::paths::messages::{self, Challenge, Nonce, Said, Sender};
use dcf::paths::{Link, Paths, To};

const WALL: u64 = 1_800_000_000_000_000;
const SPANS: [u64; 8] = [0, 1, 1_000, 100_000, 150_000, 600_000, 2_000_000, 70_000_000];
const SIZES: [usize; 4] = [1_200, 1_452, 9_000, 65_474];
/// How often in a row the rules may want to be called for nothing.
const IDLE_CALLS: u32 = 4;

/// A byte for each choice; zeros after the end.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn next(&mut self) -> u8 {
        let Some((byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *byte
    }

    /// One of the latest few.
    fn latest<T: Copy>(&mut self, list: &[T]) -> T {
        self.of(&list[list.len().saturating_sub(4)..])
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[usize::from(self.next()) % list.len()]
    }
}

fn ordinary(number: u8) -> SocketAddr {
    ([192, 0, 2, number % 4 + 1], 7717).into()
}

fn place(number: u8) -> SocketAddrV6 {
    let scope = 5 + u32::from(number & 1);
    let ip = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, u16::from(number % 6) + 1);
    SocketAddrV6::new(ip, 40_000, 0, scope)
}

struct Life {
    paths: Paths,
    now: u64,
    /// What it has asked over the ordinary network: whoever is there can say it.
    nonces: Vec<Nonce>,
    /// What it asked on links.
    probes: Vec<(u64, u16)>,
}

/// Lives through what the bytes say. Panics where something does not hold. Returns how many paths came up.
pub fn run(bytes: &[u8]) -> u64 {
    let mut input = Input(bytes);
    let paths = Paths::with_id(None, [9; 16]);
    let mut life = Life { paths, now: 1, nonces: vec![[0; 16]], probes: vec![(0, 0)] };
    while !input.0.is_empty() {
        life.step(&mut input);
        life.poll();
        life.check();
    }
    life.fall_silent();
    life.paths.counters.link_paths_up
}

impl Life {
    fn step(&mut self, input: &mut Input) {
        let (now, wall) = (self.now, WALL + self.now);
        match input.next() % 8 {
            0 => self.now += input.of(&SPANS),
            1 => {
                let choice = input.next();
                let links = [0u8, 1].map(|scope| Link {
                    address: SocketAddrV6::new(*place(7).ip(), 39_999, 0, 5 + u32::from(scope)),
                    largest: SIZES[usize::from(choice >> 2 & 3)],
                });
                self.paths.set_links(&links[..usize::from(choice % 3)], now);
            }
            2 => {
                self.paths.route(ordinary(input.next()), now);
            }
            3 => {
                let addresses = vec![(*place(input.next()).ip(), 40_000)];
                let challenge =
                    Challenge { id: [input.next() % 3; 16], nonce: [input.next(); 16], addresses };
                self.paths.challenged(&challenge.to_bytes(), ordinary(input.next()), now, wall);
            }
            4 => {
                self.paths.measure(
                    usize::from(input.next()),
                    usize::from(input.next()) << 9,
                    now,
                    wall,
                );
            }
            kind => {
                let from = place(input.next());
                let said = match kind {
                    5 => Said::Hello,
                    6 => Said::Proof(input.latest(&self.nonces)),
                    _ if input.next() & 1 > 0 => {
                        Said::Probe { number: input.next().into(), tag: [input.next(); 16] }
                    }
                    _ => {
                        let (number, size) = input.latest(&self.probes);
                        Said::Echo { number, size, ready: input.next() & 3 > 0 }
                    }
                };
                let largest = input.of(&SIZES) as u16;
                let id = [input.next() % 3; 16];
                let sender = Sender { id, ip: *from.ip(), port: from.port(), largest };
                let (mut payload, mut datagram) = (Vec::new(), Vec::new());
                messages::write(&mut payload, &sender, said, 0);
                frames::write(&mut datagram, message_type::PATH, 0, wall, &payload);
                if input.next() & 0x1f == 1 {
                    let at = usize::from(input.next()) % datagram.len();
                    datagram[at] ^= 1 << (input.next() & 7);
                }
                self.paths.received(&mut datagram, from, now, wall);
            }
        }
    }

    /// Does what is due, and takes what is said.
    fn poll(&mut self) {
        self.paths.poll(self.now, WALL + self.now);
        for (_, payload) in self.paths.challenges.drain(..) {
            let challenge = Challenge::read(&payload).expect("a challenge of ours can be read");
            self.nonces.push(challenge.nonce);
        }
        let out = std::mem::take(&mut self.paths.out);
        assert!(out.len() <= 3 * MAX_NEIGHBOURS + 4, "{} at once", out.len());
        for (to, datagram) in out {
            assert!(datagram.len() <= LARGEST_DATAGRAM);
            let scope = match to {
                To::All(scope) => scope,
                To::One(address) => address.scope_id(),
            };
            let there = self.paths.links().iter().any(|link| link.address.scope_id() == scope);
            assert!(there, "said on a link that is not there");
            let payload = &datagram[frames::HEADER_SIZE..];
            if let Some((_, Said::Probe { number, .. })) = messages::read(payload) {
                self.probes.push((number, payload.len() as u16));
            }
        }
    }

    fn check(&mut self) {
        let mut up = 0;
        for index in 0.. {
            let Some(one) = self.paths.view(index) else { break };
            assert!(index < MAX_NEIGHBOURS);
            assert!((PATH_MTU..=LARGEST_DATAGRAM).contains(&one.size) && one.size <= one.largest);
            assert!(!one.up || one.ordinary.is_some());
            assert_eq!(one.ordinary, self.paths.origin(one.address));
            up += usize::from(one.up);
        }
        for number in 0..4 {
            let Some(route) = self.paths.route(ordinary(number), self.now) else { continue };
            assert_eq!(self.paths.origin(route), Some(ordinary(number)), "a path to somebody else");
            assert!(up > 0);
        }
    }

    /// Nobody says anything any more: then nothing may be left, and it must not spin.
    fn fall_silent(&mut self) {
        let (end, mut idle) = (self.now + 20_000_000, 0);
        while self.now < end {
            let next = self.paths.next_timeout();
            idle = if next <= self.now { idle + 1 } else { 0 };
            assert!(idle < IDLE_CALLS, "called {idle} times for nothing");
            self.now = self.now.max(next.min(end));
            self.poll();
            self.check();
        }
        assert!(self.paths.view(0).is_none());
        let routes = (0..4).filter_map(|number| self.paths.route(ordinary(number), self.now));
        assert_eq!(routes.count(), 0);
    }
}
