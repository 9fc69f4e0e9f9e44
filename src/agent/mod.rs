//! The agent: one on each node. It does for the manager what `systemctl` does for a person, and
//! tells the manager what becomes of it.
//!
//! How an event travels:
//!
//! 1. A message arrives on a [`Link`](crate::wire::Link), a timer rings, a signal comes: each
//!    puts an `Input` into the one inbox of the daemon (`run`).
//! 2. The loop takes it, and the edge it came from translates it: `peer` for the manager,
//!    `systemd` for systemd, `api` for clients on the message bus. The edges know D-Bus, and decide nothing.
//! 3. [`state::State::handle`] decides, and answers with actions.
//! 4. The loop performs the actions in order, writes all messages of the turn at once, and sets
//!    the one alarm to the next deadline.
//!
//! `socket` is what both edges share: one attempt to connect at a time, and one link.
//! `sources` reads the output of units for streams. `arguments` is the command line. `proxy_command` is a program of its own in the same executable.

pub mod api;
mod arguments;
mod peer;
pub mod proxy_command;
mod run;
mod socket;
mod sources;
pub mod state;
mod systemd;

pub use peer::translate_message as from_manager;
pub use run::main;
pub use socket::message as to_message;
pub use systemd::Translator as FromSystemdTranslator;
