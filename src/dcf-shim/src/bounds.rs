//! Every bound that is built in, with its reason and with what happens at it. Those that users may
//! want to move are settings (`settings.rs`); `README.md` shows both, and a test compares.

use std::fmt;

use crate::congestion::Micros;

pub type Bytes = usize;
pub type Count = usize;
pub type Time = Micros;

/// A bound's value, as people read it.
#[derive(Clone, Copy)]
pub enum Value {
    Bytes(Bytes),
    Count(Count),
    Time(Time),
}

/// What is said of a bound.
pub struct Bound {
    pub name: &'static str,
    pub value: Value,
    pub what: &'static str,
    pub why: &'static str,
    pub at_it: &'static str,
}

macro_rules! bounds {
    ($($name:ident: $unit:ident = $value:expr, $what:literal, $why:literal, $at_it:literal;)*) => {
        $(#[doc = $what] pub const $name: $unit = $value;)*

        pub const ALL: &[Bound] = &[$(Bound {
            name: stringify!($name),
            value: Value::$unit($value),
            what: $what,
            why: $why,
            at_it: $at_it,
        },)*];
    };
}

bounds! {
    // Strangers: addresses that have not shown that they receive.
    AMPLIFICATION: Count = 3,
        "Bytes sent to an unproven address for each byte from it.",
        "A made-up address must not be flooded through the shim (RFC 9000, section 8).",
        "The rest waits for the proof, `GIVE_UP` at most, and is then dropped.";
    UNPROVEN_MEMORY: Bytes = 64 << 10,
        "Large messages that one unproven address may have begun.",
        "A first CHUNK reserves the whole message.",
        "The CHUNK is answered with BUSY.";
    UNPROVEN_SHARE: Count = 4,
        "Part of `max_bytes`, one in so many, that all unproven addresses may reserve together.",
        "They must leave room for clients.",
        "The CHUNK is answered with BUSY.";

    // One peer, client or head.
    PATH_MTU: Bytes = 1200,
        "Largest datagram sent.",
        "It passes every path whole (RFC 9000, section 14).",
        "Larger messages go in CHUNKs.";
    GIVE_UP: Time = 8_000_000,
        "Silence while something is under way to a peer.",
        "docs/transport.md, Reliability.",
        "Its output is dropped: a client's tasks are cancelled, a head's go to another.";
    REASSEMBLY_TIMEOUT: Time = 30_000_000,
        "Time without another CHUNK of a message.",
        "What nobody finishes must give its memory back.",
        "The message is dropped and its sender begins it again.";
    MAX_CONTROL: Bytes = 64 << 10,
        "A HEARTBEAT, CANCEL or ERROR.",
        "docs/transport.md, Limits.",
        "It is acknowledged and dropped; the task of such an ERROR ends with BAD_REQUEST.";
    BUSY_PAUSE: Time = 250_000,
        "Time before a message goes again that the peer answered with BUSY.",
        "docs/transport.md, Flow control.",
        "It is sent from its beginning.";
    REMEMBERED: Count = 4096,
        "Numbers of a peer's latest messages, and a client's latest ids, that are known at least.",
        "docs/transport.md, Reliability: no message counts twice.",
        "The older half is forgotten.";
    REMEMBERED_FOR: Time = 60_000_000,
        "Time for which a number is known at least, unless `REMEMBERED` newer ones come.",
        "A peer may repeat a message for 8 s, a client its task for longer.",
        "Those as old are forgotten: what then comes under one is new.";
    MESSAGE_SPAN: Count = 2048,
        "Messages begun since the oldest that a peer has not acknowledged.",
        "Half of what the peer remembers (docs/transport.md, Reliability).",
        "The next wait.";
    MAX_SACK_RANGES: Count = 64,
        "Ranges in a SACK.",
        "docs/transport.md, SACK.",
        "Another SACK goes beside it; a longer one from a peer is dropped as malformed.";
    LARGEST_WINDOW: Bytes = 4 << 20,
        "Bytes under way to one peer.",
        "More than any link of a cluster holds.",
        "The rest waits for acknowledgements.";
    TURN: Count = 128,
        "Messages and CHUNKs that go to one peer in a row.",
        "Nobody waits long behind a picture.",
        "The others have their turn first.";
    EXPECTED_PONGS: Count = 16,
        "PINGs to one peer whose answers are waited for.",
        "A peer may never answer.",
        "The oldest is forgotten, and its PONG ignored.";

    // All peers of one side.
    PEER_IDLE: Time = 120_000_000,
        "Time after which a peer is forgotten that has nothing to do here.",
        "Its numbers must outlive its repetitions.",
        "What it sends then is a stranger's.";
    QUIET: Time = 10_000_000,
        "Time for which a proven client without a task is safe from newcomers, of `max_clients`.",
        "Answers to what it repeats must still be known.",
        "The longest known of those that are quiet makes room.";
    EVICTION_TRIES: Count = 16,
        "Addresses that are looked at to make room for a newcomer.",
        "A full table must not cost more than an empty one.",
        "The newcomer's datagram is dropped and counted.";
    MAX_SESSIONS: Count = 4096,
        "Sealing sessions that are remembered.",
        "docs/transport.md, Limits.",
        "The one longest unused is forgotten; what it sends must then be fresh.";
    MAX_CLOCK_SKEW: Time = 60_000_000,
        "Age of the first datagram of a session.",
        "Old recordings must not work after a restart.",
        "The datagram is dropped and counted.";
    REPLAY_WINDOW: Count = 16_384,
        "Counters behind a session's highest that are still told apart.",
        "docs/transport.md, Sealing.",
        "Older ones are dropped as replayed.";

    // Tasks.
    REFUSAL: Bytes = 512,
        "Room that every open task keeps for an error of the shim's own.",
        "A client whose memory is full must still hear why its task ends.",
        "No such error is longer.";
    MAX_EARLY: Count = 8192,
        "Parts of one answer that wait for an earlier one; their bytes count as the task's.",
        "A head has fewer under way.",
        "The part is dropped, and the task begun again at the gap.";
    DEADLINE_GRACE: Time = 5_000_000,
        "How much later than the head the shim gives a task up.",
        "The head's own answer says more.",
        "DEADLINE_EXCEEDED, and CANCEL to the head.";
    REPEAT_AFTER: Time = 5_000_000,
        "Time without news of a task, and a second more for each megabyte.",
        "A head keeps nothing over a restart.",
        "The task is sent to its head again, or begun again if parts are missing.";
    PATIENCE: Time = 6_000_000,
        "Time for which a task waits when no head answers.",
        "A head restarts in less.",
        "HEAD_UNREACHABLE.";
    CLIENT_SILENCE: Time = 10_000_000,
        "Silence of a client with tasks that has answered a PING before.",
        "Nobody must work for a client that left.",
        "Its tasks are cancelled; if it comes back and repeats them, they begin again.";

    // Heads.
    MAX_HEADS: Count = 16,
        "Heads known, unless the settings name more.",
        "docs/cluster.md, Clients.",
        "Others that heads tell of are ignored.";
    FORGET_HEAD: Time = 60_000_000,
        "Time for which a head is kept that neither answers nor is named.",
        "docs/cluster.md, Clients.",
        "It is forgotten, and what was to be sent to it.";

    // The process.
    SOCKET_BUFFER: Bytes = 8 << 20,
        "What the kernel keeps for each socket while the shim is busy.",
        "30 ms at a million datagrams a second.",
        "The kernel drops, senders repeat.";
    RECEIVE_TURN: Count = 8,
        "Batches of datagrams taken from one socket in a row.",
        "The other side must have its turn.",
        "The rest waits in the kernel.";
    STALL: Time = 1_000_000,
        "Pause of the process itself, as of a suspended machine.",
        "Nobody else has been silent because we did not listen.",
        "It is not counted as time, but for the deadlines of tasks.";
    MAX_CONNECTIONS: Count = 16,
        "Connections to the status port at once.",
        "One Prometheus, one probe, and people.",
        "Others are closed at once.";
    MAX_REQUEST: Bytes = 8192,
        "Bytes of a request to the status port.",
        "A GET is shorter.",
        "The connection is closed.";
    MAX_HEADERS: Count = 64,
        "Header lines of a request to the status port.",
        "A GET has fewer.",
        "The connection is closed.";
    REQUEST_TIME: Time = 10_000_000,
        "Time for a request to the status port and its answer.",
        "Who sends nothing must not keep others out.",
        "The connection is closed.";
}

/// What happens at the bounds that are settings.
pub const SETTINGS: &[(&str, &str)] = &[
    ("client_rate", "QUEUE_FULL."),
    ("client_burst", "QUEUE_FULL."),
    ("client_datagram_rate", "The datagram is dropped and counted; its sender repeats it."),
    ("client_tasks", "QUEUE_FULL."),
    ("client_bytes", "QUEUE_FULL, for a new task or for the one whose answer has no room; BUSY for a CHUNK."),
    ("max_clients", "A stranger makes room, or a client that has been `QUIET`; else the datagram is dropped and counted."),
    ("max_tasks", "QUEUE_FULL."),
    ("max_bytes", "QUEUE_FULL, as for `client_bytes`."),
    ("max_message", "BAD_REQUEST, with the task's id if its first CHUNK has it."),
    ("task_deadline", "DEADLINE_EXCEEDED, and CANCEL to the head."),
    ("head_timeout", "The head is lost: its tasks go to another."),
    ("drain_timeout", "SHUTTING_DOWN, and CANCEL to the head."),
];

impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match *self {
            Value::Bytes(bytes) if bytes % (1 << 20) == 0 => write!(out, "{} MiB", bytes >> 20),
            Value::Bytes(bytes) if bytes % (1 << 10) == 0 => write!(out, "{} KiB", bytes >> 10),
            Value::Bytes(bytes) => write!(out, "{bytes} B"),
            Value::Count(count) => write!(out, "{count}"),
            Value::Time(time) => write!(out, "{} s", time as f64 / 1e6),
        }
    }
}
