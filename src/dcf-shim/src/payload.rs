//! The little that the shim must know of payloads: task ids, and what a resumed task needs.
//!
//! A payload is either Protocol Buffers (`src/proto/daiic.proto`) or, if it begins with `{`, the
//! schema's JSON. Both are edited in place of being decoded into structs and encoded again, so
//! that fields this version does not know pass through untouched.

mod protobuf;

use serde_json::{json, Map, Value};

use self::protobuf::{
    delivered_in, next_field, put_all_but, put_bytes_field, put_varint, put_varint_field, Field,
    Fields, Found,
};

/// The schema's ErrorCode values that the shim itself answers with or acts on.
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
        match self {
            ErrorCode::BadRequest => "BAD_REQUEST",
            ErrorCode::QueueFull => "QUEUE_FULL",
            ErrorCode::DeadlineExceeded => "DEADLINE_EXCEEDED",
            ErrorCode::ShuttingDown => "SHUTTING_DOWN",
            ErrorCode::HeadUnreachable => "HEAD_UNREACHABLE",
        }
    }
}

const ID: u64 = 1; // of Task, Result, Error and Cancel
const TASK_DEADLINE: u64 = 3;
const TASK_RESUME: u64 = 16;
const RESULT_INDEX: u64 = 2;
const RESULT_FINAL: u64 = 3;
const RESULT_TEXT: u64 = 8;
const RESULT_TOKENS: u64 = 9;
const ERROR_CODE: u64 = 2;
const ERROR_MESSAGE: u64 = 3;
const ERROR_REMEDY: u64 = 4;
const HEARTBEAT_STATE: u64 = 5;
const HEARTBEAT_HEADS: u64 = 17;
const DRAINING: u64 = 3; // of WorkerState
const RESUME_TOKENS: u64 = 1;
const RESUME_TEXT: u64 = 2;
const RESUME_INDEX: u64 = 3;

/// What a run of a task has delivered: the tokens and text of its answer so far, and the index
/// of the part that follows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    pub tokens: Vec<u32>,
    pub text: String,
    pub next: u32,
}

impl Delivered {
    /// Counts one more part.
    pub fn add(&mut self, part: &Delivered) {
        self.tokens.extend_from_slice(&part.tokens);
        self.text.push_str(&part.text);
        self.next = self.next.wrapping_add(1); // a client may begin anywhere
    }
}

/// A client's task: what the bridge reads of it, and the payload to edit.
#[derive(Debug)]
pub struct Task {
    pub id: u64,
    /// 0: none was given.
    pub deadline_ms: u32,
    pub resume: Delivered,
    payload: Payload,
}

#[derive(Debug)]
enum Payload {
    Protobuf(Vec<u8>),
    Json(Map<String, Value>),
}

impl Task {
    /// Reads a TASK's payload; the error is a sentence for the sender.
    pub fn read(payload: Vec<u8>) -> Result<Self, String> {
        if payload.first() == Some(&b'{') {
            let object: Map<String, Value> = serde_json::from_slice(&payload)
                .map_err(|error| format!("the task begins with \"{{\" but is not JSON: {error}"))?;
            let number = |key: &str, camel: &str| match object.get(key).or(object.get(camel)) {
                None | Some(Value::Null) => Ok(0),
                Some(value) => {
                    json_u64(value).ok_or_else(|| format!("the task's \"{key}\" is not a number"))
                }
            };
            let id = number("id", "id")?;
            let deadline_ms = number("deadline_ms", "deadlineMs")?.min(u32::MAX.into()) as u32;
            let resume = object.get("resume").map(delivered_in_json).unwrap_or_default();
            return Ok(Self { id, deadline_ms, resume, payload: Payload::Json(object) });
        }
        let mut task = (0, 0, Delivered::default());
        for field in Fields(&payload) {
            match field.ok_or("the task is not a Protocol Buffers message of daiic.proto")? {
                Field { number: ID, value: Found::Varint(id), .. } => task.0 = id,
                Field { number: TASK_DEADLINE, value: Found::Varint(ms), .. } => task.1 = ms as u32,
                Field { number: TASK_RESUME, value: Found::Bytes(resume), .. } => {
                    task.2 = delivered_in(resume, RESUME_TOKENS, RESUME_TEXT, RESUME_INDEX);
                }
                _ => {}
            }
        }
        let (id, deadline_ms, resume) = task;
        Ok(Self { id, deadline_ms, resume, payload: Payload::Protobuf(payload) })
    }

    pub fn is_json(&self) -> bool {
        matches!(self.payload, Payload::Json(_))
    }

