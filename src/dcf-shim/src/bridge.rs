//! The bridge itself: clients' tasks up to a head, its answers down to the client.
//!
//! Both sides end at the shim: each has its own sequence numbers, acknowledgements and
//! retransmissions, so that a lossy client link never makes the mesh repeat anything. What joins
//! them is the task: (client address, client's id) on one side, an id of the shim's on the other.
//! A task whose head falls silent goes to another head, or waits a little for one, and continues
//! after what has been delivered: the client sees one answer. A head keeps nothing over a restart,
//! so a task that hears nothing for a while is sent to it again: one that knows it ignores that.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

use ipnet::IpNet;
use tracing::{debug, warn};

use crate::congestion::Micros;
use crate::endpoint::{Endpoint, Event, Limits};
use crate::frames::kind;
use crate::heads::Heads;
use crate::keyed_hash::Map;
use crate::payload::{self, Answer, Delivered, ErrorCode, Refusal, Task};
use crate::recent::Recent;
use crate::token_bucket::TokenBucket;

/// Parts of one answer that may wait for an earlier one; a head has fewer under way.
const MAX_EARLY: usize = 8192;
/// Time without news after which a task is sent again, or begun again if parts are missing; a
/// second more for each megabyte.
const REPEAT_AFTER: Micros = 5_000_000;
/// How long a task waits for any head.
const PATIENCE: Micros = 6_000_000;
/// How much later than the head the shim gives up a task: the head's own answer comes first.
const DEADLINE_GRACE: Micros = 5_000_000;
const SWEEP_EVERY: Micros = 1_000_000;
/// No refusal is longer, in bytes.
const REFUSAL: usize = 512;
/// A NAT forgets an idle UDP mapping after 30 s or more (RFC 4787, REQ-5 asks for 2 min).
const KEEPALIVE_EVERY: Micros = 15_000_000;

/// What clients may use, per client and in all.
pub struct Bounds {
    /// Where clients may be; empty for anywhere.
    pub networks: Vec<IpNet>,
    pub tasks_per_second: f64,
    pub task_burst: f64,
    pub client_tasks: usize,
    pub max_tasks: usize,
    pub client_bytes: usize,
    pub max_bytes: usize,
    pub task_deadline: Micros,
}

/// A task between acceptance and its last answer.
struct Open {
    client: SocketAddr,
    /// The client's own id for it.
    client_id: u64,
    task: Task,
    bytes: usize,
    /// Who has it; `None` while no head answers.
    head: Option<SocketAddr>,
    since: Micros,
    /// When it was last sent to a head or heard of.
    news_at: Micros,
    deadline: Micros,
    delivered: Delivered,
    early: BTreeMap<u32, Answer>,
}

struct Client {
    bucket: TokenBucket,
    /// The client's ids to ours.
    tasks: Map<u64, u64>,
    /// Its ids lately, so that a task it repeats does not run twice.
    recent: Recent<u64>,
    bytes: usize,
}

/// Totals since start.
#[derive(Default)]
pub struct Totals {
    pub accepted: u64,
    pub repeated: u64,
    pub answered: u64,
    pub cancelled: u64,
    pub moved: u64,
    pub refused: BTreeMap<&'static str, u64>,
}

pub struct Bridge {
    pub clients: Endpoint,
    pub mesh: Endpoint,
    pub heads: Heads,
    pub totals: Totals,
    bounds: Bounds,
    open: Map<u64, Open>,
    known: Map<SocketAddr, Client>,
    held_bytes: usize,
    /// Empty between the calls of `act`; kept for its memory.
    events: Vec<Event>,
    last_id: u64,
    draining: bool,
    sweep_at: Micros,
    keepalive_at: Micros,
}

impl Bridge {
    /// `first_id` should differ from what an earlier run of the shim began with.
    pub fn new(
        clients: Endpoint,
        mesh: Endpoint,
        heads: Heads,
        bounds: Bounds,
        first_id: u64,
    ) -> Self {
        Self {
            clients,
            mesh,
            heads,
            totals: Totals::default(),
            bounds,
            open: Map::default(),
            known: Map::default(),
            held_bytes: 0,
            events: Vec::new(),
            last_id: first_id,
            draining: false,
            sweep_at: 0,
            keepalive_at: 0,
        }
    }

