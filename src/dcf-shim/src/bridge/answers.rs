//! Answers on their way down, in order, and errors of heads.

use std::net::SocketAddr;
use std::rc::Rc;

use super::{Bridge, Open};
use crate::bounds::MAX_OUT_OF_ORDER;
use crate::payload::{self, Answer, ErrorCode, Failure, Refusal};
use dcf::bounds::MAX_CONTROL;
use dcf::frames::message_type;
use dcf::time::Micros;

const STOPPING: u64 = ErrorCode::ShuttingDown as u64;

impl Bridge {
    /// Passes a part on in its turn, and those that waited for it.
    pub(super) fn answer(&mut self, peer: SocketAddr, answer: Answer, now: Micros) {
        let id = answer.id;
        let Some(open) = self.open_at(id, peer) else { return };
        open.news_at = now;
        if answer.error == Some(STOPPING) {
            return self.leave(id, peer, now);
        }
        let (index, next) = (answer.part.next, open.delivered.next);
        if index != next {
            if index > next
                && open.early.len() < MAX_OUT_OF_ORDER
                && !open.early.contains_key(&index)
            {
                let size = answer.size();
                open.early.insert(index, answer);
                self.hold(id, size, now);
            }
            return;
        }
        let mut ready = Some(answer);
        while let Some(answer) = ready {
            ready = self.pass_on(id, answer, now);
        }
    }

    /// Gives the client its next part; returns the one after, if it is here already.
    fn pass_on(&mut self, id: u64, answer: Answer, now: Micros) -> Option<Answer> {
        let open = self.open.get_mut(&id)?;
        let (client, last, delivers) = (open.client, answer.last, answer.part.size());
        open.delivered.add(&answer.part);
        let part = answer.for_client(open.client_id);
        let following = open.early.remove(&open.delivered.next);
        if let Some(following) = &following {
            self.let_go(id, following.size());
        }
        if part.len() > self.clients.max_message() {
            self.end_for_size(id, now);
            return None;
        }
        if !self.may_owe(client, part.len()) {
            self.end_for_room(id, now);
            return None;
        }
        self.clients.send(client, message_type::RESULT, Rc::new(part), now);
        if last {
            self.close(id);
            self.totals.answered += 1;
        } else if !self.hold(id, delivers, now) {
            return None;
        }
        following
    }

    /// Counts so many bytes more for an open task, or ends it if they are too many. Returns
    /// whether it is still open.
    fn hold(&mut self, id: u64, bytes: usize, now: Micros) -> bool {
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
            self.end_for_room(id, now);
        }
        fits
    }

    pub(super) fn let_go(&mut self, id: u64, bytes: usize) {
        let Some(open) = self.open.get_mut(&id) else { return };
        open.bytes -= bytes;
        self.held_bytes -= bytes;
        self.known.entry(open.client).and_modify(|known| known.bytes -= bytes);
    }

    fn end_for_room(&mut self, id: u64, now: Micros) {
        let Some(open) = self.open.get(&id) else { return };
        let (client, head) = (open.client, open.head);
        let waiting = self.clients.unacknowledged(client);
        let held = self.known.get(&client).map_or(0, |known| known.bytes);
        let message = format!(
            "no room for the answer: {held} bytes of this client's tasks and answers are held, and \
             {waiting} bytes wait for acknowledgement"
        );
        let remedy = "acknowledge faster, or ask for less at once";
        self.end(id, &Refusal { code: ErrorCode::QueueFull, message, remedy }, now);
        self.cancel_at(head, id, now);
    }

    /// The open task `id` if `peer` is the head that has it.
    fn open_at(&mut self, id: u64, peer: SocketAddr) -> Option<&mut Open> {
        self.open.get_mut(&id).filter(|open| open.head == Some(peer))
    }

    /// Takes in a head's ERROR.
    pub(super) fn failure(&mut self, peer: SocketAddr, failure: &Failure, now: Micros) {
        let id = failure.id;
        let Some(open) = self.open_at(id, peer) else { return };
        if failure.code == STOPPING {
            return self.leave(id, peer, now);
        }
        let (client, client_id, json) = (open.client, open.client_id, open.task.is_json());
        let (message_type, error) = if json {
            (message_type::RESULT, failure.to_json(client_id, open.delivered.next))
        } else {
            (message_type::ERROR, failure.to_protobuf(client_id))
        };
        if error.len() > if json { self.clients.max_message() } else { MAX_CONTROL } {
            return self.end_for_size(id, now);
        }
        if !self.may_owe(client, error.len()) {
            return self.end_for_room(id, now);
        }
        self.clients.send(client, message_type, Rc::new(error), now);
        self.close(id);
        self.totals.answered += 1;
    }

    /// Takes a task from a head that is stopping, to another, or to whichever comes after it.
    fn leave(&mut self, id: u64, head: SocketAddr, now: Micros) {
        self.heads.draining(head, true);
        if let Some(open) = self.open.get_mut(&id) {
            open.head = None; // it has given the task up: there is nothing to cancel
        }
        self.begin_again(id, self.heads.other(head), now);
    }

    /// Takes in that a head's RESULT or ERROR is larger than any may be; `start` is its first piece.
    pub(super) fn answer_too_large(&mut self, peer: SocketAddr, start: &[u8], now: Micros) {
        let Some(id) = payload::leading_id(start) else { return };
        if self.open_at(id, peer).is_some() {
            self.end_for_size(id, now);
        }
    }

    fn end_for_size(&mut self, id: u64, now: Micros) {
        let head = self.open.get(&id).and_then(|open| open.head);
        let message = "the answer is larger than the shim may take".into();
        let remedy = "ask for less at once, or raise the shim's max_message and max_bytes";
        self.end(id, &Refusal { code: ErrorCode::BadRequest, message, remedy }, now);
        self.cancel_at(head, id, now);
    }
}
