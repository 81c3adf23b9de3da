//! What holds for every input: ids are translated there and back, no payload makes a reader fail, and
//! nothing that clients or heads send does harm.

mod hostile;

use std::collections::HashMap;
use std::net::SocketAddr;

use dcf::endpoint::Endpoint;
use dcf::frames::{self, message_type};
use dcf::limits::{Limits, Unproven};
use dcf_shim::bridge::{Bounds, Bridge, Totals};
use dcf_shim::heads::Heads;
use dcf_shim::payload::{self, Failure, Output, ResultPart, Task};
use hostile::Choices;
use quickcheck::quickcheck;
use serde_json::{json, Value};

const LIVES: u64 = 500;
const WALL: u64 = 1_800_000_000_000_000;
const LIMITS: Limits = Limits {
    max_message: 1 << 20,
    memory: 8 << 20,
    peer_memory: 4 << 20,
    max_peers: 64,
    datagram_rate: f64::INFINITY,
    unproven: None,
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
}

quickcheck! {
    fn ids_are_translated_in_protobuf(id: u64, ours: u64, unknown: Vec<u8>) -> bool {
        // Field 1 twice, as proto3 allows, around a field that no schema of today has.
        let mut task = payload::with_id(&[], !id);
        task.extend([0xaa, 0x7d, unknown.len().min(100) as u8]);
        task.extend(&unknown[..unknown.len().min(100)]);
        task.extend(payload::with_id(&[], id));
        let read = Task::read(task).unwrap();
        let for_head = read.for_head(ours, 5, &Output::default());
        let again = Task::read(for_head.clone()).unwrap();
        let kept = for_head.windows(3).any(|w| w == [0xaa, 0x7d, unknown.len().min(100) as u8]);
        (read.id, again.id, again.deadline_ms, kept) == (id, ours, 5, true)
    }

    fn ids_are_translated_in_json(id: u64, ours: u64, text: String) -> bool {
        let task = json!({"id": id, "model": text, "newer": [1.5, null]}).to_string();
        let read = Task::read(task.into_bytes()).unwrap();
        let for_head: Value = serde_json::from_slice(&read.for_head(ours, 9, &Output::default())).unwrap();
        let expected = json!({"id": ours.to_string(), "model": text, "newer": [1.5, null], "deadline_ms": 9});
        read.id == id && for_head == expected
    }

    fn what_was_delivered_reaches_the_next_head(tokens: Vec<u32>, text: String, index: u32) -> bool {
        let delivered = Output { tokens, text, index, ..Output::default() };
        [b"\x12\x01m".to_vec(), b"{}".to_vec()].into_iter().all(|task| {
            let resumed = Task::read(task).unwrap().for_head(1, 0, &delivered);
            Task::read(resumed).unwrap().resume == delivered
        })
    }

    fn no_payload_makes_the_readers_fail(bytes: Vec<u8>, json: bool) -> bool {
        let bytes = if json { [b"{\"id\":".as_slice(), &bytes].concat() } else { bytes };
        let _ = Task::read(bytes.clone()).map(|mut task| {
            task.seed(|| 5);
            task.for_head(1, 1, &Output::default())
        });
        let _ = ResultPart::read(bytes.clone()).map(|answer| answer.for_client(1));
        let _ = payload::read_cancel(&bytes);
        let _ = Failure::read(bytes.clone()).map(|failure| failure.to_json(1, 1));
        true
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

fn with_sequence(message_type: u8, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    frames::write(&mut datagram, message_type, sequence, WALL, payload);
    datagram
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
    let edge = Limits {
        datagram_rate: 1e6,
        unproven: Some(Unproven { amplification: 3, peer_memory: 64 << 10, memory: 2 << 20 }),
        ..LIMITS
    };
    let heads = Heads::new(&[address(7717)], 4_000_000, true);
    let mut bridge =
        Bridge::new(Endpoint::new(edge, None), Endpoint::new(LIMITS, None), heads, bounds, 1);
    for sequence in 0..1_000 {
        for mut datagram in [
            with_sequence(message_type::TASK, sequence, b"{}"),
            with_sequence(message_type::SACK, 0, b""),
        ] {
            bridge.from_client(&mut datagram, address(9), 1, WALL);
        }
        bridge.act(1);
        assert!(bridge.clients.unacknowledged(address(9)) <= CLIENT_BYTES);
    }
    assert!(bridge.clients.unacknowledged(address(9)) > CLIENT_BYTES / 2);
}
