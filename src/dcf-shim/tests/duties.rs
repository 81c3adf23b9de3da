//! What the bridge owes clients and heads, one duty a test: a client, a head, and what passes.

use std::net::SocketAddr;

use dcf::clock::RunningClock;
use dcf::datagrams::Datagrams;
use dcf::endpoint::Endpoint;
use dcf::frames::{self, message_type};
use dcf::limits::{Limits, Unproven};
use dcf::time::Micros;
use dcf_shim::bridge::{Bounds, Bridge};
use dcf_shim::client_names::ClientNames;
use dcf_shim::heads::Heads;
use dcf_shim::payload::{self, ErrorCode, Failure, Output, Refusal, ResultPart, Task};
use quickcheck::quickcheck;
use serde_json::{json, Value};

const WALL: u64 = 1_800_000_000_000_000;
const SECOND: Micros = 1_000_000;
const CLIENT_BYTES: usize = 64 << 10;
const HEAD_PORT: u16 = 7717;
const STOPPING: &str = "SHUTTING_DOWN";

fn client() -> SocketAddr {
    ([192, 0, 2, 1], 4000).into()
}

fn client_at(host: u8, port: u16) -> SocketAddr {
    ([192, 0, 2, host], port).into()
}

fn head(number: u8) -> SocketAddr {
    ([198, 51, 100, number], HEAD_PORT).into()
}

/// Message types, numbers and payloads that came out for one address.
type Said = Vec<(u8, u32, Vec<u8>)>;

struct Scene {
    bridge: Bridge,
    now: Micros,
    sequence: u32,
    /// Whether what comes out is acknowledged at once.
    acknowledges: bool,
}

impl Scene {
    fn new(heads: u8) -> Self {
        let limits = Limits {
            max_message: CLIENT_BYTES,
            memory: 1 << 20,
            peer_memory: CLIENT_BYTES,
            max_peers: 8,
            datagram_rate: f64::INFINITY,
            unproven: None,
        };
        let bounds = Bounds {
            networks: Vec::new(),
            tasks_per_second: 50.0,
            task_burst: 1000.0,
            client_tasks: 64,
            max_tasks: 100,
            client_bytes: CLIENT_BYTES,
            max_bytes: 1 << 20,
            task_deadline: 600 * SECOND,
        };
        let heads: Vec<_> = (1..=heads).map(head).collect();
        let unproven = Unproven { amplification: 3, peer_memory: 64 << 10, memory: 1 << 18 };
        let edge = Limits { datagram_rate: 1e6, unproven: Some(unproven), ..limits };
        let bridge = Bridge::new(
            Endpoint::new(edge, None),
            Endpoint::new(Limits { peer_memory: 1 << 20, max_message: 1 << 20, ..limits }, None),
            Heads::new(&heads, 4 * SECOND, true),
            bounds,
            1,
        );
        let mut scene = Self { bridge, now: 1, sequence: 1, acknowledges: true };
        heads.iter().for_each(|head| scene.beat(*head, false));
        scene
    }

    fn give(&mut self, from: SocketAddr, message_type: u8, payload: &[u8]) {
        let sequence = self.sequence;
        self.sequence += 1;
        self.give_as(from, message_type, sequence, payload);
    }

    fn give_as(&mut self, from: SocketAddr, message_type: u8, sequence: u32, payload: &[u8]) {
        let mut datagram = Vec::new();
        frames::write(&mut datagram, message_type, sequence, WALL + self.now, payload);
        if from.port() != HEAD_PORT {
            self.bridge.from_client(&mut datagram, from, self.now, WALL + self.now);
        } else {
            self.bridge.from_mesh(&mut datagram, from, self.now, WALL + self.now);
        }
    }

    /// A head says how it is.
    fn beat(&mut self, head: SocketAddr, draining: bool) {
        self.give(head, message_type::HEARTBEAT, &payload::head_heartbeat("1", draining));
    }

