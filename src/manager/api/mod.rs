//! The public D-Bus API: messages of clients become events, actions become messages to clients.
//!
//! Nothing is decided here but what a message means. Calls are checked against the tables in
//! [`interfaces`]; whether an object exists only the state knows, so that a call which its object
//! would not understand still travels there, with its refusal.

mod decode;
mod encode;
pub mod interfaces;
pub mod monitor;

use super::{
    bluechi,
    state::event::{Call, Client, Dialect, Object, Signal},
};
use crate::bus::{Body, CallError, Kind, Message};

pub use decode::Incoming;

/// Calls, answers and signals of our own dialect, of which [`bluechi`] makes those of its own.
pub(super) mod calls {
    pub use super::{
        decode::{Incoming, arguments, caller, decode, malformed},
        encode::{introspection, reply, reply_error, signal},
    };
}

/// Reads a message of a client, of `BlueChi`'s dialect only if that is offered.
#[must_use]
pub fn decode(client: Client, message: Message, is_bluechi_offered: bool) -> Incoming {
    if is_bluechi_offered && message.kind == Kind::Call && bluechi::is_for(&message) {
        bluechi::decode(client, message)
    } else {
        calls::decode(client, message)
    }
}

/// The answer to a call.
#[must_use]
pub fn reply(call: &Call, body: Body) -> Message {
    match call.dialect {
        Dialect::Hirte => calls::reply(call, body),
        Dialect::BlueChi => bluechi::reply(call, body),
    }
}

/// The refusal of a call.
#[must_use]
pub fn reply_error(call: &Call, error: &CallError) -> Message {
    match call.dialect {
        Dialect::Hirte => calls::reply_error(call, error),
        Dialect::BlueChi => bluechi::reply_error(call, error),
    }
}

/// The answer to `Introspect`.
#[must_use]
pub fn introspection(call: &Call, object: &Object, children: &[String]) -> Message {
    match call.dialect {
        Dialect::Hirte => calls::introspection(call, object, children),
        Dialect::BlueChi => bluechi::introspection(call, object, children),
    }
}

/// A signal in our own dialect.
#[must_use]
pub fn signal(signal: &Signal) -> Message {
    calls::signal(signal)
}

/// A signal to everybody on the bus: a message in each dialect that is offered and has it.
pub fn broadcast(signal: &Signal, is_bluechi_offered: bool) -> impl Iterator<Item = Message> {
    let theirs = is_bluechi_offered
        .then(|| bluechi::broadcast(signal))
        .flatten();
    [calls::signal(signal)].into_iter().chain(theirs)
}

/// A signal to a client that speaks `dialect`.
#[must_use]
pub fn signal_in(dialect: Dialect, signal: &Signal) -> Message {
    match dialect {
        Dialect::Hirte => calls::signal(signal),
        Dialect::BlueChi => bluechi::signal(signal),
    }
}
