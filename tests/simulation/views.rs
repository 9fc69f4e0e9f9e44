//! What the owners of monitors know, put together from what they are told; and whether that is
//! the truth.

use std::collections::{BTreeMap, BTreeSet};

use hirte::{
    bus::{Body, ObjectPath, names},
    manager::state::event::{
        Client, Event, Method, MonitorMethod, Object, Reason, Signal, UnitChange,
    },
};

use super::{chaos::Fault, check::Verdict};

/// Active state and sub state.
type States = (String, String);

/// All monitors of one manager.
#[derive(Debug, Default)]
pub struct Views {
    monitors: BTreeMap<u32, View>,
    is_congested: bool,
    /// What was told over all runs: to see that something was tested.
    pub told: u64,
}

/// One monitor, as its owner sees it.
#[derive(Debug, Default)]
struct View {
    owner: Option<Client>,
    peers: BTreeMap<u32, String>,
    subscriptions: BTreeMap<u32, (String, BTreeSet<String>)>,
    /// By node and unit.
    units: BTreeMap<(String, String), States>,
}

impl View {
    fn covers(&self, node: &str, unit: &str) -> bool {
        let mut all = self.subscriptions.values();
        all.any(|(nodes, units)| {
            (nodes == "*" || nodes == node) && (units.contains("*") || units.contains(unit))
        })
    }

    fn told(&mut self, node: &str, unit: &str, change: &UnitChange) -> Verdict {
        if !self.covers(node, unit) {
            return Err(format!(
                "{change:?} of {unit} on {node}, which nobody watches"
            ));
        }
        let key = (node.to_owned(), unit.to_owned());
        let known = self.units.get(&key).cloned();
        let is_known = known.is_some();
        match change {
            UnitChange::New { reason } => {
                if is_known && *reason == Reason::Real {
                    return Err(format!("{unit} on {node} is new once more"));
                }
                self.units
                    .entry(key)
                    .or_insert_with(|| ("inactive".to_owned(), "dead".to_owned()));
            }
            UnitChange::State {
                active,
                sub,
                reason,
            } => {
                let states = (active.clone(), sub.clone());
                if !is_known {
                    return Err(format!(
                        "{states:?} of {unit} on {node}, which is not known"
                    ));
                }
                if known.as_ref() == Some(&states) && *reason == Reason::Real {
                    return Err(format!("{unit} on {node} is {states:?} once more"));
                }
                self.units.insert(key, states);
            }
            UnitChange::Properties { .. } if !is_known => {
                return Err(format!(
                    "properties of {unit} on {node}, which is not known"
                ));
            }
            UnitChange::Properties { .. } => {}
            UnitChange::Removed { .. } if !is_known => {
                return Err(format!("{unit} on {node} is gone, and was not known"));
            }
            UnitChange::Removed { .. } => drop(self.units.remove(&key)),
        }
        Ok(())
    }

    /// What is no longer watched is no longer known.
    fn forget_others(&mut self) {
        let units = std::mem::take(&mut self.units);
        for ((node, unit), states) in units {
            if self.covers(&node, &unit) {
                self.units.insert((node, unit), states);
            }
        }
    }
}

impl Views {
    /// A monitor, its owner, and one of its subscriptions if it has any, chosen by `choice`.
    pub fn pick(&self, choice: usize) -> Option<(u32, Client, Option<u32>)> {
        let at = choice.checked_rem(self.monitors.len())?;
        let (id, view) = self.monitors.iter().nth(at)?;
        let last = view.subscriptions.keys().last().copied();
        Some((*id, view.owner.clone()?, last))
    }

    /// What is left when the manager is gone.
    pub fn gone(&self) -> Self {
        let told = self.told;
        Self {
            told,
            ..Self::default()
        }
    }

    pub fn note_event(&mut self, event: &Event) {
        match event {
            Event::BusLost { .. } => {
                self.is_congested = false;
                let is_on_bus = |view: &View| view.owner.as_ref().is_some_and(Client::is_on_bus);
                self.monitors.retain(|_, view| !is_on_bus(view));
                for view in self.monitors.values_mut() {
                    view.peers.clear();
                }
            }
            Event::BusCongested(is_congested) => self.is_congested = *is_congested,
            Event::ClientLeft { client } => {
                self.forget_owner(&Client::on_bus(client));
                for view in self.monitors.values_mut() {
                    view.peers.retain(|_, peer| peer != client);
                }
            }
            Event::PrivateClosed { client, .. } => self.forget_owner(&Client::Private(*client)),
            _ => {}
        }
    }

