//! A fleet in memory: one real manager, real agents, and models of all around them.
//!
//! - `world`: the clock, and the queue of what happens next
//! - `manager_host`, `node_host`: the machines on which the daemons run
//! - `network`: connections between agents and manager, with delay, loss and partition
//! - `systemd`: a model of systemd
//! - `hostile`: peers that keep to no rule
//! - `chaos`: what clients ask and what goes wrong, by chance
//! - `systematic`: a fault at every step of one small scenario
//! - `dependency`: the same for a unit that depends on one of another node
//! - `check`: what must hold whatever happens
//! - `views`: what monitors make of what they are told
//! - `mutant`: managers with a fault, to show that `check` notices it
//! - `replay`: the same events give the same actions
//!
//! All chance comes from one seed, so a run is repeated by its seed.

pub mod chaos;
pub mod check;
pub mod dependency;
mod hostile;
mod manager_host;
pub mod mutant;
mod network;
mod node_host;
pub mod prng;
mod replay;
pub mod systematic;
mod systemd;
pub mod views;
pub mod world;