    /// Lets the bridge act; returns what `to` is sent, acknowledged and answered if it should be.
    fn said(&mut self, to: SocketAddr) -> Said {
        self.bridge.act(self.now);
        self.bridge.tick(self.now);
        let mut said = Vec::new();
        for mesh in [false, true] {
            let mut out = Datagrams::default();
            let endpoint = if mesh { &mut self.bridge.mesh } else { &mut self.bridge.clients };
            endpoint.flush(self.now, WALL + self.now, &mut out);
            for (range, address) in &out.items {
                let (header, payload) = frames::split(&out.bytes[range.clone()]).unwrap();
                let messages = match header.message_type {
                    message_type::BATCH => frames::split_batch(payload).unwrap(),
                    _ => vec![(header, payload)],
                };
                for (header, payload) in messages {
                    if self.acknowledges {
                        match header.message_type {
                            message_type::PING => {
                                self.give_as(*address, message_type::PONG, header.sequence, &[])
                            }
                            message_type::ACK | message_type::SACK | message_type::PONG => {}
                            _ => self.give_as(*address, message_type::ACK, header.sequence, &[]),
                        }
                    }
                    if *address == to {
                        said.push((header.message_type, header.sequence, payload.to_vec()));
                    }
                }
            }
        }
        said
    }

    /// The tasks that a head is given now.
    fn given(&mut self, head: SocketAddr) -> Vec<Task> {
        let tasks = self
            .said(head)
            .into_iter()
            .filter(|(message_type, ..)| *message_type == message_type::TASK);
        tasks.map(|(.., payload)| Task::read(payload).unwrap()).collect()
    }

    /// The RESULTs and ERRORs that the client is sent now.
    fn answered(&mut self) -> Said {
        let said = self.said(client()).into_iter();
        said.filter(|(message_type, ..)| {
            [message_type::RESULT, message_type::ERROR].contains(message_type)
        })
        .collect()
    }

    /// Lets seconds pass in which `heads` say that they are there.
    fn pass(&mut self, seconds: u64, heads: &[SocketAddr]) {
        for _ in 0..4 * seconds {
            self.now += SECOND / 4;
            heads.iter().for_each(|head| self.beat(*head, false));
            self.said(client());
        }
    }
}

fn json_task(id: u64) -> Vec<u8> {
    json!({"id": id, "model": "m", "text": {"prompt": "p"}}).to_string().into_bytes()
}

fn part(id: u64, index: u32, text: &str, last: bool) -> Vec<u8> {
    let id = id.to_string();
    json!({"id": id, "index": index, "text": text, "final": last}).to_string().into_bytes()
}

fn failure(code: ErrorCode, id: u64) -> Vec<u8> {
    Refusal { code, message: "so".into(), remedy: "do" }.to_protobuf(id)
}

fn value(payload: &[u8]) -> Value {
    serde_json::from_slice(payload).unwrap()
}

#[test]
fn a_task_that_a_stopping_head_refuses_in_json_goes_to_another() {
    let mut scene = Scene::new(2);
    scene.give(client(), message_type::TASK, &json_task(5));
    let first = scene.given(head(1)).remove(0);
    let stopping =
        json!({"id": first.id.to_string(), "final": true, "error": {"code": STOPPING}}).to_string();
    scene.give(head(1), message_type::RESULT, stopping.as_bytes());
    let second = scene.given(head(2)).remove(0);
    assert_ne!(second.id, first.id, "whatever the first still says no longer counts");
    scene.give(head(2), message_type::RESULT, &part(second.id, 0, "whole", true));
    let answered = scene.answered();
    assert_eq!(answered.len(), 1);
    assert_eq!(value(&answered[0].2)["text"], "whole");
}

#[test]
fn a_task_that_the_only_head_refuses_waits_while_that_one_stops_and_for_its_successor() {
    let mut scene = Scene::new(1);
    scene.give(client(), message_type::TASK, &payload::with_id(&[], 5));
    let id = scene.given(head(1))[0].id;
    scene.give(head(1), message_type::ERROR, &failure(ErrorCode::ShuttingDown, id));
    for _ in 0..60 {
        scene.now += SECOND;
        scene.beat(head(1), true);
        assert!(scene.given(head(1)).is_empty(), "it takes no more");
    }
    scene.now += SECOND;
    scene.beat(head(1), false);
    scene.bridge.act(scene.now);
    let again = scene.given(head(1)).remove(0);
    assert_ne!(again.id, id, "one that has not been restarted would know the id");
    scene.give(head(1), message_type::ERROR, &failure(ErrorCode::BadRequest, again.id));
    assert_eq!(scene.answered().len(), 1);
    assert_eq!(scene.bridge.tasks_in_flight(), 0);
}

