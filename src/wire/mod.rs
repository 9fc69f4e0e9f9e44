//! Connections that speak D-Bus: to agents over TCP or a Unix socket, to a message bus, to systemd.
//!
//! A [`Link`] carries [`Message`](crate::bus::Message)s over one socket and reports what happens on
//! it to the daemon's [`Inbox`], in order. It trusts nobody: the handshake, the size of a message,
//! the messages that wait and the bytes that wait are all bounded (`limits`), and a bound that is
//! reached slows down or closes that one connection only.
//!
//! Everything runs on one thread. A link is one task that sleeps until its socket, its window in
//! the inbox or its owner has something for it; nothing here uses a timer while connected.

pub mod address;
mod driver;
pub mod inbox;
pub mod ip;
pub mod link;
pub mod listen;
mod outbound;
pub mod sasl;
pub mod tcp;

pub use inbox::Inbox;
pub use link::{Closed, Link, LinkSettings, Received, Role, Stream};
