//! The transport agrees with every vector of tests/vectors/wire.json, which all languages share.

use std::net::SocketAddr;
use std::path::Path;

use dcf::counters::Counters;
use dcf::datagrams::Datagrams;
use dcf::endpoint::Endpoint;
use dcf::events::Event;
use dcf::frames::{self, message_type, Chunk};
use dcf::limits::Limits;
use dcf::sealing::{ReplayWindow, Sealer};
use dcf::traffic::Traffic;
use serde_json::Value;

const LIMITS: Limits = Limits {
    max_message: 256 << 20,
    memory: 512 << 20,
    peer_memory: 384 << 20,
    max_peers: 100,
    datagram_rate: f64::INFINITY,
    unproven: None,
};

/// The file's groups, all of which are read here. One that is new there fails `every_group_is_read`.
const GROUPS: &[&str] = &[
    "/headers",
    "/messages",
    "/answers",
    "/sacks",
    "/chunks/cut",
    "/chunks/malformed",
    "/batches",
    "/busy",
    "/sealing/sealed",
    "/sealing/dropped",
    "/sealing/accepted",
    "/replay/cases",
];
/// Groups of payloads, which `dcf-shim/tests/vectors.rs` reads.
const PAYLOADS: &[&str] = &["/json/tasks", "/json/results", "/sealing/key_file"];
/// What is no group: words about the file, and values that its cases share.
const SHARED: &[&str] = &[
    "/about",
    "/now",
    "/sealing/key",
    "/sealing/session",
    "/sealing/session_key",
    "/replay/window",
];

fn vectors() -> Value {
    let inside = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let mut candidates = inside.map(|folder| folder.join("tests/vectors/wire.json"));
    let named = std::env::var_os("DAIIC_WIRE_VECTORS").map(Into::into);
    let path = named.or_else(|| candidates.find(|path| path.exists()));
    let path = path.expect("tests/vectors/wire.json of the repository, or DAIIC_WIRE_VECTORS");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn list<'a>(value: &'a Value, path: &str) -> &'a Vec<Value> {
    // In a part of the file there are lists of its own.
    assert!(value["about"].is_null() || GROUPS.contains(&path), "{path} is not in GROUPS");
    let list = value.pointer(path).unwrap_or_else(|| panic!("no {path}")).as_array().unwrap();
    assert!(!list.is_empty());
    list
}

fn bytes(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| value.as_str().unwrap().parse().unwrap())
}

fn peer() -> SocketAddr {
    ([192, 0, 2, 1], 5000).into()
}

fn dropped(counters: &Counters) -> Vec<(&'static str, u64)> {
    let named = counters.each().into_iter().map(|(name, _, value)| (name, value));
    named.filter(|(name, value)| name.starts_with("dropped_") && *value > 0).collect()
}

fn happened(endpoint: &mut Endpoint) -> Vec<Event> {
    let mut events = Vec::new();
    endpoint.take_events(&mut events);
    events
}

/// Gives the datagram to a new endpoint; checks that it is dropped just as the case says.
fn receive(case: &Value, now: u64) -> Endpoint {
    let mut endpoint = Endpoint::new(LIMITS, None);
    endpoint.received(&mut bytes(&case["datagram"]), peer(), 1, now);
    let expected: Vec<_> = case["drop"].as_str().map(|name| (name, 1)).into_iter().collect();
    assert_eq!(dropped(&endpoint.counters), expected, "{}", case["name"]);
    endpoint
}

#[test]
fn every_group_is_read() {
    let mut found = Vec::new();
    for (name, group) in vectors().as_object().unwrap() {
        match group {
            Value::Object(groups) => {
                found.extend(groups.keys().map(|key| format!("/{name}/{key}")))
            }
            _ => found.push(format!("/{name}")),
        }
    }
    let mut known: Vec<_> =
        GROUPS.iter().chain(PAYLOADS).chain(SHARED).map(|path| String::from(*path)).collect();
    found.sort();
    known.sort();
    assert_eq!(found, known, "a group of wire.json is not read here, or is gone from there");
}