#[test]
fn an_error_message_reaches_a_json_client_as_a_result() {
    let mut scene = Scene::new(1);
    scene.give(client(), message_type::TASK, &json_task(5));
    let id = scene.given(head(1))[0].id;
    scene.give(head(1), message_type::ERROR, &failure(ErrorCode::DeadlineExceeded, id));
    let answered = scene.answered();
    assert_eq!(answered[0].0, message_type::RESULT);
    let result = value(&answered[0].2);
    let error = json!({"id": "5", "code": "DEADLINE_EXCEEDED", "message": "so", "remedy": "do"});
    assert_eq!(result, json!({"id": "5", "index": 0, "final": true, "error": error}));
}

#[test]
fn a_client_that_was_given_up_may_ask_again() {
    let mut scene = Scene::new(1);
    scene.give(client(), message_type::TASK, &json_task(5));
    let id = scene.given(head(1))[0].id;
    scene.said(client()); // it has answered the PING, and so is proven
    scene.acknowledges = false;
    scene.give(head(1), message_type::RESULT, &part(id, 0, "so", false));
    scene.pass(9, &[head(1)]);
    assert_eq!(scene.bridge.tasks_in_flight(), 0, "a client that vanished has its tasks cancelled");
    scene.acknowledges = true;
    scene.give(client(), message_type::TASK, &json_task(5));
    assert_eq!(scene.given(head(1)).len(), 1);
}

#[test]
fn a_client_that_answers_pings_no_more_has_its_tasks_cancelled() {
    let mut scene = Scene::new(1);
    scene.give(client(), message_type::TASK, &json_task(5));
    let id = scene.given(head(1))[0].id;
    scene.pass(30, &[head(1)]);
    assert_eq!(scene.bridge.tasks_in_flight(), 1, "it answers, and waits");
    scene.acknowledges = false;
    let mut cancelled = Vec::new();
    for _ in 0..13 {
        scene.now += SECOND;
        scene.beat(head(1), false);
        let said = scene
            .said(head(1))
            .into_iter()
            .filter(|(message_type, ..)| *message_type == message_type::CANCEL);
        cancelled.extend(said.map(|(.., payload)| payload::read_cancel(&payload).unwrap()));
    }
    assert!(cancelled.contains(&id), "{cancelled:?}");
    assert_eq!(scene.bridge.tasks_in_flight(), 0);
}

#[test]
fn whoever_is_not_told_of_a_refusal_may_ask_again() {
    let mut scene = Scene::new(1);
    scene.give(client(), message_type::TASK, &json_task(1));
    scene.said(client());
    scene.acknowledges = false;
    let mut told = 0;
    for id in 2..500 {
        scene.give_as(client(), message_type::TASK, 1000 + id as u32, b"{\"id\": what?");
        scene.give_as(client(), message_type::TASK, 2000 + id as u32, &json_task(id));
        told += scene.answered().len();
    }
    assert!(told > 0);
    let owed = scene.bridge.clients.unacknowledged(client());
    assert!(owed > CLIENT_BYTES - 1024 && owed <= CLIENT_BYTES, "{owed}");
    scene.acknowledges = true;
    scene.pass(2, &[head(1)]); // what was owed goes again, and is acknowledged
    assert_eq!(scene.bridge.clients.unacknowledged(client()), 0);
    scene.give_as(client(), message_type::TASK, 1499, b"{\"id\": what?"); // the same datagram again
    assert_eq!(scene.answered().len(), 1);
}

