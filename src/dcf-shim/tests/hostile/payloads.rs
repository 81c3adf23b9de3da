//! The payloads that clients and heads send, in both of their forms.

use std::net::SocketAddr;

use dcf_shim::payload;
use serde_json::json;

/// What a client asks for.
#[derive(Clone, Copy, Default)]
pub struct Asked {
    pub json: bool,
    /// It has no id but its message's number.
    pub counted: bool,
    pub deadline_ms: u32,
    pub resume_at: u32,
    /// It is filled up to about so many bytes.
    pub size: usize,
}

/// A TASK's payload.
pub fn task(asked: &Asked, id: u64) -> Vec<u8> {
    let Asked { json, deadline_ms, resume_at, size, .. } = *asked;
    if json {
        let mut task = json!({"id": id, "model": "m", "text": {"prompt": " ".repeat(size)}});
        if deadline_ms > 0 {
            task["deadline_ms"] = deadline_ms.into();
        }
        if resume_at > 0 {
            task["resume"] = json!({"tokens": [1], "text": "so", "index": resume_at});
        }
        return task.to_string().into_bytes();
    }
    let mut task = payload::with_id(&[], id);
    if deadline_ms > 0 {
        varint_field(&mut task, 3, deadline_ms.into());
    }
    if resume_at > 0 {
        let mut resume = vec![0x0a, 1, 1];
        varint_field(&mut resume, 3, resume_at.into());
        bytes_field(&mut task, 16, &resume);
    }
    if size > 0 {
        let mut text = Vec::new();
        bytes_field(&mut text, 2, &vec![b'm'; size]);
        bytes_field(&mut task, 8, &text);
    }
    task
}

/// A RESULT's: one part of an answer, with a token.
pub fn part(json: bool, id: u64, index: u32, text: &str, last: bool) -> Vec<u8> {
    if json {
        let part = json!({"id": id.to_string(), "index": index, "text": text, "final": last});
        return part.to_string().into_bytes();
    }
    let mut part = payload::with_id(&[], id);
    varint_field(&mut part, 2, index.into());
    varint_field(&mut part, 3, last.into());
    bytes_field(&mut part, 8, text.as_bytes());
    varint_field(&mut part, 9, 7);
    part
}

/// An ERROR's.
pub fn error(id: u64, code: u32) -> Vec<u8> {
    let mut error = payload::with_id(&[], id);
    varint_field(&mut error, 2, code.into());
    error
}

/// A head's HEARTBEAT's: its state, and the address of another.
pub fn heartbeat(state: u32, other: SocketAddr) -> Vec<u8> {
    let mut heartbeat = Vec::new();
    varint_field(&mut heartbeat, 5, state.into());
    bytes_field(&mut heartbeat, 17, other.to_string().as_bytes());
    heartbeat
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn varint_field(out: &mut Vec<u8>, number: u64, value: u64) {
    varint(out, number << 3);
    varint(out, value);
}

fn bytes_field(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    varint(out, number << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}
