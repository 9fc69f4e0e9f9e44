//! Managers and agents with one fault each, to show that the rules would notice it.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU32, Ordering},
};

use super::proxy_mutants::{self, allow_all};
use hirte::{
    bus::{JobKind, error_name},
    core::{Credentials, Instant, Level, Now},
    manager::state::{
        Settings, State,
        event::{Action, Event, FromPeer, PeerId, Reason, Signal, ToPeer, UnitChange},
    },
};

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// The loss of a node does not end its jobs.
    DropNodeLost,
    /// Any node may end and change any job.
    ForeignJobs,
    /// Requests have no deadline.
    NoDeadline,
    /// A job that ends does so twice.
    RemovedTwice,
    /// The answer comes before `JobNew`.
    ReplyFirst,
    /// An early end is not held back.
    RemovedFirst,
    /// A closed connection gets one more message.
    SendToClosed,
    /// A deadline stays due.
    BusyLoop,
    /// Nobody hears that a node is offline.
    QuietLoss,
    /// Every answer comes twice.
    AnswerTwice,
    /// Ids start at 1 with each run.
    ForgetIds,
    /// A change of a unit is not told.
    QuietChange,
    /// What a monitor tells it tells twice.
    ToldTwice,
    /// Nobody hears what is gone.
    QuietRemoval,
    /// Whoever calls is taken for the owner of a monitor.
    AnybodyIsOwner,
    /// A target that is back is not asked again to run what is needed.
    StartNotRepeated,
    /// A target that is back is not asked again to let go.
    StopNotRepeated,
    /// A node that is back is not asked again to tell of what is watched.
    SubscribeNotRepeated,
    /// No target is asked to let go.
    NeverStops,
    /// A proxy does not hear of the end of its unit.
    QuietEnd,
    /// A proxy that may not be does not hear of it.
    QuietRefusal,
    /// Nodes may depend on all others.
    AllowAll,
    /// An agent does not tell that a proxy has ended.
    QuietWithdrawal,
    /// An agent does not announce its proxies again.
    NotAnnouncedAgain,
    /// An agent keeps what no manager wants.
    RemaindersRun,
    /// An agent does not stop the unit of a proxy whose target has ended.
    ServiceRunsOn,
    /// Who waits for a proxy is not told that it has failed.
    CallerForgotten,
    /// Who waits for a proxy is told twice.
    CallerToldTwice,
    /// Something other than the events decides.
    Chance,
}

impl Mutant {
    pub const ALL: [Self; 29] = [
        Self::DropNodeLost,
        Self::ForeignJobs,
        Self::NoDeadline,
        Self::RemovedTwice,
        Self::ReplyFirst,
        Self::RemovedFirst,
        Self::SendToClosed,
        Self::BusyLoop,
        Self::QuietLoss,
        Self::AnswerTwice,
        Self::ForgetIds,
        Self::QuietChange,
        Self::ToldTwice,
        Self::QuietRemoval,
        Self::AnybodyIsOwner,
        Self::StartNotRepeated,
        Self::StopNotRepeated,
        Self::SubscribeNotRepeated,
        Self::NeverStops,
        Self::QuietEnd,
        Self::QuietRefusal,
        Self::AllowAll,
        Self::QuietWithdrawal,
        Self::NotAnnouncedAgain,
        Self::RemaindersRun,
        Self::ServiceRunsOn,
        Self::CallerForgotten,
        Self::CallerToldTwice,
        Self::Chance,
    ];
}

/// The manager under test, with its fault if it is to have one.
#[derive(Debug)]
pub struct Subject {
    state: State,
    mutant: Option<Mutant>,
    /// The connection of each job's node.
    peers_of_jobs: BTreeMap<u32, PeerId>,
    overdue: Option<Instant>,
}

static CHANCE: AtomicU32 = AtomicU32::new(0);

impl Subject {
    pub fn new(mut settings: Settings, mutant: Option<Mutant>) -> Self {
        if mutant == Some(Mutant::AllowAll) {
            allow_all(&mut settings);
        }
        Self {
            state: State::new(settings),
            mutant,
            peers_of_jobs: BTreeMap::new(),
            overdue: None,
        }
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.overdue.or_else(|| self.state.next_deadline())
    }

