//! Two endpoints behind the C ABI, which do and are sent whatever a list of bytes says, and what must
//! hold after every step.
//!
//! `tests/no_harm.rs` draws the bytes at random; `dcf-fuzz` lets libFuzzer choose them.

use std::ptr::{null, null_mut};

use dcf::abi::endpoint::*;
use dcf::abi::event::Event;
use dcf::abi::limits::Limits;
use dcf::abi::{Address, Guarded, FAULT, INVALID, NO_ROOM, TOO_LARGE};
use dcf::frames::{self, message_type, Chunk};
use dcf::traffic::{domain_type, Traffic};

const SECOND: u64 = 1_000_000;
const EPOCH: u64 = 1_800_000_000_000_000;
const KEY: [u8; 32] = [3; 32];
const MEMORY: u64 = 96 << 10;
const AMPLIFICATION: u64 = 3;
const SPANS: [u64; 8] = [0, 1, 1_000, 100_000, SECOND, 5 * SECOND, 31 * SECOND, 130 * SECOND];
const SIZES: [usize; 8] = [0, 1, 1_000, 1_200, 5_000, 30_000, 70_000, 200_000];
/// Nothing may be left of anyone after so long a silence.
const FORGETTING: u64 = 140 * SECOND;
/// How often in a row an endpoint may want to be called for nothing.
const IDLE_CALLS: u32 = 16;

/// A byte for each choice; zeros after the end.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn next(&mut self) -> u8 {
        let Some((byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *byte
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[usize::from(self.next()) % list.len()]
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next()).collect()
    }
}

struct World {
    traffic: Traffic,
    ends: [*mut Guarded<State>; 2],
    now: u64,
    /// Bytes that went to the addresses of strangers, and came from there.
    strangers: [(u64, u64); 3],
    last: Vec<u8>,
    payload: Vec<u8>,
}

fn limits(small: bool) -> Limits {
    let peer_memory = if small { 20 << 10 } else { 64 << 10 };
    Limits {
        max_message: peer_memory,
        memory: MEMORY,
        peer_memory,
        max_peers: if small { 2 } else { 4 },
        datagram_rate: if small { 100.0 } else { 0.0 },
        amplification: 0,
        unproven_peer_memory: 8 << 10,
        unproven_memory: 32 << 10,
    }
}

/// Where the end with that number is; from 2 on, strangers.
fn address(number: usize) -> Address {
    let mut address = Address { ip: [0; 16], family: 4, port: number as u16, scope_id: 0 };
    address.ip[..4].copy_from_slice(&[192, 0, 2, number as u8]);
    address
}

/// Lives through what the bytes say, and then through silence. Panics where something does not hold.
pub fn run(bytes: &[u8]) {
    let mut input = Input(bytes);
    let setup = input.next();
    let key = if setup & 1 > 0 { KEY.as_ptr() } else { null() };
    let wary = Limits { amplification: AMPLIFICATION, ..limits(setup & 2 > 0) };
    let trusting = limits(setup & 4 > 0);
    // SAFETY: here and below, what dcf.h asks for: objects are used until `free` and by one thread,
    // pointers are made from references that outlive the call.
    let (traffic, ends) = unsafe {
        if setup & 16 > 0 {
            let ends =
                [dcf_endpoint_new_domain(&trusting, key), dcf_endpoint_new_domain(&wary, key)];
            (Traffic::Domain, ends)
        } else {
            (Traffic::Cluster, [dcf_endpoint_new(&trusting, key), dcf_endpoint_new(&wary, key)])
        }
    };
    assert!(ends.iter().all(|end| !end.is_null()));
    for message_type in [message_type::MESH, message_type::SYNC] {
        // SAFETY: as above.
        let said =
            unsafe { dcf_endpoint_subscribe(ends[usize::from(setup >> 3 & 1)], message_type) };
        assert_eq!(said, if traffic == Traffic::Domain { INVALID } else { 0 });
    }
    let payload = vec![7; 200_000];
    let mut world =
        World { traffic, ends, now: 1, strangers: [(0, 0); 3], last: Vec::new(), payload };
    while !input.0.is_empty() {
        world.step(&mut input);
    }
    world.fall_silent();
    // SAFETY: as above; they are not used again.
    world.ends.into_iter().for_each(|end| unsafe { dcf_endpoint_free(end) });
}

