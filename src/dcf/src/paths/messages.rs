//! What processes say to each other about paths over a link: the payloads of PATH messages.
//!
//! Fixed-width and big-endian; docs/transport.md, Paths over a link, specifies them.

use std::net::{Ipv6Addr, SocketAddrV6};

/// What a process calls itself, drawn when it starts.
pub type Id = [u8; 16];
pub type Nonce = [u8; 16];

const VERSION: u8 = 1;
const HELLO: u8 = 0;
const CHALLENGE: u8 = 1;
const PROOF: u8 = 2;
const PROBE: u8 = 3;
const ECHO: u8 = 4;

/// Bytes of what opens every message on a link.
const SENDER_SIZE: usize = 2 + 16 + 16 + 2 + 2;
/// Bytes of a PROBE without padding.
pub const PROBE_SIZE: usize = SENDER_SIZE + 8 + 16;
/// Link addresses in a CHALLENGE.
pub const MAX_NAMED: usize = 4;

/// Who sends on a link, and from which address there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    pub id: Id,
    pub ip: Ipv6Addr,
    pub port: u16,
    /// Bytes of the largest datagram that it takes there.
    pub largest: u16,
}

/// What is said on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    Hello,
    /// The nonce of a CHALLENGE that came over the ordinary network.
    Proof(Nonce),
    /// `tag` is the nonce by which the other may know us, zeros if there is none.
    Probe {
        number: u64,
        tag: Nonce,
    },
    /// The PROBE with that number arrived, in so many bytes of payload; `ready` if what comes here
    /// is taken for the prober's.
    Echo {
        number: u64,
        size: u16,
        ready: bool,
    },
}

/// Appends the payload that `sender` says, padded with zeros to `size` bytes.
pub fn write(out: &mut Vec<u8>, sender: &Sender, said: Said, size: usize) {
    let start = out.len();
    let kind = match said {
        Said::Hello => HELLO,
        Said::Proof(_) => PROOF,
        Said::Probe { .. } => PROBE,
        Said::Echo { .. } => ECHO,
    };
    out.extend_from_slice(&[kind, VERSION]);
    out.extend_from_slice(&sender.id);
    out.extend_from_slice(&sender.ip.octets());
    out.extend_from_slice(&sender.port.to_be_bytes());
    out.extend_from_slice(&sender.largest.to_be_bytes());
    match said {
        Said::Hello => {}
        Said::Proof(nonce) => out.extend_from_slice(&nonce),
        Said::Probe { number, tag } => {
            out.extend_from_slice(&number.to_be_bytes());
            out.extend_from_slice(&tag);
        }
        Said::Echo { number, size, ready } => {
            out.extend_from_slice(&number.to_be_bytes());
            out.extend_from_slice(&size.to_be_bytes());
            out.push(ready.into());
        }
    }
    out.resize(out.len().max(start + size), 0);
}

/// Reads what was said on a link; `None` if it is nothing of the kind.
pub fn read(payload: &[u8]) -> Option<(Sender, Said)> {
    let (opening, rest) = payload.split_first_chunk::<SENDER_SIZE>()?;
    if opening[1] != VERSION {
        return None;
    }
    let short = |at: usize| u16::from_be_bytes([opening[at], opening[at + 1]]);
    let sender = Sender {
        id: array(&opening[2..18])?,
        ip: Ipv6Addr::from(array::<16>(&opening[18..34])?),
        port: short(34),
        largest: short(36),
    };
    let said = match (opening[0], rest) {
        (HELLO, []) => Said::Hello,
        (PROOF, nonce) => Said::Proof(array(nonce)?),
        (PROBE, rest) => {
            let (fixed, _padding) = rest.split_at_checked(24)?;
            Said::Probe {
                number: u64::from_be_bytes(array(&fixed[..8])?),
                tag: array(&fixed[8..])?,
            }
        }
        (ECHO, &[.., high, low, ready @ (0 | 1)]) if rest.len() == 11 => Said::Echo {
            number: u64::from_be_bytes(array(&rest[..8])?),
            size: u16::from_be_bytes([high, low]),
            ready: ready == 1,
        },
        _ => return None,
    };
    Some((sender, said))
}

/// A question over the ordinary network: who is here on a link at one of these addresses says the
/// nonce there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    pub id: Id,
    pub nonce: Nonce,
    /// Where the asker can be answered, on its links.
    pub addresses: Vec<(Ipv6Addr, u16)>,
}

impl Challenge {
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![CHALLENGE, VERSION];
        out.extend_from_slice(&self.id);
        out.extend_from_slice(&self.nonce);
        for (ip, port) in self.addresses.iter().take(MAX_NAMED) {
            out.extend_from_slice(&ip.octets());
            out.extend_from_slice(&port.to_be_bytes());
        }
        out
    }

    /// Reads one; `None` if it is none.
    pub fn read(payload: &[u8]) -> Option<Self> {
        let (&[kind, version], rest) = payload.split_first_chunk::<2>()?;
        let (id, rest) = rest.split_first_chunk::<16>()?;
        let (nonce, rest) = rest.split_first_chunk::<16>()?;
        let count = rest.len() / 18;
        if (kind, version) != (CHALLENGE, VERSION)
            || rest.len() % 18 != 0
            || !(1..=MAX_NAMED).contains(&count)
        {
            return None;
        }
        let address = |part: &[u8]| {
            Some((
                Ipv6Addr::from(array::<16>(&part[..16])?),
                u16::from_be_bytes([part[16], part[17]]),
            ))
        };
        let addresses = rest.chunks_exact(18).filter_map(address).collect();
        Some(Self { id: *id, nonce: *nonce, addresses })
    }

    /// Whether the asker says that it is at that address.
    pub fn names(&self, address: SocketAddrV6) -> bool {
        self.addresses.contains(&(*address.ip(), address.port()))
    }
}

fn array<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}
