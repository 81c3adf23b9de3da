//! An endpoint for domain traffic takes the datagrams of tests/vectors/domains.json as it says.

use std::net::SocketAddr;
use std::path::Path;

use dcf::datagrams::Datagrams;
use dcf::endpoint::Endpoint;
use dcf::events::Event;
use dcf::frames::message_type;
use dcf::limits::Limits;
use dcf::traffic::Traffic;
use serde_json::Value;

const WALL: u64 = 1_800_000_000_000_000;

/// The file's groups. This reads the datagrams; the others are payloads, which programs read.
const GROUPS: [&str; 5] = ["datagrams", "game_events", "positions", "readings", "reliable"];

fn vectors() -> Value {
    let mut folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let path = folders.find_map(|folder| {
        let path = folder.join("tests/vectors/domains.json");
        path.exists().then_some(path)
    });
    let text = std::fs::read_to_string(path.expect("tests/vectors/domains.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn every_group_is_known() {
    let vectors = vectors();
    let mut found: Vec<&str> = vectors.as_object().unwrap().keys().map(String::as_str).collect();
    found.retain(|name| *name != "about");
    found.sort_unstable();
    assert_eq!(found, GROUPS);
}

fn bytes(text: &Value) -> Vec<u8> {
    let text = text.as_str().unwrap();
    let pairs = (0..text.len()).step_by(2);
    pairs.map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn datagrams_are_delivered_acknowledged_or_dropped_as_the_vectors_say() {
    let peer: SocketAddr = ([192, 0, 2, 1], 5000).into();
    for case in vectors()["datagrams"].as_array().unwrap() {
        let mut endpoint = Endpoint::of(Traffic::Domain, Limits::default(), None);
        endpoint.received(&mut bytes(&case["datagram"]), peer, 1, WALL);
        let (mut events, mut out) = (Vec::new(), Datagrams::default());
        endpoint.take_events(&mut events);
        endpoint.flush(1, WALL, &mut out);
        if case["drop"] == true {
            assert_eq!((events.len(), out.items.len()), (0, 0), "{case}");
            assert_eq!(endpoint.counters.dropped_unknown_type, 1, "{case}");
            continue;
        }
        let [Event::Message { message_type, payload, .. }] = &events[..] else {
            panic!("{case}: {events:?}")
        };
        assert_eq!(u64::from(*message_type), case["type"]);
        assert_eq!(*payload, bytes(&case["payload"]));
        let answers: Vec<u8> =
            out.items.iter().map(|(range, _)| out.bytes[range.clone()][0]).collect();
        let expected: &[u8] = if case["acknowledged"] == true { &[message_type::ACK] } else { &[] };
        assert_eq!(answers, expected, "{case}");
        // The same again is a duplicate only of what is acknowledged.
        endpoint.received(&mut bytes(&case["datagram"]), peer, 2, WALL);
        events.clear();
        endpoint.take_events(&mut events);
        assert_eq!(events.is_empty(), case["acknowledged"] == true, "{case}");
    }
}
