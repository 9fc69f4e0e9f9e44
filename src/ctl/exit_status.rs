//! How hirtectl ends, for scripts.

use std::process::ExitCode;

/// The exit status of hirtectl. Scripts rely on these numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitStatus {
    /// What was asked for happened. A job with the result `skipped` (systemd found it not
    /// applicable) is a success here as it is for `systemctl`, and so is to show the status of a
    /// node that is offline or of a unit that is not running.
    Done = 0,
    /// The manager, the node or systemd refused, or could do it only for a part of the fleet; or a
    /// job ended without success, or the output could not be written. Of `state diff` alone:
    /// something is not as the file wants it.
    Failed = 1,
    /// The command line or the state file is wrong, or `state diff` could not compare; nothing was
    /// done.
    Usage = 2,
    /// No bus, or no manager on it; or it went away or fell silent before it had answered.
    NoManager = 3,
    /// The node is offline, or was lost before the job had ended (result `node-lost`).
    NodeOffline = 4,
    /// The fleet has no such node, or the node has no such unit.
    Unknown = 5,
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
        Self::from(status as u8)
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
