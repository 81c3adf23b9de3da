//! Errors: what a task ended with, as heads say it and as the shim does, for both kinds of clients.

use serde_json::json;

use super::protobuf::{put_bytes_field, put_varint_field, Field, Fields, Found};
use super::{json, with_id, ID};

const CODE: u64 = 2;
const MESSAGE: u64 = 3;
const REMEDY: u64 = 4;

/// The schema's ErrorCode values, from 1 on.
const NAMES: [&str; 14] = [
    "BAD_REQUEST",
    "QUEUE_FULL",
    "NO_WORKER",
    "MODEL_NOT_FOUND",
    "MODEL_GATED",
    "UNSAFE_WEIGHTS",
    "OUT_OF_MEMORY",
    "DEADLINE_EXCEEDED",
    "CANCELLED",
    "WORKER_LOST",
    "SHUTTING_DOWN",
    "INTERNAL",
    "HEAD_UNREACHABLE",
    "UNSUPPORTED",
];

/// Those that the shim itself answers with or acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    BadRequest = 1,
    QueueFull = 2,
    DeadlineExceeded = 8,
    ShuttingDown = 11,
    HeadUnreachable = 13,
}

impl ErrorCode {
    pub fn name(self) -> &'static str {
        NAMES[self as usize - 1]
    }
}

/// A refusal of the shim's own: a sentence, and what the reader can do about it.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub code: ErrorCode,
    pub message: String,
    pub remedy: &'static str,
}

impl Refusal {
    /// The payload of an ERROR message.
    pub fn to_protobuf(&self, id: u64) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint_field(&mut out, ID, id);
        put_varint_field(&mut out, CODE, self.code as u64);
        put_bytes_field(&mut out, MESSAGE, self.message.as_bytes());
        put_bytes_field(&mut out, REMEDY, self.remedy.as_bytes());
        out
    }

    /// The payload of a RESULT that ends a JSON task.
    pub fn to_json(&self, id: u64, index: u32) -> Vec<u8> {
        json_result(id, index, json!(self.code.name()), &self.message, self.remedy)
    }
}

/// A head's ERROR message.
pub struct Failure {
    pub id: u64,
    pub code: u64,
    message: String,
    remedy: String,
    payload: Vec<u8>,
}

impl Failure {
    /// Reads an ERROR's payload; `None` if it is none.
    pub fn read(payload: Vec<u8>) -> Option<Self> {
        let (mut id, mut code) = (0, 0);
        let (mut message, mut remedy) = (String::new(), String::new());
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        for field in Fields(&payload) {
            match field? {
                Field { number: ID, value: Found::Varint(value), .. } => id = value,
                Field { number: CODE, value: Found::Varint(value), .. } => code = value,
                Field { number: MESSAGE, value: Found::Bytes(bytes), .. } => message = text(bytes),
                Field { number: REMEDY, value: Found::Bytes(bytes), .. } => remedy = text(bytes),
                _ => {}
            }
        }
        Some(Self { id, code, message, remedy, payload })
    }

    /// The payload of an ERROR message for the client, with its own id.
    pub fn to_protobuf(&self, id: u64) -> Vec<u8> {
        with_id(&self.payload, id)
    }

    /// The payload of a RESULT that ends a JSON task.
    pub fn to_json(&self, id: u64, index: u32) -> Vec<u8> {
        let name = (self.code as usize).checked_sub(1).and_then(|at| NAMES.get(at));
        let code = name.map_or(json!(self.code), |name| json!(name));
        json_result(id, index, code, &self.message, &self.remedy)
    }
}

fn json_result(
    id: u64,
    index: u32,
    code: serde_json::Value,
    message: &str,
    remedy: &str,
) -> Vec<u8> {
    let id = id.to_string();
    let error = json!({"id": id, "code": code, "message": message, "remedy": remedy});
    json!({"id": id, "index": index, "final": true, "error": error}).to_string().into_bytes()
}

/// The code in the JSON form of an Error: a name of the schema, or a number. 0 if it has none.
pub(super) fn code_in_json(error: &str) -> u64 {
    let mut code = 0;
    let named = |name: &str| NAMES.iter().position(|known| *known == name).map(|at| at as u64 + 1);
    let _ = json::each_member(error.as_bytes(), |name, value| {
        if name == "code" {
            code = named(value.trim_matches('"')).or(json::number(value)).unwrap_or(0);
        }
    });
    code
}
