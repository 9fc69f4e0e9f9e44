//! The manager: the primary node's daemon.
//!
//! How an event travels: [`crate::wire`] reads a message from a socket and puts it into the inbox
//! of [`run`]; [`api`] (a client's message) or [`peers`] (an agent's) tells what it means; the
//! [`state`] decides; [`run`] carries out its actions in order, again through [`api`] and
//! [`peers`], and the end of the turn writes them to the sockets. Messages in `BlueChi`'s dialect
//! are translated by [`bluechi`].

pub mod api;
pub mod bluechi;
pub mod command;
mod job_ids;
pub mod peers;
pub mod run;
pub mod state;
