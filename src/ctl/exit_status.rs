//! How hirtectl ends, for scripts.

use std::process::ExitCode;

/// The exit status of hirtectl. Scripts rely on these numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// What was asked for happened. A job with the result `skipped` (systemd found it not
    /// applicable) is a success here as it is for `systemctl`, and so is to show the status of a
    /// node that is offline or of a unit that is not running.
    Done,
    /// The manager, the node or systemd refused, or could do it only for a part of the fleet; or a
    /// job ended without success, or the output could not be written. Of `state diff` alone:
    /// something is not as the file wants it.
    Failed,
    /// The command line or the state file is wrong, or `state diff` could not compare; nothing was
    /// done.
    Usage,
    /// No bus, or no manager on it; or it went away or fell silent before it had answered.
    NoManager,
    /// The node is offline, or was lost before the job had ended (result `node-lost`).
    NodeOffline,
    /// The fleet has no such node, or the node has no such unit.
    Unknown,
    /// What the command of `exec` ended with.
    OfCommand(u8),
}

impl ExitStatus {
    /// All of them, by their numbers.
    pub const ALL: [Self; 6] = [
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::NoManager,
        Self::NodeOffline,
        Self::Unknown,
    ];

    /// What it means, in the words of help.
    pub(super) const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "what was asked for happened",
            Self::Failed => "it was refused or failed, was done only in part, or the answer is no",
            Self::Usage => "the command line or the state file is wrong",
            Self::NoManager => "there is no manager that answers, or no way to it",
            Self::NodeOffline => "the node is offline, or was lost before its job had ended",
            Self::Unknown => "there is no such node, unit or job",
            Self::OfCommand(_) => "what the command on the node ended with",
        }
    }

    /// The number that the process ends with.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NoManager => 3,
            Self::NodeOffline => 4,
            Self::Unknown => 5,
            Self::OfCommand(status) => status,
        }
    }

    /// The status of a run whose parts ended with `parts`: [`Done`](Self::Done) without a failure,
    /// the failures' status when they agree, otherwise [`Failed`](Self::Failed).
    pub(super) fn of_parts(parts: impl IntoIterator<Item = Self>) -> Self {
        parts
            .into_iter()
            .filter(|part| *part != Self::Done)
            .reduce(|first, other| if first == other { first } else { Self::Failed })
            .unwrap_or(Self::Done)
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status.number())
    }
}

#[cfg(test)]
mod tests {
    use super::ExitStatus::{self, Done, Failed, NodeOffline, Unknown};

    #[test]
    fn parts_that_disagree_are_a_failure() {
        assert_eq!(ExitStatus::of_parts([]), Done);
        assert_eq!(ExitStatus::of_parts([Done, Done]), Done);
        assert_eq!(ExitStatus::of_parts([Unknown, Done, Unknown]), Unknown);
        assert_eq!(ExitStatus::of_parts([Unknown, NodeOffline]), Failed);
    }
}