#[test]
fn parts_that_wait_for_an_earlier_one_are_bounded() {
    let mut scene = Scene::new(1);
    scene.give(client(), message_type::TASK, &json_task(5));
    let id = scene.given(head(1))[0].id;
    let text = "x".repeat(1000);
    let mut answered = Vec::new();
    for index in 1..1000 {
        scene.give(head(1), message_type::RESULT, &part(id, index, &text, false));
        answered.extend(scene.answered());
        assert!(scene.bridge.memory() < 2 * CLIENT_BYTES, "{}", scene.bridge.memory());
    }
    assert_eq!(answered.len(), 1);
    assert_eq!(value(&answered[0].2)["error"]["code"], "QUEUE_FULL");
    assert_eq!((scene.bridge.tasks_in_flight(), scene.bridge.clients.memory()), (0, 0));
}

#[test]
fn an_answer_above_max_message_ends_its_task() {
    let mut scene = Scene::new(1);
    scene.give(client(), message_type::TASK, &json_task(5));
    let id = scene.given(head(1))[0].id;
    scene.give(head(1), message_type::RESULT, &part(id, 0, &"x".repeat(CLIENT_BYTES), true));
    let answered = scene.answered();
    assert_eq!(answered.len(), 1);
    assert_eq!(value(&answered[0].2)["error"]["code"], "BAD_REQUEST");
}

#[test]
fn an_error_or_heartbeat_above_its_bound_takes_no_memory() {
    let mut scene = Scene::new(1);
    scene.give(client(), message_type::TASK, &payload::with_id(&[], 5));
    let id = scene.given(head(1))[0].id;
    for (first, message_type) in [(70_000, message_type::HEARTBEAT), (90_000, message_type::ERROR)]
    {
        let chunk = frames::Chunk { first, total: 65_537, size: 1000, message_type };
        let mut piece = payload::with_id(&[], id);
        piece.resize(1000, 0);
        let mut datagram = Vec::new();
        frames::write_chunk(&mut datagram, first, WALL, chunk, &piece);
        scene.bridge.from_mesh(&mut datagram, head(1), scene.now, WALL);
        assert_eq!(scene.bridge.mesh.memory(), 0);
    }
    assert_eq!(scene.bridge.mesh.counters.dropped_oversized, 2);
    let answered = scene.answered();
    assert_eq!(Failure::read(answered[0].2.clone()).unwrap().code, ErrorCode::BadRequest as u64);
}

#[test]
fn a_client_that_asks_how_the_shim_is_hears_what_a_head_would_say() {
    let mut scene = Scene::new(1);
    let heartbeat = |scene: &mut Scene| {
        scene.give(client(), message_type::HEARTBEAT, &[]);
        scene.bridge.act(scene.now);
        let said = scene.said(client());
        assert!(said.iter().any(|(message_type, ..)| *message_type == message_type::ACK));
        let beat = said
            .iter()
            .find(|(message_type, ..)| *message_type == message_type::HEARTBEAT)
            .expect("its own");
        payload::read_head(&beat.2)
    };
    scene.give(client(), message_type::HEARTBEAT, &[]);
    scene.said(client()); // a PING and an ACK: for more, a stranger has not sent enough
    assert_eq!(heartbeat(&mut scene), Some((false, vec![])));
    scene.bridge.drain();
    assert_eq!(heartbeat(&mut scene), Some((true, vec![])));
    scene.give(client(), message_type::HEARTBEAT, b"\x0a\x01w"); // a worker's, which gets no answer
    assert!(scene
        .said(client())
        .iter()
        .all(|(message_type, ..)| *message_type != message_type::HEARTBEAT));
}

#[test]
fn deadlines_go_on_while_the_process_is_stopped_and_silence_does_not_count() {
    let mut scene = Scene::new(1);
    let mut task = payload::with_id(&[], 5);
    task.extend([0x18, 0xd0, 0x0f]); // deadline_ms 2000
    scene.give(client(), message_type::TASK, &task);
    assert_eq!(scene.given(head(1))[0].deadline_ms, 2000);
    let mut clock = RunningClock::default();
    for second in 1..=3 {
        assert_eq!(clock.after(second * SECOND), 1 + second * SECOND);
    }
    assert_eq!(clock.after(23 * SECOND), 1 + 3 * SECOND, "it stands still while the process does");
    scene.bridge.paused = clock.paused();
    assert_eq!(scene.bridge.paused, 20 * SECOND);
    scene.now += SECOND;
    let answered = scene.answered();
    assert_eq!(Failure::read(answered[0].2.clone()).unwrap().code, 8);
    assert_eq!(scene.bridge.heads.alive(), 1);
}

