//! Admission: which of the clients' tasks are accepted, and which are rejected.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use dcf::keyed_hash::Map;
use dcf::recent::RecentSet;
use dcf::time::Micros;
use dcf::token_bucket::TokenBucket;
use tracing::debug;

use super::{Bounds, Bridge, Client, OpenTask};
use crate::bounds::{DEADLINE_GRACE, REFUSAL};
use crate::client_names::ClientNames;
use crate::payload::{self, ErrorCode, Refusal, Task};

impl Bridge {
    pub(super) fn task(
        &mut self,
        client: SocketAddr,
        sequence: u32,
        payload: Vec<u8>,
        now: Micros,
    ) {
        let json = payload.first() == Some(&b'{');
        let task = Task::read(payload).map_err(|message| {
            let remedy = "send a Task of daiic.proto, as Protocol Buffers or as JSON";
            Refusal { code: ErrorCode::BadRequest, message, remedy }
        });
        let id = task.as_ref().map_or(0, |task| task.id);
        let client_id = if id == 0 { sequence.into() } else { id };
        if !self.client(client, now).recent_ids.add(client_id, now) {
            self.totals.repeated += 1;
            return;
        }
        match task.and_then(|task| self.admit(client, task.size(), now).map(|()| task)) {
            Ok(task) => self.accept(client, client_id, task, now),
            Err(refusal) => {
                if !self.reject(client, client_id, json, &refusal, now) {
                    self.clients.accept_again(client, sequence);
                }
            }
        }
    }

    pub(super) fn too_large(
        &mut self,
        client: SocketAddr,
        sequence: u32,
        start: &[u8],
        now: Micros,
    ) {
        let id = payload::leading_id(start).unwrap_or(sequence.into());
        let (code, message) = (ErrorCode::BadRequest, "the task is larger than max_message".into());
        let refusal = Refusal { code, message, remedy: "send a smaller task" };
        self.reject(client, id, start.first() == Some(&b'{'), &refusal, now);
    }

    /// Says why a new task may not go on, if so.
    fn admit(&mut self, client: SocketAddr, bytes: usize, now: Micros) -> Result<(), Refusal> {
        let full = |message, remedy| Err(Refusal { code: ErrorCode::QueueFull, message, remedy });
        let used = self.memory();
        let in_flight = self.open.len();
        let draining = self.draining;
        let waiting = self.clients.unacknowledged(client);
        let bounds = &self.bounds;
        let client = known_client(&mut self.known, bounds, &self.names, client, now);
        if draining {
            let message = "the shim is shutting down".into();
            let remedy = "send the task again in a few seconds";
            return Err(Refusal { code: ErrorCode::ShuttingDown, message, remedy });
        }
        if !client.bucket.take(bounds.tasks_per_second, bounds.task_burst, now) {
            let message =
                format!("more than {} tasks a second from one client", bounds.tasks_per_second);
            return full(message, "send fewer tasks a second");
        }
        if client.tasks.len() >= bounds.client_tasks {
            let message = format!("{} tasks of this client are in flight", client.tasks.len());
            return full(message, "wait for a result before sending more");
        }
        // Each task may yet end with a refusal.
        if waiting + REFUSAL * (client.tasks.len() + 1) > bounds.client_bytes {
            let message = format!("{waiting} bytes of results wait for acknowledgement");
            return full(message, "acknowledge them before sending more");
        }
        if client.bytes + bytes > bounds.client_bytes {
            let message = format!("tasks in flight would exceed {} bytes", bounds.client_bytes);
            return full(message, "wait for a result, or send a smaller task");
        }
        if in_flight >= bounds.max_tasks || used + bytes > bounds.max_bytes {
            let message = "the shim's queue is full".into();
            return full(message, "send the task again in a few seconds");
        }
        Ok(())
    }

    fn accept(&mut self, client: SocketAddr, client_id: u64, mut task: Task, now: Micros) {
        task.seed(|| self.seeds.draw());
        let bytes = task.size();
        self.last_id += 1;
        let id = self.last_id;
        let known = self.client(client, now);
        task.client = known.name.clone();
        known.tasks.insert(client_id, id);
        known.bytes += bytes;
        self.held_bytes += bytes;
        self.clients.hold(client, now);
        self.totals.accepted += 1;
        let limit = match task.deadline_ms {
            0 => self.bounds.task_deadline,
            given => self.bounds.task_deadline.min(Micros::from(given) * 1000),
        };
        debug!(%client, client_id, id, "task accepted");
        let open = OpenTask {
            client,
            client_id,
            delivered: std::mem::take(&mut task.resume),
            task,
            bytes,
            head: None,
            since: now,
            heard_at: now,
            deadline: now + self.paused + limit + DEADLINE_GRACE,
            out_of_order: BTreeMap::new(),
        };
        self.open.insert(id, open);
        self.dispatch(id, self.heads.best(), now);
    }

    /// Refuses a task that was not accepted; returns whether its client is told. A client that leaves
    /// too much unacknowledged is not: else the refusals of a flood would pile up.
    fn reject(
        &mut self,
        client: SocketAddr,
        client_id: u64,
        json: bool,
        refusal: &Refusal,
        now: Micros,
    ) -> bool {
        let told = self.may_buffer(client, REFUSAL);
        if told {
            self.refuse(client, client_id, json, 0, refusal, now);
        } else {
            *self.totals.refused.entry(refusal.code.name()).or_default() += 1;
            // It may ask again.
            self.client(client, now).recent_ids.remove(&client_id);
        }
        told
    }

    /// Whether so many bytes more of results for `client` fit. All results together may use as much
    /// memory as all tasks, so that tasks never leave them without any.
    pub(super) fn may_buffer(&self, client: SocketAddr, bytes: usize) -> bool {
        self.clients.unacknowledged(client) + bytes <= self.bounds.client_bytes
            && self.memory() + bytes <= 2 * self.bounds.max_bytes
    }

    pub(super) fn client(&mut self, address: SocketAddr, now: Micros) -> &mut Client {
        known_client(&mut self.known, &self.bounds, &self.names, address, now)
    }
}

fn known_client<'a>(
    known: &'a mut Map<SocketAddr, Client>,
    bounds: &Bounds,
    names: &ClientNames,
    address: SocketAddr,
    now: Micros,
) -> &'a mut Client {
    known.entry(address).or_insert_with(|| Client {
        name: names.of(address.ip()),
        answers_pings: false,
        bucket: TokenBucket::new(bounds.task_burst, now),
        tasks: Map::default(),
        recent_ids: RecentSet::default(),
        bytes: 0,
    })
}
