//! Bounds of what clients may do, and their defaults. All of them can change while the gateway
//! runs (`LiveLimits`).

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use nym_protocol::gateway::SessionLimits;
use nym_transport::websocket::WebSocketLimits;

use crate::rate::Rate;

/// Messages of a client in a second. A client of the network sends 55 on average.
pub const CLIENT_MESSAGES_PER_SECOND_DEFAULT: u32 = 1_000;

/// Bytes of a client in a second: 1,700 regular packets, or 126 extended ones.
pub const CLIENT_BYTES_PER_SECOND_DEFAULT: u32 = 4 << 20;

/// Logins of a client in a minute, far more than one that reconnects without a pause needs.
pub const CLIENT_LOGINS_PER_MINUTE_DEFAULT: u32 = 240;

/// Connections from one address at a time: an office, or a provider's shared address.
pub const ADDRESS_CONNECTIONS_DEFAULT: usize = 512;

/// Messages from one address in a second: those of 512 clients at their average.
pub const ADDRESS_MESSAGES_PER_SECOND_DEFAULT: u32 = 30_000;

/// Bytes from one address in a second: 27,000 regular packets.
pub const ADDRESS_BYTES_PER_SECOND_DEFAULT: u32 = 64 << 20;

/// Registrations from one address in a minute. Each costs the gateway a key exchange, two
/// signatures and a write to the medium.
pub const ADDRESS_REGISTRATIONS_PER_MINUTE_DEFAULT: u32 = 120;

/// Authentications from one address in a minute. Each costs a write to the medium.
pub const ADDRESS_AUTHENTICATIONS_PER_MINUTE_DEFAULT: u32 = 1_200;

/// Silence after which a client is asked for a sign of life.
pub const PING_AFTER_DEFAULT: Duration = Duration::from_secs(60);

/// Silence after which a connection is dead.
pub const DEAD_AFTER_DEFAULT: Duration = Duration::from_secs(150);

/// Bounds of a client's connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClientLimits {
    /// Bytes of a client that are read; what comes faster waits in its socket.
    pub bytes: Rate,
    /// Logins of a client that proved itself; one more is refused.
    pub logins: Rate,
    /// Messages of a client that are read; what comes faster waits in its socket.
    pub messages: Rate,
    /// What all connections from one address may do together.
    pub address: AddressLimits,
    /// Silence after which a client is asked for a sign of life.
    pub ping_after: Duration,
    /// Silence after which a connection is dead.
    pub dead_after: Duration,
    /// How long a connection may take to log in.
    pub session: SessionLimits,
    /// Bounds of the websocket.
    pub websocket: WebSocketLimits,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            bytes: Rate::per_second(CLIENT_BYTES_PER_SECOND_DEFAULT),
            logins: Rate::per_minute(CLIENT_LOGINS_PER_MINUTE_DEFAULT),
            messages: Rate::per_second(CLIENT_MESSAGES_PER_SECOND_DEFAULT),
            address: AddressLimits::default(),
            ping_after: PING_AFTER_DEFAULT,
            dead_after: DEAD_AFTER_DEFAULT,
            session: SessionLimits::default(),
            websocket: WebSocketLimits::default(),
        }
    }
}

/// What all connections from one address may do together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AddressLimits {
    /// Authentications, right or wrong; one more is refused.
    pub authentications: Rate,
    /// Bytes that are read; what comes faster waits in its socket.
    pub bytes: Rate,
    /// Connections at a time; one more is closed.
    pub connections: usize,
    /// Messages that are read; what comes faster waits in its socket.
    pub messages: Rate,
    /// Registrations, completed or not; one more is refused.
    pub registrations: Rate,
}

impl Default for AddressLimits {
    fn default() -> Self {
        Self {
            authentications: Rate::per_minute(ADDRESS_AUTHENTICATIONS_PER_MINUTE_DEFAULT),
            bytes: Rate::per_second(ADDRESS_BYTES_PER_SECOND_DEFAULT),
            connections: ADDRESS_CONNECTIONS_DEFAULT,
            messages: Rate::per_second(ADDRESS_MESSAGES_PER_SECOND_DEFAULT),
            registrations: Rate::per_minute(ADDRESS_REGISTRATIONS_PER_MINUTE_DEFAULT),
        }
    }
}

/// The limits of now; clones are handles to the same ones.
#[derive(Clone, Debug)]
pub(crate) struct LiveLimits(Arc<RwLock<ClientLimits>>);

impl LiveLimits {
    pub(crate) fn new(limits: ClientLimits) -> Self {
        Self(Arc::new(RwLock::new(limits)))
    }

    pub(crate) fn set(&self, limits: ClientLimits) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    pub(crate) fn now(&self) -> ClientLimits {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}
