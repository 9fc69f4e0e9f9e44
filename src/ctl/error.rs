//! What can go wrong in hirtectl, as sentences for people, and with which exit status it ends.

use std::{fmt, io, path::PathBuf};

use super::{call::Refusal, exit_status::ExitStatus};
use crate::{
    bus::{
        JobKind, error_name,
        names::{AGENT_BUS_NAME, MANAGER_BUS_NAME},
    },
    limits,
};

/// systemd's error for a unit that it can not find (org.freedesktop.systemd1(5)).
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";
/// systemd's error for a unit file to enable or disable that does not exist: errno ENOENT as
/// sd-bus names it.
const FILE_NOT_FOUND: &str = "org.freedesktop.DBus.Error.FileNotFound";
/// The bus's error for a name that nobody owns, beside `ServiceUnknown`.
const NAME_HAS_NO_OWNER: &str = "org.freedesktop.DBus.Error.NameHasNoOwner";

/// Why a command was not carried out.
#[derive(Debug)]
pub enum Error {
    /// There is no bus to talk to, or it does not let us in.
    Connect {
        /// The private socket, if it was tried, and why it could not be reached.
        private: Option<(PathBuf, io::Error)>,
        /// Why the bus could not be reached.
        error: io::Error,
    },
    /// The manager does not let us in by its private socket.
    ConnectPrivate {
        /// The socket.
        path: PathBuf,
        /// What went wrong.
        error: io::Error,
    },
    /// The private connection to the manager ended.
    ManagerClosed,
    /// The connection to the bus ended.
    BusLost,
    /// Nobody owns the manager's name on the bus.
    NoManager,
    /// The manager left the bus while we waited for it.
    ManagerLeft,
    /// The manager left the bus while we watched what it tells.
    WatchEnded,
    /// More signals came before an answer than we keep.
    Flooded,
    /// The manager did not answer this method in time.
    NoAnswer {
        /// The method that was called.
        method: &'static str,
    },
    /// The manager's answer does not have the documented form.
    Malformed {
        /// The method or signal that carried it.
        member: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The policy of the bus forbids the call.
    Denied {
        /// The bus's own words.
        message: String,
    },
    /// The node is configured and not connected.
    Offline {
        /// Its name.
        node: String,
    },
    /// No node has this name.
    UnknownNode {
        /// The name.
        node: String,
    },
    /// The node has no such unit.
    UnknownUnit {
        /// The node's name.
        node: String,
        /// systemd's own words, which name the unit.
        message: String,
    },
    /// There is no job with this number.
    UnknownJob {
        /// The number.
        id: u32,
    },
    /// Nobody owns the agent's name on the bus.
    NoAgent,
    /// Any other error that the manager replied.
    Refused {
        /// The node concerned, if it is about one.
        node: Option<String>,
        /// Name of the D-Bus error.
        name: String,
        /// Its message.
        message: String,
    },
    /// A state file is wrong, or a step to it was not what it is for.
    State {
        /// The node concerned, if it is about one.
        node: Option<String>,
        /// The sentence.
        message: String,
        /// What that amounts to.
        status: ExitStatus,
    },
    /// A job ended without success.
    Job {
        /// What it was to do.
        kind: JobKind,
        /// On which node.
        node: String,
        /// To which unit.
        unit: String,
        /// Its result, as systemd or the manager names it.
        result: String,
    },
    /// A stream ended before its source did.
    Stream {
        /// The node it came from.
        node: String,
        /// What it carried.
        what: String,
        /// Its result, as systemd or the manager names it.
        result: String,
    },
    /// The live view can not be run.
    Top {
        /// The program.
        program: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Standard output can not be written.
    Output(io::Error),
}

/// What a call was about, to tell its errors apart.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subject<'a> {
    /// The manager or the whole fleet.
    Fleet,
    /// One node.
    Node(&'a str),
    /// Units of one node.
    Units(&'a str),
}

impl Error {
    /// The error that a refused call means.
    pub(crate) fn from_refusal(refusal: Refusal, subject: Subject<'_>) -> Self {
        let Refusal {
            name,
            message,
            from_bus,
        } = refusal;
        if from_bus {
            match name.as_str() {
                error_name::SERVICE_UNKNOWN | NAME_HAS_NO_OWNER => return Self::NoManager,
                error_name::NO_REPLY => return Self::ManagerLeft,
                error_name::ACCESS_DENIED => return Self::Denied { message },
                _ => {}
            }
        }
        let node = match subject {
            Subject::Fleet => {
                return Self::Refused {
                    node: None,
                    name,
                    message,
                };
            }
            Subject::Node(node) | Subject::Units(node) => node.to_owned(),
        };
        let units = matches!(subject, Subject::Units(_));
        match name.as_str() {
            error_name::OFFLINE => Self::Offline { node },
            NO_SUCH_UNIT => Self::UnknownUnit { node, message },
            // The node's own object was there just before, so the object is a unit's or a file.
            error_name::UNKNOWN_OBJECT | FILE_NOT_FOUND if units => {
                Self::UnknownUnit { node, message }
            }
            error_name::SERVICE_UNKNOWN | error_name::UNKNOWN_OBJECT => Self::UnknownNode { node },
            _ => Self::Refused {
                node: Some(node),
                name,
                message,
            },
        }
    }

    /// That a unit does not exist, with its name, where systemd's own words leave it out.
    pub(super) fn naming(self, unit: &str) -> Self {
        match self {
            Self::UnknownUnit { node, .. } => Self::UnknownUnit {
                node,
                message: format!("Unit {unit} could not be found."),
            },
            error => error,
        }
    }

    /// The node that it is about, if it is about one.
    #[must_use]
    pub fn node(&self) -> Option<&str> {
        match self {
            Self::Offline { node }
            | Self::UnknownNode { node }
            | Self::UnknownUnit { node, .. }
            | Self::Job { node, .. }
            | Self::Stream { node, .. } => Some(node),
            Self::Refused { node, .. } | Self::State { node, .. } => node.as_deref(),
            _ => None,
        }
    }

    /// The exit status of a run that ends with this error.
    #[must_use]
    pub fn status(&self) -> ExitStatus {
        match self {
            Self::Connect { .. }
            | Self::ConnectPrivate { .. }
            | Self::ManagerClosed
            | Self::BusLost
            | Self::NoManager
            | Self::ManagerLeft
            | Self::WatchEnded
            | Self::NoAgent
            | Self::Flooded
            | Self::NoAnswer { .. } => ExitStatus::NoManager,
            Self::Offline { .. } => ExitStatus::NodeOffline,
            Self::Job { result, .. } | Self::Stream { result, .. } if result == "node-lost" => {
                ExitStatus::NodeOffline
            }
            Self::UnknownNode { .. } | Self::UnknownUnit { .. } | Self::UnknownJob { .. } => {
                ExitStatus::Unknown
            }
            Self::State { status, .. } => *status,
            Self::Malformed { .. }
            | Self::Denied { .. }
            | Self::Refused { .. }
            | Self::Job { .. }
            | Self::Stream { .. }
            | Self::Top { .. }
            | Self::Output(_) => ExitStatus::Failed,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect {
                private: None,
                error,
            } => write!(f, "Can not connect to the system bus: {error}"),
            Self::Connect {
                private: Some((path, reason)),
                error,
            } => write!(
                f,
                "Can not reach the manager: {}: {reason}; system bus: {error}",
                path.display()
            ),
            Self::ConnectPrivate { path, error } => write!(
                f,
                "Can not talk to the manager on {}: {error}",
                path.display()
            ),
            Self::ManagerClosed => write!(
                f,
                "The manager closed the connection before it had answered; what was asked for may \
                 have happened or not"
            ),
            Self::BusLost => write!(f, "The connection to the system bus was lost"),
            Self::NoManager => write!(
                f,
                "No manager owns the name {MANAGER_BUS_NAME} on the system bus: is hirte.service \
                 running?"
            ),
            Self::ManagerLeft => write!(
                f,
                "The manager left the bus before it had answered; what was asked for may have \
                 happened or not"
            ),
            Self::WatchEnded => write!(f, "The manager left the bus"),
            Self::NoAgent => write!(
                f,
                "No agent owns the name {AGENT_BUS_NAME} on the system bus: is hirte-agent.service \
                 running?"
            ),
            Self::Flooded => write!(
                f,
                "The manager told more than {} MiB before it answered",
                limits::MAX_KEPT_SIGNALS >> 20
            ),
            Self::UnknownJob { id } => write!(f, "There is no job {id}"),
            Self::NoAnswer { method } => write!(
                f,
                "The manager did not answer {method} within {} s",
                limits::CLIENT_CALL.as_secs()
            ),
            Self::Malformed { member, reason } => {
                write!(
                    f,
                    "{member} of the manager has an unexpected form: {reason}"
                )
            }
            Self::Denied { message } => write!(
                f,
                "The system bus does not allow this user to do that: {message}"
            ),
            Self::Offline { node } => write!(f, "Node '{node}' is offline"),
            Self::UnknownNode { node } => write!(f, "Node '{node}' is not known to the manager"),
            Self::UnknownUnit { node, message } => write!(f, "Node '{node}': {message}"),
            Self::Refused {
                node: Some(node),
                name,
                message,
            } => {
                write!(f, "Node '{node}': {message} ({name})")
            }
            Self::Refused {
                node: None,
                name,
                message,
            } => write!(f, "{message} ({name})"),
            Self::State { message, .. } => f.write_str(message),
            Self::Job {
                kind,
                node,
                unit,
                result,
            } => write_job(f, *kind, node, unit, result),
            Self::Stream { node, what, result } => match result.as_str() {
                "node-lost" => write!(f, "Node '{node}' was lost before {what} had ended"),
                "unknown" => write!(f, "Node '{node}': it is not known how {what} ended"),
                "limit" => write!(f, "Node '{node}' sent more of {what} than it was asked for"),
                _ => write!(f, "Node '{node}': {what} ended: {result}"),
            },
            Self::Top { error, .. } if error.kind() == io::ErrorKind::NotFound => write!(
                f,
                "The live view is not installed: it is the package hirtectl-top (cargo feature 'top')"
            ),
            Self::Top { program, error } => {
                write!(f, "Can not run {}: {error}", program.display())
            }
            Self::Output(error) => write!(f, "Can not write to standard output: {error}"),
        }
    }
}

/// One sentence for each result of a job (`JobRemoved` in org.freedesktop.systemd1(5), and the
/// manager's own `node-lost`).
fn write_job(
    f: &mut fmt::Formatter<'_>,
    kind: JobKind,
    node: &str,
    unit: &str,
    result: &str,
) -> fmt::Result {
    match result {
        "node-lost" => {
            return write!(
                f,
                "Node '{node}' was lost before the job to {kind} {unit} had ended"
            );
        }
        "invalid" => {
            return write!(f, "Node '{node}': {unit} is not active and can not {kind}");
        }
        _ => {}
    }
    write!(f, "Node '{node}': the job to {kind} {unit} ")?;
    match result {
        "failed" => write!(f, "failed; the journal of the node says why"),
        "canceled" | "cancelled" => write!(f, "was cancelled"),
        "timeout" => write!(f, "timed out"),
        "dependency" => write!(f, "failed because a unit that it depends on failed"),
        "assert" => write!(f, "failed because an assertion of the unit failed"),
        "unsupported" => {
            write!(
                f,
                "failed because units of this type are not supported on the node"
            )
        }
        "collected" => write!(f, "ended because the unit was removed from memory"),
        "once" => write!(
            f,
            "failed because the unit was started before and can run only once"
        ),
        other => write!(f, "ended with the result '{other}'"),
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(name: &str, from_bus: bool) -> Refusal {
        Refusal {
            name: name.to_owned(),
            message: "words".to_owned(),
            from_bus,
        }
    }

    #[test]
    fn an_unowned_name_is_not_an_unknown_node() {
        let status = |name, from_bus| {
            Error::from_refusal(refusal(name, from_bus), Subject::Node("n")).status()
        };
        assert_eq!(
            status(error_name::SERVICE_UNKNOWN, true),
            ExitStatus::NoManager
        );
        assert_eq!(
            status(error_name::SERVICE_UNKNOWN, false),
            ExitStatus::Unknown
        );
        assert_eq!(status(NAME_HAS_NO_OWNER, true), ExitStatus::NoManager);
        assert_eq!(status(error_name::NO_REPLY, true), ExitStatus::NoManager);
        assert_eq!(status(error_name::NO_REPLY, false), ExitStatus::Failed);
        assert_eq!(status(error_name::OFFLINE, false), ExitStatus::NodeOffline);
    }

    #[test]
    fn an_unknown_object_is_the_unit_once_the_node_is_known() {
        let error = |subject| {
            Error::from_refusal(refusal(error_name::UNKNOWN_OBJECT, false), subject).to_string()
        };
        assert_eq!(
            error(Subject::Node("n")),
            "Node 'n' is not known to the manager"
        );
        assert_eq!(error(Subject::Units("n")), "Node 'n': words");
    }

    #[test]
    fn each_result_of_a_job_has_its_sentence() {
        for (result, sentence, status) in [
            (
                "failed",
                "Node 'n': the job to stop u failed; the journal of the node says why",
                ExitStatus::Failed,
            ),
            (
                "node-lost",
                "Node 'n' was lost before the job to stop u had ended",
                ExitStatus::NodeOffline,
            ),
            (
                "strange",
                "Node 'n': the job to stop u ended with the result 'strange'",
                ExitStatus::Failed,
            ),
        ] {
            let error = Error::Job {
                kind: JobKind::Stop,
                node: "n".to_owned(),
                unit: "u".to_owned(),
                result: result.to_owned(),
            };
            assert_eq!(error.to_string(), sentence);
            assert_eq!(error.status(), status);
        }
    }
}