impl World {
    fn wall(&self) -> u64 {
        EPOCH + self.now
    }

    fn step(&mut self, input: &mut Input) {
        let what = input.next();
        let end = usize::from(what >> 7);
        let handle = self.ends[end];
        let peer = address(usize::from(input.next()) % 5);
        // SAFETY: as in `run`.
        unsafe {
            match what & 0x0f {
                0 => {
                    let size = usize::from(input.next());
                    let noise = input.bytes(size);
                    self.receive(end, peer, &noise);
                }
                1 => {
                    let (message_type, sequence) = (input.next(), input.next());
                    let size = usize::from(input.next());
                    let mut datagram = Vec::new();
                    let payload = input.bytes(size);
                    let wall = self.wall();
                    frames::write(&mut datagram, message_type, sequence.into(), wall, &payload);
                    self.receive(end, peer, &datagram);
                }
                2 => self.receive_chunk(end, peer, input),
                3..=5 => {
                    let (message_type, size) = (input.next() % 40, input.of(&SIZES));
                    let payload = self.payload.as_ptr();
                    let mut sequence = 0;
                    let said = dcf_endpoint_send(
                        handle,
                        &peer,
                        message_type,
                        payload,
                        size,
                        self.now,
                        &mut sequence,
                    );
                    assert!([0, INVALID, TOO_LARGE, NO_ROOM].contains(&said), "{said}");
                    let traffic = self.traffic;
                    let known =
                        traffic.is_carried(message_type) || traffic.is_unreliable(message_type);
                    assert!(said != INVALID || !known);
                }
                6 => assert_eq!(dcf_endpoint_ping(handle, &peer, self.now), 0),
                7 => match input.next() % 5 {
                    0 => assert_eq!(dcf_endpoint_forget(handle, &peer), 0),
                    1 => assert_eq!(dcf_endpoint_release(handle, &peer), 0),
                    // Only of each other: what is held, or trusted, is nothing to be measured by.
                    2 => assert_eq!(dcf_endpoint_trust(handle, &address(1 - end)), 0),
                    3 => {
                        assert_eq!(dcf_endpoint_hold(handle, &address(1 - end), self.now), 0);
                        assert_eq!(dcf_endpoint_release(handle, &address(1 - end)), 0);
                    }
                    _ => {
                        let amplification = end as u64 * AMPLIFICATION;
                        let other = Limits { amplification, ..limits(input.next() & 1 > 0) };
                        assert_eq!(dcf_endpoint_set_limits(handle, &other), 0);
                    }
                },
                8 => {
                    let reflected = self.last.clone();
                    self.receive(end, peer, &reflected);
                }
                9 => {
                    let odd = [0, u64::MAX - self.now, 1 << 63];
                    let (wall, datagram) = (input.of(&odd), self.last.clone());
                    self.receive_at(end, peer, &datagram, 0, wall);
                }
                10..=12 => self.now += input.of(&SPANS),
                _ => {}
            }
        }
        let fate = input.next();
        for end in [0, 1] {
            self.flush(end, fate);
            self.take_events(end);
            self.check(end);
        }
    }

    fn receive(&mut self, end: usize, from: Address, datagram: &[u8]) {
        self.receive_at(end, from, datagram, self.now, self.wall());
    }

    fn receive_at(&mut self, end: usize, from: Address, datagram: &[u8], now: u64, wall: u64) {
        if let Some(at) = usize::from(from.port).checked_sub(2) {
            self.strangers[at].1 += datagram.len() as u64;
        }
        let (bytes, size) = (datagram.as_ptr(), datagram.len());
        // SAFETY: as in `run`.
        let said = unsafe { dcf_endpoint_received(self.ends[end], bytes, size, &from, now, wall) };
        assert!(said == 0 || said == 1, "{said}");
    }

    fn receive_chunk(&mut self, end: usize, from: Address, input: &mut Input) {
        let total = input.of(&[2_500, 900, 9_000, 40_000, 150_000, 0, u32::MAX]);
        let size = input.of(&[1_000, 256, 255, 0, u16::MAX]);
        let message_type = input.of(&[
            message_type::TASK,
            message_type::ERROR,
            message_type::ACK,
            domain_type::RELIABLE,
        ]);
        let index = u32::from(input.next() % 10);
        let first = u32::from(input.next() % 4) << 8;
        let left = (total as usize).saturating_sub(index as usize * usize::from(size));
        let piece = vec![1; left.min(size.into()).min(1_200)];
        let chunk = Chunk { first, total, size, message_type };
        let mut datagram = Vec::new();
        frames::write_chunk(&mut datagram, first + index, self.wall(), chunk, &piece);
        self.receive(end, from, &datagram);
    }