// ----------------------------------------------------------------------- shares

#[test]
fn heads_are_told_whether_it_is_the_same_client_and_nothing_else() {
    let mut scene = Scene::new(1);
    let mut names = Vec::new();
    for (host, port) in [(1, 4000), (1, 4001), (2, 4000)] {
        let mut binary = payload::with_id(&[], 1);
        binary.extend(bytes_field(6, b"somebody else"));
        let mut json = value(&json_task(2));
        json["client"] = json!("somebody else");
        scene.give(client_at(host, port), message_type::TASK, &binary);
        scene.give(client_at(host, port), message_type::TASK, json.to_string().as_bytes());
        let said = scene.said(head(1)).into_iter();
        let tasks: Vec<_> =
            said.filter(|(message_type, ..)| *message_type == message_type::TASK).collect();
        let json = value(&tasks.iter().find(|(.., task)| task[0] == b'{').unwrap().2);
        let name = json["client"].as_str().unwrap().to_owned();
        let binary = &tasks.iter().find(|(.., task)| task[0] != b'{').unwrap().2;
        assert!(binary.ends_with(&bytes_field(6, name.as_bytes())), "{binary:?}");
        names.push(name);
    }
    assert_eq!(names[0], names[1], "more ports are not more clients");
    assert_ne!(names[0], names[2]);
    let again = ClientNames::default();
    let (six, near, far) = ("2001:db8::1", "2001:db8::2:1", "2001:db8:0:1::1");
    let name = |text: &str| again.of(text.parse().unwrap());
    assert_eq!((name(six) == name(near), name(six) == name(far)), (true, false));
    assert_eq!(name("::ffff:192.0.2.1"), name("192.0.2.1"));
    assert_ne!(*name("192.0.2.1"), *names[0], "whoever guesses an address cannot check it");
}

// ------------------------------------------------------------------------ seeds

fn varint_field(number: u8, value: u64) -> Vec<u8> {
    payload::with_id(&[], value)
        .into_iter()
        .enumerate()
        .map(|(at, byte)| if at == 0 { number << 3 } else { byte })
        .collect()
}

fn bytes_field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    field.extend(varint_field(0, bytes.len() as u64).into_iter().skip(1));
    field.extend(bytes);
    field
}

fn for_head(task: Vec<u8>, seed: u64) -> Vec<u8> {
    let mut task = Task::read(task).unwrap();
    task.seed(|| seed);
    task.for_head(9, 0, &Output::default())
}

quickcheck! {
    fn text_and_images_get_a_seed_and_nothing_else_changes(prompt: String, seed: u64, image: bool) -> bool {
        let (name, number) = if image { ("image", 9) } else { ("text", 8) };
        let task = json!({"model": "m", name: {"prompt": prompt, "newer": [1, {"seed": null}]}, "stream": true});
        let mut expected = task.clone();
        (expected["id"], expected[name]["seed"]) = (json!("9"), json!(seed));
        let seeded: Value = serde_json::from_slice(&for_head(task.to_string().into_bytes(), seed)).unwrap();

        let inner = bytes_field(2, prompt.as_bytes());
        let task = [bytes_field(number, &inner), varint_field(4, 1)].concat();
        let inner = [inner, varint_field(7, seed)].concat();
        let binary = [varint_field(1, 9), bytes_field(number, &inner), varint_field(4, 1)].concat();
        seeded == expected && for_head(task, seed) == binary
    }

    fn a_seed_that_is_there_stays(given: u64, seed: u64, null: bool) -> bool {
        let task = json!({"id": "9", "text": {"seed": if null { Value::Null } else { json!(given) }}});
        let seeded: Value = serde_json::from_slice(&for_head(task.to_string().into_bytes(), seed)).unwrap();
        let task = [varint_field(1, 9), bytes_field(8, &varint_field(7, given))].concat();
        seeded["text"] == json!({"seed": if null { seed } else { given }})
            && for_head(task.clone(), seed) == task
    }

    fn work_that_takes_no_seed_gets_none(seed: u64) -> bool {
        let task = json!({"id": "9", "embed": {"inputs": ["seed"]}});
        let other: Value = serde_json::from_slice(&for_head(task.to_string().into_bytes(), seed)).unwrap();
        let binary = [varint_field(1, 9), bytes_field(10, &bytes_field(1, b"seed"))].concat();
        other == task && for_head(binary.clone(), seed) == binary
    }
}

