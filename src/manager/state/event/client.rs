//! Who calls: clients on the bus, and clients with a private connection.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Number of a private connection, given by the edge and never used again.
pub type PrivateId = u64;

/// A client of the public API.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Client {
    /// On the bus, under this unique name.
    Bus(String),
    /// At the other end of this private connection.
    Private(PrivateId),
}

impl Client {
    /// The client with this unique name.
    #[must_use]
    pub fn on_bus(name: &str) -> Self {
        Self::Bus(name.to_owned())
    }

    /// Whether it is gone when the bus is.
    #[must_use]
    pub const fn is_on_bus(&self) -> bool {
        matches!(self, Self::Bus(_))
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bus(name) => write!(f, "{name}"),
            Self::Private(number) => write!(f, "private connection {number}"),
        }
    }
}

/// A method call that waits for its answer: who called, and which of its calls it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The caller.
    pub client: Client,
    /// The caller's number of the call.
    pub serial: u32,
    /// Whether the caller waits for an answer.
    pub expects_reply: bool,
}

/// What a client with a private connection may do. On the bus its policy decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// Everything: root, and the user as whom the manager itself runs.
    Full,
    /// List, read and monitor: members of group `hirte`.
    Read,
    /// Nothing.
    Nothing,
}

impl Access {
    /// What the user `uid` may do with a manager of the user `own`. `is_for_group` tells that the
    /// socket belongs to group `hirte` and is open to its owner and that group only, so that the
    /// kernel has let in a member.
    #[must_use]
    pub const fn of(uid: u32, own: u32, is_for_group: bool) -> Self {
        if uid == 0 || uid == own {
            Self::Full
        } else if is_for_group {
            Self::Read
        } else {
            Self::Nothing
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_the_managers_own_user_may_everything() {
        for is_for_group in [true, false] {
            assert_eq!(Access::of(0, 0, is_for_group), Access::Full);
            assert_eq!(Access::of(0, 1000, is_for_group), Access::Full);
            assert_eq!(Access::of(1000, 1000, is_for_group), Access::Full);
        }
        assert_eq!(Access::of(1000, 0, true), Access::Read);
        assert_eq!(Access::of(1000, 0, false), Access::Nothing);
    }
}
