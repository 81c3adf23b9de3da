//! The transport does what every trace of tests/vectors/traces.json asks for. The format is described
//! in that file; Python's player is `tests/unit/wire/trace.py`.

mod trace;

use std::path::Path;

use serde_json::Value;

fn file() -> Value {
    let named = std::env::var_os("DAIIC_CONFORMANCE_TRACES").map(Into::into);
    let mut folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let path = named.or_else(|| {
        let found = folders.find(|folder| folder.join("tests/vectors/traces.json").exists());
        found.map(|folder| folder.join("tests/vectors/traces.json"))
    });
    let path =
        path.expect("the repository's tests/vectors/traces.json, or DAIIC_CONFORMANCE_TRACES");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn every_trace_is_kept_to() {
    let file = file();
    let traces = file["traces"].as_array().unwrap();
    assert!(traces.len() > 40);
    let mut broken = Vec::new();
    for trace in traces {
        let played = std::panic::catch_unwind(|| trace::Player::new(&file, trace).play());
        if played.is_err() {
            broken.push(trace["name"].as_str().unwrap());
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}
