//! Errors as D-Bus carries them: a name that programs compare and a sentence for people.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

use super::body::Body;

/// The error names that hirte sends or understands.
pub mod name {
    /// The node is configured and not connected.
    pub const OFFLINE: &str = "org.containers.hirte.Offline";
    /// The unit on another node that was waited for did not start.
    pub const ACTIVATION_FAILED: &str = "org.containers.hirte.ActivationFailed";
    /// The monitor has no subscription of this number.
    pub const NO_SUCH_SUBSCRIPTION: &str = "org.containers.hirte.NoSuchSubscription";
    /// Something failed for which no better name exists.
    pub const FAILED: &str = "org.freedesktop.DBus.Error.Failed";
    /// Arguments have the wrong types or values.
    pub const INVALID_ARGS: &str = "org.freedesktop.DBus.Error.InvalidArgs";
    /// No object has this path.
    pub const UNKNOWN_OBJECT: &str = "org.freedesktop.DBus.Error.UnknownObject";
    /// The object does not have this interface.
    pub const UNKNOWN_INTERFACE: &str = "org.freedesktop.DBus.Error.UnknownInterface";
    /// The interface does not have this method.
    pub const UNKNOWN_METHOD: &str = "org.freedesktop.DBus.Error.UnknownMethod";
    /// The interface does not have this property.
    pub const UNKNOWN_PROPERTY: &str = "org.freedesktop.DBus.Error.UnknownProperty";
    /// The property can not be set.
    pub const PROPERTY_READ_ONLY: &str = "org.freedesktop.DBus.Error.PropertyReadOnly";
    /// No node has this name (`GetNode`), or no program has this bus name.
    pub const SERVICE_UNKNOWN: &str = "org.freedesktop.DBus.Error.ServiceUnknown";
    /// No program has this bus name, and none can be started for it.
    pub const NAME_HAS_NO_OWNER: &str = "org.freedesktop.DBus.Error.NameHasNoOwner";
    /// The name is taken.
    pub const ADDRESS_IN_USE: &str = "org.freedesktop.DBus.Error.AddressInUse";
    /// A bound of `limits` was reached, or an answer is larger than a bus carries.
    pub const LIMITS_EXCEEDED: &str = "org.freedesktop.DBus.Error.LimitsExceeded";
    /// No answer came in time.
    pub const TIMEOUT: &str = "org.freedesktop.DBus.Error.Timeout";
    /// The connection went away before the answer.
    pub const NO_REPLY: &str = "org.freedesktop.DBus.Error.NoReply";
    /// The other side does not offer what was asked.
    pub const NOT_SUPPORTED: &str = "org.freedesktop.DBus.Error.NotSupported";
    /// The state asked for is there already.
    pub const INCONSISTENT_MESSAGE: &str = "org.freedesktop.DBus.Error.InconsistentMessage";
    /// The caller may not do this.
    pub const ACCESS_DENIED: &str = "org.freedesktop.DBus.Error.AccessDenied";
    /// systemd knows no job of this number.
    pub const NO_SUCH_JOB: &str = "org.freedesktop.systemd1.NoSuchJob";
}

/// An error reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallError {
    /// One of [`name`], or a name that a relayed error brought along.
    pub name: Cow<'static, str>,
    /// A sentence for people.
    pub message: String,
}

impl CallError {
    /// An error with one of our own names.
    #[must_use]
    pub fn new(name: &'static str, message: impl Into<String>) -> Self {
        Self {
            name: Cow::Borrowed(name),
            message: message.into(),
        }
    }

    /// The error that an error message with this name and body reports.
    #[must_use]
    pub fn from_reply(name: String, body: &Body) -> Self {
        Self {
            name: Cow::Owned(name),
            message: body.first_str().unwrap_or_default().to_owned(),
        }
    }

    /// The body of the error message.
    #[must_use]
    pub fn body(&self) -> Body {
        Body::of(&(self.message.as_str(),))
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.name)
    }
}

impl std::error::Error for CallError {}
