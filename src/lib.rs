//! Deterministic control of systemd services across several computers.
//!
//! The manager [`hirte`](manager) runs on one node, an [agent] on each, beside its systemd;
//! [`hirtectl`](ctl) is the administrator's tool. A program or a person that knows the desired
//! state drives the manager through its D-Bus API.
//!
//! # How an event travels
//!
//! ```text
//! socket -> wire::Link -> wire::Inbox -> manager|agent::run -> state.handle(now, event, actions)
//! socket <- wire::Link <-      flush at the end of a turn    <- actions, carried out in order
//! ```
//!
//! The state decides everything and touches nothing: the same events with the same readings of the
//! clocks give the same actions. The edges touch the world and decide nothing.
//!
//! # The modules, from the bottom up
//!
//! - [`limits`]: every bound, with its reason
//! - [`core`]: readings of the clocks, times of retries and lines of the log, as the pure states
//!   see them
//! - [`bus`]: D-Bus as data: names, marshalling, messages, errors, descriptions of interfaces
//! - [`glob`]: patterns for names
//! - [`state_file`]: desired states of a fleet: read, compared with what is, and the steps between
//! - [`reactor`]: sockets and times on one thread, below smol's executor
//! - [`wire`]: connections that speak D-Bus, with their bounds, and the inbox
//! - [`logging`], [`config`], [`cmdline`]: what a daemon tells, and what it is told
//! - [`daemon`]: what both loops share: alarm, signals, service manager, recorded runs
//! - [`manager`]: `state` (pure), `api` (clients), `private` (clients without a bus), `peers`
//!   (agents), `bluechi` (another dialect of both), `run` (the loop)
//! - [`agent`]: `state` (pure), `systemd`, `peer` (the manager), `run` (the loop)
//! - [`ctl`]: `hirtectl`, a file for each command
//! - [`dashboard`]: `hirte-dashboard`, a web page, with the client of `ctl` (feature `dashboard`)
//! - [`top`]: `hirtectl-top`, a live view in the terminal: `state` (pure), `view`, and the edges
//!   (feature `top`)
//!
//! Dependencies point upwards in this list only, and manager, agent and ctl do not know each other; a
//! `state` uses nothing but `bus`, `core` and `limits`. A test holds this (`tests/style.rs`).

#![forbid(unsafe_code)]

pub mod agent;
pub mod bus;
pub mod cmdline;
pub mod config;
pub mod core;
pub mod ctl;
pub mod daemon;
#[cfg(feature = "dashboard")]
pub mod dashboard;
pub mod glob;
pub mod limits;
pub mod logging;
pub mod manager;
pub mod reactor;
pub mod state_file;
#[cfg(feature = "top")]
pub mod top;
pub mod wire;
