//! The manager: the primary node's daemon.

pub mod api;
pub mod state;