    pub fn tasks_in_flight(&self) -> usize {
        self.open.len()
    }

    pub fn draining(&self) -> bool {
        self.draining
    }

    /// Bytes of tasks and answers that are held.
    pub fn memory(&self) -> usize {
        self.held_bytes + self.clients.memory() + self.mesh.memory()
    }

    /// One line for people.
    pub fn status(&self) -> String {
        let heads = match (self.heads.alive(), self.heads.each().count()) {
            (0, _) => "no head answers".into(),
            (alive, all) => format!("{alive} of {all} heads answer"),
        };
        let state = if self.draining { "shutting down; " } else { "" };
        format!("{state}{heads}; {} tasks in flight", self.open.len())
    }

    /// Whether nothing is left to answer or to send.
    pub fn idle(&self) -> bool {
        self.open.is_empty() && self.clients.idle()
    }

    // ------------------------------------------------------------------ datagrams

    pub fn from_client(&mut self, datagram: &mut [u8], from: SocketAddr, now: Micros, wall: u64) {
        let address = from.ip().to_canonical();
        let networks = &self.bounds.networks;
        if networks.is_empty() || networks.iter().any(|network| network.contains(&address)) {
            self.clients.received(datagram, from, now, wall);
        } else {
            self.clients.counters.dropped_network += 1;
        }
    }

    pub fn from_mesh(&mut self, datagram: &mut [u8], from: SocketAddr, now: Micros, wall: u64) {
        if !self.heads.knows(from) {
            self.mesh.counters.dropped_network += 1;
        } else if self.mesh.received(datagram, from, now, wall) {
            self.heads.heard(from, now);
        }
    }

    /// Acts on what both endpoints have to tell.
    pub fn act(&mut self, now: Micros) {
        let mut events = std::mem::take(&mut self.events);
        self.clients.take_events(&mut events);
        for event in events.drain(..) {
            match event {
                Event::Message { peer, kind: kind::TASK, sequence, payload } => {
                    self.task(peer, sequence, payload, now);
                }
                Event::Message { peer, kind: kind::CANCEL, payload, .. } => {
                    self.client_cancel(peer, &payload, now);
                }
                Event::Message { .. } => self.clients.counters.dropped_unknown_type += 1,
                Event::TooLarge { peer, kind: kind::TASK, sequence, start } => {
                    self.too_large(peer, sequence, &start, now);
                }
                Event::TooLarge { .. } | Event::Pong { .. } => {}
                Event::Unreachable { peer, proven } => self.client_lost(peer, proven, now),
                Event::Forgotten { peer } => drop(self.known.remove(&peer)),
            }
        }
        self.mesh.take_events(&mut events);
        for event in events.drain(..) {
            match event {
                Event::Message { peer, kind: kind::RESULT, payload, .. } => {
                    match Answer::read(payload) {
                        Some(answer) => self.answer(peer, answer, now),
                        None => self.mesh.counters.dropped_malformed += 1,
                    }
                }
                Event::Message { peer, kind: kind::ERROR, payload, .. } => {
                    self.head_error(peer, &payload, now);
                }
                Event::Message { peer, kind: kind::HEARTBEAT, payload, .. } => {
                    match payload::read_head(&payload) {
                        Some((draining, others)) => {
                            self.heads.draining(peer, draining);
                            self.heads.told(&others, now);
                        }
                        None => self.mesh.counters.dropped_malformed += 1,
                    }
                }
                Event::Message { .. } => self.mesh.counters.dropped_unknown_type += 1,
                Event::Pong { peer, rtt } => self.heads.measured(peer, rtt),
                Event::Unreachable { peer, .. } => self.lose(peer, "acknowledges nothing", now),
                Event::Forgotten { .. } | Event::TooLarge { .. } => {}
            }
        }
        self.events = events;
    }

    // ------------------------------------------------------------------------- up

