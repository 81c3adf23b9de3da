//! The little that the shim must know of payloads: task ids, seeds, and what a resumed task needs.
//!
//! A payload is either Protocol Buffers (`src/proto/daiic.proto`) or, if it begins with `{`, the
//! schema's JSON. Both are edited in place of being decoded into structs and encoded again, so
//! that fields this version does not know pass through untouched.

mod errors;
mod json;
mod protobuf;
mod task;

pub use self::errors::{ErrorCode, Failure, Refusal};
use self::protobuf::{
    delivered_in, next_field, put_all_but, put_bytes_field, put_varint_field, Field, Fields, Found,
};
pub use self::task::Task;

const ID: u64 = 1; // of Task, Result, Error and Cancel
const RESULT_INDEX: u64 = 2;
const RESULT_FINAL: u64 = 3;
const RESULT_TEXT: u64 = 8;
const RESULT_TOKENS: u64 = 9;
const HEARTBEAT_VERSION: u64 = 4;
const HEARTBEAT_STATE: u64 = 5;
const HEARTBEAT_HEADS: u64 = 17;
const READY: u64 = 2; // of WorkerState
const DRAINING: u64 = 3;

/// What a run of a task has delivered: the tokens and text of its answer so far, and the index
/// of the part that follows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    pub tokens: Vec<u32>,
    pub text: String,
    pub next: u32,
}

impl Delivered {
    /// Bytes that it takes in memory.
    pub fn size(&self) -> usize {
        self.text.len() + size_of::<u32>() * self.tokens.len()
    }

    /// Counts one more part.
    pub fn add(&mut self, part: &Delivered) {
        self.tokens.extend_from_slice(&part.tokens);
        self.text.push_str(&part.text);
        self.next = self.next.wrapping_add(1); // a client may begin anywhere
    }
}

/// A part of an answer, from a head.
pub struct Answer {
    pub id: u64,
    pub last: bool,
    /// Why there is no answer, in the last part for a JSON task: the code.
    pub error: Option<u64>,
    /// What it delivers; its `next` is the part's own index.
    pub part: Delivered,
    payload: Vec<u8>,
}

impl Answer {
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
            let part = json::delivered_in(&payload).ok()?;
            return Some(Self { id, last, error, part, payload });
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
        let part = delivered_in(&payload, RESULT_TOKENS, RESULT_TEXT, RESULT_INDEX);
        Some(Self { id, last, error, part, payload })
    }

    /// Bytes that it takes in memory.
    pub fn size(&self) -> usize {
        self.payload.len() + self.part.size()
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
