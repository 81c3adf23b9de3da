//! What passing time causes: heads time out, tasks are sent again, deadlines pass, NATs forget.

use std::net::SocketAddr;
use std::rc::Rc;

use dcf::time::Micros;
use tracing::warn;

use super::{Bridge, OpenTask};
use crate::bounds::{CLIENT_TIMEOUT, HEAD_WAIT, RESEND_AFTER};
use crate::payload::{ErrorCode, Refusal};

const SWEEP_EVERY: Micros = 1_000_000;
/// A NAT forgets an idle UDP mapping after 30 s or more (RFC 4787, REQ-5 asks for 2 min).
const KEEPALIVE_EVERY: Micros = 15_000_000;
/// How often a client with tasks that answers PINGs is asked whether it is still there.
const ASK_EVERY: Micros = 2_000_000;

impl Bridge {
    /// Acts on timeouts; call it a few times a second.
    pub fn tick(&mut self, now: Micros) {
        for head in self.heads.due(now) {
            self.mesh.ping(head, now);
            self.mesh.heartbeat(head, Rc::default(), now);
        }
        for head in self.heads.silent(now) {
            self.lose(head, "has fallen silent", now);
        }
        if now >= self.sweep_at {
            self.sweep_at = now + SWEEP_EVERY;
            for head in self.heads.expire(now) {
                self.mesh.forget(head);
            }
            for id in self.open.keys().copied().collect::<Vec<_>>() {
                self.review(id, now);
            }
            self.probe_clients(now);
        }
    }

    /// Asks clients with tasks whether they are still there. Those that used to answer and no longer
    /// do are gone. A simple client never answers; its PINGs only keep a NAT's mapping open.
    fn probe_clients(&mut self, now: Micros) {
        let keepalive = now >= self.keepalive_at;
        if keepalive {
            self.keepalive_at = now + KEEPALIVE_EVERY;
        }
        let (mut gone, mut quiet) = (Vec::new(), Vec::new());
        for (address, client) in self.known.iter().filter(|(_, client)| !client.tasks.is_empty()) {
            let silence = now - self.clients.seen_at(*address).unwrap_or(now);
            if client.answers_pings && silence > CLIENT_TIMEOUT {
                gone.push(*address);
            } else if keepalive || (client.answers_pings && silence >= ASK_EVERY) {
                quiet.push(*address);
            }
        }
        quiet.into_iter().for_each(|client| self.clients.ping(client, now));
        gone.into_iter().for_each(|client| self.client_lost(client, true, now));
    }

    /// Checks one task: its deadline, and whether there is news of it.
    fn review(&mut self, id: u64, now: Micros) {
        let Some(open) = self.open.get(&id) else { return };
        let (head, quiet, gap) = (open.head, now - open.heard_at, !open.out_of_order.is_empty());
        let repeat_after = RESEND_AFTER + open.bytes as Micros;
        if now + self.paused >= open.deadline {
            let message = "the task's deadline passed without a result".into();
            let remedy = "give it more deadline_ms, or look at the head's log";
            self.end(id, &Refusal { code: ErrorCode::DeadlineExceeded, message, remedy }, now);
            self.cancel_at(head, id, now);
        } else if head.is_some() && gap && quiet >= repeat_after {
            self.restart(id, head, now);
        } else if head.is_some() && quiet >= repeat_after {
            self.dispatch(id, head, now);
        } else if head.is_none() && self.heads.serving().is_some() {
            self.dispatch(id, self.heads.serving(), now);
        } else if head.is_none() && self.heads.alive() > 0 {
            // A head that is stopping: its successor may be about to start.
            self.open.entry(id).and_modify(|open| open.heard_at = now);
        } else if head.is_none() && quiet >= HEAD_WAIT {
            let message = "no head of the cluster answers".into();
            let remedy = "send the task again later; check that daiic-head runs, and the shim's \
                          heads and cluster_key_file";
            self.end(id, &Refusal { code: ErrorCode::HeadUnreachable, message, remedy }, now);
        }
    }

    /// Moves a lost head's tasks to another.
    pub(super) fn lose(&mut self, head: SocketAddr, why: &str, now: Micros) {
        self.mesh.drop_output(head);
        if !self.heads.lost(head) {
            return;
        }
        let of_it = |(id, open): (&u64, &OpenTask)| (open.head == Some(head)).then_some(*id);
        let tasks: Vec<u64> = self.open.iter().filter_map(of_it).collect();
        warn!(%head, tasks = tasks.len(), "head {why}");
        for id in tasks {
            self.restart(id, self.heads.best(), now);
        }
    }
}
