//! State files: the desired state of a fleet, declared in TOML (hirte-state(5)).
//!
//! Nothing here talks to anybody: [`parse()`] reads a file, [`Fleet`] is what is known of the nodes,
//! [`diff()`] tells how the two differ, [`plan()`] by which steps the fleet comes to what the file says,
//! [`undo`] how a step is taken back, [`presets()`] what systemd is to start by itself, and [`write()`]
//! makes a file of what is. Who asks the nodes and takes the steps is `ctl::state`.

mod diff;
mod fleet;
mod kind;
mod model;
mod parse;
mod plan;
mod presets;
#[cfg(test)]
mod tests;
mod write;

pub use diff::{Drift, Expected, diff};
pub use fleet::{Enablement, Fleet, Node, Unit};
pub use kind::is_template;
pub use model::{Entry, Mistake, NodeEntry, Place, State, StateFile, Wanted};
pub use parse::parse;
pub use plan::{Action, Reason, Refusal, Step, plan, undo};
pub use presets::presets;
pub use write::write;