    /// Sends what an end has to send, as `fate` says: lost, doubled, spoiled or whole. Returns how
    /// many datagrams there were.
    fn flush(&mut self, end: usize, fate: u8) -> usize {
        // SAFETY: as in `run`; the bytes are copied before the next call.
        unsafe {
            assert_eq!(dcf_endpoint_flush(self.ends[end], self.now, self.wall()), 0);
            let (mut bytes, mut size, mut to) = (null(), 0, Address::default());
            let mut sent = 0;
            while dcf_endpoint_next_datagram(self.ends[end], &mut bytes, &mut size, &mut to) == 1 {
                assert!((17..=frames::PATH_MTU).contains(&size), "{size} bytes");
                let mut datagram = std::slice::from_raw_parts(bytes, size).to_vec();
                self.last.clone_from(&datagram);
                sent += 1;
                let to = usize::from(to.port);
                if let Some((went, _)) = to.checked_sub(2).map(|at| &mut self.strangers[at]) {
                    *went += if end == 1 { size as u64 } else { 0 };
                    continue;
                }
                match fate.rotate_left(sent as u32) {
                    0..32 => continue,
                    32..40 => datagram[usize::from(fate) % size] ^= 1,
                    40..50 => self.receive(to, address(end), &datagram),
                    _ => {}
                }
                self.receive(to, address(end), &datagram);
            }
            sent
        }
    }

    fn take_events(&mut self, end: usize) {
        let mut event = std::mem::MaybeUninit::<Event>::uninit();
        // SAFETY: as in `run`; 1 says that the event was written, and what it points at is read
        // before the next call.
        unsafe {
            loop {
                let said = dcf_endpoint_next_event(self.ends[end], event.as_mut_ptr());
                if said == 0 {
                    return;
                }
                assert_eq!(said, 1);
                let event = event.assume_init_ref();
                assert!((1..=6).contains(&event.event));
                if event.payload_size > 0 {
                    let payload = std::slice::from_raw_parts(event.payload, event.payload_size);
                    assert!(payload.len() as u64 <= MEMORY);
                }
            }
        }
    }

    fn check(&mut self, end: usize) {
        let (mut memory, mut at) = (0, 0);
        // SAFETY: as in `run`.
        unsafe {
            assert_eq!(dcf_endpoint_memory(self.ends[end], &mut memory), 0);
            assert_eq!(dcf_endpoint_next_timeout(self.ends[end], &mut at), 0);
            let counted =
                dcf_endpoint_counter(self.ends[end], 0, null_mut(), null_mut(), null_mut());
            assert_ne!(counted, FAULT);
        }
        assert!(memory <= MEMORY, "{memory} bytes");
        for (went, came) in &self.strangers {
            // Strangers acknowledge by chance, and have then shown that they receive.
            assert!(*came > 0 || *went == 0, "{went} bytes to one who sent nothing");
        }
    }

    /// Nobody says anything more: every byte is given back, and no end asks to be called in vain.
    fn fall_silent(&mut self) {
        let until = self.now + FORGETTING;
        for end in [0, 1] {
            let mut idle = 0;
            let start = self.now;
            while self.now < until {
                let mut at = 0;
                let sent = self.flush(end, 0);
                self.take_events(end);
                // SAFETY: as in `run`.
                unsafe { dcf_endpoint_next_timeout(self.ends[end], &mut at) };
                let soon = at <= self.now + 100;
                idle = if sent == 0 && soon { idle + 1 } else { 0 };
                assert!(idle < IDLE_CALLS, "end {end} asks to be called in vain");
                self.now = at.clamp(self.now + 1, until);
            }
            self.now = until;
            self.flush(end, 0);
            self.take_events(end);
            let mut memory = 1;
            // SAFETY: as in `run`.
            unsafe {
                assert_eq!(dcf_endpoint_memory(self.ends[end], &mut memory), 0);
                assert_eq!(dcf_endpoint_idle(self.ends[end]), 1);
            }
            assert_eq!(memory, 0);
            self.now = start;
        }
    }
}
