//! Better times at the end of a life: heads that have been restarted and do their work, clients that
//! listen and ask again. Every task ends then, and nobody waits for ever.

use dcf::frames::message_type;
use dcf_shim::payload::Task;

use super::party::Habit;
use super::{
    bounds, client_limits, payloads, World, CLIENTS, CLIENT_TASKS, HEADS, MAX_MESSAGE, SECOND,
};

/// No deadline needs to pass: a task that hears nothing for 5 s is sent again.
const TASKS_END_WITHIN: u64 = 25;
/// How often a client repeats a task of which it hears nothing.
const CLIENTS_ASK_EVERY: u64 = 5;
const CLIENTS_ARE_ANSWERED_WITHIN: u64 = 45;
const READY: u32 = 2;

impl World {
    pub fn recover(&mut self) {
        self.honest = true;
        for party in &mut self.parties {
            party.habit = Habit::Attentive;
            party.given.clear();
        }
        self.bridge.set_bounds(bounds("", CLIENT_TASKS), client_limits(CLIENTS));
        for second in 0..=TASKS_END_WITHIN {
            self.live_on(second);
            if second > CLIENTS_ASK_EVERY && self.bridge.tasks_in_flight() == 0 {
                break;
            }
        }
        assert_eq!(self.bridge.tasks_in_flight(), 0, "tasks hang though heads are there");
        for second in 0..=CLIENTS_ARE_ANSWERED_WITHIN {
            if second % CLIENTS_ASK_EVERY == 0 && !self.ask_again() {
                return;
            }
            self.live_on(second);
        }
        assert!(!self.ask_again(), "a client hears nothing though it asks again");
    }

    /// A second in which heads say that they are there.
    fn live_on(&mut self, second: u64) {
        let payload = payloads::heartbeat(READY, self.parties[CLIENTS].address);
        for head in CLIENTS..CLIENTS + HEADS {
            let sequence = 0x1000_0000 + second as u32;
            let beat = self.parties[head].frame(message_type::HEARTBEAT, sequence, &payload);
            self.throw(head, beat);
        }
        self.turn();
        self.pass(SECOND);
    }

    /// Every client sends the tasks again that did not end; returns whether there are any.
    fn ask_again(&mut self) -> bool {
        let mut open: Vec<_> = self.runs.iter_mut().collect();
        open.sort_by_key(|(key, _)| **key);
        let mut again = Vec::new();
        for (&(client, id), run) in open {
            let Some(run) = run.as_mut().filter(|run| run.waits()) else { continue };
            let (asked, party) = (run.asked, &self.parties[client]);
            let cancelled = self.cancelled.contains(&(client, id));
            // A task under its sequence number is a new one every time, or a duplicate.
            if !party.wild && !cancelled && !asked.counted && asked.size <= MAX_MESSAGE / 2 {
                again.push((client, payloads::task(&asked, id)));
                run.restart();
            }
        }
        for (client, payload) in &again {
            for datagram in
                self.parties[*client].encode(message_type::TASK, payload, super::WALL + self.now)
            {
                self.throw(*client, datagram);
            }
            self.deadline = super::TASK_DEADLINE;
            self.turn();
        }
        !again.is_empty()
    }

    /// A head's whole answer to a task, after whatever an earlier run had delivered.
    pub fn serve(&mut self, head: usize, payload: Vec<u8>) {
        let json = payload.first() == Some(&b'{');
        let Ok(task) = Task::read(payload) else { return };
        let whole = payloads::part(json, task.id, task.resume.index, "all of it", true);
        for datagram in
            self.parties[head].encode(message_type::RESULT, &whole, super::WALL + self.now)
        {
            self.throw(head, datagram);
        }
    }
}
