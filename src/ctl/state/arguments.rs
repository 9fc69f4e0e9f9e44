//! The command line of `hirtectl state`.

use argh::FromArgs;

/// Declare which units run where (hirte-state(5)): show it, compare with it, bring the fleet to it.
#[derive(Debug, PartialEq, FromArgs)]
#[argh(
    subcommand,
    name = "state",
    help_triggers("-h", "--help"),
    note = "'hirtectl state COMMAND --help' tells more about a command."
)]
pub(in crate::ctl) struct State {
    #[argh(subcommand)]
    pub command: StateCommand,
}

#[derive(Debug, PartialEq, FromArgs)]
#[argh(subcommand)]
pub(in crate::ctl) enum StateCommand {
    Show(Show),
    Diff(Diff),
    Apply(Apply),
    Presets(Presets),
}

/// Print what runs as a state file: every service, socket, timer, mount and path unit that is
/// active, in the order in which they became active.
#[derive(Debug, PartialEq, FromArgs)]
#[argh(subcommand, name = "show", help_triggers("-h", "--help"))]
pub(in crate::ctl) struct Show {
    /// make it exact: tell also which unit files are enabled
    #[argh(switch)]
    pub exact: bool,
    /// print JSON
    #[argh(switch)]
    pub json: bool,
    /// the nodes; without them, all nodes
    #[argh(positional)]
    pub nodes: Vec<String>,
}

/// Print what is not as a state file wants it. The exit status is 0 if all is, 1 if something is not,
/// and 2 or more if that can not be told.
#[derive(Debug, PartialEq, FromArgs)]
#[argh(subcommand, name = "diff", help_triggers("-h", "--help"))]
pub(in crate::ctl) struct Diff {
    /// print JSON
    #[argh(switch)]
    pub json: bool,
    /// the state file
    #[argh(positional)]
    pub file: String,
}

/// Bring the fleet to what a state file says: stop in the reverse order of the file, then start in
/// its order, one step at a time. It ends at the first step that fails.
#[derive(Debug, PartialEq, FromArgs)]
#[argh(subcommand, name = "apply", help_triggers("-h", "--help"))]
pub(in crate::ctl) struct Apply {
    /// print the steps and take none
    #[argh(switch)]
    pub dry_run: bool,
    /// when a step fails, take back what was done, in reverse order
    #[argh(switch)]
    pub rollback: bool,
    /// how long one job may take, such as 30s or 2min; then it is taken back, and the step has failed
    #[argh(option, arg_name = "time")]
    pub timeout: Option<String>,
    /// print JSON
    #[argh(switch)]
    pub json: bool,
    /// the state file
    #[argh(positional)]
    pub file: String,
}

/// Print systemd presets (systemd.preset(5)) for one node of a state file. No manager is needed.
#[derive(Debug, PartialEq, FromArgs)]
#[argh(subcommand, name = "presets", help_triggers("-h", "--help"))]
pub(in crate::ctl) struct Presets {
    /// the node
    #[argh(option)]
    pub node: String,
    /// the state file
    #[argh(positional)]
    pub file: String,
}
