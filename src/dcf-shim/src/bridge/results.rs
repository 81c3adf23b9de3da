//! Result parts on their way down, in order, and errors of heads.

use std::net::SocketAddr;
use std::rc::Rc;

use dcf::bounds::MAX_CONTROL;
use dcf::frames::message_type;
use dcf::time::Micros;

use super::{Bridge, OpenTask};
use crate::bounds::MAX_OUT_OF_ORDER;
use crate::payload::{self, ErrorCode, Failure, Refusal, ResultPart};

const STOPPING: u64 = ErrorCode::ShuttingDown as u64;

impl Bridge {
    /// Forwards a part in its turn, and those that waited for it.
    pub(super) fn result(&mut self, peer: SocketAddr, part: ResultPart, now: Micros) {
        let id = part.id;
        let Some(open) = self.open_at(id, peer) else { return };
        open.heard_at = now;
        if part.error == Some(STOPPING) {
            return self.leave(id, peer, now);
        }
        let (index, next) = (part.output.index, open.delivered.index);
        if index != next {
            let waiting = &mut open.out_of_order;
            if index > next && waiting.len() < MAX_OUT_OF_ORDER && !waiting.contains_key(&index) {
                let size = part.size();
                waiting.insert(index, part);
                self.reserve(id, size, now);
            }
            return;
        }
        let mut ready = Some(part);
        while let Some(part) = ready {
            ready = self.forward(id, part, now);
        }
    }

    /// Sends the client its next part; returns the one after, if it has arrived already.
    fn forward(&mut self, id: u64, part: ResultPart, now: Micros) -> Option<ResultPart> {
        let open = self.open.get_mut(&id)?;
        let (client, last, before) = (open.client, part.last, open.delivered.size());
        open.delivered.add(&part.output);
        let after = open.delivered.size();
        let payload = part.for_client(open.client_id);
        let following = open.out_of_order.remove(&open.delivered.index);
        if let Some(following) = &following {
            self.unreserve(id, following.size());
        }
        if payload.len() > self.clients.max_message() {
            self.end_for_size(id, now);
            return None;
        }
        if !self.may_buffer(client, payload.len()) {
            self.end_for_memory(id, now);
            return None;
        }
        self.clients.send(client, message_type::RESULT, Rc::new(payload), now);
        if last {
            self.close(id);
            self.totals.answered += 1;
            return following;
        }
        // What a model that started over made void is no longer kept.
        self.unreserve(id, before.saturating_sub(after));
        self.reserve(id, after.saturating_sub(before), now).then_some(following)?
    }

    /// Accounts for more bytes of an open task, and ends it if they are too many. Returns whether it
    /// is still open.
    fn reserve(&mut self, id: u64, bytes: usize, now: Micros) -> bool {
        let Some(open) = self.open.get_mut(&id) else { return false };
        open.bytes += bytes;
        self.held_bytes += bytes;
        let of_client = self.known.get_mut(&open.client).map_or(0, |known| {
            known.bytes += bytes;
            known.bytes
        });
        let fits =
            of_client <= self.bounds.client_bytes && self.memory() <= 2 * self.bounds.max_bytes;
        if !fits {
            self.end_for_memory(id, now);
        }
        fits
    }

    pub(super) fn unreserve(&mut self, id: u64, bytes: usize) {
        let Some(open) = self.open.get_mut(&id) else { return };
        open.bytes -= bytes;
        self.held_bytes -= bytes;
        self.known.entry(open.client).and_modify(|known| known.bytes -= bytes);
    }

    fn end_for_memory(&mut self, id: u64, now: Micros) {
        let Some(open) = self.open.get(&id) else { return };
        let (client, head) = (open.client, open.head);
        let waiting = self.clients.unacknowledged(client);
        let held = self.known.get(&client).map_or(0, |known| known.bytes);
        let message = format!(
            "the result does not fit: {held} bytes of this client's tasks and results are held, and \
             {waiting} bytes wait for acknowledgement"
        );
        let remedy = "acknowledge faster, or ask for less at once";
        self.end(id, &Refusal { code: ErrorCode::QueueFull, message, remedy }, now);
        self.cancel_at(head, id, now);
    }

    /// The open task `id` if `peer` is the head that has it.
    fn open_at(&mut self, id: u64, peer: SocketAddr) -> Option<&mut OpenTask> {
        self.open.get_mut(&id).filter(|open| open.head == Some(peer))
    }

    /// Acts on a head's ERROR.
    pub(super) fn failure(&mut self, peer: SocketAddr, failure: &Failure, now: Micros) {
        let id = failure.id;
        let Some(open) = self.open_at(id, peer) else { return };
        if failure.code == STOPPING {
            return self.leave(id, peer, now);
        }
        let (client, client_id, json) = (open.client, open.client_id, open.task.is_json());
        let (message_type, error) = if json {
            (message_type::RESULT, failure.to_json(client_id, open.delivered.index))
        } else {
            (message_type::ERROR, failure.to_protobuf(client_id))
        };
        if error.len() > if json { self.clients.max_message() } else { MAX_CONTROL } {
            return self.end_for_size(id, now);
        }
        if !self.may_buffer(client, error.len()) {
            return self.end_for_memory(id, now);
        }
        self.clients.send(client, message_type, Rc::new(error), now);
        self.close(id);
        self.totals.answered += 1;
    }

    /// Moves a task from a head that is stopping to another, or to its successor.
    fn leave(&mut self, id: u64, head: SocketAddr, now: Micros) {
        self.heads.draining(head, true);
        if let Some(open) = self.open.get_mut(&id) {
            open.head = None; // it has dropped the task: there is nothing to cancel
        }
        self.restart(id, self.heads.other(head), now);
    }

    /// Ends the task of a RESULT or ERROR that is larger than allowed; `start` is its first piece.
    pub(super) fn result_too_large(&mut self, peer: SocketAddr, start: &[u8], now: Micros) {
        let Some(id) = payload::leading_id(start) else { return };
        if self.open_at(id, peer).is_some() {
            self.end_for_size(id, now);
        }
    }

    fn end_for_size(&mut self, id: u64, now: Micros) {
        let head = self.open.get(&id).and_then(|open| open.head);
        let message = "the result is larger than max_message".into();
        let remedy = "ask for less at once, or raise the shim's max_message and max_bytes";
        self.end(id, &Refusal { code: ErrorCode::BadRequest, message, remedy }, now);
        self.cancel_at(head, id, now);
    }
}
