//! BlueChi's dialect: the same API and the same protocol under the names of Eclipse BlueChi, as
//! which the C program goes on, with the few types and rules that differ there.
//!
//! With `CompatBlueChi=yes` the manager also owns `org.eclipse.bluechi` on its bus and admits
//! agents that register with `org.eclipse.bluechi.internal.Controller`. What comes in is turned
//! into the events of [`super::state`], what goes out into BlueChi's messages; all of the
//! difference is here, but for what the state decides by [`Dialect`].
//!
//! - [`rename`]: names and paths
//! - [`interfaces`]: its public interfaces, made of ours
//! - `calls`: calls of clients
//! - `shapes`: answers whose types differ
//! - `signals`: signals to clients
//! - [`agents`]: its agents
//!
//! [`Dialect`]: super::state::event::Dialect

pub mod agents;
mod calls;
pub mod interfaces;
pub mod rename;
mod shapes;
mod signals;

pub use calls::{decode, introspection, is_for, reply, reply_error};
pub use signals::{broadcast, signal};

/// What the log says when the bus does not give us [`rename::BUS_NAME`].
#[must_use]
pub fn explain_refusal(name: &str, reason: String) -> String {
    if name == rename::BUS_NAME {
        reason
            + "; CompatBlueChi=yes needs this name, which the bus gives with the policy file \
               org.eclipse.bluechi.conf only (data/install --with-bluechi installs it)"
    } else {
        reason
    }
}
