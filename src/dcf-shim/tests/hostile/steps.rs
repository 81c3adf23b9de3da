//! What clients and heads do in one step: from any bytes at all to honest tasks and answers.

use dcf::frames::{self, message_type, Chunk, PATH_MTU};
use dcf::time::Micros;
use dcf_shim::payload::{self, ErrorCode};

use super::party::{Given, Habit};
use super::payloads::Asked;
use super::{
    bounds, checks::Run, client_limits, payloads, Choices, World, CLIENTS, CLIENT_TASKS, HEADS,
    MAX_CLIENTS, MAX_MESSAGE, SECOND, TASK_DEADLINE, WALL,
};

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

impl World {
    pub fn step(&mut self, choices: &mut impl Choices) {
        let step = choices.next(256);
        match step % 17 {
            0 => self.raw(choices),
            1..=3 => self.task(choices),
            4 => self.piece(choices),
            5 => {
                let (client, id) = match choices.next(32) {
                    back @ 0..28 => {
                        (self.client(choices), self.next_id.saturating_sub((back / 4).into()))
                    }
                    _ => self.last_asked,
                };
                self.cancelled.insert((client, id));
                self.post(client, message_type::CANCEL, &payload::with_id(&[], id), choices);
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
            15 => self.busy(choices),
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
        self.throw(party, datagram);
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
            self.last_asked = (client, known_as);
            let asked = Asked { json, counted: id == 0, deadline_ms, resume_at, size };
            let payload = payloads::task(&asked, id);
            let used = self.runs.contains_key(&(client, known_as));
            self.runs.insert((client, known_as), (!used).then(|| Run::of(asked)));
            let asked =
                if deadline_ms == 0 { TASK_DEADLINE } else { Micros::from(deadline_ms) * 1000 };
            self.deadline = self.deadline.max(asked.min(TASK_DEADLINE));
            self.post(client, message_type::TASK, &payload, choices);
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
        let message_type = choices.of(&[
            message_type::TASK,
            message_type::RESULT,
            message_type::CANCEL,
            message_type::HEARTBEAT,
            0,
        ]);
        let chunk = Chunk { first: party.upload, total, size, message_type };
        let left = (total as usize).saturating_sub(index as usize * usize::from(size));
        let mut datagram = Vec::new();
        let sequence = party.upload.wrapping_add(index);
        let piece = vec![b' '; left.min(size.into())];
        frames::write_chunk(&mut datagram, sequence, WALL + self.now, chunk, &piece);
        self.unaccounted(from);
        self.throw(from, datagram);
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
        let payload = payloads::part(json, id, index, &text, last);
        self.post(head, message_type::RESULT, &payload, choices);
    }

    fn error(&mut self, choices: &mut impl Choices) {
        let head = self.head(choices);
        let code = match choices.next(20) {
            code @ 0..15 => code,
            _ => ErrorCode::ShuttingDown as u32,
        };
        let Some(task) = self.given(head, choices) else { return };
        let payload = payloads::error(task.id, code);
        self.post(head, message_type::ERROR, &payload, choices);
    }

    /// A head says how it is, and names another.
    fn report(&mut self, choices: &mut impl Choices) {
        let (head, other) = (self.head(choices), self.head(choices));
        let payload = payloads::heartbeat(choices.next(5), self.parties[other].address);
        self.post(head, message_type::HEARTBEAT, &payload, choices);
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
        self.throw(party, datagram);
    }

    /// Has no memory for the large message that it heard of last.
    fn busy(&mut self, choices: &mut impl Choices) {
        let party = self.party(choices);
        let first = self.parties[party].download;
        let busy = self.parties[party].frame(message_type::BUSY, first, &[]);
        self.throw(party, busy);
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

    /// Sends a message as a party would, mostly whole and in order.
    fn post(&mut self, from: usize, message_type: u8, payload: &[u8], choices: &mut impl Choices) {
        let mut datagrams = self.parties[from].encode(message_type, payload, WALL + self.now);
        match choices.next(32) {
            0 => datagrams.reverse(),
            1 => datagrams.truncate(1),
            2 => drop(datagrams.pop()),
            3 => datagrams.extend_from_within(..),
            4 => {
                let mut batch = Vec::new();
                let first = datagrams.first().map_or(&[][..], Vec::as_slice);
                let count = (PATH_MTU / first.len().max(1)).min(3);
                frames::write(
                    &mut batch,
                    message_type::BATCH,
                    0,
                    WALL + self.now,
                    &first.repeat(count),
                );
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
        for datagram in datagrams {
            self.throw(from, datagram);
        }
    }
}
