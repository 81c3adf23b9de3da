//! What holds for every input: formats are read as written, every message arrives once over any link,
//! and an endpoint keeps what it owes to peers and to strangers.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;

use dcf::datagrams::Datagrams;
use dcf::endpoint::Endpoint;
use dcf::events::Event;
use dcf::frames::{self, message_type};
use dcf::limits::{Limits, Unproven};
use dcf::sealing::{ReplayWindow, Sealer};
use quickcheck::{quickcheck, TestResult};

const WALL: u64 = 1_800_000_000_000_000;
const LIMITS: Limits = Limits {
    max_message: 1 << 20,
    memory: 8 << 20,
    peer_memory: 4 << 20,
    max_peers: 64,
    datagram_rate: f64::INFINITY,
    unproven: None,
};
/// As the shim is towards its clients.
const WARY: Limits = Limits {
    datagram_rate: 1e6,
    unproven: Some(Unproven { amplification: 3, peer_memory: 64 << 10, memory: 2 << 20 }),
    ..LIMITS
};

fn address(port: u16) -> SocketAddr {
    ([192, 0, 2, 1], port).into()
}

/// A small generator of our own, so that a failing case is repeated by its seed.
struct Source(u64);

impl Source {
    fn next(&mut self, below: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    fn bytes(&mut self, count: u64) -> Vec<u8> {
        (0..count).map(|_| self.next(256) as u8).collect()
    }
}

quickcheck! {
    fn headers_are_read_as_written(message_type: u8, sequence: u32, timestamp: u64, payload: Vec<u8>) -> bool {
        let mut datagram = Vec::new();
        frames::write(&mut datagram, message_type, sequence, timestamp, &payload);
        let (header, body) = frames::split(&datagram).unwrap();
        (header.message_type, header.sequence, header.timestamp, body) == (message_type, sequence, timestamp, &payload)
    }

    fn ranges_cover_their_sequences_and_no_more(sequences: Vec<u32>) -> bool {
        let ranges = frames::ranges_of(&mut sequences.clone());
        let covered: u64 = ranges.iter().map(|(start, end)| u64::from(end - start) + 1).sum();
        let distinct: std::collections::HashSet<_> = sequences.iter().collect();
        covered == distinct.len() as u64
            && sequences.iter().all(|s| ranges.iter().any(|(start, end)| start <= s && s <= end))
    }

    fn sealing_is_undone_by_the_key_and_by_no_other(payload: Vec<u8>, other: u8) -> bool {
        let mut sealed = vec![0; 5];
        frames::write(&mut sealed, message_type::TASK, 7, WALL, &payload);
        Sealer::new([1; 32]).seal(&mut sealed, 5);
        let (header, _) = frames::split(&sealed[5..]).unwrap();
        let open = |key: u8| {
            let mut datagram = sealed[5..].to_vec();
            let opened = Sealer::new([key; 32])
                .open(header, &mut datagram, WALL, &mut Default::default())
                .map(<[u8]>::to_vec);
            opened
        };
        open(1) == Some(payload) && (other == 1 || open(other).is_none())
    }

    fn counters_are_accepted_once(counters: Vec<u16>) -> bool {
        let (mut window, mut seen) = (ReplayWindow::default(), std::collections::HashSet::new());
        counters.iter().all(|&counter| {
            let behind = seen.iter().max().is_some_and(|most| most - counter as i64 >= 16_384);
            window.accept(counter.into()) == (!behind && seen.insert(counter.into()))
        })
    }

    fn every_message_arrives_once_and_its_sender_hears_so_once_over_any_link(seed: u64, sealed: bool) -> TestResult {
        let mut source = Source(seed);
        let sealer = || sealed.then(|| Sealer::new([3; 32]));
        let mut ends = [Endpoint::new(LIMITS, sealer()), Endpoint::new(LIMITS, sealer())];
        let (loss, mut now) = (source.next(30), 1);
        let mut sent: HashMap<Vec<u8>, u32> = HashMap::new();
        let mut delivered: HashMap<(SocketAddr, u32), u32> = HashMap::new();
        for number in 0..30u64 {
            let size = if number % 10 == 0 { source.next(60_000) } else { source.next(300) };
            let mut message = number.to_be_bytes().to_vec();
            message.extend(source.bytes(size));
            sent.insert(message.clone(), 0);
            let from = (number % 2) as usize;
            let to = address(1 - from as u16);
            let sequence = ends[from].send(to, message_type::TASK, Rc::new(message), now);
            delivered.insert((to, sequence), 0);
        }
        let mut link: Vec<(u64, usize, Vec<u8>)> = Vec::new();
        while now < 60_000_000 && sent.values().chain(delivered.values()).any(|times| *times == 0) {
            for (index, end) in ends.iter_mut().enumerate() {
                let mut out = Datagrams::default();
                end.flush(now, WALL + now, &mut out);
                for (range, _) in &out.items {
                    assert!(range.len() <= frames::PATH_MTU);
                    for _ in 0..1 + u64::from(source.next(20) == 0) {
                        if source.next(100) >= loss {
                            let at = now + 5_000 + source.next(10_000);
                            link.push((at, 1 - index, out.bytes[range.clone()].into()));
                        }
                    }
                }
            }
            now += 1_000;
            let (due, later) = link.into_iter().partition(|(at, ..)| *at <= now);
            link = later;
            for (_, to, mut datagram) in due {
                ends[to].received(&mut datagram, address(1 - to as u16), now, WALL + now);
            }
            for end in &mut ends {
                let mut events = Vec::new();
                end.take_events(&mut events);
                for event in events {
                    match event {
                        Event::Message { payload, .. } => *sent.get_mut(&payload).unwrap() += 1,
                        Event::Delivered { peer, sequence, .. } => {
                            *delivered.get_mut(&(peer, sequence)).unwrap() += 1;
                        }
                        // The last acknowledgement may be lost as often as it is asked for.
                        Event::Unreachable { peer, .. } if sent.values().all(|times| *times == 1) => {
                            delivered.retain(|(to, _), times| *to != peer || *times > 0);
                        }
                        other => panic!("{other:?} at {now} with {loss} % loss, seed {seed}"),
                    }
                }
            }
        }
        TestResult::from_bool(sent.values().chain(delivered.values()).all(|times| *times == 1))
    }
}

fn with_sequence(message_type: u8, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    frames::write(&mut datagram, message_type, sequence, WALL, payload);
    datagram
}

/// Sends what is due and returns its size; `sequence` becomes that of the last message of `message_type`.
fn flush(endpoint: &mut Endpoint, now: u64, message_type: u8, sequence: &mut u32) -> usize {
    let mut out = Datagrams::default();
    endpoint.flush(now, WALL + now, &mut out);
    for (range, _) in &out.items {
        let (header, _) = frames::split(&out.bytes[range.clone()]).unwrap();
        if header.message_type == message_type {
            *sequence = header.sequence;
        }
    }
    out.bytes.len()
}

/// Nobody proves an address with an acknowledgement of whatever there may be.
#[test]
fn a_guess_at_all_numbers_proves_no_address() {
    let mut endpoint = Endpoint::new(WARY, None);
    let task = with_sequence(message_type::TASK, 5, &[b' '; 100]);
    let (mut received, mut sent, mut sequence) = (0, 0, 0);
    for (first, last) in [(7u32, 7u32), (0, u32::MAX), (1, 0)] {
        let ranges = [first.to_be_bytes(), last.to_be_bytes()].concat();
        for mut datagram in [task.clone(), with_sequence(message_type::SACK, 0, &ranges)] {
            received += datagram.len();
            endpoint.received(&mut datagram, address(9), 1, WALL);
            sent += flush(&mut endpoint, 1, message_type::RESULT, &mut sequence);
        }
        endpoint.send(address(9), message_type::RESULT, Rc::new(vec![0; 1000]), 1);
        sent += flush(&mut endpoint, 1, message_type::RESULT, &mut sequence);
        assert!(sent <= 3 * received, "{sent} bytes for {received}");
    }
}

/// What a client sent is acted on before others may push it out.
#[test]
fn a_client_is_kept_until_its_task_is_acted_on() {
    let limits = Limits { max_peers: 1, ..WARY };
    let mut endpoint = Endpoint::new(limits, None);
    let task = || with_sequence(message_type::TASK, 5, b"");
    assert!(endpoint.received(&mut task(), address(1), 1, WALL));
    assert!(!endpoint.received(&mut task(), address(2), 1, WALL));
    let mut events = Vec::new();
    endpoint.take_events(&mut events);
    assert!(matches!(events[..], [Event::Message { .. }]));
    assert!(endpoint.received(&mut task(), address(2), 1, WALL));
}

/// Silence is answered with a few probes and not with all that is under way, at a time for which
/// the bridge is not called in vain.
#[test]
fn a_silent_peer_is_probed_now_and_then() {
    let mut endpoint = Endpoint::new(LIMITS, None);
    let (peer, mut sequence, mut now, mut idle) = (address(9), 0, 1, 0);
    for _ in 0..100 {
        endpoint.send(peer, message_type::TASK, Rc::new(vec![0; 100]), now);
    }
    while endpoint.counters.unreachable == 0 {
        idle = if flush(&mut endpoint, now, message_type::TASK, &mut sequence) > 0 {
            0
        } else {
            idle + 1
        };
        assert!(idle < 3, "called {idle} times for nothing at {now}");
        now = endpoint.next_timeout().max(now + 1);
    }
    let probes = endpoint.counters.retransmissions;
    assert!((4..=16).contains(&probes), "{probes} in {now} us");
}

/// A client that has proved its address stays known however many others come.
#[test]
fn strangers_do_not_push_out_clients() {
    let mut endpoint = Endpoint::new(WARY, None);
    let client = address(9);
    let task = with_sequence(message_type::TASK, 5, b"");
    endpoint.received(&mut task.clone(), client, 1, WALL);
    let mut out = Datagrams::default();
    endpoint.flush(1, WALL, &mut out);
    let greeting =
        |range: &std::ops::Range<usize>| frames::split(&out.bytes[range.clone()]).unwrap().0;
    let ping = out
        .items
        .iter()
        .map(|(range, _)| greeting(range))
        .find(|h| h.message_type == message_type::PING);
    let mut pong = with_sequence(message_type::PONG, ping.unwrap().sequence, b"");
    endpoint.received(&mut pong, client, 2, WALL);
    let mut messages = 0;
    let mut count = |endpoint: &mut Endpoint| {
        let mut events = Vec::new();
        endpoint.take_events(&mut events);
        let of_client =
            |event: &&Event| matches!(event, Event::Message { peer, .. } if *peer == client);
        messages += events.iter().filter(of_client).count();
    };
    for port in 1000..20_000 {
        endpoint.received(&mut task.clone(), address(port), u64::from(port), WALL);
        count(&mut endpoint);
        endpoint.flush(u64::from(port), WALL, &mut Datagrams::default());
        assert!(endpoint.peer_count() <= LIMITS.max_peers);
    }
    assert_eq!(endpoint.counters.dropped_peer_limit, 0);
    assert!(endpoint.received(&mut task.clone(), client, 30_000, WALL));
    count(&mut endpoint);
    assert_eq!(messages, 1, "the second is known as a repetition");
}
