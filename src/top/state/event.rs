//! What happens, and what is to be done about it.

use super::{File, Job, Listed, Told};
use crate::{bus::JobKind, top::key::Key};

/// Something that happens.
#[derive(Debug)]
pub(in crate::top) enum Event {
    /// The manager is watched: these are the nodes and the jobs; what the units are follows.
    Watching {
        nodes: Vec<Told>,
        jobs: Vec<Job>,
    },
    /// The nodes of the configuration are others.
    Nodes(Vec<Told>),
    /// The manager is not there any more, or can not be reached.
    ManagerLost(String),
    /// A node came or went.
    Node {
        name: String,
        is_online: bool,
    },
    /// A unit is loaded. What is not real is told anew only.
    UnitNew {
        node: String,
        unit: String,
        is_real: bool,
    },
    UnitState {
        node: String,
        unit: String,
        active: String,
        sub: String,
        is_real: bool,
    },
    UnitRemoved {
        node: String,
        unit: String,
        is_real: bool,
    },
    /// The list of units that [`Action::List`] asked for.
    Listed {
        node: String,
        units: Vec<Listed>,
        /// The unit files, if they were asked for and the node can tell.
        files: Option<Vec<File>>,
    },
    /// A job that has not ended.
    Job(Job),
    JobState {
        id: u32,
        state: String,
    },
    JobEnded {
        id: u32,
        node: String,
        unit: String,
        result: String,
    },
    /// What [`Action::Look`] asked for, or why there is nothing.
    Page {
        of: Target,
        lines: Result<Vec<String>, String>,
    },
    /// A request was refused, with the reason.
    Refused {
        of: Target,
        reason: String,
    },
    Key(Key),
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::top) enum Action {
    /// Ask a node for its list of units, and for that of its unit files, too.
    List {
        node: String,
        with_files: bool,
    },
    /// Ask for the status of a unit and the end of its log.
    Look(Target),
    /// Ask for a job.
    Request(JobKind, Target),
    /// Draw all of the picture again.
    Redraw,
    /// Stop as Ctrl-Z does.
    Suspend,
    Quit,
}

/// A unit of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::top) struct Target {
    pub node: String,
    pub unit: String,
}

impl Target {
    /// Node and unit.
    pub(super) fn names(&self) -> (&str, &str) {
        (&self.node, &self.unit)
    }
}