    fn task(&mut self, client: SocketAddr, sequence: u32, payload: Vec<u8>, now: Micros) {
        let json = payload.first() == Some(&b'{');
        let bytes = payload.len();
        let task = Task::read(payload).map_err(|message| {
            let remedy = "send a Task of daiic.proto, as Protocol Buffers or as JSON";
            Refusal { code: ErrorCode::BadRequest, message, remedy }
        });
        let id = task.as_ref().map_or(0, |task| task.id);
        let client_id = if id == 0 { sequence.into() } else { id };
        if !self.client(client, now).recent.add(client_id, now) {
            self.totals.repeated += 1;
            return;
        }
        match task.and_then(|task| self.admit(client, bytes, now).map(|()| task)) {
            Ok(task) => self.accept(client, client_id, task, bytes, now),
            Err(refusal) => self.turn_away(client, client_id, json, &refusal, now),
        }
    }

    fn too_large(&mut self, client: SocketAddr, sequence: u32, start: &[u8], now: Micros) {
        let id = payload::leading_id(start).unwrap_or(sequence.into());
        let (code, message) = (ErrorCode::BadRequest, "the task is larger than max_message".into());
        let refusal = Refusal { code, message, remedy: "send a smaller task" };
        self.turn_away(client, id, start.first() == Some(&b'{'), &refusal, now);
    }

    /// Refuses a task that was not accepted. Whoever leaves too much unacknowledged is not told:
    /// else the refusals of a flood would pile up.
    fn turn_away(
        &mut self,
        client: SocketAddr,
        client_id: u64,
        json: bool,
        refusal: &Refusal,
        now: Micros,
    ) {
        if self.may_owe(client, REFUSAL) {
            self.refuse(client, client_id, json, 0, refusal, now);
        } else {
            *self.totals.refused.entry(refusal.code.name()).or_default() += 1;
        }
    }

    /// Whether there is room for so many bytes more of answers to `client`. All together may take
    /// as much as all tasks may, so that tasks never leave them without room.
    fn may_owe(&self, client: SocketAddr, bytes: usize) -> bool {
        self.clients.unacknowledged(client) + bytes <= self.bounds.client_bytes
            && self.memory() + bytes <= 2 * self.bounds.max_bytes
    }

    fn client(&mut self, address: SocketAddr, now: Micros) -> &mut Client {
        known_client(&mut self.known, &self.bounds, address, now)
    }

