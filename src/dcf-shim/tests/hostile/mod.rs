//! A whole bridge among clients and heads that do whatever a source of choices says, and what must
//! hold after every step, whoever sends what.
//!
//! `tests/properties.rs` draws the choices at random; `fuzz/` reads them from the fuzzer's input,
//! so that what it covers guides them.

mod checks;
mod party;
mod payloads;
mod recovery;
mod steps;

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;

use dcf::datagrams::Datagrams;
use dcf::endpoint::Endpoint;
use dcf::frames::message_type;
use dcf::limits::{Limits, Unproven};
use dcf::sealing::Sealer;
use dcf::time::Micros;
use dcf_shim::bounds::{AMPLIFICATION, MAX_HEADS, UNPROVEN_MEMORY, UNPROVEN_SHARE};
use dcf_shim::bridge::{Bounds, Bridge};
use dcf_shim::heads::Heads;

use checks::Run;
use party::{Habit, Party};

/// Where the steps come from.
pub trait Choices {
    /// Whether there is another step.
    fn more(&mut self) -> bool;
    /// A number below `below`, which is at most 65,536.
    fn next(&mut self, below: u32) -> u32;

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.next(list.len() as u32) as usize]
    }
}

const WALL: u64 = 1_800_000_000_000_000;
const SECOND: Micros = 1_000_000;
/// The bridge is called at least so often; less often only where a long time passes.
const TICKS: [Micros; 2] = [SECOND / 4, SECOND];
const CLIENTS: usize = 12;
/// Some of them are named in the settings, the others may be learned of.
const HEADS: usize = 3;
const CLIENT_KEY: [u8; 32] = [1; 32];
const MESH_KEY: [u8; 32] = [2; 32];

// Small bounds, so that few steps reach them.
const MAX_CLIENTS: usize = 5;
const CLIENT_TASKS: usize = 3;
const MAX_TASKS: usize = 8;
const MAX_MESSAGE: usize = 40 << 10;
const CLIENT_BYTES: usize = 64 << 10;
const MAX_BYTES: usize = 160 << 10;
const TASK_DEADLINE: Micros = 60 * SECOND;
/// How much later than its deadline a task may end: the bridge gives its head 5 s more and looks
/// once a second, when it is called.
const LATE: Micros = 5 * SECOND + SECOND + 2 * TICKS[1];
/// After so long without a datagram nothing may be left of anyone.
const FORGETTING: Micros = 140 * SECOND;
/// An input that lasts longer tells nothing new.
const LONGEST: Micros = 900 * SECOND;
/// How often in a row the bridge may want to be called, for nothing, within 100 us.
const IDLE_CALLS: u32 = 16;

/// Lives through the steps of `choices`, in half of all cases through better times, and then through
/// silence; returns what is left. Panics
/// where something does not hold.
pub fn run(choices: &mut impl Choices) -> Bridge {
    let mut world = World::new(choices);
    let better_times = choices.next(2) == 0;
    while choices.more() && world.now < LONGEST {
        world.step(choices);
    }
    if better_times {
        world.recover();
    }
    world.fall_silent();
    world.bridge
}

struct World {
    bridge: Bridge,
    /// The clients, then the heads.
    parties: Vec<Party>,
    by_address: HashMap<SocketAddr, usize>,
    latency: Micros,
    now: Micros,
    tick: Micros,
    tick_at: Micros,
    /// When parties answer what they have heard.
    answer_at: Option<Micros>,
    /// The longest deadline of a task that may have come since the last call of `act`.
    deadline: Micros,
    /// By when each accepted task must be over.
    over_by: VecDeque<Micros>,
    /// By client and id; `None` for ids that were used again, whose runs cannot be told apart.
    runs: HashMap<(usize, u64), Option<Run>>,
    cancelled: HashSet<(usize, u64)>,
    /// Heads do their work.
    honest: bool,
    next_id: u64,
    /// The task that came last: its client and id.
    last_asked: (usize, u64),
    last_output: Vec<u8>,
}

impl World {
    fn new(choices: &mut impl Choices) -> Self {
        let setup = choices.next(256) as usize;
        let heads: Vec<SocketAddr> =
            (1..=HEADS as u8).map(|number| ([198, 51, 100, number], 7717).into()).collect();
        let named = &heads[..1 + setup % HEADS];
        let client_key = (setup & 0x80 != 0).then_some(CLIENT_KEY);
        let mesh_key = (setup & 0x40 != 0).then_some(MESH_KEY);
        let mesh_limits = Limits {
            max_message: MAX_BYTES,
            memory: MAX_BYTES,
            peer_memory: MAX_BYTES,
            max_peers: MAX_HEADS,
            datagram_rate: f64::INFINITY,
            unproven: None,
        };
        let client = |number: usize| {
            let address = ([192, 0, 2, 1 + number as u8], 4000).into();
            Party::new(address, Habit::of(number), client_key)
        };
        let head = |address: &SocketAddr| Party::new(*address, Habit::Attentive, mesh_key);
        let parties: Vec<Party> = (0..CLIENTS).map(client).chain(heads.iter().map(head)).collect();
        let bridge = Bridge::new(
            Endpoint::new(client_limits(MAX_CLIENTS), client_key.map(Sealer::new)),
            Endpoint::new(mesh_limits, mesh_key.map(Sealer::new)),
            Heads::new(named, 4 * SECOND, true),
            bounds("", CLIENT_TASKS),
            1,
        );
        let mut world = Self {
            bridge,
            by_address: parties.iter().map(|party| party.address).zip(0..).collect(),
            parties,
            latency: [100, 5_000, 60_000, 700_000][setup / 8 % 4],
            now: 1,
            tick: TICKS[0],
            tick_at: 0,
            answer_at: None,
            deadline: 0,
            over_by: VecDeque::new(),
            runs: HashMap::new(),
            cancelled: HashSet::new(),
            honest: false,
            next_id: 1,
            last_asked: (0, 0),
            last_output: Vec::new(),
        };
        // Half of all lives begin with heads that answer.
        if setup & 0x20 == 0 {
            world.turn();
            world.pass(2 * world.latency);
        }
        world
    }

