//! What holds for every input: formats are read as written, ids are translated there and back,
//! every message arrives once over any link, and nothing a stranger sends does harm.

mod hostile;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;

use dcf_shim::bridge::{Bounds, Bridge, Totals};
use dcf_shim::datagrams::Datagrams;
use dcf_shim::endpoint::{Endpoint, Event, Limits};
use dcf_shim::frames::{self, kind};
use dcf_shim::heads::Heads;
use dcf_shim::payload::{self, Answer, Delivered, Failure, Task};
use dcf_shim::sealing::{ReplayWindow, Sealer};
use hostile::Choices;
use quickcheck::{quickcheck, TestResult};
use serde_json::{json, Value};

const LIVES: u64 = 500;
const WALL: u64 = 1_800_000_000_000_000;
const LIMITS: Limits = Limits {
    max_message: 1 << 20,
    memory: 8 << 20,
    peer_memory: 4 << 20,
    max_peers: 64,
    edge: None,
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
    fn headers_are_read_as_written(kind: u8, sequence: u32, timestamp: u64, payload: Vec<u8>) -> bool {
        let mut datagram = Vec::new();
        frames::write(&mut datagram, kind, sequence, timestamp, &payload);
        let (header, body) = frames::split(&datagram).unwrap();
        (header.kind, header.sequence, header.timestamp, body) == (kind, sequence, timestamp, &payload)
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
        frames::write(&mut sealed, kind::TASK, 7, WALL, &payload);
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

    fn ids_are_translated_in_protobuf(id: u64, ours: u64, unknown: Vec<u8>) -> bool {
        // Field 1 twice, as proto3 allows, around a field that no schema of today has.
        let mut task = payload::with_id(&[], !id);
        task.extend([0xaa, 0x7d, unknown.len().min(100) as u8]);
        task.extend(&unknown[..unknown.len().min(100)]);
        task.extend(payload::with_id(&[], id));
        let read = Task::read(task).unwrap();
        let for_head = read.for_head(ours, 5, &Delivered::default());
        let again = Task::read(for_head.clone()).unwrap();
        let kept = for_head.windows(3).any(|w| w == [0xaa, 0x7d, unknown.len().min(100) as u8]);
        (read.id, again.id, again.deadline_ms, kept) == (id, ours, 5, true)
    }

    fn ids_are_translated_in_json(id: u64, ours: u64, text: String) -> bool {
        let task = json!({"id": id, "model": text, "newer": [1.5, null]}).to_string();
        let read = Task::read(task.into_bytes()).unwrap();
        let for_head: Value = serde_json::from_slice(&read.for_head(ours, 9, &Delivered::default())).unwrap();
        let expected = json!({"id": ours.to_string(), "model": text, "newer": [1.5, null], "deadline_ms": 9});
        read.id == id && for_head == expected
    }

    fn what_was_delivered_reaches_the_next_head(tokens: Vec<u32>, text: String, next: u32) -> bool {
        let delivered = Delivered { tokens, text, next };
        [b"\x12\x01m".to_vec(), b"{}".to_vec()].into_iter().all(|task| {
            let resumed = Task::read(task).unwrap().for_head(1, 0, &delivered);
            Task::read(resumed).unwrap().resume == delivered
        })
    }

    fn no_payload_makes_the_readers_fail(bytes: Vec<u8>, json: bool) -> bool {
        let bytes = if json { [b"{\"id\":".as_slice(), &bytes].concat() } else { bytes };
        let _ = Task::read(bytes.clone()).map(|mut task| {
            task.seed(|| 5);
            task.for_head(1, 1, &Delivered::default())
        });
        let _ = Answer::read(bytes.clone()).map(|answer| answer.for_client(1));
        let _ = payload::read_cancel(&bytes);
        let _ = Failure::read(bytes.clone()).map(|failure| failure.to_json(1, 1));
        true
    }

    fn every_message_arrives_once_over_any_link(seed: u64, sealed: bool) -> TestResult {
        let mut source = Source(seed);
        let sealer = || sealed.then(|| Sealer::new([3; 32]));
        let mut ends = [Endpoint::new(LIMITS, sealer()), Endpoint::new(LIMITS, sealer())];
        let (loss, mut now) = (source.next(30), 1);
        let mut sent: HashMap<Vec<u8>, u32> = HashMap::new();
        for number in 0..30u64 {
            let size = if number % 10 == 0 { source.next(60_000) } else { source.next(300) };
            let mut message = number.to_be_bytes().to_vec();
            message.extend(source.bytes(size));
            sent.insert(message.clone(), 0);
            ends[(number % 2) as usize].send(address(1 - (number % 2) as u16), kind::TASK, Rc::new(message), now);
        }
        let mut link: Vec<(u64, usize, Vec<u8>)> = Vec::new();
        while now < 60_000_000 && sent.values().any(|times| *times == 0) {
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
                        other => panic!("{other:?} at {now} with {loss} % loss, seed {seed}"),
                    }
                }
            }
        }
        TestResult::from_bool(sent.values().all(|times| *times == 1))
    }
}

