//! A client's task: what the bridge reads of it, and its payload, of which only id, deadline, client,
//! seed and what has been delivered change on the way to a head.

use std::rc::Rc;

use super::protobuf::{put_all_but, put_bytes_field, put_varint_field, Field, Fields, Found};
use super::{is_json, json, quoted, Output, ID};

const TASK_DEADLINE: u64 = 3;
const TEXT: u64 = 8;
const IMAGE: u64 = 9;
const TASK_CLIENT: u64 = 6;
const TASK_RESUME: u64 = 16;
const SEED: u64 = 7; // of TextTask and ImageTask

/// A task between its client and the heads.
#[derive(Debug, Default)]
pub struct Task {
    pub id: u64,
    /// 0: none was given.
    pub deadline_ms: u32,
    pub resume: Output,
    /// For whom it is, as a head is told whatever the client says.
    pub client: Rc<str>,
    payload: Vec<u8>,
}

impl Task {
    /// Reads a TASK's payload; the error is a sentence for the sender.
    pub fn read(payload: Vec<u8>) -> Result<Self, String> {
        let mut task = if is_json(&payload) {
            Self::read_json(&payload)?
        } else {
            Self::read_protobuf(&payload)
                .ok_or("the task is not a Protocol Buffers message of daiic.proto")?
        };
        task.payload = payload;
        Ok(task)
    }

    fn read_json(payload: &[u8]) -> Result<Self, String> {
        let mut task = Self::default();
        let mut wrong = None;
        let members = json::each_member(payload, |name, value| match name {
            "id" | "deadline_ms" | "deadlineMs" => match (name, json::number(value)) {
                ("id", Some(id)) => task.id = id,
                (_, Some(ms)) => task.deadline_ms = ms.min(u32::MAX.into()) as u32,
                (_, None) => wrong = Some(format!("the task's \"{name}\" is not a number")),
            },
            "resume" if is_json(value.as_bytes()) => {
                task.resume = Output::of_json(value.as_bytes()).unwrap_or_default();
            }
            _ => {}
        });
        members.map_err(|error| format!("the task begins with \"{{\" but is not JSON: {error}"))?;
        wrong.map_or(Ok(task), Err)
    }

    fn read_protobuf(payload: &[u8]) -> Option<Self> {
        let mut task = Self::default();
        for field in Fields(payload) {
            match field? {
                Field { number: ID, value: Found::Varint(id), .. } => task.id = id,
                Field { number: TASK_DEADLINE, value: Found::Varint(ms), .. } => {
                    task.deadline_ms = ms as u32;
                }
                Field { number: TASK_RESUME, value: Found::Bytes(resume), .. } => {
                    task.resume = Output::of_resume(resume);
                }
                _ => {}
            }
        }
        Some(task)
    }

    pub fn is_json(&self) -> bool {
        is_json(&self.payload)
    }

    /// Bytes of memory that it uses.
    pub fn size(&self) -> usize {
        self.payload.len() + self.resume.size()
    }

    /// Gives a text or image task that has no seed a new one, so that every run answers alike.
    pub fn seed(&mut self, draw: impl FnOnce() -> u64) {
        let seeded = if self.is_json() {
            json_with_seed(&self.payload, draw)
        } else {
            protobuf_with_seed(&self.payload, draw)
        };
        if let Some(payload) = seeded {
            self.payload = payload;
        }
    }

    /// The payload for a head, with another id and whatever has been delivered already.
    pub fn for_head(&self, id: u64, deadline_ms: u32, resume: &Output) -> Vec<u8> {
        let resumed = *resume != Output::default();
        if self.is_json() {
            let (mut ours, mut drop) = (vec![("id", quoted(id))], vec!["id", "client"]);
            if !self.client.is_empty() {
                ours.push(("client", serde_json::Value::from(&*self.client).to_string()));
            }
            if deadline_ms > 0 {
                ours.push(("deadline_ms", deadline_ms.to_string()));
                drop.extend(["deadline_ms", "deadlineMs"]);
            }
            if resumed {
                ours.push(("resume", resume.to_json()));
                drop.push("resume");
            }
            return json::rewritten(&self.payload, &ours, &drop).unwrap_or_default();
        }
        let mut out = Vec::with_capacity(self.payload.len() + 32);
        put_varint_field(&mut out, ID, id);
        if deadline_ms > 0 {
            put_varint_field(&mut out, TASK_DEADLINE, deadline_ms.into());
        }
        if !self.client.is_empty() {
            put_bytes_field(&mut out, TASK_CLIENT, self.client.as_bytes());
        }
        put_all_but(&mut out, &self.payload, &[ID, TASK_DEADLINE, TASK_CLIENT, TASK_RESUME]);
        if resumed {
            put_bytes_field(&mut out, TASK_RESUME, &resume.to_protobuf());
        }
        out
    }
}

/// The task with a seed in its work; `None` if it has one, or if its work takes none.
fn json_with_seed(task: &[u8], draw: impl FnOnce() -> u64) -> Option<Vec<u8>> {
    let mut work = None;
    json::each_member(task, |name, value| {
        if ["text", "image"].contains(&name) && is_json(value.as_bytes()) {
            work = Some((name.to_owned(), value.to_owned()));
        }
    })
    .ok()?;
    let (name, work) = work?;
    if json::has(work.as_bytes(), "seed").ok()? {
        return None;
    }
    let seed = [("seed", draw().to_string())];
    let work = json::rewritten(work.as_bytes(), &seed, &["seed"]).ok()?;
    let work = String::from_utf8(work).ok()?;
    json::rewritten(task, &[(&name, work)], &[&name]).ok()
}

fn protobuf_with_seed(task: &[u8], draw: impl FnOnce() -> u64) -> Option<Vec<u8>> {
    // Of several the last counts, and those of one kind count as one.
    let work =
        Fields(task).flatten().filter(|field| [TEXT, IMAGE].contains(&field.number)).last()?;
    let has_seed = |field: Field| match field.value {
        Found::Bytes(inner) => Fields(inner).flatten().any(|inner| inner.number == SEED),
        _ => true,
    };
    if Fields(task).flatten().filter(|field| field.number == work.number).any(has_seed) {
        return None;
    }
    let Found::Bytes(inner) = work.value else { return None };
    let mut seeded = inner.to_vec();
    put_varint_field(&mut seeded, SEED, draw());
    let mut out = Vec::with_capacity(task.len() + 16);
    for field in Fields(task).flatten() {
        if std::ptr::eq(field.raw, work.raw) {
            put_bytes_field(&mut out, work.number, &seeded);
        } else {
            out.extend_from_slice(field.raw);
        }
    }
    Some(out)
}
