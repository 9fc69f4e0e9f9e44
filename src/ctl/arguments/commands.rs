//! The commands: their options and arguments, as argh reads them and help, completion and the manual
//! page's test tell them.

use argh::{ArgsInfo, FromArgs};

use super::words::{JobMode, MetricsAction, Signal, Wait, Whom, Whose};
use crate::ctl::output::Form;

/// Declares one command.
macro_rules! command {
    (
        $(#[doc = $doc:tt])+
        name $name:tt $(($usage:tt))? $type:ident { $($fields:tt)* }
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
        #[argh(subcommand, name = $name, help_triggers("-h", "--help") $(, usage = $usage)?)]
        pub(in crate::ctl) struct $type { $($fields)* }
    };
}

/// Declares a command that requests jobs for units.
macro_rules! job_command {
    ($(#[doc = $doc:tt])+ name $name:tt $type:ident) => {
        command! {
            $(#[doc = $doc])+
            name $name $type {
                /// what becomes of jobs that are queued: replace (default), fail, isolate,
                /// replace-irreversibly, ignore-dependencies or ignore-requirements
                #[argh(option, arg_name = "mode")]
                pub job_mode: Option<JobMode>,
                /// do not wait until the jobs have ended
                #[argh(switch)]
                pub no_block: bool,
                /// print JSON
                #[argh(switch)]
                pub json: bool,
                /// the node
                #[argh(positional)]
                pub node: String,
                /// the units
                #[argh(positional)]
                pub units: Vec<String>,
            }
        }
    };
}

/// Declares a command that does something to units at once.
macro_rules! units_command {
    ($(#[doc = $doc:tt])+ name $name:tt $type:ident) => {
        command! {
            $(#[doc = $doc])+
            name $name $type {
                /// print JSON
                #[argh(switch)]
                pub json: bool,
                /// the node
                #[argh(positional)]
                pub node: String,
                /// the units
                #[argh(positional)]
                pub units: Vec<String>,
            }
        }
    };
}

/// A command and its arguments.
#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(subcommand)]
pub(in crate::ctl) enum Command {
    ListUnits(ListUnits),
    ListUnitFiles(ListUnitFiles),
    ListNodes(ListNodes),
    ListJobs(ListJobs),
    Status(Status),
    IsOnline(IsOnline),
    Monitor(Monitor),
    Start(Start),
    Stop(StopUnit),
    Restart(Restart),
    Reload(Reload),
    Cancel(Cancel),
    Freeze(Freeze),
    Thaw(Thaw),
    Kill(Kill),
    ResetFailed(ResetFailed),
    Enable(Enable),
    Disable(Disable),
    IsEnabled(IsEnabled),
    GetDefault(GetDefault),
    SetDefault(SetDefault),
    DaemonReload(DaemonReload),
    SetLoglevel(SetLoglevel),
    Metrics(Metrics),
    Version(Version),
}

command! {
    /// List the loaded units of a node, or of all nodes that are online.
    name "list-units" ListUnits {
        /// list only units whose names match this pattern (* any characters, ? one character)
        #[argh(option, short = 'f', arg_name = "glob")]
        pub filter: Option<String>,
        /// print JSON
        #[argh(switch)]
        pub json: bool,
        /// the node; without it, all nodes
        #[argh(positional)]
        pub node: Option<String>,
    }
}

command! {
    /// List the installed unit files of a node, or of all nodes that are online.
    name "list-unit-files" ListUnitFiles {
        /// list only unit files whose names match this pattern
        #[argh(option, short = 'f', arg_name = "glob")]
        pub filter: Option<String>,
        /// print JSON
        #[argh(switch)]
        pub json: bool,
        /// the node; without it, all nodes
        #[argh(positional)]
        pub node: Option<String>,
    }
}

command! {
    /// List the nodes, whether they are online, and when they were last heard of.
    name "list-nodes" ListNodes {
        /// print JSON
        #[argh(switch)]
        pub json: bool,
    }
}

command! {
    /// List the jobs that have not ended, of a node or of all nodes.
    name "list-jobs" ListJobs {
        /// print JSON
        #[argh(switch)]
        pub json: bool,
        /// the node; without it, all nodes
        #[argh(positional)]
        pub node: Option<String>,
    }
}

command! {
    /// Show all nodes, one node, one unit in detail, or several units. That a node is offline or a
    /// unit not running is no failure; that a unit does not exist is one.
    name "status" ("[-w] [--json] [--] [<node> [<units...>]]") Status {
        /// show it again whenever it changes, until Ctrl-C
        #[argh(switch, short = 'w')]
        pub watch: bool,
        /// print JSON
        #[argh(switch)]
        pub json: bool,
        /// the node, without which all nodes are shown, and units of it
        #[argh(positional, arg_name = "node, units")]
        pub node_and_units: Vec<String>,
    }
}

command! {
    /// Tell by the exit status whether the agent of this computer, a node or the whole system is
    /// online.
    name "is-online" ("[--wait <time>] [--monitor] [--json] agent | node <name> | system") IsOnline {
        /// wait at most this long until it is online, such as 5s; a bare number is milliseconds
        #[argh(option, arg_name = "time")]
        pub wait: Option<Wait>,
        /// when it is online, go on until it is not, which is a failure
        #[argh(switch)]
        pub monitor: bool,
        /// print JSON
        #[argh(switch)]
        pub json: bool,
        /// agent, node or system
        #[argh(positional)]
        pub what: Whose,
        /// the node
        #[argh(positional)]
        pub name: Option<String>,
    }
}

command! {
    /// Tell what happens to units, or to the connections of nodes, until Ctrl-C.
    name "monitor" ("[--json] [--] [<node> [<units...>] | node-connection]") Monitor {
        /// print JSON, an object on a line for each event
        #[argh(switch)]
        pub json: bool,
        /// the node and units of it, which commas may join; * stands for all, as if left out
        #[argh(positional, arg_name = "node, units")]
        pub node_and_units: Vec<String>,
    }
}

job_command! {
    /// Start units and wait until their jobs have ended.
    name "start" Start
}
job_command! {
    /// Stop units and wait until their jobs have ended.
    name "stop" StopUnit
}
job_command! {
    /// Restart units and wait until their jobs have ended.
    name "restart" Restart
}
job_command! {
    /// Have units reload their configuration and wait until their jobs have ended.
    name "reload" Reload
}

command! {
    /// Cancel jobs that have not ended.
    name "cancel" Cancel {
        /// the numbers of the jobs, as list-jobs shows them
        #[argh(positional)]
        pub jobs: Vec<u32>,
    }
}

units_command! {
    /// Suspend all processes of units.
    name "freeze" Freeze
}
units_command! {
    /// Let the processes of frozen units run again.
    name "thaw" Thaw
}

command! {
    /// Send a signal to processes of units.
    name "kill" Kill {
        /// which processes: main, control or all (default)
        #[argh(option, long = "kill-whom", arg_name = "whom")]
        pub whom: Option<Whom>,
        /// the signal, by name or number (default SIGTERM)
        #[argh(option, short = 's', arg_name = "signal")]
        pub signal: Option<Signal>,
        /// print JSON
        #[argh(switch)]
        pub json: bool,
        /// the node
        #[argh(positional)]
        pub node: String,
        /// the units
        #[argh(positional)]
        pub units: Vec<String>,
    }
}

command! {
    /// Forget that units failed: of all nodes that are online, all of a node, or those that are
    /// named.
    name "reset-failed" ("[--json] [--] [<node> [<units...>]]") ResetFailed {
        /// print JSON
        #[argh(switch)]
        pub json: bool,
        /// the node, without which it is all that are online, and units of it
        #[argh(positional, arg_name = "node, units")]
        pub node_and_units: Vec<String>,
    }
}

command! {
    /// Have units start by themselves as their unit files say, then reload the node's unit files.
    name "enable" Enable {
        /// replace links that are in the way
        #[argh(switch, short = 'f')]
        pub force: bool,
        /// only until the node boots again
        #[argh(switch)]
        pub runtime: bool,
        /// do not reload the node's unit files
        #[argh(switch)]
        pub no_reload: bool,
        /// print JSON
        #[argh(switch)]
        pub json: bool,
        /// the node
        #[argh(positional)]
        pub node: String,
        /// the units
        #[argh(positional)]
        pub units: Vec<String>,
    }
}

command! {
    /// Have units no longer start by themselves, then reload the node's unit files.
    name "disable" Disable {
        /// only what was enabled until the node boots again
        #[argh(switch)]
        pub runtime: bool,
        /// do not reload the node's unit files
        #[argh(switch)]
        pub no_reload: bool,
        /// print JSON
        #[argh(switch)]
        pub json: bool,
        /// the node
        #[argh(positional)]
        pub node: String,
        /// the units
        #[argh(positional)]
        pub units: Vec<String>,
    }
}

units_command! {
    /// Tell whether units start by themselves; a failure unless all do, or need not.
    name "is-enabled" IsEnabled
}

command! {
    /// Print the target into which a node boots.
    name "get-default" GetDefault {
        /// print JSON
        #[argh(switch)]
        pub json: bool,
        /// the node
        #[argh(positional)]
        pub node: String,
    }
}

command! {
    /// Set the target into which a node boots.
    name "set-default" SetDefault {
        /// print JSON
        #[argh(switch)]
        pub json: bool,
        /// the node
        #[argh(positional)]
        pub node: String,
        /// the target
        #[argh(positional)]
        pub target: String,
    }
}

command! {
    /// Have a node's systemd read its unit files again.
    name "daemon-reload" DaemonReload {
        /// the node
        #[argh(positional)]
        pub node: String,
    }
}

command! {
    /// Set what the manager logs, or the agent of a node: DEBUG, INFO, WARN or ERROR. It holds until
    /// the configuration is read again.
    name "set-loglevel" ("[--] [<node>] <level>") SetLoglevel {
        /// the node, without which it is the manager, and the level
        #[argh(positional, arg_name = "node, level")]
        pub node_and_level: Vec<String>,
    }
}

command! {
    /// Measure jobs on the manager and all agents: switch it on or off, or print what is measured
    /// until Ctrl-C.
    name "metrics" ("[--json] enable | disable | listen") Metrics {
        /// print JSON, an object on a line for each measurement
        #[argh(switch)]
        pub json: bool,
        /// enable, disable or listen
        #[argh(positional)]
        pub action: MetricsAction,
    }
}

command! {
    /// Print the version.
    name "version" Version {
        /// print JSON
        #[argh(switch)]
        pub json: bool,
    }
}

impl Command {
    /// What is to be printed.
    pub(in crate::ctl) fn form(&self) -> Form {
        let json = match self {
            Self::ListUnits(ListUnits { json, .. })
            | Self::ListUnitFiles(ListUnitFiles { json, .. })
            | Self::ListNodes(ListNodes { json })
            | Self::ListJobs(ListJobs { json, .. })
            | Self::Status(Status { json, .. })
            | Self::IsOnline(IsOnline { json, .. })
            | Self::Monitor(Monitor { json, .. })
            | Self::Start(Start { json, .. })
            | Self::Stop(StopUnit { json, .. })
            | Self::Restart(Restart { json, .. })
            | Self::Reload(Reload { json, .. })
            | Self::Freeze(Freeze { json, .. })
            | Self::Thaw(Thaw { json, .. })
            | Self::Kill(Kill { json, .. })
            | Self::ResetFailed(ResetFailed { json, .. })
            | Self::Enable(Enable { json, .. })
            | Self::Disable(Disable { json, .. })
            | Self::IsEnabled(IsEnabled { json, .. })
            | Self::GetDefault(GetDefault { json, .. })
            | Self::SetDefault(SetDefault { json, .. })
            | Self::Metrics(Metrics { json, .. })
            | Self::Version(Version { json }) => *json,
            Self::Cancel(_) | Self::DaemonReload(_) | Self::SetLoglevel(_) => false,
        };
        let is_stream = match self {
            Self::Monitor(_) => true,
            Self::Metrics(metrics) => metrics.action.0 == "listen",
            Self::Status(status) => status.watch,
            Self::IsOnline(is_online) => is_online.monitor,
            _ => false,
        };
        match (json, is_stream) {
            (false, _) => Form::Text,
            (true, false) => Form::Document,
            (true, true) => Form::Lines,
        }
    }

    /// The name of the argument that must not be empty and is.
    pub(super) fn missing(&self) -> Option<&'static str> {
        let (name, is_missing) = match self {
            Self::Start(Start { units, .. })
            | Self::Stop(StopUnit { units, .. })
            | Self::Restart(Restart { units, .. })
            | Self::Reload(Reload { units, .. })
            | Self::Freeze(Freeze { units, .. })
            | Self::Thaw(Thaw { units, .. })
            | Self::Kill(Kill { units, .. })
            | Self::Enable(Enable { units, .. })
            | Self::Disable(Disable { units, .. })
            | Self::IsEnabled(IsEnabled { units, .. }) => ("units", units.is_empty()),
            Self::Cancel(Cancel { jobs }) => ("jobs", jobs.is_empty()),
            Self::SetLoglevel(of) => ("level", of.node_and_level.is_empty()),
            Self::IsOnline(of) => ("name", of.what.0 == "node" && of.name.is_none()),
            _ => return None,
        };
        is_missing.then_some(name)
    }
}
