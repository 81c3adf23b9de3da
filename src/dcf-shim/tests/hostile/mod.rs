//! A whole bridge among clients and heads that do whatever a source of choices says, and what must
//! hold after every step, whoever sends what.
//!
//! `tests/properties.rs` draws the choices at random; `fuzz/` reads them from the fuzzer's input,
//! so that what it covers guides them.

mod party;

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;

use dcf_shim::bridge::{Bounds, Bridge};
use dcf_shim::congestion::Micros;
use dcf_shim::datagrams::Datagrams;
use dcf_shim::endpoint::{Endpoint, Limits};
use dcf_shim::frames::{self, kind, Chunk, PATH_MTU};
use dcf_shim::heads::{self, Heads};
use dcf_shim::payload::{self, Answer, Task};
use dcf_shim::sealing::Sealer;
use serde_json::json;

use party::{Given, Habit, Party};

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

const SPANS: [Micros; 16] = [
    1,
    100,
    1_000,
    1_000,
    10_000,
    10_000,
    100_000,
    100_000,
    300_000,
    SECOND,
    5 * SECOND / 2,
    5 * SECOND,
    9 * SECOND,
    31 * SECOND,
    70 * SECOND,
    130 * SECOND,
];
const DEADLINES_MS: [u32; 6] = [0, 0, 1, 500, 5_000, u32::MAX];
const SIZES: [usize; 8] = [0, 0, 0, 400, 1_100, 3_000, 30_000, MAX_MESSAGE + 1];

/// Lives through the steps of `choices` and then through silence; returns what is left. Panics
/// where something does not hold.
pub fn run(choices: &mut impl Choices) -> Bridge {
    let mut world = World::new(choices);
    while choices.more() && world.now < LONGEST {
        world.step(choices);
    }
    world.fall_silent();
    world.bridge
}

