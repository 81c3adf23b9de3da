//! The names by which heads tell clients apart: a name says whether two tasks are of the same host,
//! and nothing else. Heads share their workers among names, so that a client that asks for much
//! through the shim does not keep others waiting.

use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;

use ring::hmac::{self, HMAC_SHA256};
use ring::rand::SystemRandom;

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// Letters of a name: 40 bits, so that no two of some thousand clients have the same.
const LETTERS: usize = 8;

/// ClientNames clients; another process names them otherwise.
pub struct ClientNames {
    secret: hmac::Key,
}

impl Default for ClientNames {
    fn default() -> Self {
        let secret = hmac::Key::generate(HMAC_SHA256, &SystemRandom::new());
        Self { secret: secret.expect("the system gives random bytes") }
    }
}

impl ClientNames {
    /// The name of the host at an address: nobody gains by more ports, or by more addresses of the
    /// /64 network that each customer of an IPv6 provider has.
    pub fn of(&self, address: IpAddr) -> Rc<str> {
        let host = match address.to_canonical() {
            IpAddr::V6(six) => {
                let [a, b, c, d, ..] = six.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            four => four,
        };
        let tag = hmac::sign(&self.secret, host.to_string().as_bytes());
        let letter = |byte: &u8| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]);
        tag.as_ref().iter().take(LETTERS).map(letter).collect::<String>().into()
    }
}
