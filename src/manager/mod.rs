//! The manager: the primary node's daemon.
//!
//! How an event travels: [`crate::wire`] reads a message from a socket and puts it into the inbox
//! of [`run`]; [`api`] (a client's message) or [`peers`] (an agent's) tells what it means; the
//! [`state`] decides; [`run`] carries out its actions in order, again through [`api`] and
//! [`peers`], and the end of the turn writes them to the sockets.

pub mod api;
pub mod command;
mod job_ids;
mod listeners;
pub mod peers;
pub mod private;
pub mod run;
pub mod state;

use std::{env, path::PathBuf};

use crate::bus::names;

/// The folder of the manager's sockets and of what outlives a restart. systemd makes it for our
/// unit (`RuntimeDirectory=`, systemd.exec(5)).
fn runtime_folder() -> PathBuf {
    let folder = env::var_os("RUNTIME_DIRECTORY").filter(|folder| !folder.is_empty());
    folder.map_or_else(|| names::RUNTIME_FOLDER.into(), PathBuf::from)
}
