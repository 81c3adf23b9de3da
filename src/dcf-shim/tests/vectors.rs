//! Payloads and key files agree with tests/vectors/wire.json, which all languages share.

use std::path::Path;

use dcf_shim::payload::{self, ResultPart, Task};
use dcf_shim::settings;
use serde_json::Value;

fn vectors() -> Value {
    let inside = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let mut candidates = inside.map(|folder| folder.join("tests/vectors/wire.json"));
    let named = std::env::var_os("DAIIC_WIRE_VECTORS").map(Into::into);
    let path = named.or_else(|| candidates.find(|path| path.exists()));
    let path = path.expect("tests/vectors/wire.json of the repository, or DAIIC_WIRE_VECTORS");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn list<'a>(value: &'a Value, path: &str) -> &'a Vec<Value> {
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

/// TASK, RESULT, CANCEL and ERROR have their id in the same field.
#[test]
fn ids() {
    for case in list(&vectors(), "/messages") {
        if !case["json"]["id"].is_null() {
            let id = payload::read_cancel(&bytes(&case["payload"])).unwrap();
            assert_eq!(id, number(&case["json"]["id"]), "{}", case["name"]);
        }
    }
}

#[test]
fn key_files() {
    use std::os::unix::fs::PermissionsExt;
    let all = vectors();
    let path = std::env::temp_dir().join(format!("dcf-shim-key-{}", std::process::id()));
    std::fs::write(&path, all["sealing"]["key_file"].as_str().unwrap()).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(settings::read_key(&path).unwrap().to_vec(), bytes(&all["sealing"]["key"]));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(settings::read_key(&path).unwrap_err().contains("chmod 600"));
    std::fs::write(&path, "daiic-key-1:AAAA\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(settings::read_key(&path).unwrap_err().contains("daiic keygen"));
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn tasks_and_results_in_both_forms() {
    let all = vectors();
    for case in list(&all, "/json/tasks") {
        let json = case["json"].as_str().unwrap();
        let text = Task::read(json.into()).unwrap();
        let binary = Task::read(bytes(&case["protobuf"])).unwrap();
        assert_eq!((text.id, text.deadline_ms), (binary.id, binary.deadline_ms), "{json}");
        assert!(text.is_json() && !binary.is_json());
    }
    for case in list(&all, "/json/results") {
        let binary = ResultPart::read(bytes(&case["protobuf"])).unwrap();
        let text = ResultPart::read(case["json"].to_string().into_bytes()).unwrap();
        assert_eq!((binary.id, &binary.output), (text.id, &text.output));
        let fails = case["json"]["error"].is_object();
        assert_eq!(text.last, binary.last || fails);
    }
}
