//! What must hold after every step, whoever did what.

use std::collections::HashSet;

use dcf::frames::message_type;
use dcf_shim::bounds::MAX_HEADS;
use dcf_shim::payload::{ErrorCode, Failure, ResultPart};

use super::payloads::Asked;
use super::{World, CLIENTS, CLIENT_BYTES, CLIENT_TASKS, MAX_BYTES, MAX_CLIENTS, MAX_TASKS};

/// Bytes that one client may be owed: each of its tasks may end with a refusal on top.
const OWED_AT_MOST: usize = CLIENT_BYTES + CLIENT_TASKS * 512;
/// Bytes held at most: as much for answers as for tasks, and as much again towards the heads and
/// from them.
const HELD_AT_MOST: usize = 4 * MAX_BYTES;

/// What a client has seen of one task of its own.
#[derive(Default)]
pub struct Run {
    /// The index at which it began.
    first: u32,
    indices: HashSet<u32>,
    last: Option<u32>,
    pub asked: Asked,
}

impl Run {
    pub fn of(asked: Asked) -> Self {
        Self { first: asked.resume_at, asked, ..Self::default() }
    }

    /// The client has asked again, and begins where it did before.
    pub fn restart(&mut self) {
        self.indices.clear();
    }

    /// Whether its end has not come.
    pub fn waits(&self) -> bool {
        self.last.is_none()
    }
}

impl World {
    /// Checks that a client sees each part of an answer once and none after the last.
    pub fn follow(&mut self, client: usize, message_type: u8, payload: Vec<u8>) {
        if self.parties[client].wild {
            return;
        }
        let (id, code, part) = match message_type {
            message_type::ERROR => {
                let error = Failure::read(payload).expect("an ERROR that can be read");
                (Some(error.id), Some(error.code), None)
            }
            _ => {
                let answer = ResultPart::read(payload).expect("a RESULT that can be read");
                (Some(answer.id), answer.error, Some((answer.output.index, answer.last)))
            }
        };
        let stopping = code == Some(ErrorCode::ShuttingDown as u64);
        assert!(!stopping || self.bridge.draining(), "{id:?} was told of a head that stops");
        let Some(Some(run)) = id.and_then(|id| self.runs.get_mut(&(client, id))) else { return };
        let index = part.map_or(u32::MAX, |(index, _)| index.wrapping_sub(run.first));
        assert!(run.indices.insert(index), "part {index} of {id:?} came twice");
        if part.is_none_or(|(_, last)| last) {
            assert!(run.last.is_none(), "{id:?} ended twice");
            run.last = Some(index);
        }
        if let Some(last) = run.last {
            assert!(run.indices.iter().all(|index| *index <= last), "a part after the last");
        }
    }

    /// Checks the bounds: of memory, of tables, of what strangers get, of the time that tasks take.
    pub fn check(&mut self) {
        let Self { bridge, now, .. } = self;
        for party in &self.parties[..CLIENTS] {
            let (sent, got) = (party.sent, party.got);
            assert!(party.proved || got <= 3 * sent, "a stranger got {got} bytes for {sent}");
            let waiting = bridge.clients.unacknowledged(party.address);
            assert!(waiting <= OWED_AT_MOST, "{waiting} bytes wait for one client");
        }
        let peers = bridge.clients.peer_count();
        let most = if self.honest { CLIENTS } else { MAX_CLIENTS };
        assert!(peers <= most, "{peers} clients");
        assert!(bridge.mesh.peer_count() <= MAX_HEADS);
        let memory = bridge.memory();
        assert!(memory <= HELD_AT_MOST, "{memory} bytes");
        self.over_by.retain(|over_by| over_by > now);
        let tasks = bridge.tasks_in_flight();
        assert!(tasks <= MAX_TASKS && tasks <= self.over_by.len(), "{tasks} tasks in flight");
    }
}