    pub fn handle(&mut self, now: Now, event: Event, actions: &mut Vec<Action>) {
        let Some(mutant) = self.mutant else {
            return self.state.handle(now, event, actions);
        };
        let event = self.change_event(mutant, event);
        self.state.handle(now, event, actions);
        for action in actions.iter() {
            if let Action::Send {
                peer,
                message: ToPeer::Call { method, arguments },
                ..
            } = action
                && JobKind::of_method(method).is_some()
            {
                let (_, _, id): (String, String, u32) = arguments.parse().unwrap();
                self.peers_of_jobs.insert(id, *peer);
            }
        }
        if mutant == Mutant::BusyLoop {
            self.overdue = self
                .state
                .next_deadline()
                .is_some()
                .then_some(now.monotonic);
        }
        change_actions(mutant, actions);
    }

    fn change_event(&self, mutant: Mutant, event: Event) -> Event {
        match (mutant, event) {
            (Mutant::ForeignJobs, Event::PeerMessage { peer, message }) => {
                let id = match &message {
                    FromPeer::JobDone { id, .. } | FromPeer::JobStateChanged { id, .. } => *id,
                    _ => 0,
                };
                let peer = self.peers_of_jobs.get(&id).copied().unwrap_or(peer);
                Event::PeerMessage { peer, message }
            }
            (
                Mutant::AnybodyIsOwner,
                Event::ClientKnown {
                    client,
                    credentials,
                },
            ) => {
                let root = |credentials| Credentials {
                    uid: 0,
                    ..credentials
                };
                Event::ClientKnown {
                    client,
                    credentials: credentials.map(root),
                }
            }
            (Mutant::ForgetIds, Event::Started { .. }) => Event::Started { last_job_id: 0 },
            (_, event) => proxy_mutants::change_event(mutant, event),
        }
    }
}

fn is_removed(action: &Action) -> bool {
    matches!(action, Action::Emit(Signal::JobRemoved { .. }))
}

fn is_change(action: &Action) -> bool {
    let Action::Emit(Signal::Unit { change, .. }) = action else {
        return false;
    };
    matches!(
        change,
        UnitChange::State {
            reason: Reason::Real,
            ..
        }
    )
}

fn is_unit_removed(action: &Action) -> bool {
    let Action::Emit(Signal::Unit { change, .. }) = action else {
        return false;
    };
    matches!(change, UnitChange::Removed { .. })
}

fn change_actions(mutant: Mutant, actions: &mut Vec<Action>) {
    let position =
        |wanted: fn(&Action) -> bool, actions: &[Action]| actions.iter().position(wanted);
    match mutant {
        Mutant::DropNodeLost => actions.retain(|action| {
            !matches!(action, Action::Emit(Signal::JobRemoved { result, .. }) if result == "node-lost")
        }),
        Mutant::NoDeadline => actions.retain(|action| {
            !matches!(action, Action::ReplyError { error, .. } if error.name == error_name::TIMEOUT)
        }),
        Mutant::QuietLoss => actions.retain(|action| {
            !matches!(action, Action::Emit(Signal::NodeConnectionStateChanged { state, .. })
                if state == "offline")
        }),
        Mutant::RemovedTwice => {
            if let Some(at) = position(is_removed, actions) {
                actions.push(actions[at].clone());
            }
        }
        Mutant::AnswerTwice => {
            if let Some(at) = position(|action| matches!(action, Action::Reply { .. }), actions) {
                actions.push(actions[at].clone());
            }
        }
        Mutant::ReplyFirst => {
            let is_new = |action: &Action| matches!(action, Action::Emit(Signal::JobNew { .. }));
            if let Some(at) = position(is_new, actions)
                && at + 1 < actions.len()
            {
                actions.swap(at, at + 1);
            }
        }
        Mutant::RemovedFirst => {
            if let Some(at) = position(is_removed, actions) {
                let removed = actions.remove(at);
                actions.insert(0, removed);
            }
        }
        Mutant::SendToClosed => {
            let closed = actions.iter().find_map(|action| match action {
                Action::Close(peer) => Some(*peer),
                _ => None,
            });
            if let Some(peer) = closed {
                let (serial, message) = (u32::MAX, ToPeer::Ping);
                actions.push(Action::Send { peer, serial, message });
            }
        }
        Mutant::Chance => {
            let number = CHANCE.fetch_add(1, Ordering::Relaxed);
            actions.push(Action::Log(Level::Debug, number.to_string()));
        }
        Mutant::QuietChange => actions.retain(|action| !is_change(action)),
        Mutant::QuietRemoval => actions.retain(|action| !is_unit_removed(action)),
        Mutant::ToldTwice => {
            if let Some(at) = position(is_change, actions) {
                actions.push(actions[at].clone());
            }
        }
        Mutant::AnybodyIsOwner
        | Mutant::ForeignJobs | Mutant::BusyLoop | Mutant::ForgetIds => {}
        _ => proxy_mutants::change_actions(mutant, actions),
    }
}