/// What a client has seen of one task of its own.
#[derive(Default)]
struct Run {
    first: u32,
    indices: HashSet<u32>,
    last: Option<u32>,
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
    next_id: u64,
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
            max_peers: heads::MOST,
            edge: None,
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
            next_id: 1,
            last_output: Vec::new(),
        };
        // Half of all lives begin with heads that answer.
        if setup & 0x20 == 0 {
            world.turn();
            world.pass(2 * world.latency);
        }
        world
    }

    // --------------------------------------------------------------------- steps

    fn step(&mut self, choices: &mut impl Choices) {
        let step = choices.next(256);
        match step % 16 {
            0 => self.raw(choices),
            1..=3 => self.task(choices),
            4 => self.piece(choices),
            5 => {
                let id = self.next_id.saturating_sub(choices.next(8).into());
                let client = self.client(choices);
                self.post(client, kind::CANCEL, &payload::with_id(&[], id), choices);
            }
            6..=7 => self.answer(choices),
            8 => self.report(choices),
            9 => self.error(choices),
            10 => {
                let party = self.party(choices);
                self.parties[party].habit = Habit::of(choices.next(4) as usize);
            }
            11 => {
                let party = self.party(choices);
                self.acknowledge(party);
            }
            12 => {
                let party = self.party(choices);
                let reflected = self.last_output.clone();
                // It has received what it returns.
                self.parties[party].proved = true;
                self.unaccounted(party);
                self.give(party, reflected);
            }
            13 => self.administer(choices),
            14 => self.claim(choices),
            _ => self.pass(choices.of(&SPANS)),
        }
        // The daemon takes in several datagrams before it lets the bridge act.
        if step < 192 {
            self.turn();
        }
    }

    fn client(&self, choices: &mut impl Choices) -> usize {
        choices.next(CLIENTS as u32) as usize
    }

    fn head(&self, choices: &mut impl Choices) -> usize {
        CLIENTS + choices.next(HEADS as u32) as usize
    }

    fn party(&self, choices: &mut impl Choices) -> usize {
        choices.next(self.parties.len() as u32) as usize
    }

    /// Any bytes from anyone.
    fn raw(&mut self, choices: &mut impl Choices) {
        let party = self.party(choices);
        let size = choices.next(1 + PATH_MTU as u32);
        let mut datagram: Vec<u8> = Vec::new();
        while datagram.len() < size as usize && choices.more() {
            datagram.push(choices.next(256) as u8);
        }
        self.unaccounted(party);
        self.parties[party].seal(&mut datagram);
        self.give(party, datagram);
    }

    fn task(&mut self, choices: &mut impl Choices) {
        let client = self.client(choices);
        let form = choices.next(256);
        let (json, counted, again, many) =
            (form & 1 > 0, form & 2 > 0, form & 0x0c == 0x0c, form & 0xf0 == 0xf0);
        let deadline_ms = choices.of(&DEADLINES_MS);
        let size = choices.of(&SIZES);
        let resume_at = if form & 0x30 == 0x30 { choices.of(&[1, 2, u32::MAX]) } else { 0 };
        for _ in 0..if many { choices.next(256) } else { 1 } {
            let id = if counted { 0 } else { self.next_id - u64::from(again) };
            let known_as = if counted { u64::from(self.parties[client].next_sequence) } else { id };
            self.next_id += u64::from(!again);
            let payload = task(json, id, deadline_ms, resume_at, size);
            let used = self.runs.contains_key(&(client, known_as));
            self.runs.insert(
                (client, known_as),
                (!used).then(|| Run { first: resume_at, ..Run::default() }),
            );
            let asked =
                if deadline_ms == 0 { TASK_DEADLINE } else { Micros::from(deadline_ms) * 1000 };
            self.deadline = self.deadline.max(asked.min(TASK_DEADLINE));
            self.post(client, kind::TASK, &payload, choices);
        }
    }

    /// One piece of a large message, or of several that contradict each other.
    fn piece(&mut self, choices: &mut impl Choices) {
        let from = self.party(choices);
        let party = &mut self.parties[from];
        let (index, anew) = (choices.next(8), choices.next(4) == 0);
        if anew {
            party.upload = party.next_sequence;
            party.next_sequence = party.next_sequence.wrapping_add(64);
        }
        let size = choices.of(&[1000, 1000, 256, 255, 0]);
        let total = choices.of(&[2500, 900, 39_000, 62_000, 150_000, u32::MAX]);
        let kind = choices.of(&[kind::TASK, kind::RESULT, kind::CANCEL, kind::HEARTBEAT, 0]);
        let chunk = Chunk { first: party.upload, total, size, kind };
        let left = (total as usize).saturating_sub(index as usize * usize::from(size));
        let mut datagram = Vec::new();
        let sequence = party.upload.wrapping_add(index);
        let piece = vec![b' '; left.min(size.into())];
        frames::write_chunk(&mut datagram, sequence, WALL + self.now, chunk, &piece);
        self.unaccounted(from);
        self.parties[from].seal(&mut datagram);
        self.give(from, datagram);
    }

    /// A part of a head's answer to a task that it was given.
    fn answer(&mut self, choices: &mut impl Choices) {
        let head = self.head(choices);
        let form = choices.next(256);
        let (json, last, skipped) = (form & 1 > 0, form & 6 == 6, form & 0x38 == 0x38);
        let Some(task) = self.given(head, choices) else { return };
        let index = task.next.wrapping_add(skipped.into());
        task.next = index.wrapping_add(1);
        let id = task.id;
        let text = "x".repeat(choices.of(&SIZES) / 2);
        let payload = if json {
            let part = json!({"id": id.to_string(), "index": index, "text": text, "final": last});
            part.to_string().into_bytes()
        } else {
            let mut part = payload::with_id(&[], id);
            varint_field(&mut part, 2, index.into());
            varint_field(&mut part, 3, last.into());
            bytes_field(&mut part, 8, text.as_bytes());
            varint_field(&mut part, 9, 7);
            part
        };
        self.post(head, kind::RESULT, &payload, choices);
    }

    fn error(&mut self, choices: &mut impl Choices) {
        let head = self.head(choices);
        let code = choices.next(15);
        let Some(task) = self.given(head, choices) else { return };
        let mut payload = payload::with_id(&[], task.id);
        varint_field(&mut payload, 2, code.into());
        self.post(head, kind::ERROR, &payload, choices);
    }

    /// A head says how it is, and names another.
    fn report(&mut self, choices: &mut impl Choices) {
        let (head, other) = (self.head(choices), self.head(choices));
        let mut payload = Vec::new();
        varint_field(&mut payload, 5, choices.next(5).into());
        bytes_field(&mut payload, 17, self.parties[other].address.to_string().as_bytes());
        self.post(head, kind::HEARTBEAT, &payload, choices);
    }

    /// One of the last tasks that a head was given.
    fn given(&mut self, head: usize, choices: &mut impl Choices) -> Option<&mut Given> {
        let given = &mut self.parties[head].given;
        let back = choices.next(4) as usize;
        given.iter_mut().rev().nth(back)
    }

    /// Acknowledges more than it can know of.
    fn claim(&mut self, choices: &mut impl Choices) {
        let party = self.party(choices);
        let ranges = [(0, u32::MAX), (1, 0), (1 << 31, (1 << 31) - 1), (7, 7), (0, 1 << 31)];
        let mut datagram = Vec::new();
        frames::write_sack(&mut datagram, &[choices.of(&ranges)], WALL + self.now);
        self.parties[party].seal(&mut datagram);
        self.give(party, datagram);
    }

    /// Settings read anew, or a stop.
    fn administer(&mut self, choices: &mut impl Choices) {
        match choices.next(64) {
            0 => self.bridge.drain(),
            1 if self.bridge.draining() => {
                self.bridge.abandon(self.now);
                assert_eq!(self.bridge.tasks_in_flight(), 0);
            }
            2..=9 => self.bridge.set_bounds(bounds("192.0.2.0/29", 1), client_limits(2)),
            _ => self.bridge.set_bounds(bounds("", CLIENT_TASKS), client_limits(MAX_CLIENTS)),
        }
    }

    // ----------------------------------------------------------------- datagrams

    /// Sends a message as a party would, mostly whole and in order.
    fn post(&mut self, from: usize, kind: u8, payload: &[u8], choices: &mut impl Choices) {
        let mut datagrams = self.parties[from].encode(kind, payload, WALL + self.now);
        match choices.next(32) {
            0 => datagrams.reverse(),
            1 => datagrams.truncate(1),
            2 => drop(datagrams.pop()),
            3 => datagrams.extend_from_within(..),
            4 => {
                let mut batch = Vec::new();
                let first = datagrams.first().map_or(&[][..], Vec::as_slice);
                let count = (PATH_MTU / first.len().max(1)).min(3);
                frames::write(&mut batch, kind::BATCH, 0, WALL + self.now, &first.repeat(count));
                datagrams = vec![batch];
            }
            5 => {
                for datagram in &mut datagrams {
                    let at = choices.next(datagram.len() as u32) as usize;
                    datagram[at] = choices.next(256) as u8;
                }
                self.unaccounted(from);
            }
            _ => {}
        }
        for mut datagram in datagrams {
            self.parties[from].seal(&mut datagram);
            self.give(from, datagram);
        }
    }

    /// Nobody knows what a party says by chance: it may be any task of its own.
    fn unaccounted(&mut self, party: usize) {
        self.runs.retain(|(client, _), _| *client != party);
        self.deadline = TASK_DEADLINE;
    }

    fn acknowledge(&mut self, party: usize) {
        for mut datagram in self.parties[party].answers(WALL + self.now) {
            self.parties[party].seal(&mut datagram);
            self.give(party, datagram);
        }
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
            for (kind, payload) in self.parties[party].hear(datagram) {
                match kind {
                    kind::TASK if on_mesh => self.parties[party].hold(&payload),
                    kind::RESULT | kind::ERROR if !on_mesh => self.follow(party, kind, payload),
                    _ => {}
                }
            }
            self.last_output = datagram.into();
        }
        if self.answer_at.is_none() && self.parties.iter().any(Party::owes) {
            self.answer_at = Some(self.now + self.latency);
        }
    }

    /// Checks that a client sees each part of an answer once and none after the last.
    fn follow(&mut self, client: usize, kind: u8, payload: Vec<u8>) {
        let (id, part) = match kind {
            kind::ERROR => (payload::read_id(&payload).map(|(id, _)| id), None),
            _ => {
                // Of a large one only the beginning is here: not all of it can be read.
                let Some(answer) = Answer::read(payload) else { return };
                (Some(answer.id), Some((answer.part.next, answer.last)))
            }
        };
        let Some(Some(run)) = id.and_then(|id| self.runs.get_mut(&(client, id))) else { return };
        let index = part.map_or(u32::MAX, |(index, _)| index.wrapping_sub(run.first));
        assert!(run.indices.insert(index), "part {index} of {id:?} came twice");
        if part.is_none_or(|(_, last)| last) {
            assert!(run.last.is_none(), "{id:?} ended twice");
            run.last = Some(index);
        }
        if let Some(last) = run.last {
            assert!(run.indices.iter().all(|index| *index <= last), "a part after the last");
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

    fn check(&mut self) {
        let Self { bridge, now, .. } = self;
        for party in &self.parties[..CLIENTS] {
            let (sent, got) = (party.sent, party.got);
            assert!(party.proved || got <= 3 * sent, "a stranger got {got} bytes for {sent}");
            let waiting = bridge.clients.unacknowledged(party.address);
            assert!(
                waiting <= CLIENT_BYTES + CLIENT_TASKS * 512,
                "{waiting} bytes wait for one client"
            );
        }
        let peers = bridge.clients.peer_count();
        assert!(peers <= MAX_CLIENTS, "{peers} clients");
        assert!(bridge.mesh.peer_count() <= heads::MOST);
        let memory = bridge.memory();
        assert!(memory <= 4 * MAX_BYTES, "{memory} bytes");
        self.over_by.retain(|over_by| over_by > now);
        let tasks = bridge.tasks_in_flight();
        assert!(tasks <= MAX_TASKS && tasks <= self.over_by.len(), "{tasks} tasks in flight");
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

impl Party {
    /// Remembers a task that it is to answer; the shim puts its id first.
    fn hold(&mut self, payload: &[u8]) {
        let read = || Task::read(payload.to_vec()).ok().map(|task| (task.id, task.resume.next));
        let start = || payload::leading_id(payload).map(|id| (id, 0));
        let Some((id, next)) = read().or_else(start) else { return };
        if !self.given.iter().any(|given| given.id == id) {
            self.given.push(Given { id, next });
        }
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
        edge: Some(20_000.0),
    }
}

/// A TASK's payload, filled up to about `size` bytes.
fn task(json: bool, id: u64, deadline_ms: u32, resume_at: u32, size: usize) -> Vec<u8> {
    if json {
        let mut task = json!({"id": id, "model": "m", "pad": " ".repeat(size)});
        if deadline_ms > 0 {
            task["deadline_ms"] = deadline_ms.into();
        }
        if resume_at > 0 {
            task["resume"] = json!({"tokens": [1], "text": "so", "index": resume_at});
        }
        return task.to_string().into_bytes();
    }
    let mut task = payload::with_id(&[], id);
    if deadline_ms > 0 {
        varint_field(&mut task, 3, deadline_ms.into());
    }
    if resume_at > 0 {
        let mut resume = vec![0x0a, 1, 1];
        varint_field(&mut resume, 3, resume_at.into());
        bytes_field(&mut task, 16, &resume);
    }
    if size > 0 {
        bytes_field(&mut task, 2, &vec![b'm'; size]);
    }
    task
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn varint_field(out: &mut Vec<u8>, number: u64, value: u64) {
    varint(out, number << 3);
    varint(out, value);
}

fn bytes_field(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    varint(out, number << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}
