//! Every bound that is built in, with its reason and with what happens at it. What depends on the
//! application is configuration (`limits.rs`); `README.md` shows the bounds, and a test compares.

use std::fmt;

use crate::time::Micros;

/// The units of bounds.
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

/// Makes a constant of each bound, and `ALL`, the list of them.
#[macro_export]
macro_rules! bounds {
    ($($name:ident: $unit:ident = $value:expr, $what:literal, $why:literal, $at_it:literal;)*) => {
        $(#[doc = $what] pub const $name: $crate::bounds::$unit = $value;)*

        pub const ALL: &[$crate::bounds::Bound] = &[$($crate::bounds::Bound {
            name: stringify!($name),
            value: $crate::bounds::Value::$unit($value),
            what: $what,
            why: $why,
            at_it: $at_it,
        },)*];
    };
}

bounds! {
    // One peer.
    PATH_MTU: Bytes = 1200,
        "The largest datagram that is sent.",
        "It passes every path whole (RFC 9000, section 14).",
        "Larger messages go in CHUNKs.";
    GIVE_UP: Time = 8_000_000,
        "Time for which a peer may acknowledge nothing while something is in flight to it.",
        "docs/transport.md, Reliability.",
        "Its output is dropped, and `Unreachable` reported.";
    REASSEMBLY_TIMEOUT: Time = 30_000_000,
        "Time without another CHUNK of a message.",
        "A message that nobody finishes must give its memory back.",
        "The message is dropped; its sender starts over.";
    MAX_CONTROL: Bytes = 64 << 10,
        "The largest HEARTBEAT, CANCEL or ERROR.",
        "docs/transport.md, Limits.",
        "It is acknowledged and dropped, and `TooLarge` reported.";
    BUSY_PAUSE: Time = 250_000,
        "Time before a message that the peer answered with BUSY is sent again.",
        "docs/transport.md, Flow control.",
        "It is sent from its beginning.";
    REMEMBERED: Count = 4096,
        "Sequence numbers of a peer's latest messages that are remembered, at the least.",
        "docs/transport.md, Reliability: no message counts twice.",
        "The older half is forgotten.";
    REMEMBERED_FOR: Time = 60_000_000,
        "Time for which a sequence number is remembered, unless `REMEMBERED` newer ones come.",
        "A peer may repeat a message for 8 s, an application its request for longer.",
        "Older ones are forgotten: a message under such a number is new.";
    MESSAGE_SPAN: Count = 2048,
        "Messages begun since the oldest that a peer has not acknowledged.",
        "Half of what the peer remembers (docs/transport.md, Reliability).",
        "The next messages wait.";
    MAX_SACK_RANGES: Count = 64,
        "Ranges in a SACK.",
        "docs/transport.md, SACK.",
        "The rest goes in another SACK; a longer one from a peer is dropped as malformed.";
    LARGEST_WINDOW: Bytes = 4 << 20,
        "Bytes in flight to one peer.",
        "More than any link of a cluster holds.",
        "The rest waits for acknowledgements.";
    TURN: Count = 128,
        "Messages and CHUNKs that go to one peer in a row.",
        "No peer waits long behind another's large message.",
        "The other peers have their turn first.";
    EXPECTED_ANSWERS: Count = 16,
        "PINGs, and HEARTBEATs, to one peer whose answers are waited for.",
        "A peer may never answer.",
        "The oldest is forgotten, and its answer ignored.";

    // All peers of one endpoint.
    PEER_IDLE: Time = 120_000_000,
        "Time after which a peer with nothing to do is forgotten.",
        "Its sequence numbers must outlive its retransmissions.",
        "Its next message is a new peer's.";
    EVICTION_AGE: Time = 10_000_000,
        "Time for which an idle peer that proved its address is safe from newcomers in a full table.",
        "Retransmissions from it must still be recognised.",
        "The idle peer known longest is forgotten.";
    EVICTION_TRIES: Count = 16,
        "Peers that are looked at to make room for a newcomer.",
        "A full table must not cost more than an empty one.",
        "The newcomer's datagram is dropped and counted.";
    MAX_SESSIONS: Count = 4096,
        "Sealing sessions that are remembered.",
        "docs/transport.md, Limits.",
        "The least recently used is forgotten; its next datagram must be fresh.";
    MAX_CLOCK_SKEW: Time = 60_000_000,
        "Age of the first datagram of a session.",
        "Old recordings must not work after a restart.",
        "The datagram is dropped and counted.";
    REPLAY_WINDOW: Count = 16_384,
        "Counters behind a session's highest that can still be told apart.",
        "docs/transport.md, Sealing.",
        "Older ones are dropped as replayed.";

    // Links, such as a Thunderbolt cable.
    LARGEST_DATAGRAM: Bytes = 65_507,
        "The largest datagram that is sent over a link.",
        "IPv4 carries no larger one, and the ordinary network may have to.",
        "A device that takes larger ones gets these.";
    LINK_LOOK: Time = 100_000,
        "Time between two looks at the network's devices, while one is a link; else ten times that.",
        "A cable that is pulled out shows there first.",
        "Links that are gone are used no more.";
    HELLO_EVERY: Time = 1_000_000,
        "Time between two HELLOs on a link.",
        "Whoever comes is found within it.",
        "Another is sent.";
    NEIGHBOUR_LIFETIME: Time = 5_000_000,
        "Time for which nothing may come from a neighbour.",
        "Five HELLOs.",
        "It is forgotten.";
    PROBE_EVERY: Time = 150_000,
        "Time between two PROBEs of a path.",
        "With `MISSED_PROBES`, a path that fails is left within a second.",
        "Another is sent.";
    MISSED_PROBES: Count = 3,
        "PROBEs in a row without an answer.",
        "One may be lost.",
        "The path is down, and its peer reached over the ordinary network.";
    SIZE_PROBE_EVERY: Time = 2_000_000,
        "Time between two PROBEs of a link's full size, until one is answered.",
        "Devices at the two ends may differ.",
        "Datagrams stay at `PATH_MTU`.";
    CHALLENGE_FIRST: Time = 250_000,
        "Time until a peer is asked again whether it is on a link; doubles each time.",
        "Questions and answers may be lost.",
        "It is asked again.";
    CHALLENGE_LONGEST: Time = 30_000_000,
        "What that grows to.",
        "Most peers are on no link.",
        "It grows no more.";
    CANDIDATE_IDLE: Time = 60_000_000,
        "Time for which a peer to which nothing is sent may be asked.",
        "Nothing would use the path.",
        "It is asked when something is sent to it again.";
    MAX_CANDIDATES: Count = 4096,
        "Peers that may be on a link.",
        "Strangers may have themselves sent to.",
        "Others stay on the ordinary network.";
    MAX_NEIGHBOURS: Count = 64,
        "Processes at the other ends of all links.",
        "A cable has one other end, with a few processes.",
        "The oldest that is no peer is forgotten; if all are, the newcomer is ignored.";
    MAX_LINKS: Count = 4,
        "Devices that are links.",
        "More cables than machines have.",
        "Others are left alone.";
    LINK_BACKLOG: Bytes = 16 << 20,
        "Datagrams that wait for a link's device.",
        "Four times what may be in flight to one peer.",
        "More are dropped and counted; their senders repeat them.";

    // The process.
    SOCKET_BUFFER: Bytes = 8 << 20,
        "The kernel's buffer for each socket, each way.",
        "30 ms at a million datagrams a second.",
        "The kernel drops datagrams; their senders repeat them.";
    STALL: Time = 1_000_000,
        "A pause of the process itself, as of a suspended machine.",
        "Peers were not silent; this process did not listen.",
        "`RunningClock` does not count it.";
}

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
