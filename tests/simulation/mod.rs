//! A fleet in memory: one real manager, real agents, and models of all around them.
//!
//! - `world`: the clock, and the queue of what happens next
//! - `manager_host`, `node_host`: the machines on which the daemons run
//! - `network`: connections between agents and manager, with delay, loss and partition
//! - `systemd`, `dependencies`: a model of systemd
//! - `node_bus`: the bus of a node, and `hirte-proxy` on it
//! - `hostile`: peers that keep to no rule
//! - `chaos`: what clients ask and what goes wrong, by chance
//! - `systematic`, `steps`: a fault at every step of small scenarios
//! - `check`: what must hold whatever happens
//! - `proxies`: what must hold for them
//! - `views`: what monitors make of what they are told
//! - `mutant`, `proxy_mutants`: managers and agents with a fault, to show that `check` notices it
//! - `replay`: the same events give the same actions
//!
//! All chance comes from one seed, so a run is repeated by its seed.

pub mod chaos;
pub mod check;
mod dependencies;
mod hostile;
mod manager_host;
pub mod mutant;
mod network;
mod node_bus;
mod node_host;
pub mod prng;
mod proxies;
mod proxy_mutants;
mod replay;
pub mod steps;
pub mod systematic;
mod systemd;
pub mod views;
pub mod world;
