//! What becomes of an accepted task: it is dispatched to heads, restarted, cancelled, and ended.

use std::net::SocketAddr;
use std::rc::Rc;

use dcf::frames::message_type;
use dcf::recent::RecentSet;
use dcf::time::Micros;
use tracing::debug;

use super::{Bridge, OpenTask};
use crate::bounds::DEADLINE_GRACE;
use crate::payload::{self, Refusal, ResultPart};

impl Bridge {
    /// Sends a task to `head`; without one it waits for a head that takes it.
    pub(super) fn dispatch(&mut self, id: u64, head: Option<SocketAddr>, now: Micros) {
        let Some(open) = self.open.get_mut(&id) else { return };
        (open.head, open.heard_at) = (head, now);
        let Some(head) = head else { return };
        let left_ms = open.deadline.saturating_sub(now + self.paused + DEADLINE_GRACE) / 1000;
        // A payload that just fits a datagram must not grow: the deadline is not rewritten at first.
        let left_ms = left_ms.clamp(1, u32::MAX.into()) as u32; // 0 would mean no deadline
        let deadline_ms = if now == open.since { open.task.deadline_ms } else { left_ms };
        let payload = open.task.for_head(id, deadline_ms, &open.delivered);
        self.mesh.send(head, message_type::TASK, Rc::new(payload), now);
    }

    /// Starts another attempt of a task, at `head`, after what was delivered. It has a new id, so that
    /// whatever the attempt before still says is ignored.
    pub(super) fn restart(&mut self, id: u64, head: Option<SocketAddr>, now: Micros) {
        let Some(mut open) = self.open.remove(&id) else { return };
        self.cancel_at(open.head, id, now);
        let waiting = std::mem::take(&mut open.out_of_order);
        let freed: usize = waiting.values().map(ResultPart::size).sum();
        open.bytes -= freed;
        self.held_bytes -= freed;
        self.last_id += 1;
        if let Some(known) = self.known.get_mut(&open.client) {
            known.tasks.insert(open.client_id, self.last_id);
            known.bytes -= freed;
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
        known.recent_ids.add(id, now); // its TASK may come later, on a link that reorders
        if let Some(&ours) = known.tasks.get(&id) {
            self.cancel(ours, now);
        }
    }

    /// Cancels the tasks of a client that vanished. One that never acknowledged anything may still be
    /// there: its tasks go on. What either asks again is done again.
    pub(super) fn client_lost(&mut self, client: SocketAddr, proven: bool, now: Micros) {
        let Some(known) = self.known.get_mut(&client) else { return };
        debug!(%client, proven, "client acknowledges nothing");
        if proven {
            for id in known.tasks.values().copied().collect::<Vec<_>>() {
                self.cancel(id, now);
            }
        }
        let Some(known) = self.known.get_mut(&client) else { return };
        known.recent_ids = RecentSet::default();
        for id in known.tasks.keys() {
            known.recent_ids.add(*id, now);
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

    pub(super) fn close(&mut self, id: u64) -> Option<OpenTask> {
        let open = self.open.remove(&id)?;
        if let Some(known) = self.known.get_mut(&open.client) {
            known.tasks.remove(&open.client_id);
            known.bytes -= open.bytes;
        }
        self.held_bytes -= open.bytes;
        self.clients.release(open.client);
        Some(open)
    }

    /// Ends an open task with an error of the shim's own.
    pub(super) fn end(&mut self, id: u64, refusal: &Refusal, now: Micros) {
        if let Some(open) = self.close(id) {
            let json = open.task.is_json();
            let index = open.delivered.index;
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
