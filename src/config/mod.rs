//! The configuration of the daemons: files, environment and command line become one typed value.
//!
//! Sources, a later one wins:
//!
//! 1. the built-in defaults (the tables [`MANAGER_KEYS`], [`NODE_KEYS`] and [`AGENT_KEYS`]),
//! 2. `/usr/share/hirte/config/hirte.conf` (agent: `/usr/share/hirte-agent/config/agent.conf`),
//! 3. `/etc/hirte/hirte.conf` (agent: `/etc/hirte/agent.conf`),
//! 4. `/etc/hirte/hirte.conf.d/*.conf` (agent: `agent.conf.d`), in the order of their names; as
//!    systemd does, files whose name starts with a dot are left out,
//! 5. the environment: `HIRTE_LOG_LEVEL`, `HIRTE_LOG_TARGET`, `HIRTE_LOG_IS_QUIET`; an empty variable
//!    counts as unset,
//! 6. the file of `-c`, the only one that must exist,
//! 7. the options of the command line.
//!
//! Rules that hold for every source:
//!
//! - A wrong value is an error even where a later source would replace it: a daemon never starts on a
//!   configuration that somebody got wrong. What is merely unknown is a [`Notice`].
//! - `Key=` without a value takes the built-in default back, as with systemd.
//! - A key given twice in one file: the last one wins. Lists (`AllowedNodeNames`, `AllowDependenciesOn`)
//!   grow instead, and an empty value starts them anew. Across files a list is replaced like everything else.
//!
//! The format of the files is described in [`ini`], that of the values in [`value`].

mod error;
pub mod ini;
mod load;
mod schema;
mod settings;
mod similar;
pub mod value;

pub use error::{ConfigError, Notice, Origin};
pub use load::{AgentOptions, Loaded, ManagerOptions, Roots, load_agent, load_manager};
pub use schema::{AGENT_KEYS, Key, MANAGER_KEYS, NODE_KEYS};
pub use settings::{AgentConfig, ManagerConfig, NodeSection};
pub(crate) use similar::similar;
pub use value::is_node_name;
