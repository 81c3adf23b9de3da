//! What becomes of a task that was taken in: it is given to heads, cancelled, and ended.

use std::net::SocketAddr;
use std::rc::Rc;

use tracing::debug;

use super::{Bridge, Open};
use crate::bounds::DEADLINE_GRACE;
use crate::payload::{self, Answer, Refusal};
use dcf::frames::message_type;
use dcf::recent::RecentSet;
use dcf::time::Micros;

impl Bridge {
    /// Gives a task to `head`; without one it waits for one that takes it.
    pub(super) fn dispatch(&mut self, id: u64, head: Option<SocketAddr>, now: Micros) {
        let Some(open) = self.open.get_mut(&id) else { return };
        (open.head, open.news_at) = (head, now);
        let Some(head) = head else { return };
        let left_ms = open.deadline.saturating_sub(now + self.paused + DEADLINE_GRACE) / 1000;
        // Small payloads stay as small as they came, where a datagram may just hold them.
        let left_ms = left_ms.clamp(1, u32::MAX.into()) as u32; // 0 would be as long as it takes
        let deadline_ms = if now == open.since { open.task.deadline_ms } else { left_ms };
        let payload = open.task.for_head(id, deadline_ms, &open.delivered);
        self.mesh.send(head, message_type::TASK, Rc::new(payload), now);
    }

    /// Begins a task again after what was delivered, at `head` and under a new id: whatever the
    /// run before still says no longer counts.
    pub(super) fn begin_again(&mut self, id: u64, head: Option<SocketAddr>, now: Micros) {
        let Some(mut open) = self.open.remove(&id) else { return };
        self.cancel_at(open.head, id, now);
        let early: usize = std::mem::take(&mut open.early).values().map(Answer::size).sum();
        open.bytes -= early;
        self.held_bytes -= early;
        self.last_id += 1;
        if let Some(known) = self.known.get_mut(&open.client) {
            known.tasks.insert(open.client_id, self.last_id);
            known.bytes -= early;
        }
        self.open.insert(self.last_id, open);
        self.totals.moved += u64::from(head.is_some());
        self.dispatch(self.last_id, head, now);
    }

    pub(super) fn client_cancel(&mut self, client: SocketAddr, payload: &[u8], now: Micros) {
        let Some(id) = payload::read_cancel(payload) else {
            self.clients.counters.dropped_malformed += 1;
            return;
        };
        let known = self.client(client, now);
        known.recent.add(id, now); // its TASK may come later, on a link that reorders
        if let Some(&ours) = known.tasks.get(&id) {
            self.cancel(ours, now);
        }
    }

    /// A client that vanished has its tasks cancelled. One that never acknowledged anything may
    /// still be there: its tasks run on. What either asks again is done again.
    pub(super) fn client_lost(&mut self, client: SocketAddr, proven: bool, now: Micros) {
        let Some(known) = self.known.get_mut(&client) else { return };
        debug!(%client, proven, "client acknowledges nothing");
        if proven {
            for id in known.tasks.values().copied().collect::<Vec<_>>() {
                self.cancel(id, now);
            }
        }
        let Some(known) = self.known.get_mut(&client) else { return };
        known.recent = RecentSet::default();
        for id in known.tasks.keys() {
            known.recent.add(*id, now);
        }
    }

    /// Forgets a task that its client no longer waits for, and tells the head.
    fn cancel(&mut self, id: u64, now: Micros) {
        if let Some(open) = self.close(id) {
            self.totals.cancelled += 1;
            self.cancel_at(open.head, id, now);
        }
    }

    pub(super) fn cancel_at(&mut self, head: Option<SocketAddr>, id: u64, now: Micros) {
        let Some(head) = head else { return };
        let cancel = Rc::new(payload::with_id(&[], id));
        self.mesh.send(head, message_type::CANCEL, cancel, now);
    }

    pub(super) fn close(&mut self, id: u64) -> Option<Open> {
        let open = self.open.remove(&id)?;
        if let Some(known) = self.known.get_mut(&open.client) {
            known.tasks.remove(&open.client_id);
            known.bytes -= open.bytes;
        }
        self.held_bytes -= open.bytes;
        self.clients.release(open.client);
        Some(open)
    }

    /// Ends an open task with an answer of the shim's own.
    pub(super) fn end(&mut self, id: u64, refusal: &Refusal, now: Micros) {
        if let Some(open) = self.close(id) {
            let json = open.task.is_json();
            let index = open.delivered.next;
            self.refuse(open.client, open.client_id, json, index, refusal, now);
        }
    }

    pub(super) fn refuse(
        &mut self,
        client: SocketAddr,
        client_id: u64,
        json: bool,
        index: u32,
        refusal: &Refusal,
        now: Micros,
    ) {
        debug!(%client, client_id, code = refusal.code.name(), "{}", refusal.message);
        *self.totals.refused.entry(refusal.code.name()).or_default() += 1;
        let (message_type, payload) = if json {
            (message_type::RESULT, refusal.to_json(client_id, index))
        } else {
            (message_type::ERROR, refusal.to_protobuf(client_id))
        };
        self.clients.send(client, message_type, Rc::new(payload), now);
    }
}
