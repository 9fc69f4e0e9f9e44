//! D-Bus as data: names, bodies, messages, errors, descriptions of interfaces. No socket is
//! touched here; [`crate::wire`] carries these bytes.
//!
//! Marshalling is our own because it is the path of every message: bodies are relayed as the bytes
//! they came in, the pure state machines can read and write them without a library's types, and
//! whatever a peer sends is checked against its signature before anything else looks at it.

pub mod body;
pub mod error;
pub mod interface;
pub mod job;
pub mod marshal;
pub mod message;
pub mod names;
pub mod reader;
pub mod relay;
#[cfg(test)]
pub(crate) mod samples;
pub mod signature;

pub use body::{Body, Bytes, ObjectPath, Value};
pub use error::{CallError, name as error_name};
pub use job::JobKind;
pub use message::{Flags, Kind, Message};