struct Drawn {
    source: Source,
    steps: u64,
}

impl Choices for Drawn {
    fn more(&mut self) -> bool {
        self.steps = self.steps.saturating_sub(1);
        self.steps > 0
    }

    fn next(&mut self, below: u32) -> u32 {
        self.source.next(below.into()) as u32
    }
}

/// Many lives of a whole bridge among clients and heads that do anything; `hostile` says
/// what has to hold in each. A failing one is repeated by its seed alone.
#[test]
fn nobody_does_harm() {
    let mut totals = Totals::default();
    let mut counters: HashMap<&str, u64> = HashMap::new();
    for seed in 0..LIVES {
        let drawn = || Drawn { source: Source(seed), steps: 300 };
        let life = std::panic::catch_unwind(|| hostile::run(&mut drawn()));
        let bridge = life.unwrap_or_else(|_| panic!("seed {seed}"));
        totals.accepted += bridge.totals.accepted;
        totals.answered += bridge.totals.answered;
        totals.cancelled += bridge.totals.cancelled;
        totals.moved += bridge.totals.moved;
        for (name, count) in bridge.totals.refused {
            *totals.refused.entry(name).or_default() += count;
        }
        for (name, _, count) in bridge.clients.counters.each() {
            *counters.entry(name).or_default() += count;
        }
    }
    // The lives must have got behind the first checks.
    let Totals { accepted, answered, cancelled, moved, refused, .. } = totals;
    assert!(
        accepted > 500 && answered > 500 && cancelled > 15 && moved > 15,
        "{accepted} {answered} {cancelled} {moved}"
    );
    let codes =
        ["BAD_REQUEST", "DEADLINE_EXCEEDED", "HEAD_UNREACHABLE", "QUEUE_FULL", "SHUTTING_DOWN"];
    assert_eq!(refused.into_keys().collect::<Vec<_>>(), codes);
    for name in [
        "retransmissions",
        "held_unvalidated",
        "expired_reassemblies",
        "dropped_forged",
        "dropped_peer_limit",
        "dropped_over_memory",
        "dropped_oversized",
        "dropped_network",
    ] {
        assert!(counters[name] > 10, "{name}: {}", counters[name]);
    }
}

fn with_sequence(kind: u8, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    frames::write(&mut datagram, kind, sequence, WALL, payload);
    datagram
}

/// Sends what is due and returns its size; `sequence` becomes that of the last message of `kind`.
fn flush(endpoint: &mut Endpoint, now: u64, kind: u8, sequence: &mut u32) -> usize {
    let mut out = Datagrams::default();
    endpoint.flush(now, WALL + now, &mut out);
    for (range, _) in &out.items {
        let (header, _) = frames::split(&out.bytes[range.clone()]).unwrap();
        if header.kind == kind {
            *sequence = header.sequence;
        }
    }
    out.bytes.len()
}

/// Nobody proves an address with an acknowledgement of whatever there may be.
#[test]
fn a_guess_at_all_numbers_proves_no_address() {
    let mut endpoint = Endpoint::new(Limits { edge: Some(1e6), ..LIMITS }, None);
    let task = with_sequence(kind::TASK, 5, &[b' '; 100]);
    let (mut received, mut sent, mut sequence) = (0, 0, 0);
    for (first, last) in [(7u32, 7u32), (0, u32::MAX), (1, 0)] {
        let ranges = [first.to_be_bytes(), last.to_be_bytes()].concat();
        for mut datagram in [task.clone(), with_sequence(kind::SACK, 0, &ranges)] {
            received += datagram.len();
            endpoint.received(&mut datagram, address(9), 1, WALL);
            sent += flush(&mut endpoint, 1, kind::RESULT, &mut sequence);
        }
        endpoint.send(address(9), kind::RESULT, Rc::new(vec![0; 1000]), 1);
        sent += flush(&mut endpoint, 1, kind::RESULT, &mut sequence);
        assert!(sent <= 3 * received, "{sent} bytes for {received}");
    }
}

