//! The agent's API on the message bus of its node: what it offers, how calls are read, how answers
//! are written. Nothing is decided here.

mod decode;
mod encode;
mod interface;

pub use decode::decode;
pub use encode::{introspection, properties_changed, reply, reply_error};
pub use interface::AGENT;
