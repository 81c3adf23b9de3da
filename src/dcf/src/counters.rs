//! What one side's endpoint and its links count: traffic, and every reason to drop a datagram.

use std::ffi::CStr;

fn c_text(text: &'static str) -> &'static CStr {
    CStr::from_bytes_with_nul(text.as_bytes()).unwrap_or_default()
}

macro_rules! counters {
    ($counters:ident $($name:ident: $help:literal,)*) => {
        /// Totals since start; drops are counted here instead of logged one by one.
        #[derive(Default)]
        pub struct $counters {
            $(#[doc = $help] pub $name: u64,)*
        }

        impl $counters {
            /// Name, meaning and value of each.
            pub fn each(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$((stringify!($name), $help, self.$name),)*]
            }

            /// The same with the texts as C has them.
            pub fn each_for_c(&self) -> Vec<(&'static CStr, &'static CStr, u64)> {
                vec![$((
                    c_text(concat!(stringify!($name), "\0")),
                    c_text(concat!($help, "\0")),
                    self.$name,
                ),)*]
            }
        }
    };
}

counters! { Counters
    datagrams_received: "Datagrams received.",
    datagrams_sent: "Datagrams sent.",
    bytes_received: "Bytes received.",
    bytes_sent: "Bytes sent.",
    messages_received: "Whole messages received, HEARTBEATs apart.",
    messages_sent: "Whole messages queued.",
    retransmissions: "Messages and chunks sent again.",
    duplicates: "Messages and chunks received again.",
    dropped_malformed: "Datagrams dropped: lengths or fields that do not fit.",
    dropped_unknown_type: "Messages dropped: a type that is not DAIIC's, or not expected here.",
    dropped_forged: "Datagrams dropped: not sealed with our key.",
    dropped_replayed: "Datagrams dropped: seen before.",
    dropped_clock_skew: "Datagrams dropped: a new sender whose clock is more than 60 s off.",
    dropped_over_memory: "Chunks dropped: no memory for their message just now.",
    dropped_oversized: "Chunks dropped: their message is larger than allowed.",
    dropped_peer_limit: "Datagrams dropped: the table of peers is full.",
    dropped_rate: "Datagrams dropped: their sender exceeded its rate.",
    dropped_network: "Datagrams dropped: their address is not allowed.",
    held_unvalidated: "Times that output waited for an address to prove itself.",
    expired_reassemblies: "Chunked messages dropped: their rest did not come.",
    unreachable: "Peers given up on: they acknowledged nothing.",
}

counters! { LinkCounters
    link_datagrams_received: "Datagrams of peers received over links.",
    link_datagrams_sent: "Datagrams to peers sent over links.",
    link_bytes_received: "Bytes of peers received over links.",
    link_bytes_sent: "Bytes to peers sent over links.",
    link_paths_up: "Times that a path over a link came into use.",
    link_paths_down: "Times that one was left for the ordinary network.",
    link_dropped_malformed: "Datagrams on links dropped: not as specified, or from elsewhere than they say.",
    link_dropped_forged: "Datagrams on links dropped: not sealed with our key, or seen before.",
    link_dropped_unknown: "Datagrams on links dropped: their sender has not shown which peer it is.",
    link_dropped_backlog: "Datagrams to links dropped: too many wait for the device.",
}
