//! What clients ask of streams.

use serde::{Deserialize, Serialize};

/// What a stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamKind {
    /// The journal of a unit.
    Log,
    /// The output of a command.
    Exec,
}

impl StreamKind {
    /// The method by which it is asked for, of a node as of its agent.
    #[must_use]
    pub const fn method(self) -> &'static str {
        match self {
            Self::Log => "OpenLog",
            Self::Exec => "Exec",
        }
    }

    /// What a method of this name opens.
    #[must_use]
    pub fn of_method(name: &str) -> Option<Self> {
        [Self::Log, Self::Exec]
            .into_iter()
            .find(|kind| kind.method() == name)
    }
}

/// A method of a stream with its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamMethod {
    /// `Stream.Grant`, with a number of bytes.
    Grant(u32),
    /// `Stream.Close`
    Close,
}
