//! What holds for every input: formats are read as written, ids are translated there and back,
//! every message arrives once over any link, and nothing a stranger sends does harm.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;

use dcf_shim::bridge::{Bounds, Bridge};
use dcf_shim::datagrams::Datagrams;
use dcf_shim::endpoint::{Endpoint, Event, Limits};
use dcf_shim::frames::{self, kind};
use dcf_shim::heads::Heads;
use dcf_shim::payload::{self, Answer, Delivered, Task};
use dcf_shim::sealing::{ReplayWindow, Sealer};
use quickcheck::{quickcheck, TestResult};
use serde_json::{json, Value};

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
        let _ = Task::read(bytes.clone()).map(|task| task.for_head(1, 1, &Delivered::default()));
        let _ = Answer::read(bytes.clone()).map(|answer| answer.for_client(1));
        let _ = payload::read_id(&bytes);
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

fn bridge() -> Bridge {
    let bounds = Bounds {
        networks: Vec::new(),
        tasks_per_second: 1e6,
        task_burst: 1e6,
        client_tasks: 3,
        max_tasks: 40,
        client_bytes: 1 << 20,
        max_bytes: 8 << 20,
        task_deadline: 60_000_000,
    };
    let edge = Limits { edge: Some(1e6), ..LIMITS };
    let heads = Heads::new(&[address(7717), address(7718)], 4_000_000);
    Bridge::new(Endpoint::new(edge, None), Endpoint::new(LIMITS, None), heads, bounds, 1)
}

/// Random and mutated datagrams from many addresses on both sides, over two minutes of its time:
/// nothing may panic, no bound may be passed, no stranger may be sent more than three times what
/// it sent.
#[test]
fn no_datagram_does_harm() {
    let mut source = Source(2026);
    let mut bridge = bridge();
    let (mut now, mut received) = (1, HashMap::<SocketAddr, [usize; 2]>::new());
    let mut corpus: Vec<Vec<u8>> = vec![Vec::new()];
    for (kind, payload) in [
        (kind::TASK, b"\x12\x04tiny\x42\x06\x12\x04once".as_slice()),
        (kind::TASK, b"{\"model\":\"tiny\",\"text\":{\"prompt\":\"once\"}}"),
        (kind::RESULT, b"\x08\x02\x18\x01\x42\x02hi"),
        (kind::RESULT, b"{\"id\":\"2\",\"final\":true}"),
        (kind::ERROR, b"\x08\x02\x10\x0b"),
        (kind::CANCEL, b"\x08\x01"),
        (kind::HEARTBEAT, b"\x0a\x02w1"),
        (kind::SACK, &[0, 0, 0, 1, 0, 0, 1, 0]),
        (kind::CHUNK, &[[0, 0, 0, 9, 0, 0, 3, 0, 1, 0, 2].as_slice(), &[7; 256]].concat()),
        (kind::PING, b""),
        (kind::PONG, b""),
        (kind::ACK, b""),
    ] {
        let mut datagram = Vec::new();
        frames::write(&mut datagram, kind, 1, WALL, payload);
        let mut batch = Vec::new();
        frames::write(&mut batch, kind::BATCH, 0, WALL, &datagram.repeat(3));
        corpus.extend([datagram, batch]);
    }
    for round in 0..60_000u64 {
        now += source.next(4_000);
        let mut datagram = match source.next(10) {
            0 => {
                let size = source.next(80);
                source.bytes(size)
            }
            _ => corpus[source.next(corpus.len() as u64) as usize].clone(),
        };
        let answers = source.next(4) == 0;
        if answers {
            // A part of an answer, or an error, for a task that the shim may have in flight.
            let mut part = payload::with_id(&[], 2 + source.next(1 + bridge.totals.accepted));
            part.extend([0x10, source.next(3) as u8, 0x18, source.next(2) as u8]);
            let kind = if source.next(4) == 0 { kind::ERROR } else { kind::RESULT };
            datagram.clear();
            frames::write(&mut datagram, kind, 1, WALL, &part);
        }
        if datagram.len() > 5 && (answers || source.next(2) == 0) {
            datagram[3..5].copy_from_slice(&(source.next(65_536) as u16).to_be_bytes());
        }
        for _ in 0..source.next(4) {
            if !datagram.is_empty() {
                let at = source.next(datagram.len() as u64) as usize;
                // Small values are the interesting ones: ids, sequences, lengths.
                let below = if source.next(2) == 0 { 256 } else { 8 };
                datagram[at] = source.next(below) as u8;
            }
        }
        if source.next(20) == 0 {
            datagram.truncate(source.next(1 + datagram.len() as u64) as usize);
        }
        let client = address(1000 + source.next(200) as u16);
        if !answers && source.next(8) > 0 {
            received.entry(client).or_default()[0] += datagram.len();
            bridge.from_client(&mut datagram, client, now, WALL + now);
        } else {
            bridge.from_mesh(&mut datagram, address(7717 + source.next(2) as u16), now, WALL + now);
        }
        bridge.act(now);
        if round % 64 == 0 {
            bridge.tick(now);
        }
        let mut out = Datagrams::default();
        bridge.clients.flush(now, WALL + now, &mut out);
        for (range, to) in &out.items {
            let [from_it, to_it] = received.entry(*to).or_default();
            *to_it += range.len();
            // Nobody here can have guessed 32 bits of a sequence number.
            assert!(*to_it <= 3 * *from_it, "{to_it} bytes for {from_it}");
        }
        bridge.mesh.flush(now, WALL + now, &mut Datagrams::default());
        assert!(bridge.memory() <= 3 * LIMITS.memory && bridge.tasks_in_flight() <= 40);
        assert!(bridge.clients.peer_count() <= LIMITS.max_peers);
    }
    // The test must have got behind the first checks.
    let dcf_shim::bridge::Totals { accepted, answered, cancelled, refused, .. } = &bridge.totals;
    assert!(
        *accepted > 100 && *answered > 50 && *cancelled > 10,
        "{accepted} {answered} {cancelled}"
    );
    assert!(refused.len() >= 3, "{refused:?}");
}

fn with_sequence(kind: u8, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    frames::write(&mut datagram, kind, sequence, WALL, payload);
    datagram
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
    for port in 1000..20_000 {
        endpoint.received(&mut task.clone(), address(port), u64::from(port), WALL);
        endpoint.flush(u64::from(port), WALL, &mut Datagrams::default());
        assert!(endpoint.peer_count() <= LIMITS.max_peers);
    }
    let mut events = Vec::new();
    endpoint.take_events(&mut events);
    assert_eq!(endpoint.counters.dropped_peer_limit, 0);
    assert!(endpoint.received(&mut task.clone(), client, 30_000, WALL));
    let mut later = Vec::new();
    endpoint.take_events(&mut later);
    events.append(&mut later);
    let again = |event: &Event| matches!(event, Event::Message { peer, .. } if *peer == client);
    assert_eq!(events.iter().filter(|event| again(event)).count(), 1, "known as a repetition");
}