    fn forget_owner(&mut self, client: &Client) {
        self.monitors
            .retain(|_, view| view.owner.as_ref() != Some(client));
    }

    /// A call was answered with success.
    pub fn answered(
        &mut self,
        client: &Client,
        asked: &(Object, Method),
        answer: &Body,
    ) -> Verdict {
        let number = || answer.parse::<(u32,)>().map(|(number,)| number).unwrap();
        let (id, method) = match asked {
            (_, Method::CreateMonitor) => {
                let (ObjectPath(path),) = answer.parse().unwrap();
                let id = path.rsplit('/').next().unwrap().parse().unwrap();
                assert_eq!(path, names::monitor_path(id));
                let view = View {
                    owner: Some(client.clone()),
                    ..View::default()
                };
                return match self.monitors.insert(id, view) {
                    Some(_) => Err(format!("a second monitor {id}")),
                    None => Ok(()),
                };
            }
            (Object::Monitor(id), Method::Monitor(method)) => (*id, method),
            _ => return Ok(()),
        };
        let Some(view) = self.monitors.get_mut(&id) else {
            return Err(format!("{method:?} of monitor {id}, which is none"));
        };
        let is_root = client_uid(client) == 0;
        if view.owner.as_ref() != Some(client) && !is_root {
            return Err(format!("{client} uses the monitor of {:?}", view.owner));
        }
        match method {
            MonitorMethod::Subscribe { node, units } => {
                let units = units.iter().cloned().collect();
                view.subscriptions.insert(number(), (node.clone(), units));
            }
            MonitorMethod::Unsubscribe(subscription) => {
                if view.subscriptions.remove(subscription).is_none() {
                    return Err(format!(
                        "the end of subscription {subscription}, which is none"
                    ));
                }
                view.forget_others();
            }
            MonitorMethod::Close => drop(self.monitors.remove(&id)),
            MonitorMethod::AddPeer(client) => drop(view.peers.insert(number(), client.clone())),
            MonitorMethod::RemovePeer { peer, .. } => drop(view.peers.remove(peer)),
        }
        Ok(())
    }

    /// A signal to all, or to one client.
    pub fn signalled(&mut self, to: Option<&Client>, signal: &Signal) -> Verdict {
        let Signal::Unit {
            monitor,
            node,
            unit,
            change,
        } = signal
        else {
            return Ok(());
        };
        if self.is_congested {
            return Err(format!("{change:?} of {unit} while the bus is congested"));
        }
        let Some(view) = self.monitors.get_mut(monitor) else {
            return Err(format!("monitor {monitor} speaks, which is none"));
        };
        let is_unicast = matches!(change, UnitChange::Properties { .. });
        if is_unicast != to.is_some() {
            return Err(format!("{change:?} is sent to {to:?}"));
        }
        if let Some(to) = to
            && view.owner.as_ref() != Some(to)
            && !view.peers.values().any(|peer| Client::on_bus(peer) == *to)
        {
            return Err(format!("{to} is told of what monitor {monitor} watches"));
        }
        self.told += 1;
        view.told(node, unit, change)
    }

    /// A monitor stands, unless its manager or its bus went.
    pub fn expect_one(&self, fault: Fault) -> Verdict {
        let may_end = matches!(
            fault,
            Fault::ManagerCrash | Fault::ManagerStop | Fault::BusLoss | Fault::ClientLoss
        );
        if self.monitors.len() == 1 || may_end {
            return Ok(());
        }
        Err(format!("{} monitors stand", self.monitors.len()))
    }

    /// All is at rest: each owner knows exactly the loaded units that it watches.
    pub fn compare(&self, truth: &BTreeMap<(String, String), States>) -> Verdict {
        for (id, view) in &self.monitors {
            let watched = truth
                .iter()
                .filter(|((node, unit), _)| view.covers(node, unit));
            let expected: BTreeMap<_, _> = watched.collect();
            let known: BTreeMap<_, _> = view.units.iter().filter(|(key, _)| key.1 != "*").collect();
            if expected != known {
                return Err(format!(
                    "monitor {id} knows {known:?}, true is {expected:?}"
                ));
            }
        }
        Ok(())
    }
}

/// The user of a simulated client: every second one is root.
pub fn client_uid(client: &Client) -> u32 {
    let number: u64 = match client {
        Client::Bus(name) => name.rsplit('.').next().unwrap().parse().unwrap(),
        Client::Private(number) => *number,
    };
    if number.is_multiple_of(2) { 0 } else { 1000 }
}
