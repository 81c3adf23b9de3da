//! Answers on their way down, in order, and errors of heads.

use std::net::SocketAddr;
use std::rc::Rc;

use super::{Bridge, Open};
use crate::congestion::Micros;
use crate::frames::kind;
use crate::payload::{self, Answer, ErrorCode, Refusal};

/// Parts of one answer that may wait for an earlier one; a head has fewer under way.
const MAX_EARLY: usize = 8192;

impl Bridge {
    /// Passes a part on in its turn, and those that waited for it.
    pub(super) fn answer(&mut self, peer: SocketAddr, answer: Answer, now: Micros) {
        let id = answer.id;
        let Some(open) = self.open_at(id, peer) else { return };
        open.news_at = now;
        if answer.part.next != open.delivered.next {
            if answer.part.next > open.delivered.next && open.early.len() < MAX_EARLY {
                open.early.insert(answer.part.next, answer);
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
        let (client, last, head) = (open.client, answer.last, open.head);
        open.delivered.add(&answer.part);
        let part = answer.for_client(open.client_id);
        let following = open.early.remove(&open.delivered.next);
        if !self.may_owe(client, part.len()) {
            let waiting = self.clients.unacknowledged(client);
            let message = format!("no room: {waiting} bytes of answers wait for acknowledgement");
            let remedy = "acknowledge faster, or ask for less at once";
            self.end(id, &Refusal { code: ErrorCode::QueueFull, message, remedy }, now);
            self.cancel_at(head, id, now);
            return None;
        }
        self.clients.send(client, kind::RESULT, Rc::new(part), now);
        if last {
            self.close(id);
            self.totals.answered += 1;
        }
        following
    }

    /// The open task `id` if `peer` is the head that has it.
    fn open_at(&mut self, id: u64, peer: SocketAddr) -> Option<&mut Open> {
        self.open.get_mut(&id).filter(|open| open.head == Some(peer))
    }

    pub(super) fn head_error(&mut self, peer: SocketAddr, payload: &[u8], now: Micros) {
        let Some((id, code)) = payload::read_id(payload) else {
            self.mesh.counters.dropped_malformed += 1;
            return;
        };
        let Some(open) = self.open_at(id, peer) else { return };
        let (client, client_id) = (open.client, open.client_id);
        if code == ErrorCode::ShuttingDown as u64 {
            self.heads.draining(peer, true);
            if let Some(other) = self.heads.other(peer) {
                return self.begin_again(id, Some(other), now);
            }
        }
        let error = Rc::new(payload::with_id(payload, client_id));
        self.clients.send(client, kind::ERROR, error, now);
        self.close(id);
        self.totals.answered += 1;
    }
}
