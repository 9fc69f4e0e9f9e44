//! Deterministic control of systemd services across several computers.

#![forbid(unsafe_code)]

pub mod agent;
pub mod bus;
pub mod cmdline;
pub mod config;
pub mod core;
pub mod ctl;
pub mod daemon;
pub mod limits;
pub mod logging;
pub mod manager;
pub mod reactor;
pub mod wire;
