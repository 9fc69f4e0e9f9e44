//! The manager: the primary node's daemon.

pub mod state;
