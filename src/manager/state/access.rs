//! Private connections: who has one, and what they may do.

use std::collections::BTreeMap;

use super::{
    State,
    event::{Access, Action, Call, Client, Method, PrivateId},
    log,
};
use crate::{
    bus::{CallError, error_name, relay},
    core::{Credentials, Level},
    limits,
};

/// The clients with a private connection.
#[derive(Debug, Default)]
pub(super) struct Privates {
    by_id: BTreeMap<PrivateId, Private>,
}

#[derive(Debug)]
struct Private {
    credentials: Credentials,
    access: Access,
}

impl Privates {
    pub(super) fn credentials(&self, client: PrivateId) -> Option<Credentials> {
        self.by_id.get(&client).map(|private| private.credentials)
    }

    /// Why one more connection is refused.
    fn refusal(&self, access: Access) -> Option<String> {
        let readers = self.by_id.values();
        let readers = readers.filter(|private| private.access == Access::Read);
        match access {
            Access::Nothing => Some("only root and members of group hirte may connect".to_owned()),
            Access::Read if readers.count() >= limits::MAX_PRIVATE_READERS => Some(format!(
                "group hirte has {} connections, the most that are allowed",
                limits::MAX_PRIVATE_READERS
            )),
            Access::Read | Access::Full if self.by_id.len() >= limits::MAX_PRIVATE_CLIENTS => {
                Some(format!(
                    "there are {} connections, the most that are allowed",
                    limits::MAX_PRIVATE_CLIENTS
                ))
            }
            Access::Read | Access::Full => None,
        }
    }
}

impl Method {
    /// Whether it changes no node, unit, job or setting, so that members of group `hirte` may call
    /// it. The policy of the bus (`data/dbus/org.containers.hirte.conf`) allows them the same.
    #[must_use]
    pub fn only_reads(&self) -> bool {
        match self {
            Self::Ping(_)
            | Self::ListUnits { .. }
            | Self::ListUnitFiles { .. }
            | Self::ListNodes { .. }
            | Self::GetNode(_)
            | Self::CreateMonitor
            | Self::Monitor(_)
            | Self::GetProperty { .. }
            | Self::GetAllProperties(_)
            | Self::Introspect
            | Self::PeerPing
            | Self::Refused(_) => true,
            Self::Relay { method, .. } => {
                relay::relay_method(method).is_some_and(|method| method.only_reads)
            }
            Self::QueueJob { .. }
            | Self::StartTransientUnit { .. }
            | Self::SetLogLevel(_)
            | Self::SetMetrics { .. }
            | Self::OpenStream { .. }
            | Self::Stream(_)
            | Self::CancelJob => false,
        }
    }
}

impl State {
    pub(super) fn private_connected(
        &mut self,
        client: PrivateId,
        credentials: Credentials,
        access: Access,
        actions: &mut Vec<Action>,
    ) {
        if let Some(reason) = self.privates.refusal(access) {
            let text = format!("Private connection {client} ({credentials}) refused: {reason}");
            log(actions, Level::Warn, text);
            actions.push(Action::ClosePrivate(client));
            return;
        }
        let text = format!("Private connection {client} ({credentials})");
        log(actions, Level::Debug, text);
        let private = Private {
            credentials,
            access,
        };
        self.privates.by_id.insert(client, private);
    }

    /// What the client has asked for goes on, and nobody hears of it.
    pub(super) fn private_closed(
        &mut self,
        client: PrivateId,
        reason: &str,
        actions: &mut Vec<Action>,
    ) {
        if self.privates.by_id.remove(&client).is_none() {
            return;
        }
        let text = format!("Private connection {client} ended: {reason}");
        log(actions, Level::Debug, text);
        let client = Client::Private(client);
        self.forget_calls(|caller| *caller == client);
        self.client_left(&client, actions);
    }

    /// Why a client may not call a method. On the bus its policy has decided already.
    pub(super) fn denial(&self, call: &Call, method: &Method) -> Option<CallError> {
        let Client::Private(client) = call.client else {
            return None;
        };
        let access = match self.privates.by_id.get(&client) {
            Some(private) => private.access,
            None => Access::Nothing,
        };
        match access {
            Access::Full => return None,
            Access::Read if method.only_reads() => return None,
            Access::Read | Access::Nothing => {}
        }
        let text = "Members of group hirte may list, read and monitor; everything else is for root";
        Some(CallError::new(error_name::ACCESS_DENIED, text))
    }
}
