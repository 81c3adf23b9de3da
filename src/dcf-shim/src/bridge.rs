//! The bridge itself: clients' tasks go up to a head, its results down to the client.
//!
//! Both sides end at the shim: each has its own sequence numbers, acknowledgements and
//! retransmissions, so that a lossy client link never makes the mesh repeat anything. What joins
//! them is the task: (client address, client's id) on one side, an id of the shim's on the other.
//! A task whose head falls silent goes to another head, or waits a little for one, and continues
//! after what has been delivered: the client sees one result. A head keeps nothing over a restart,
//! so a task without news for a while is sent to it again: a head that knows it ignores that.

mod admission;
mod health;
mod results;
mod tasks;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

use dcf::endpoint::Endpoint;
use dcf::events::Event;
use dcf::frames::message_type;
use dcf::keyed_hash::Map;
use dcf::limits::Limits;
use dcf::recent::RecentSet;
use dcf::time::Micros;
use dcf::token_bucket::TokenBucket;
use ipnet::IpNet;

use crate::client_names::ClientNames;
use crate::heads::Heads;
use crate::payload::{self, ErrorCode, Failure, Output, Refusal, ResultPart, Task};
use crate::seeds::Seeds;

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

/// A task between acceptance and its last result part.
struct OpenTask {
    client: SocketAddr,
    /// The client's own id for it.
    client_id: u64,
    task: Task,
    /// Memory that it uses: the task, what was delivered, and parts that wait.
    bytes: usize,
    /// The head that has it; `None` while it waits for one.
    head: Option<SocketAddr>,
    since: Micros,
    /// When there was news of it: it was sent to a head, or something came from there.
    heard_at: Micros,
    deadline: Micros,
    delivered: Output,
    /// Parts that wait for an earlier one, by index.
    out_of_order: BTreeMap<u32, ResultPart>,
}

struct Client {
    /// What heads know it by.
    name: Rc<str>,
    /// It has answered a PING, so that its silence means something.
    answers_pings: bool,
    bucket: TokenBucket,
    /// The client's ids to ours.
    tasks: Map<u64, u64>,
    /// Its latest ids, so that a task that it repeats does not run twice.
    recent_ids: RecentSet<u64>,
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
    /// Time that `now` leaves out because this process was stopped; deadlines count it.
    pub paused: Micros,
    bounds: Bounds,
    open: Map<u64, OpenTask>,
    known: Map<SocketAddr, Client>,
    held_bytes: usize,
    /// Empty between the calls of `act`; kept for its memory.
    events: Vec<Event>,
    last_id: u64,
    draining: bool,
    /// What a client hears that asks for the shim's state.
    heartbeat: Rc<Vec<u8>>,
    names: ClientNames,
    seeds: Seeds,
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
        let mut bridge = Self {
            clients,
            mesh,
            heads,
            totals: Totals::default(),
            paused: 0,
            bounds,
            open: Map::default(),
            known: Map::default(),
            held_bytes: 0,
            events: Vec::new(),
            last_id: first_id,
            draining: false,
            heartbeat: Rc::default(),
            names: ClientNames::default(),
            seeds: Seeds::default(),
            sweep_at: 0,
            keepalive_at: 0,
        };
        bridge.update_heartbeat();
        bridge
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

    /// Acts on the events of both endpoints.
    pub fn act(&mut self, now: Micros) {
        let mut events = std::mem::take(&mut self.events);
        self.clients.take_events(&mut events);
        for event in events.drain(..) {
            match event {
                Event::Message {
                    peer,
                    message_type: message_type::TASK,
                    sequence,
                    payload,
                    ..
                } => {
                    self.task(peer, sequence, payload, now);
                }
                Event::Message { peer, message_type: message_type::CANCEL, payload, .. } => {
                    self.client_cancel(peer, &payload, now);
                }
                Event::Message { peer, message_type: message_type::HEARTBEAT, payload, .. } => {
                    if payload.is_empty() {
                        self.clients.heartbeat(peer, self.heartbeat.clone(), now);
                    }
                }
                Event::Message { .. } => self.clients.counters.dropped_unknown_type += 1,
                Event::TooLarge { peer, message_type: message_type::TASK, sequence, start } => {
                    self.too_large(peer, sequence, &start, now);
                }
                Event::TooLarge { .. } | Event::Delivered { .. } => {}
                Event::Pong { peer, .. } => self.client(peer, now).answers_pings = true,
                Event::Unreachable { peer, proven, .. } => self.client_lost(peer, proven, now),
                Event::Forgotten { peer } => drop(self.known.remove(&peer)),
            }
        }
        self.mesh.take_events(&mut events);
        for event in events.drain(..) {
            match event {
                Event::Message { peer, message_type: message_type::RESULT, payload, .. } => {
                    match ResultPart::read(payload) {
                        Some(part) => self.result(peer, part, now),
                        None => self.mesh.counters.dropped_malformed += 1,
                    }
                }
                Event::Message { peer, message_type: message_type::ERROR, payload, .. } => {
                    match Failure::read(payload) {
                        Some(failure) => self.failure(peer, &failure, now),
                        None => self.mesh.counters.dropped_malformed += 1,
                    }
                }
                Event::Message { peer, message_type: message_type::HEARTBEAT, payload, .. } => {
                    match payload::read_head(&payload) {
                        Some((draining, others)) => {
                            self.heads.draining(peer, draining);
                            self.heads.learn(&others, now);
                        }
                        None => self.mesh.counters.dropped_malformed += 1,
                    }
                }
                Event::Message { .. } => self.mesh.counters.dropped_unknown_type += 1,
                Event::Pong { peer, rtt } => self.heads.measured(peer, rtt),
                Event::Unreachable { peer, .. } => self.lose(peer, "acknowledges nothing", now),
                Event::TooLarge {
                    peer,
                    message_type: message_type::RESULT | message_type::ERROR,
                    start,
                    ..
                } => {
                    self.result_too_large(peer, &start, now);
                }
                Event::Forgotten { .. } | Event::TooLarge { .. } | Event::Delivered { .. } => {}
            }
        }
        self.events = events;
    }

    /// Applies other bounds from now on.
    pub fn set_bounds(&mut self, bounds: Bounds, client_limits: Limits) {
        self.bounds = bounds;
        self.clients.set_limits(client_limits);
    }

    /// Takes no more tasks.
    pub fn drain(&mut self) {
        self.draining = true;
        self.update_heartbeat();
    }

    /// Answers clients as a head would, but without the cluster's heads, of which they need not know.
    fn update_heartbeat(&mut self) {
        let heartbeat = payload::head_heartbeat(env!("CARGO_PKG_VERSION"), self.draining);
        self.heartbeat = heartbeat.into();
    }

    /// Ends every task that is still open.
    pub fn abandon(&mut self, now: Micros) {
        let open = self.open.iter().map(|(id, open)| (*id, open.head));
        for (id, head) in open.collect::<Vec<_>>() {
            let message = "the shim shut down before the result came".into();
            let remedy = "send the task again in a few seconds";
            self.end(id, &Refusal { code: ErrorCode::ShuttingDown, message, remedy }, now);
            self.cancel_at(head, id, now);
        }
    }
}