#[test]
fn headers() {
    let all = vectors();
    for case in list(&all, "/headers") {
        if !case["drop"].is_null() {
            receive(case, number(&all["now"]));
            continue;
        }
        let datagram = bytes(&case["datagram"]);
        let (header, payload) = frames::split(&datagram).unwrap();
        assert_eq!(payload, bytes(&case["payload"]));
        assert_eq!(u64::from(header.message_type), number(&case["type"]));
        assert_eq!(u64::from(header.sequence), number(&case["sequence"]));
        assert_eq!(header.timestamp, number(&case["timestamp"]));
        let mut written = Vec::new();
        frames::write(
            &mut written,
            header.message_type,
            header.sequence,
            header.timestamp,
            payload,
        );
        assert_eq!(written, datagram);
    }
}

#[test]
fn messages() {
    let all = vectors();
    for case in list(&all, "/messages") {
        let mut endpoint = receive(case, number(&all["now"]));
        let (message_type, sequence) =
            (number(&case["type"]) as u8, number(&case["sequence"]) as u32);
        let payload = bytes(&case["payload"]);
        let timestamp = number(&case["timestamp"]);
        let event = Event::Message { peer: peer(), message_type, sequence, timestamp, payload };
        assert_eq!(happened(&mut endpoint), [event]);
    }
}

#[test]
fn answers() {
    let all = vectors();
    let mut endpoint = Endpoint::new(LIMITS, None);
    for case in list(&all, "/answers") {
        endpoint.received(&mut bytes(&case["received"]), peer(), 1, number(&all["now"]));
        let mut out = Datagrams::default();
        endpoint.flush(1, number(&all["now"]), &mut out);
        let sent: Vec<Vec<u8>> =
            out.items.iter().map(|(range, _)| out.bytes[range.clone()].into()).collect();
        let expected: Vec<Vec<u8>> = case["sent"].as_array().unwrap().iter().map(bytes).collect();
        assert_eq!(sent, expected, "{}", case["name"]);
    }
    assert_eq!(dropped(&endpoint.counters), [("dropped_unknown_type", 1)]);
}

#[test]
fn sacks() {
    let all = vectors();
    for case in list(&all, "/sacks") {
        let payload = bytes(&case["payload"]);
        let ranges = frames::read_sack(&payload);
        if !case["drop"].is_null() {
            assert_eq!(ranges, None, "{}", case["name"]);
            continue;
        }
        let pair = |pair: &Value| (number(&pair[0]) as u32, number(&pair[1]) as u32);
        let expected: Vec<_> = case["ranges"].as_array().unwrap().iter().map(pair).collect();
        assert_eq!(ranges, Some(expected.clone()), "{}", case["name"]);
        let mut written = Vec::new();
        frames::write_sack(&mut written, &expected, number(&all["now"]));
        assert_eq!(written, bytes(&case["datagram"]));
    }
}

#[test]
fn chunks() {
    let all = vectors();
    let now = number(&all["now"]);
    for case in list(&all, "/chunks/cut") {
        let (whole, size) = (bytes(&case["message"]), number(&case["size"]) as usize);
        let (first, message_type) = (number(&case["first"]) as u32, number(&case["type"]) as u8);
        let datagrams: Vec<_> = list(case, "/datagrams").iter().map(bytes).collect();
        let chunk = Chunk { first, total: whole.len() as u32, size: size as u16, message_type };
        for (index, piece) in whole.chunks(size).enumerate() {
            let mut written = Vec::new();
            let sequence = first.wrapping_add(index as u32);
            frames::write_chunk(&mut written, sequence, now, chunk, piece);
            assert_eq!(written, datagrams[index], "{}", case["name"]);
        }
        let mut endpoint = Endpoint::new(LIMITS, None);
        for datagram in datagrams.iter().rev() {
            endpoint.received(&mut datagram.clone(), peer(), 1, now);
        }
        let (sequence, timestamp, payload) = (first, now, whole);
        let event = Event::Message { peer: peer(), message_type, sequence, timestamp, payload };
        assert_eq!(happened(&mut endpoint), [event], "{}", case["name"]);
    }
    for case in list(&all, "/chunks/malformed") {
        let mut endpoint = receive(case, now);
        assert_eq!((happened(&mut endpoint), endpoint.memory()), (vec![], 0), "{}", case["name"]);
    }
}