    /// The payload for a head, with another id and whatever has been delivered already.
    pub fn for_head(&self, id: u64, deadline_ms: u32, resume: &Delivered) -> Vec<u8> {
        match &self.payload {
            Payload::Json(object) => {
                let mut object = object.clone();
                object.insert("id".into(), json!(id.to_string()));
                if deadline_ms > 0 {
                    object.remove("deadlineMs");
                    object.insert("deadline_ms".into(), json!(deadline_ms));
                }
                if *resume != Delivered::default() {
                    let resume =
                        json!({"tokens": resume.tokens, "text": resume.text, "index": resume.next});
                    object.insert("resume".into(), resume);
                }
                Value::Object(object).to_string().into_bytes()
            }
            Payload::Protobuf(payload) => {
                let mut out = Vec::with_capacity(payload.len() + 32);
                put_varint_field(&mut out, ID, id);
                if deadline_ms > 0 {
                    put_varint_field(&mut out, TASK_DEADLINE, deadline_ms.into());
                }
                put_all_but(&mut out, payload, &[ID, TASK_DEADLINE, TASK_RESUME]);
                if *resume != Delivered::default() {
                    let mut packed = Vec::new();
                    resume.tokens.iter().for_each(|token| put_varint(&mut packed, (*token).into()));
                    let mut inner = Vec::new();
                    put_bytes_field(&mut inner, RESUME_TOKENS, &packed);
                    put_bytes_field(&mut inner, RESUME_TEXT, resume.text.as_bytes());
                    put_varint_field(&mut inner, RESUME_INDEX, resume.next.into());
                    put_bytes_field(&mut out, TASK_RESUME, &inner);
                }
                out
            }
        }
    }
}

/// A part of an answer, from a head.
pub struct Answer {
    pub id: u64,
    pub last: bool,
    /// What it delivers; its `next` is the part's own index.
    pub part: Delivered,
    payload: Payload,
}

impl Answer {
    /// Reads a RESULT's payload; `None` if it is none.
    pub fn read(payload: Vec<u8>) -> Option<Self> {
        if payload.first() == Some(&b'{') {
            let object: Map<String, Value> = serde_json::from_slice(&payload).ok()?;
            let id = json_u64(object.get("id")?)?;
            let last =
                object.get("final") == Some(&Value::Bool(true)) || object.contains_key("error");
            let part = delivered_in_map(&object);
            return Some(Self { id, last, part, payload: Payload::Json(object) });
        }
        let (mut id, mut last) = (0, false);
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
        Some(Self { id, last, part, payload: Payload::Protobuf(payload) })
    }

    /// The payload for the client, with its own id.
    pub fn for_client(self, id: u64) -> Vec<u8> {
        match self.payload {
            Payload::Json(mut object) => {
                object.insert("id".into(), json!(id.to_string()));
                Value::Object(object).to_string().into_bytes()
            }
            Payload::Protobuf(payload) => with_id(&payload, id),
        }
    }
}

/// Returns the id and the code of an Error, or the id of a Cancel with code 0.
pub fn read_id(payload: &[u8]) -> Option<(u64, u64)> {
    let mut found = (0, 0);
    for field in Fields(payload) {
        match field? {
            Field { number: ID, value: Found::Varint(id), .. } => found.0 = id,
            Field { number: ERROR_CODE, value: Found::Varint(code), .. } => found.1 = code,
            _ => {}
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
        put_varint_field(&mut out, ERROR_CODE, self.code as u64);
        put_bytes_field(&mut out, ERROR_MESSAGE, self.message.as_bytes());
        put_bytes_field(&mut out, ERROR_REMEDY, self.remedy.as_bytes());
        out
    }

    /// The payload of a RESULT that ends a JSON task.
    pub fn to_json(&self, id: u64, index: u32) -> Vec<u8> {
        let id = id.to_string();
        let (code, message, remedy) = (self.code.name(), &self.message, self.remedy);
        let error = json!({"id": id, "code": code, "message": message, "remedy": remedy});
        json!({"id": id, "index": index, "final": true, "error": error}).to_string().into_bytes()
    }
}

// ------------------------------------------------------------------------ JSON

/// The JSON mapping writes 64-bit numbers as strings, and readers take both.
fn json_u64(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn delivered_in_json(value: &Value) -> Delivered {
    value.as_object().map(delivered_in_map).unwrap_or_default()
}

fn delivered_in_map(object: &Map<String, Value>) -> Delivered {
    let tokens = object.get("tokens").and_then(Value::as_array).map(Vec::as_slice).unwrap_or(&[]);
    let text = object.get("text").and_then(Value::as_str).unwrap_or_default();
    let tokens = tokens.iter().filter_map(|token| json_u64(token).map(|token| token as u32));
    let next = object.get("index").and_then(json_u64).unwrap_or(0) as u32;
    Delivered { tokens: tokens.collect(), text: text.into(), next }
}