    /// Says why a new task may not go on, if so.
    fn admit(&mut self, client: SocketAddr, bytes: usize, now: Micros) -> Result<(), Refusal> {
        let full = |message, remedy| Err(Refusal { code: ErrorCode::QueueFull, message, remedy });
        let used = self.memory();
        let in_flight = self.open.len();
        let draining = self.draining;
        let waiting = self.clients.unacknowledged(client);
        let bounds = &self.bounds;
        let client = known_client(&mut self.known, bounds, client, now);
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
            return full(message, "wait for an answer before sending more");
        }
        // Each task may yet end with a refusal.
        if waiting + REFUSAL * (client.tasks.len() + 1) > bounds.client_bytes {
            let message = format!("{waiting} bytes of answers wait for acknowledgement");
            return full(message, "acknowledge them before sending more");
        }
        if client.bytes + bytes > bounds.client_bytes {
            let message = format!("tasks in flight would exceed {} bytes", bounds.client_bytes);
            return full(message, "wait for an answer, or send a smaller task");
        }
        if in_flight >= bounds.max_tasks || used + bytes > bounds.max_bytes {
            let message = "the shim has as many tasks in flight as it may".into();
            return full(message, "send the task again in a few seconds");
        }
        Ok(())
    }

    fn accept(
        &mut self,
        client: SocketAddr,
        client_id: u64,
        task: Task,
        bytes: usize,
        now: Micros,
    ) {
        self.last_id += 1;
        let id = self.last_id;
        let known = self.client(client, now);
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
        let open = Open {
            client,
            client_id,
            delivered: task.resume.clone(),
            task,
            bytes,
            head: None,
            since: now,
            news_at: now,
            deadline: now + limit + DEADLINE_GRACE,
            early: BTreeMap::new(),
        };
        self.open.insert(id, open);
        self.dispatch(id, self.heads.best(), now);
    }

    /// Gives a task to `head`; without one it waits for any.
    fn dispatch(&mut self, id: u64, head: Option<SocketAddr>, now: Micros) {
        let Some(open) = self.open.get_mut(&id) else { return };
        (open.head, open.news_at) = (head, now);
        let Some(head) = head else { return };
        let left_ms = open.deadline.saturating_sub(now + DEADLINE_GRACE) / 1000;
        // Small payloads stay as small as they came, where a datagram may just hold them.
        let deadline_ms = if now == open.since { open.task.deadline_ms } else { left_ms as u32 };
        let payload = open.task.for_head(id, deadline_ms, &open.delivered);
        self.mesh.send(head, kind::TASK, Rc::new(payload), now);
    }

    /// Begins a task again after what was delivered, at `head` and under a new id: whatever the
    /// run before still says no longer counts.
    fn begin_again(&mut self, id: u64, head: Option<SocketAddr>, now: Micros) {
        let Some(mut open) = self.open.remove(&id) else { return };
        self.cancel_at(open.head, id, now);
        open.early.clear();
        self.last_id += 1;
        if let Some(known) = self.known.get_mut(&open.client) {
            known.tasks.insert(open.client_id, self.last_id);
        }
        self.open.insert(self.last_id, open);
        self.totals.moved += u64::from(head.is_some());
        self.dispatch(self.last_id, head, now);
    }

    fn client_cancel(&mut self, client: SocketAddr, payload: &[u8], now: Micros) {
        let Some((id, _)) = payload::read_id(payload) else {
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
    /// still be there: its tasks run on, and what it asks again is done again.
    fn client_lost(&mut self, client: SocketAddr, proven: bool, now: Micros) {
        let Some(known) = self.known.get_mut(&client) else { return };
        debug!(%client, proven, "client acknowledges nothing");
        if proven {
            for id in known.tasks.values().copied().collect::<Vec<_>>() {
                self.cancel(id, now);
            }
        } else {
            known.recent = Recent::default();
            for id in known.tasks.keys() {
                known.recent.add(*id, now);
            }
        }
    }

    /// Forgets a task that its client no longer waits for, and tells the head.
    fn cancel(&mut self, id: u64, now: Micros) {
        if let Some(open) = self.close(id) {
            self.totals.cancelled += 1;
            self.cancel_at(open.head, id, now);
        }
    }

    fn cancel_at(&mut self, head: Option<SocketAddr>, id: u64, now: Micros) {
        let Some(head) = head else { return };
        let cancel = Rc::new(payload::with_id(&[], id));
        self.mesh.send(head, kind::CANCEL, cancel, now);
    }

    fn close(&mut self, id: u64) -> Option<Open> {
        let open = self.open.remove(&id)?;
        if let Some(known) = self.known.get_mut(&open.client) {
            known.tasks.remove(&open.client_id);
            known.bytes -= open.bytes;
        }
        self.held_bytes -= open.bytes;
        self.clients.release(open.client);
        Some(open)
    }

    // ----------------------------------------------------------------------- down

    /// The open task `id` if `peer` is the head that has it.
    fn open_at(&mut self, id: u64, peer: SocketAddr) -> Option<&mut Open> {
        self.open.get_mut(&id).filter(|open| open.head == Some(peer))
    }

    /// Passes a part on in its turn, and those that waited for it.
    fn answer(&mut self, peer: SocketAddr, answer: Answer, now: Micros) {
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

    fn head_error(&mut self, peer: SocketAddr, payload: &[u8], now: Micros) {
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

    /// Ends an open task with an answer of the shim's own.
    fn end(&mut self, id: u64, refusal: &Refusal, now: Micros) {
        if let Some(open) = self.close(id) {
            let json = open.task.is_json();
            let index = open.delivered.next;
            self.refuse(open.client, open.client_id, json, index, refusal, now);
        }
    }

    fn refuse(
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
        let (kind, payload) = if json {
            (kind::RESULT, refusal.to_json(client_id, index))
        } else {
            (kind::ERROR, refusal.to_protobuf(client_id))
        };
        self.clients.send(client, kind, Rc::new(payload), now);
    }

    // --------------------------------------------------------------------- health

    /// Does what time brings; call it a few times a second.
    pub fn tick(&mut self, now: Micros) {
        for head in self.heads.due(now) {
            self.mesh.ping(head, now);
            self.mesh.ask(head, now);
        }
        for head in self.heads.silent(now) {
            self.lose(head, "has fallen silent", now);
        }
        if now >= self.sweep_at {
            self.sweep_at = now + SWEEP_EVERY;
            self.heads.expire(now);
            for id in self.open.keys().copied().collect::<Vec<_>>() {
                self.review(id, now);
            }
        }
        if now >= self.keepalive_at {
            self.keepalive_at = now + KEEPALIVE_EVERY;
            let waiting = self.known.iter().filter(|(_, client)| !client.tasks.is_empty());
            for client in waiting.map(|(address, _)| *address).collect::<Vec<_>>() {
                self.clients.ping(client, now);
            }
        }
    }

    /// Looks after one task: its deadline, and whether it has been heard of.
    fn review(&mut self, id: u64, now: Micros) {
        let Some(open) = self.open.get(&id) else { return };
        let (head, quiet, gap) = (open.head, now - open.news_at, !open.early.is_empty());
        let repeat_after = REPEAT_AFTER + open.bytes as Micros;
        if now >= open.deadline {
            let message = "the task's deadline passed without an answer".into();
            let remedy = "give it more deadline_ms, or look at the head's log";
            self.end(id, &Refusal { code: ErrorCode::DeadlineExceeded, message, remedy }, now);
            self.cancel_at(head, id, now);
        } else if head.is_some() && gap && quiet >= repeat_after {
            self.begin_again(id, head, now);
        } else if head.is_some() && quiet >= repeat_after {
            self.dispatch(id, head, now);
        } else if head.is_none() && self.heads.alive() > 0 {
            self.dispatch(id, self.heads.best(), now);
        } else if head.is_none() && quiet >= PATIENCE {
            let message = "no head of the cluster answers".into();
            let remedy = "send the task again later; check that daiic-head runs, and the shim's \
                          heads and cluster_key_file";
            self.end(id, &Refusal { code: ErrorCode::HeadUnreachable, message, remedy }, now);
        }
    }

    /// Moves a lost head's tasks to another.
    fn lose(&mut self, head: SocketAddr, why: &str, now: Micros) {
        self.mesh.drop_output(head);
        if !self.heads.lost(head) {
            return;
        }
        let of_it = |(id, open): (&u64, &Open)| (open.head == Some(head)).then_some(*id);
        let tasks: Vec<u64> = self.open.iter().filter_map(of_it).collect();
        warn!(%head, tasks = tasks.len(), "head {why}");
        for id in tasks {
            self.begin_again(id, self.heads.best(), now);
        }
    }

    /// Works within other bounds from now on.
    pub fn set_bounds(&mut self, bounds: Bounds, client_limits: Limits) {
        self.bounds = bounds;
        self.clients.set_limits(client_limits);
    }

    // ------------------------------------------------------------------- shutdown

    /// Takes no more tasks.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Ends every task that is still open.
    pub fn abandon(&mut self, now: Micros) {
        let open = self.open.iter().map(|(id, open)| (*id, open.head));
        for (id, head) in open.collect::<Vec<_>>() {
            let message = "the shim shut down before the answer came".into();
            let remedy = "send the task again in a few seconds";
            self.end(id, &Refusal { code: ErrorCode::ShuttingDown, message, remedy }, now);
            self.cancel_at(head, id, now);
        }
    }
}

fn known_client<'a>(
    known: &'a mut Map<SocketAddr, Client>,
    bounds: &Bounds,
    address: SocketAddr,
    now: Micros,
) -> &'a mut Client {
    known.entry(address).or_insert_with(|| Client {
        bucket: TokenBucket::new(bounds.task_burst, now),
        tasks: Map::default(),
        recent: Recent::default(),
        bytes: 0,
    })
}
