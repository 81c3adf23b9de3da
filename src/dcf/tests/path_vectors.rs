//! Paths are spoken of as tests/vectors/paths.json says.

use std::path::Path;

use dcf::frames::{self, message_type};
use dcf::paths::messages::{read, write, Challenge, Said, Sender};
use dcf::sealing::Sealer;
use dcf::traffic::Traffic;
use serde_json::Value;

fn vectors() -> Value {
    let inside = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let mut candidates = inside.map(|folder| folder.join("tests/vectors/paths.json"));
    let named = std::env::var_os("DAIIC_PATH_VECTORS").map(Into::into);
    let path = named.or_else(|| candidates.find(|path| path.exists()));
    let path = path.expect("tests/vectors/paths.json of the repository, or DAIIC_PATH_VECTORS");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The file's groups, all of which are read here.
const GROUPS: [&str; 3] = ["challenges", "said", "sealed"];

#[test]
fn every_group_is_read() {
    let vectors = vectors();
    let mut found: Vec<&str> = vectors.as_object().unwrap().keys().map(String::as_str).collect();
    found.retain(|name| *name != "about");
    found.sort_unstable();
    assert_eq!(found, GROUPS);
}

fn bytes(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    let pairs = (0..text.len()).step_by(2);
    pairs.map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().unwrap()
}

fn number(value: &Value) -> u16 {
    value.as_u64().unwrap().try_into().unwrap()
}

fn sender(value: &Value) -> Sender {
    Sender {
        id: array(&value["id"]),
        ip: value["ip"].as_str().unwrap().parse().unwrap(),
        port: number(&value["port"]),
        largest: number(&value["largest"]),
    }
}

fn said(value: &Value) -> Said {
    let has = |name: &str| value.get(name).is_some();
    if has("proof") {
        Said::Proof(array(&value["proof"]))
    } else if has("probe") {
        Said::Probe { number: value["probe"].as_u64().unwrap(), tag: array(&value["tag"]) }
    } else if has("echo") {
        let ready = value["ready"].as_bool().unwrap();
        Said::Echo { number: value["echo"].as_u64().unwrap(), size: number(&value["size"]), ready }
    } else {
        assert!(has("hello"));
        Said::Hello
    }
}

#[test]
fn what_is_said_on_links_is_read_and_written() {
    for case in vectors()["said"].as_array().unwrap() {
        let payload = bytes(&case["payload"]);
        if case.get("drop").is_some() {
            assert_eq!(read(&payload), None, "{case}");
            continue;
        }
        let (sender, said) = (sender(&case["sender"]), said(case));
        assert_eq!(read(&payload), Some((sender, said)), "{case}");
        let mut written = Vec::new();
        write(&mut written, &sender, said, payload.len());
        assert_eq!(written, payload);
    }
}

#[test]
fn challenges_are_read_and_written() {
    for case in vectors()["challenges"].as_array().unwrap() {
        let payload = bytes(&case["payload"]);
        if case.get("drop").is_some() {
            assert_eq!(Challenge::read(&payload), None, "{case}");
            continue;
        }
        let address = |one: &Value| (one[0].as_str().unwrap().parse().unwrap(), number(&one[1]));
        let addresses = case["addresses"].as_array().unwrap().iter().map(address).collect();
        let (id, nonce) = (array(&case["id"]), array(&case["nonce"]));
        let challenge = Challenge { id, nonce, addresses };
        assert_eq!(Challenge::read(&payload), Some(challenge.clone()));
        assert_eq!(challenge.to_bytes(), payload);
    }
}

#[test]
fn a_hello_is_sealed_as_any_datagram() {
    let case = &vectors()["sealed"];
    let now = case["now"].as_u64().unwrap();
    let mut datagram = Vec::new();
    frames::write(&mut datagram, message_type::PATH, 0, now, &bytes(&case["payload"]));
    Sealer::with_session(Traffic::Cluster, array(&case["key"]), array(&case["session"]))
        .seal(&mut datagram, 0);
    assert_eq!(datagram, bytes(&case["datagram"]));
}
