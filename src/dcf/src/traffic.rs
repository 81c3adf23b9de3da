//! What a port is for, and so what messages of each type mean on it.
//!
//! DCF's types 1 to 5 are HEARTBEAT, TASK and RESULT in a cluster, and what DCF's registry says
//! elsewhere. So no port has both.

use crate::frames::message_type::*;

/// DCF's types by its registry, where they do not mean what a cluster has them mean.
pub mod domain_type {
    pub const POSITION: u8 = 0x01;
    pub const AUDIO: u8 = 0x02;
    pub const GAME_EVENT: u8 = 0x03;
    pub const STATE_SYNC: u8 = 0x04;
    pub const RELIABLE: u8 = 0x05;
}

/// What goes over a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// Tasks, their answers, and what heads, workers and clients tell each other.
    Cluster,
    /// What DCF's registry has types for: games, audio, sensors.
    Domain,
}

impl Traffic {
    /// Whether messages of this type are sent again until acknowledged and delivered once.
    pub fn is_reliable(self, message: u8) -> bool {
        match self {
            Traffic::Cluster => matches!(message, TASK | RESULT | CANCEL | ERROR),
            Traffic::Domain => message == domain_type::RELIABLE,
        }
    }

    /// Whether messages of this type reach the application and may travel in CHUNKs.
    pub fn is_carried(self, message: u8) -> bool {
        self.is_reliable(message) || self.is_heartbeat(message)
    }

    /// Whether messages of this type fit a datagram, go once without acknowledgement, and reach only
    /// an application that has asked for them (`Endpoint::subscribe`). Of domains each has.
    pub fn is_unreliable(self, message: u8) -> bool {
        match self {
            Traffic::Cluster => matches!(message, MESH | SYNC),
            Traffic::Domain => self.asked_for().contains(&message),
        }
    }

    /// Whether messages of this type are acknowledged, and told of each time that they come.
    pub fn is_heartbeat(self, message: u8) -> bool {
        self == Traffic::Cluster && message == HEARTBEAT
    }

    /// Whether messages of this type are bounded by `MAX_CONTROL`.
    pub fn is_control(self, message: u8) -> bool {
        self == Traffic::Cluster && matches!(message, HEARTBEAT | CANCEL | ERROR)
    }

    /// The unreliable types that every application takes.
    pub fn asked_for(self) -> &'static [u8] {
        use domain_type::{AUDIO, GAME_EVENT, POSITION, STATE_SYNC};
        match self {
            Traffic::Cluster => &[],
            Traffic::Domain => &[POSITION, AUDIO, GAME_EVENT, STATE_SYNC],
        }
    }
}