#[test]
fn batches() {
    let all = vectors();
    for case in list(&all, "/batches") {
        let datagram = bytes(&case["datagram"]);
        let messages = frames::split_batch(&datagram[17..]);
        if !case["drop"].is_null() {
            assert_eq!(messages, None, "{}", case["name"]);
            receive(case, number(&all["now"]));
            continue;
        }
        let written = messages.unwrap().into_iter().map(|(header, payload)| {
            let mut out = Vec::new();
            frames::write(
                &mut out,
                header.message_type,
                header.sequence,
                header.timestamp,
                payload,
            );
            out
        });
        let expected: Vec<_> = case["messages"].as_array().unwrap().iter().map(bytes).collect();
        assert_eq!(written.collect::<Vec<_>>(), expected, "{}", case["name"]);
    }
}

#[test]
fn busy() {
    let all = vectors();
    let now = number(&all["now"]);
    for case in list(&all, "/busy") {
        let mut endpoint = Endpoint::new(Limits { memory: 2600, ..LIMITS }, None);
        let mut other = Vec::new();
        let chunk = Chunk { first: 7, total: 300, size: 256, message_type: message_type::RESULT };
        frames::write_chunk(&mut other, 7, now, chunk, &[0; 256]);
        endpoint.received(&mut other, ([192, 0, 2, 2], 5000).into(), 1, now);
        endpoint.flush(1, now, &mut Datagrams::default());
        endpoint.received(&mut bytes(&case["received"]), peer(), 1, now);
        let mut out = Datagrams::default();
        endpoint.flush(1, now, &mut out);
        let sent: Vec<&[u8]> =
            out.items.iter().map(|(range, _)| &out.bytes[range.clone()]).collect();
        let expected: Vec<Vec<u8>> = case["sent"].as_array().unwrap().iter().map(bytes).collect();
        assert_eq!(sent, expected, "{}", case["name"]);
    }
}

#[test]
fn sealing() {
    let all = vectors();
    let now = number(&all["now"]);
    let key: [u8; 32] = bytes(&all["sealing"]["key"]).try_into().unwrap();
    let session: [u8; 16] = bytes(&all["sealing"]["session"]).try_into().unwrap();
    let mut sender = Sealer::with_session(Traffic::Cluster, key, session);
    let mut receiver = Sealer::new(key);
    let mut counters = Counters::default();
    let mut open = |datagram: &Value, counters: &mut Counters| {
        let mut datagram = bytes(datagram);
        let header = match frames::split(&datagram) {
            Some((header, _)) => header,
            None => {
                counters.dropped_malformed += 1;
                return None;
            }
        };
        receiver.open(header, &mut datagram, now, counters).map(<[u8]>::to_vec)
    };
    for case in list(&all, "/sealing/sealed") {
        let plain = bytes(&case["plain"]);
        sender.continue_at(number(&case["counter"]));
        let mut sealed = plain.clone();
        sender.seal(&mut sealed, 0);
        assert_eq!(sealed, bytes(&case["sealed"]));
        assert_eq!(open(&case["sealed"], &mut counters), Some(plain[17..].into()));
    }
    for case in list(&all, "/sealing/dropped") {
        let mut counters = Counters::default();
        assert_eq!(open(&case["datagram"], &mut counters), None, "{}", case["name"]);
        assert_eq!(dropped(&counters), [(case["drop"].as_str().unwrap(), 1)], "{}", case["name"]);
    }
    for case in list(&all, "/sealing/accepted") {
        assert!(open(&case["datagram"], &mut counters).is_some(), "{}", case["name"]);
    }
    assert_eq!(dropped(&counters), []);
}

#[test]
fn replays() {
    for case in list(&vectors(), "/replay/cases") {
        let mut window = ReplayWindow::default();
        for (counter, accepted) in list(case, "/counters").iter().zip(list(case, "/accepted")) {
            let accepted = accepted.as_bool().unwrap();
            assert_eq!(window.accept(number(counter)), accepted, "{} {counter}", case["name"]);
        }
    }
}