/// What a client sent is acted on before others may push it out.
#[test]
fn a_client_is_kept_until_its_task_is_acted_on() {
    let limits = Limits { edge: Some(1e6), max_peers: 1, ..LIMITS };
    let mut endpoint = Endpoint::new(limits, None);
    let task = || with_sequence(kind::TASK, 5, b"");
    assert!(endpoint.received(&mut task(), address(1), 1, WALL));
    assert!(!endpoint.received(&mut task(), address(2), 1, WALL));
    let mut events = Vec::new();
    endpoint.take_events(&mut events);
    assert!(matches!(events[..], [Event::Message { .. }]));
    assert!(endpoint.received(&mut task(), address(2), 1, WALL));
}

/// A client that asks for too much and acknowledges nothing is not owed without end.
#[test]
fn refusals_do_not_pile_up() {
    const CLIENT_BYTES: usize = 16 << 10;
    let bounds = Bounds {
        networks: Vec::new(),
        tasks_per_second: 1.0,
        task_burst: 1.0,
        client_tasks: 3,
        max_tasks: 40,
        client_bytes: CLIENT_BYTES,
        max_bytes: 1 << 20,
        task_deadline: 60_000_000,
    };
    let edge = Limits { edge: Some(1e6), ..LIMITS };
    let heads = Heads::new(&[address(7717)], 4_000_000, true);
    let mut bridge =
        Bridge::new(Endpoint::new(edge, None), Endpoint::new(LIMITS, None), heads, bounds, 1);
    for sequence in 0..1_000 {
        for mut datagram in
            [with_sequence(kind::TASK, sequence, b"{}"), with_sequence(kind::SACK, 0, b"")]
        {
            bridge.from_client(&mut datagram, address(9), 1, WALL);
        }
        bridge.act(1);
        assert!(bridge.clients.unacknowledged(address(9)) <= CLIENT_BYTES);
    }
    assert!(bridge.clients.unacknowledged(address(9)) > CLIENT_BYTES / 2);
}

/// Silence is answered with a few probes and not with all that is under way, at a time for which
/// the bridge is not called in vain.
#[test]
fn a_silent_peer_is_probed_now_and_then() {
    let mut endpoint = Endpoint::new(LIMITS, None);
    let (peer, mut sequence, mut now, mut idle) = (address(9), 0, 1, 0);
    for _ in 0..100 {
        endpoint.send(peer, kind::TASK, Rc::new(vec![0; 100]), now);
    }
    while endpoint.counters.unreachable == 0 {
        idle = if flush(&mut endpoint, now, kind::TASK, &mut sequence) > 0 { 0 } else { idle + 1 };
        assert!(idle < 3, "called {idle} times for nothing at {now}");
        now = endpoint.next_timeout().max(now + 1);
    }
    let probes = endpoint.counters.retransmissions;
    assert!((4..=16).contains(&probes), "{probes} in {now} us");
}

/// A client that has proved its address stays known however many others come.
#[test]
fn strangers_do_not_push_out_clients() {
    let mut endpoint = Endpoint::new(Limits { edge: Some(1e6), ..LIMITS }, None);
    let client = address(9);
    let task = with_sequence(kind::TASK, 5, b"");
    endpoint.received(&mut task.clone(), client, 1, WALL);
    let mut out = Datagrams::default();
    endpoint.flush(1, WALL, &mut out);
    let greeting =
        |range: &std::ops::Range<usize>| frames::split(&out.bytes[range.clone()]).unwrap().0;
    let ping = out.items.iter().map(|(range, _)| greeting(range)).find(|h| h.kind == kind::PING);
    let mut pong = with_sequence(kind::PONG, ping.unwrap().sequence, b"");
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
