//! BUSY: what a peer without memory says, and what becomes of the message then.

use std::net::SocketAddr;
use std::rc::Rc;

use dcf::bounds::{BUSY_PAUSE, GIVE_UP};
use dcf::datagrams::Datagrams;
use dcf::endpoint::Endpoint;
use dcf::events::Event;
use dcf::frames::{self, message_type};
use dcf::limits::Limits;

const WALL: u64 = 1_800_000_000_000_000;
const LIMITS: Limits = Limits {
    max_message: 1 << 20,
    memory: 8 << 20,
    peer_memory: 4 << 20,
    max_peers: 4,
    datagram_rate: f64::INFINITY,
    unproven: None,
};

fn peer() -> SocketAddr {
    ([192, 0, 2, 1], 5000).into()
}

/// What goes out at `now`, opened up: (message_type, sequence, payload) of each message.
fn sent(endpoint: &mut Endpoint, now: u64) -> Vec<(u8, u32, Vec<u8>)> {
    let mut out = Datagrams::default();
    endpoint.flush(now, WALL, &mut out);
    let messages = out.items.iter().flat_map(|(range, _)| {
        let (header, payload) = frames::split(&out.bytes[range.clone()]).unwrap();
        match header.message_type {
            message_type::BATCH => frames::split_batch(payload).unwrap(),
            _ => vec![(header, payload)],
        }
    });
    messages
        .map(|(header, payload)| (header.message_type, header.sequence, payload.to_vec()))
        .collect()
}

fn chunks(endpoint: &mut Endpoint, now: u64) -> Vec<u32> {
    let chunks = sent(endpoint, now)
        .into_iter()
        .filter(|(message_type, ..)| *message_type == message_type::CHUNK);
    chunks.map(|(_, sequence, _)| sequence).collect()
}

fn receive(endpoint: &mut Endpoint, message_type: u8, sequence: u32, payload: &[u8], now: u64) {
    let mut datagram = Vec::new();
    frames::write(&mut datagram, message_type, sequence, WALL, payload);
    endpoint.received(&mut datagram, peer(), now, WALL);
}

fn sending(size: usize) -> (Endpoint, Vec<u32>) {
    let mut endpoint = Endpoint::new(LIMITS, None);
    endpoint.send(peer(), message_type::RESULT, Rc::new(vec![7; size]), 1);
    let begun = chunks(&mut endpoint, 1);
    (endpoint, begun)
}

#[test]
fn a_message_for_which_the_peer_is_busy_begins_again_after_a_pause() {
    let (mut endpoint, begun) = sending(60_000);
    assert!(begun.len() > 5);
    let mut now = 1000;
    for _ in 0..3 {
        receive(&mut endpoint, message_type::BUSY, begun[0], &[], now);
        assert!(chunks(&mut endpoint, now).is_empty(), "it is withdrawn");
        assert_eq!(endpoint.next_timeout(), now + BUSY_PAUSE);
        // The peer answers every CHUNK that was under way.
        receive(&mut endpoint, message_type::BUSY, begun[0], &[], now + 1);
        assert!(chunks(&mut endpoint, now + BUSY_PAUSE - 1).is_empty());
        now += BUSY_PAUSE;
        assert_eq!(chunks(&mut endpoint, now)[..5], begun[..5], "under the same numbers");
        now += 1000;
    }
    assert!(!endpoint.idle() && endpoint.memory() == 60_000);
    // Acknowledged as they come, all of its CHUNKs arrive.
    let mut arrived = begun.clone();
    while !endpoint.idle() {
        for sequence in std::mem::take(&mut arrived) {
            receive(&mut endpoint, message_type::ACK, sequence, &[], now);
        }
        now += 1000;
        arrived = chunks(&mut endpoint, now);
        assert!(now < 10_000_000);
    }
    assert_eq!((endpoint.memory(), endpoint.counters.unreachable), (0, 0));
}

#[test]
fn a_message_that_has_begun_to_arrive_is_not_withdrawn() {
    let (mut endpoint, begun) = sending(60_000);
    receive(&mut endpoint, message_type::ACK, begun[1], &[], 1000);
    let going_on = chunks(&mut endpoint, 2000);
    receive(&mut endpoint, message_type::BUSY, begun[0], &[], 2000);
    receive(&mut endpoint, message_type::ACK, begun[2], &[], 3000);
    let next = chunks(&mut endpoint, 200_000);
    assert!(!next.is_empty() && next.iter().all(|sequence| !going_on.contains(sequence)));
}

#[test]
fn small_messages_pass_one_for_which_the_peer_is_busy() {
    let (mut endpoint, begun) = sending(60_000);
    receive(&mut endpoint, message_type::BUSY, begun[0], &[], 1000);
    endpoint.send(peer(), message_type::RESULT, Rc::new(vec![1]), 1000);
    let message_types: Vec<u8> =
        sent(&mut endpoint, 1000).into_iter().map(|(message_type, ..)| message_type).collect();
    assert_eq!(message_types, [message_type::RESULT]);
}

#[test]
fn a_peer_that_falls_silent_after_a_busy_is_given_up() {
    let (mut endpoint, begun) = sending(60_000);
    receive(&mut endpoint, message_type::BUSY, begun[0], &[], 1000);
    let mut now = 1000;
    while endpoint.memory() > 0 {
        now = endpoint.next_timeout().max(now + 1);
        endpoint.flush(now, WALL, &mut Datagrams::default());
        assert!(now < 3 * GIVE_UP);
    }
    let mut events = Vec::new();
    endpoint.take_events(&mut events);
    assert_eq!(
        events,
        [Event::Unreachable { peer: peer(), proven: true, sequences: vec![begun[0]] }]
    );
}

#[test]
fn a_message_is_taken_when_there_is_memory_again() {
    let limits = Limits { memory: 50_000, peer_memory: 50_000, max_message: 50_000, ..LIMITS };
    let mut ends = [Endpoint::new(LIMITS, None), Endpoint::new(limits, None)];
    let piece = |first: u32, index: u32| {
        let chunk =
            frames::Chunk { first, total: 1_500, size: 1000, message_type: message_type::TASK };
        let mut datagram = Vec::new();
        let piece = vec![0; if index == 0 { 1000 } else { 500 }];
        frames::write_chunk(&mut datagram, first + index, WALL, chunk, &piece);
        datagram
    };
    let other = ([192, 0, 2, 2], 5000).into();
    assert!(ends[1].received(&mut piece(1, 0), other, 1, WALL));
    ends[0].send(peer(), message_type::TASK, Rc::new(vec![5; 49_000]), 1);
    let (mut now, mut freed, mut whole) = (1, false, 0);
    while whole == 0 && now < 5_000_000 {
        for from in [0, 1] {
            let mut out = Datagrams::default();
            ends[from].flush(now, WALL, &mut out);
            for (range, to) in &out.items {
                if *to == peer() {
                    let mut datagram = out.bytes[range.clone()].to_vec();
                    ends[1 - from].received(&mut datagram, peer(), now, WALL);
                }
            }
        }
        if now > 1_000_000 && !freed {
            freed = ends[1].received(&mut piece(1, 1), other, now, WALL);
        }
        let mut events = Vec::new();
        ends[1].take_events(&mut events);
        whole = events
            .iter()
            .filter(
                |event| matches!(event, Event::Message { payload, .. } if payload.len() == 49_000),
            )
            .count();
        now += 1000;
    }
    assert!(freed && whole == 1);
    assert!(ends[1].counters.dropped_over_memory >= 3, "it has tried some times");
    assert!(ends[1].counters.dropped_over_memory <= 200, "and has not sent all of it each time");
}