    // ----------------------------------------------------------------- datagrams

    /// Nobody knows which tasks a party starts by chance, and with which ids.
    fn unaccounted(&mut self, party: usize) {
        self.parties[party].wild = true;
        self.deadline = TASK_DEADLINE;
    }

    fn acknowledge(&mut self, party: usize) {
        for datagram in self.parties[party].answers(WALL + self.now) {
            self.throw(party, datagram);
        }
    }

    /// Seals as the party does, and gives.
    fn throw(&mut self, from: usize, mut datagram: Vec<u8>) {
        self.parties[from].seal(&mut datagram);
        self.give(from, datagram);
    }

    fn give(&mut self, from: usize, mut datagram: Vec<u8>) {
        let party = &mut self.parties[from];
        party.sent += datagram.len();
        let (address, now) = (party.address, self.now);
        if from < CLIENTS {
            self.bridge.from_client(&mut datagram, address, now, WALL + now);
        } else {
            self.bridge.from_mesh(&mut datagram, address, now, WALL + now);
        }
    }

    fn hear(&mut self, out: &Datagrams, on_mesh: bool) {
        for (range, to) in &out.items {
            let Some(&party) = self.by_address.get(to) else {
                assert!(on_mesh, "{to} is nobody's address");
                continue; // a head made that one up
            };
            assert_eq!(party >= CLIENTS, on_mesh, "{to} is on the other side");
            let datagram = &out.bytes[range.clone()];
            for (message_type, payload) in self.parties[party].hear(datagram) {
                match message_type {
                    message_type::TASK if on_mesh && self.honest => self.serve(party, payload),
                    message_type::TASK if on_mesh => self.parties[party].take(&payload),
                    message_type::RESULT | message_type::ERROR if !on_mesh => {
                        self.follow(party, message_type, payload)
                    }
                    _ => {}
                }
            }
            self.last_output = datagram.into();
        }
        if self.answer_at.is_none() && self.parties.iter().any(Party::owes) {
            self.answer_at = Some(self.now + self.latency);
        }
    }

    // ---------------------------------------------------------------------- time

    /// One round of the daemon's loop; returns how many datagrams it sent.
    fn turn(&mut self) -> usize {
        let now = self.now;
        if self.answer_at.is_some_and(|at| at <= now) {
            self.answer_at = None;
            for party in 0..self.parties.len() {
                if self.parties[party].owes() {
                    self.acknowledge(party);
                }
            }
        }
        let accepted = self.bridge.totals.accepted;
        self.bridge.act(now);
        for _ in accepted..self.bridge.totals.accepted {
            self.over_by.push_back(now + self.deadline + LATE);
        }
        if now >= self.tick_at {
            self.tick_at = now + self.tick;
            self.bridge.tick(now);
        }
        let (mut down, mut up) = (Datagrams::default(), Datagrams::default());
        self.bridge.clients.flush(now, WALL + now, &mut down);
        self.bridge.mesh.flush(now, WALL + now, &mut up);
        let sent = down.items.len() + up.items.len();
        if sent > 0 {
            self.hear(&down, false);
            self.hear(&up, true);
        }
        self.check();
        self.deadline = 0;
        sent
    }

    /// Lets time pass, calling the bridge whenever it asks to be.
    fn pass(&mut self, span: Micros) {
        let until = self.now + span;
        self.tick = TICKS[usize::from(span > 20 * SECOND)];
        let mut idle = 0;
        loop {
            let timeouts = self.bridge.clients.next_timeout().min(self.bridge.mesh.next_timeout());
            let due = timeouts.min(self.tick_at).min(self.answer_at.unwrap_or(Micros::MAX));
            if due > until {
                break;
            }
            let before = self.now;
            self.now = due.max(before + 1);
            let soon = self.now < before + 100;
            let sent = self.turn();
            idle = if sent == 0 && soon { idle + 1 } else { 0 };
            assert!(idle < IDLE_CALLS, "the bridge spins at {}", self.now);
        }
        self.now = self.now.max(until);
    }

    /// Nobody says anything more: every task ends, and every byte is given back.
    fn fall_silent(&mut self) {
        for party in &mut self.parties {
            party.habit = Habit::Deaf;
        }
        self.turn();
        self.pass(FORGETTING);
        assert!(self.bridge.idle() && self.bridge.tasks_in_flight() == 0);
        assert_eq!((self.bridge.memory(), self.bridge.clients.peer_count()), (0, 0));
    }
}

fn bounds(networks: &str, client_tasks: usize) -> Bounds {
    Bounds {
        networks: networks.parse().into_iter().collect(),
        tasks_per_second: 50.0,
        task_burst: 100.0,
        client_tasks,
        max_tasks: MAX_TASKS,
        client_bytes: CLIENT_BYTES,
        max_bytes: MAX_BYTES,
        task_deadline: TASK_DEADLINE,
    }
}

fn client_limits(max_peers: usize) -> Limits {
    Limits {
        max_message: MAX_MESSAGE,
        memory: MAX_BYTES,
        peer_memory: CLIENT_BYTES,
        max_peers,
        datagram_rate: 20_000.0,
        unproven: Some(Unproven {
            amplification: AMPLIFICATION,
            peer_memory: UNPROVEN_MEMORY,
            memory: MAX_BYTES / UNPROVEN_SHARE,
        }),
    }
}
