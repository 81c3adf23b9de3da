//! Every bound of the shim that is built in. Those that users may want to move are settings
//! (`settings.rs`), those of the transport `dcf::bounds`; `README.md` shows the tables, and a test
//! compares.

dcf::bounds! {
    // Strangers: addresses that have not shown that they receive.
    AMPLIFICATION: Count = 3,
        "Bytes sent to an unproven address for each byte from it.",
        "A spoofed address must not be flooded through the shim (RFC 9000, section 8).",
        "The rest waits for the proof, 8 s at most, and is then dropped.";
    UNPROVEN_MEMORY: Bytes = 64 << 10,
        "Bytes of large messages that one unproven address may have begun.",
        "A first CHUNK reserves the whole message.",
        "The CHUNK is answered with BUSY.";
    UNPROVEN_SHARE: Count = 4,
        "Part of `max_bytes`, one in so many, that all unproven addresses may reserve together.",
        "They must leave room for clients.",
        "The CHUNK is answered with BUSY.";

    // Tasks.
    REFUSAL: Bytes = 512,
        "Bytes that every open task reserves for an error of the shim's own.",
        "A client whose memory is full must still hear why its task ends.",
        "No such error is longer.";
    MAX_OUT_OF_ORDER: Count = 8192,
        "Result parts of one task that wait for an earlier one; their bytes count as the task's.",
        "A head has fewer in flight.",
        "The part is dropped, and the task restarted at the gap.";
    DEADLINE_GRACE: Time = 5_000_000,
        "How much longer than the head the shim waits past a task's deadline.",
        "The head's own answer says more.",
        "DEADLINE_EXCEEDED, and CANCEL to the head.";
    RESEND_AFTER: Time = 5_000_000,
        "Time without news of a task, and a second more for each megabyte.",
        "A head keeps nothing over a restart.",
        "The task is sent to its head again, or restarted if parts are missing.";
    HEAD_WAIT: Time = 6_000_000,
        "Time for which a task waits while no head answers.",
        "A head restarts in less.",
        "HEAD_UNREACHABLE.";
    CLIENT_TIMEOUT: Time = 10_000_000,
        "Silence of a client that has tasks and has answered a PING before.",
        "Nobody must work for a client that left.",
        "Its tasks are cancelled; if it comes back and repeats them, they start over.";

    // Heads.
    MAX_HEADS: Count = 16,
        "Heads known, unless the settings name more.",
        "docs/cluster.md, Clients.",
        "Further heads that are learned of are ignored.";
    FORGET_HEAD: Time = 60_000_000,
        "Time for which a head is kept that neither answers nor is named.",
        "docs/cluster.md, Clients.",
        "It is forgotten, and its output dropped.";

    // The process.
    RECEIVE_TURN: Count = 8,
        "Batches of datagrams taken from one socket in a row.",
        "The other side must have its turn.",
        "The rest waits in the kernel.";
    MAX_CONNECTIONS: Count = 16,
        "Connections to the status port at once.",
        "One Prometheus, one probe, and people.",
        "Further ones are closed at once.";
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
        "A slow client must not keep others out.",
        "The connection is closed.";
}

/// What happens at the bounds that are settings.
pub const SETTINGS: &[(&str, &str)] = &[
    ("client_rate", "QUEUE_FULL."),
    ("client_burst", "QUEUE_FULL."),
    ("client_datagram_rate", "The datagram is dropped and counted; its sender repeats it."),
    ("client_tasks", "QUEUE_FULL."),
    ("client_bytes", "QUEUE_FULL, for a new task or for the one whose answer does not fit; BUSY for a CHUNK."),
    ("max_clients", "An unproven address is forgotten, or a client that has been idle for 10 s; else the datagram is dropped and counted."),
    ("max_tasks", "QUEUE_FULL."),
    ("max_bytes", "QUEUE_FULL, as for `client_bytes`."),
    ("max_message", "BAD_REQUEST, with the task's id if its first CHUNK carries it."),
    ("task_deadline", "DEADLINE_EXCEEDED, and CANCEL to the head."),
    ("head_timeout", "The head is lost: its tasks go to another."),
    ("drain_timeout", "SHUTTING_DOWN, and CANCEL to the head."),
];
