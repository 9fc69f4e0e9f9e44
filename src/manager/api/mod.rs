//! The public D-Bus API: messages of clients become events, actions become messages to clients.
//!
//! Nothing is decided here but what a message means. Calls are checked against the tables in
//! [`interfaces`]; whether an object exists only the state knows, so that a call which its object
//! would not understand still travels there, with its refusal.

mod decode;
mod encode;
pub mod interfaces;
pub mod monitor;

pub use decode::{Incoming, decode};
pub use encode::{introspection, reply, reply_error, signal};
