//! What the shim reads and changes in payloads: task ids, seeds, and what a resumed task needs.
//!
//! A payload is either Protocol Buffers (`src/proto/daiic.proto`) or, if it begins with `{`, the
//! schema's JSON. Both are edited rather than decoded into structs and encoded again, so that
//! fields which this version does not know pass through untouched.

mod errors;
mod json;
mod output;
mod protobuf;
mod task;

pub use self::errors::{ErrorCode, Failure, Refusal};
pub use self::output::Output;
use self::protobuf::{
    next_field, put_all_but, put_bytes_field, put_varint_field, Field, Fields, Found,
};
pub use self::task::Task;

const ID: u64 = 1; // of Task, Result, Error and Cancel
const RESULT_FINAL: u64 = 3;
const HEARTBEAT_VERSION: u64 = 4;
const HEARTBEAT_STATE: u64 = 5;
const HEARTBEAT_HEADS: u64 = 17;
const READY: u64 = 2; // of WorkerState
const DRAINING: u64 = 3;

/// A RESULT from a head: one part of a task's result.
pub struct ResultPart {
    pub id: u64,
    pub last: bool,
    /// The code of the error that ends a JSON task, in its last part.
    pub error: Option<u64>,
    pub output: Output,
    payload: Vec<u8>,
}

impl ResultPart {
    /// Reads a RESULT's payload; `None` if it is none.
    pub fn read(payload: Vec<u8>) -> Option<Self> {
        let (mut id, mut last, mut error) = (0, false, None);
        if is_json(&payload) {
            json::each_member(&payload, |name, value| match name {
                "id" => id = json::number(value).unwrap_or(0),
                "final" => last |= value == "true",
                "error" if value != "null" => {
                    (last, error) = (true, Some(errors::code_in_json(value)));
                }
                _ => {}
            })
            .ok()?;
            let output = Output::of_json(&payload).ok()?;
            return Some(Self { id, last, error, output, payload });
        }
        for field in Fields(&payload) {
            match field? {
                Field { number: ID, value: Found::Varint(value), .. } => id = value,
                Field { number: RESULT_FINAL, value: Found::Varint(value), .. } => {
                    last = value != 0
                }
                _ => {}
            }
        }
        let output = Output::of_result(&payload);
        Some(Self { id, last, error, output, payload })
    }

    /// Bytes of memory that it uses.
    pub fn size(&self) -> usize {
        self.payload.len() + self.output.size()
    }

    /// The payload for the client, with its own id.
    pub fn for_client(self, id: u64) -> Vec<u8> {
        if is_json(&self.payload) {
            let ours = [("id", quoted(id))];
            return json::rewritten(&self.payload, &ours, &["id"]).unwrap_or_default();
        }
        with_id(&self.payload, id)
    }
}

/// No message of the schema in binary begins with that byte.
fn is_json(payload: &[u8]) -> bool {
    payload.first() == Some(&b'{')
}

fn quoted(id: u64) -> String {
    format!("\"{id}\"")
}

/// Returns the id of a Cancel.
pub fn read_cancel(payload: &[u8]) -> Option<u64> {
    let mut found = 0;
    for field in Fields(payload) {
        if let Field { number: ID, value: Found::Varint(id), .. } = field? {
            found = id;
        }
    }
    Some(found)
}

/// Returns whether the head that sent a Heartbeat is shutting down, and the heads it names.
pub fn read_head(heartbeat: &[u8]) -> Option<(bool, Vec<String>)> {
    let (mut draining, mut heads) = (false, Vec::new());
    for field in Fields(heartbeat) {
        match field? {
            Field { number: HEARTBEAT_STATE, value: Found::Varint(state), .. } => {
                draining = state == DRAINING;
            }
            Field { number: HEARTBEAT_HEADS, value: Found::Bytes(head), .. } => {
                heads.push(String::from_utf8_lossy(head).into_owned());
            }
            _ => {}
        }
    }
    Some((draining, heads))
}

/// A Heartbeat as heads answer with, of a program of that version.
pub fn head_heartbeat(version: &str, draining: bool) -> Vec<u8> {
    let mut heartbeat = Vec::new();
    put_bytes_field(&mut heartbeat, HEARTBEAT_VERSION, version.as_bytes());
    put_varint_field(&mut heartbeat, HEARTBEAT_STATE, if draining { DRAINING } else { READY });
    heartbeat
}

/// Returns the id at the very start of a message, where every encoder puts it.
pub fn leading_id(start: &[u8]) -> Option<u64> {
    match next_field(start)? {
        Field { number: ID, value: Found::Varint(id), .. } if id > 0 => Some(id),
        _ => None,
    }
}

/// Returns a Result, Error or Cancel with another id.
pub fn with_id(payload: &[u8], id: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 10);
    put_varint_field(&mut out, ID, id);
    put_all_but(&mut out, payload, &[ID]);
    out
}