#[test]
fn a_task_that_is_sent_again_has_the_seed_that_it_had() {
    for json in [false, true] {
        let mut scene = Scene::new(2);
        let binary = [payload::with_id(&[], 5), bytes_field(8, &bytes_field(2, b"p"))].concat();
        scene.give(client(), message_type::TASK, &if json { json_task(5) } else { binary });
        let runs: Vec<Vec<u8>> = (0..12)
            .flat_map(|second| {
                scene.now += SECOND;
                scene.beat(head(if second < 6 { 1 } else { 2 }), false);
                [head(1), head(2)].map(|head| scene.said(head))
            })
            .flatten()
            .filter_map(|(message_type, _, payload)| {
                (message_type == message_type::TASK).then_some(payload)
            })
            .collect();
        assert!(runs.len() >= 2, "repeated, and moved: {}", runs.len());
        let seeds: Vec<Vec<u8>> = runs
            .iter()
            .map(|run| match json {
                true => value(run)["text"]["seed"].to_string().into_bytes(),
                false => run[run.len() - 8..].to_vec(),
            })
            .collect();
        assert!(seeds.iter().all(|seed| *seed == seeds[0] && seed.len() > 6), "{seeds:?}");
    }
}

#[test]
fn an_answer_is_read_with_its_error() {
    let read = |text: &str| ResultPart::read(text.as_bytes().to_vec()).unwrap().error;
    assert_eq!(read(r#"{"id": "1", "error": {"code": "SHUTTING_DOWN"}}"#), Some(11));
    assert_eq!(read(r#"{"id": "1", "error": {"code": 2}}"#), Some(2));
    assert_eq!(read(r#"{"id": "1", "error": {"code": "A_NEWER_ONE"}}"#), Some(0));
    assert_eq!(read(r#"{"id": "1", "error": null}"#), None);
}

#[test]
fn an_answer_that_another_model_started_over_is_resumed_from_there() {
    for json in [true, false] {
        let mut scene = Scene::new(2);
        let task = if json { json_task(5) } else { payload::with_id(&[], 5) };
        scene.give(client(), message_type::TASK, &task);
        let id = scene.given(head(1))[0].id;
        let identity = |weights: &str| match json {
            true => format!("{{\"weights\":\"{weights}\"}}").into_bytes(),
            false => [&[0x0a, weights.len() as u8], weights.as_bytes()].concat(),
        };
        for (index, text, started_over) in [(0, "one", false), (1, "two", true), (2, "!", false)] {
            let part = if json {
                let mut part = json!({"id": id.to_string(), "index": index, "text": text});
                if index < 2 {
                    part["model"] = json!({ "weights": text });
                }
                part["started_over"] = started_over.into();
                part.to_string().into_bytes()
            } else {
                let mut part = vec![0x10, index, 0x42, text.len() as u8]; // index and text
                part.extend(text.as_bytes());
                if index < 2 {
                    part.extend([0x8a, 0x01, identity(text).len() as u8]); // model
                    part.extend(identity(text));
                }
                part.extend([0x90, 0x01, started_over.into()]);
                payload::with_id(&part, id)
            };
            scene.give(head(1), message_type::RESULT, &part);
        }
        assert_eq!(scene.answered().len(), 3);
        scene.give(head(1), message_type::ERROR, &failure(ErrorCode::ShuttingDown, id));
        let again = scene.given(head(2)).remove(0);
        assert_eq!(again.resume.text, "two!");
        assert_eq!((again.resume.index, again.resume.model), (3, identity("two")));
    }
}
