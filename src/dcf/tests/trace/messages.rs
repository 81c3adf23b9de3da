//! What an endpoint sent, opened and put together again.

use std::collections::BTreeMap;

use dcf::counters::Counters;
use dcf::frames::{self, message_type, Chunk, Header, HEADER_SIZE, SMALLEST_CHUNK};
use dcf::sealing::Sealer;

/// One message. `parts` are the sequence numbers and timestamps that tell it, or its CHUNKs, from
/// the others.
#[derive(Debug)]
pub struct Sent {
    pub message_type: u8,
    pub sequence: u32,
    pub timestamp: u64,
    pub payload: Vec<u8>,
    pub parts: Vec<(u8, u32, u64)>,
}

impl Sent {
    fn new(header: Header, payload: &[u8]) -> Self {
        let Header { message_type, sequence, timestamp, .. } = header;
        let parts = vec![(message_type, sequence, timestamp)];
        Self { message_type, sequence, timestamp, payload: payload.into(), parts }
    }
}

/// Opens what the endpoint seals, and checks its one session and its counters.
pub struct Opener {
    sealer: Sealer,
    next: Option<(Vec<u8>, u64)>,
}

impl Opener {
    pub fn new(sealer: Sealer) -> Self {
        Self { sealer, next: None }
    }

    fn open(&mut self, header: Header, datagram: &[u8], wall_clock: u64) -> Vec<u8> {
        let mut opened = datagram.to_vec();
        let counters = &mut Counters::default();
        let payload = self.sealer.open(header, &mut opened, wall_clock, counters);
        let payload = payload.expect("a datagram sealed with the key").to_vec();
        let (session, rest) = datagram[HEADER_SIZE..].split_at(16);
        let counter = u64::from_be_bytes(rest[..8].try_into().unwrap());
        let expected = self.next.take().unwrap_or((session.into(), 0));
        assert_eq!((session, counter), (&expected.0[..], expected.1));
        self.next = Some((expected.0, counter + 1));
        payload
    }
}

/// Returns the messages in a datagram.
pub fn open(datagram: &[u8], opener: Option<&mut Opener>, wall_clock: u64) -> Vec<Sent> {
    let (header, payload) = frames::split(datagram).expect("a length that adds up");
    let payload = match opener {
        Some(opener) => opener.open(header, datagram, wall_clock),
        None => payload.to_vec(),
    };
    if header.message_type != message_type::BATCH {
        return vec![Sent::new(header, &payload)];
    }
    let inner = frames::split_batch(&payload).expect("a whole BATCH");
    inner.into_iter().map(|(header, payload)| Sent::new(header, payload)).collect()
}

/// CHUNKs of one message: their pieces by index, and themselves.
struct Group<'a> {
    chunk: Chunk,
    pieces: BTreeMap<u32, &'a [u8]>,
    sent: Vec<&'a Sent>,
}

/// Returns the messages of which every CHUNK is among `messages`.
pub fn wholes(messages: &[Sent]) -> Vec<Sent> {
    let mut groups: Vec<Group> = Vec::new();
    for message in messages.iter().filter(|m| m.message_type == message_type::CHUNK) {
        let (chunk, piece) = frames::read_chunk(&message.payload).expect("a CHUNK with a piece");
        assert!(usize::from(chunk.size) >= SMALLEST_CHUNK);
        let index = message.sequence.wrapping_sub(chunk.first);
        match groups.iter_mut().find(|group| group.chunk == chunk) {
            Some(group) => {
                group.pieces.insert(index, piece);
                group.sent.push(message);
            }
            None => {
                let pieces = BTreeMap::from([(index, piece)]);
                groups.push(Group { chunk, pieces, sent: vec![message] });
            }
        }
    }
    let whole = groups.into_iter().filter_map(|Group { chunk, pieces, sent }| {
        let count = chunk.total.div_ceil(chunk.size.into());
        assert!(*pieces.keys().next_back()? < count);
        (pieces.len() as u32 == count).then(|| Sent {
            message_type: chunk.message_type,
            sequence: chunk.first,
            timestamp: sent[0].timestamp,
            payload: pieces.into_values().collect::<Vec<_>>().concat(),
            parts: sent.iter().flat_map(|message| message.parts.clone()).collect(),
        })
    });
    whole.collect()
}
