//! Proxies: services of this node that stand for units of others.
//!
//! A proxy begins with `CreateProxy`, which is answered when the unit on the other node is active,
//! or has failed. It ends with `RemoveProxy`, with its unit on this node, with its caller while it
//! waits, or with the unit on the other node: then its unit here is stopped, too. The manager is
//! told of all proxies at each registration. Proxies outlive the agent with their units, which
//! systemd keeps active.

use std::collections::BTreeMap;

use super::{
    Action, IncomingCall, LocalCall, State, Target, Timer, Turn, dispatch::unreadable,
    manager::Caller, target::SERVICE, units::Unit,
};
use crate::{
    bus::{Body, CallError, JobKind, ObjectPath, error_name, names},
    core::{Instant, Level},
    limits,
};

/// How the manager says that it has no node of the name, in `Error`.
const NO_SUCH_NODE: &str = "No such node";
/// The reason of what really happened on the other node; anything else tells what is or is not
/// known.
const REAL: &str = "real";

/// All proxies, by their number.
#[derive(Debug, Default)]
pub(super) struct Proxies {
    all: BTreeMap<u32, Proxy>,
    /// Numbers are not used twice, so that a late call of the manager never reaches another proxy.
    /// They begin with the time of the start, so that the manager does not take a proxy for one
    /// that had its number before the agent was started again.
    last_number: u32,
}

#[derive(Debug)]
struct Proxy {
    target: Target,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// The unit on the other node has not been active; this call waits for it.
    Waiting(LocalCall),
    /// The bus on which the call came was lost, and the caller is to ask again; whether the unit
    /// has been active meanwhile.
    Unclaimed { is_active: bool },
    /// The unit on the other node was active.
    Established,
}

impl Phase {
    /// Whether the unit has been active, if the caller is to ask again.
    const fn unclaimed(&self) -> Option<bool> {
        match self {
            Self::Unclaimed { is_active } => Some(*is_active),
            Self::Waiting(_) | Self::Established => None,
        }
    }
}

impl Proxies {
    /// `now` is the time since the boot at which the agent starts.
    pub(super) fn begin(&mut self, now: Instant) {
        let low = now.0 & u64::from(u32::MAX);
        self.last_number = u32::try_from(low).unwrap_or_default();
    }

    fn insert(&mut self, target: Target, phase: Phase) -> u32 {
        self.last_number = self.last_number.checked_add(1).unwrap_or(1);
        let proxy = Proxy { target, phase };
        self.all.insert(self.last_number, proxy);
        self.last_number
    }

    /// The proxy for this unit of this node. The manager tells them apart by these two alone.
    fn for_unit(&self, target: &Target) -> Option<u32> {
        let is_for = |proxy: &Proxy| {
            (&proxy.target.node, &proxy.target.unit) == (&target.node, &target.unit)
        };
        let mut all = self.all.iter();
        all.find_map(|(number, proxy)| is_for(proxy).then_some(*number))
    }

    fn of_service(&self, service: &str) -> Vec<u32> {
        let of_it = |(_, proxy): &(&u32, &Proxy)| proxy.target.service == service;
        self.all.iter().filter(of_it).map(|(id, _)| *id).collect()
    }

    /// Numbers of the proxies for which a call of this client waits.
    fn awaited_by(&self, client: &str) -> Vec<u32> {
        let is_his = |proxy: &Proxy| match &proxy.phase {
            Phase::Waiting(call) => call.client == client,
            Phase::Unclaimed { .. } | Phase::Established => false,
        };
        let his = self.all.iter().filter(|(_, proxy)| is_his(proxy));
        his.map(|(number, _)| *number).collect()
    }

    /// The calls that wait can not be answered any more.
    pub(super) fn forget_callers(&mut self) {
        for proxy in self.all.values_mut() {
            if let Phase::Waiting(_) = proxy.phase {
                proxy.phase = Phase::Unclaimed { is_active: false };
            }
        }
    }

    fn unclaimed(&self) -> impl Iterator<Item = (u32, &Proxy)> {
        let all = self.all.iter();
        let unclaimed = all.filter(|(_, proxy)| proxy.phase.unclaimed().is_some());
        unclaimed.map(|(number, proxy)| (*number, proxy))
    }
}

impl State {
    /// `CreateProxy`: answered when the unit is active, or can not become so.
    pub(super) fn create_proxy(
        &mut self,
        turn: &mut Turn<'_>,
        call: LocalCall,
        target: Target,
    ) -> Result<(), (LocalCall, CallError)> {
        if let Err(error) = check(&target) {
            return Err((call, error));
        }
        let existing = self.proxies.for_unit(&target);
        if let Some(proxy) = existing.and_then(|number| self.proxies.all.get_mut(&number)) {
            let is_same = proxy.target.service == target.service;
            let Some(is_active) = proxy.phase.unclaimed().filter(|_| is_same) else {
                let error = CallError::new(error_name::ADDRESS_IN_USE, "Proxy already exists");
                return Err((call, error));
            };
            if is_active {
                proxy.phase = Phase::Established;
                super::local::answer(turn, call, Ok(Body::default()));
            } else {
                proxy.phase = Phase::Waiting(call.clone());
                self.watch_caller(turn, &call);
            }
            return Ok(());
        }
        if self.proxies.all.len() >= limits::MAX_PROXIES_PER_NODE {
            let text = format!("{} proxies exist", limits::MAX_PROXIES_PER_NODE);
            return Err((call, CallError::new(error_name::LIMITS_EXCEEDED, text)));
        }
        let line = format!("Waiting for {} of node {}", target.unit, target.node);
        turn.log(Level::Info, line);
        let number = self.proxies.insert(target, Phase::Waiting(call.clone()));
        self.watch_caller(turn, &call);
        self.announce_proxy(turn, number);
        Ok(())
    }

    fn watch_caller(&self, turn: &mut Turn<'_>, call: &LocalCall) {
        if self.proxies.awaited_by(&call.client).len() == 1 {
            turn.act(Action::WatchClient(call.client.clone()));
        }
    }

    /// `RemoveProxy`: that there is none is what was wanted.
    pub(super) fn remove_proxy(&mut self, turn: &mut Turn<'_>, target: &Target) {
        let number = self.proxies.of_service(&target.service);
        // The manager may have known no such node, so that the name was split otherwise.
        let is_it = |number: &u32| {
            let found = self.proxies.all.get(number).map(|proxy| &proxy.target);
            found.is_some_and(|found| found == target || is_split_of(found, target))
        };
        if let Some(number) = number.into_iter().find(is_it) {
            self.end_proxy(turn, number, stopped());
        }
    }

    /// The bus is back: callers that lost it ask again, or have given up.
    pub(super) fn await_callers(&mut self, turn: &mut Turn<'_>) {
        if self.proxies.unclaimed().next().is_some() {
            let end = turn.at() + limits::AGENT_RETURN;
            self.timers.set(Timer::Callers, end);
        }
    }

    /// Ends the proxies whose callers have given up.
    pub(super) fn end_unclaimed(&mut self, turn: &mut Turn<'_>) {
        let unclaimed = self.proxies.unclaimed();
        for number in unclaimed.map(|(number, _)| number).collect::<Vec<_>>() {
            self.end_proxy(turn, number, stopped());
        }
    }

    /// A client has left: nobody waits for its proxies.
    pub(super) fn proxy_caller_left(&mut self, turn: &mut Turn<'_>, client: &str) {
        for number in self.proxies.awaited_by(client) {
            self.end_proxy(turn, number, stopped());
        }
    }

    /// systemd tells that a unit of this node has ended.
    pub(super) fn unit_ended(&mut self, turn: &mut Turn<'_>, unit: &str) {
        self.keeper_ended(unit);
        for number in self.proxies.of_service(unit) {
            self.end_proxy(turn, number, stopped());
        }
    }

    /// Finds out which units of proxies and dependencies have ended while systemd could not be watched.
    pub(super) fn find_ended_units(
        &mut self,
        turn: &mut Turn<'_>,
        earlier: &BTreeMap<String, Unit>,
    ) {
        let proxies = self.proxies.all.values();
        let services = proxies.map(|proxy| proxy.target.service.clone());
        let services = services.chain(self.dependencies.keepers());
        let ended = services.filter(|service| {
            let lived = earlier.get(service).is_some_and(Unit::lives);
            lived && !self.units.get(service).is_some_and(Unit::lives)
        });
        for service in ended.collect::<Vec<_>>() {
            self.unit_ended(turn, &service);
        }
    }

    /// Finds the proxies of units that are active, as after a start of the agent. One that is still
    /// starting has a caller, which asks again.
    pub(super) fn recover_proxies(&mut self, turn: &mut Turn<'_>) {
        let services = self.units.names();
        let services = services.filter(|name| Target::of_service(name).is_some());
        for service in services.cloned().collect::<Vec<_>>() {
            self.recover_proxy(turn, &service);
        }
    }

    /// A unit of a proxy that is active has a proxy, unless it is about to stop: also where the
    /// caller had its answer from an earlier agent, or the stop was replaced by a start.
    pub(super) fn recover_proxy(&mut self, turn: &mut Turn<'_>, service: &str) {
        let states = self.units.get(service).and_then(Unit::states);
        let is_active = states.is_some_and(|(active, _)| active == "active");
        if !is_active || self.orders.is_stopping(service) {
            return;
        }
        let Some(target) = Target::of_service(service) else {
            return;
        };
        let is_full = self.proxies.all.len() >= limits::MAX_PROXIES_PER_NODE;
        let is_known = !self.proxies.of_service(service).is_empty();
        if is_full || is_known || self.proxies.for_unit(&target).is_some() {
            return;
        }
        let (unit, node) = (&target.unit, &target.node);
        let line = format!("{service} depends on {unit} of node {node}");
        turn.log(Level::Info, line);
        let number = self.proxies.insert(target, Phase::Established);
        self.announce_proxy(turn, number);
    }

    /// The manager knows the node: it is told of all its proxies.
    pub(super) fn announce_proxies(&mut self, turn: &mut Turn<'_>) {
        for number in self.proxies.all.keys().copied().collect::<Vec<_>>() {
            self.announce_proxy(turn, number);
        }
    }

    fn announce_proxy(&mut self, turn: &mut Turn<'_>, number: u32) {
        let Some(Proxy { target, .. }) = self.proxies.all.get(&number) else {
            return;
        };
        if self.manager.is_registered() {
            let path = ObjectPath(names::proxy_path(number));
            let body = Body::of(&(target.node.as_str(), target.unit.as_str(), path));
            self.signal(turn, "ProxyNew", body);
        }
    }

    /// Removes a proxy; a call that waits for it gets this error.
    fn end_proxy(&mut self, turn: &mut Turn<'_>, number: u32, error: CallError) -> Option<Target> {
        let Proxy { target, phase } = self.proxies.all.remove(&number)?;
        self.withdraw(turn, &target);
        if let Phase::Waiting(call) = phase {
            self.release_caller(turn, call, Err(error));
        }
        Some(target)
    }

    fn withdraw(&mut self, turn: &mut Turn<'_>, target: &Target) {
        if self.manager.is_registered() {
            let body = Body::of(&(target.node.as_str(), target.unit.as_str()));
            self.signal(turn, "ProxyRemoved", body);
        }
    }

    /// Answers a call that waited.
    fn release_caller(
        &mut self,
        turn: &mut Turn<'_>,
        call: LocalCall,
        result: Result<(), CallError>,
    ) {
        if self.proxies.awaited_by(&call.client).is_empty() {
            turn.act(Action::UnwatchClient(call.client.clone()));
        }
        super::local::answer(turn, call, result.map(|()| Body::default()));
    }

    /// The manager calls a method of a proxy.
    pub(super) fn proxy_method(
        &mut self,
        turn: &mut Turn<'_>,
        caller: Caller,
        (number, call): (u32, &IncomingCall),
    ) -> Result<(), CallError> {
        let unreadable = |reason| unreadable(&reason);
        let event = match call.member.as_str() {
            "Error" => {
                let (text,) = call.body.parse().map_err(unreadable)?;
                TargetEvent::Refused(text)
            }
            "TargetNew" => {
                let (_reason,): (String,) = call.body.parse().map_err(unreadable)?;
                TargetEvent::Nothing
            }
            "TargetStateChanged" => {
                let (active, _sub, reason): (String, String, String) =
                    call.body.parse().map_err(unreadable)?;
                TargetEvent::of_state(&active, &reason)
            }
            "TargetRemoved" => {
                let (reason,): (String,) = call.body.parse().map_err(unreadable)?;
                TargetEvent::of_state("inactive", &reason)
            }
            _ => return Err(super::dispatch::unknown_method(call)),
        };
        self.reply(turn, caller, Ok(Body::default()));
        match event {
            TargetEvent::Nothing => {}
            TargetEvent::Active => self.target_active(turn, number),
            TargetEvent::Ended => self.target_failed(turn, number, "Proxy service failed to start"),
            TargetEvent::Refused(text) => self.target_refused(turn, number, &text),
        }
        Ok(())
    }

    /// Whether the proxy with this number exists.
    pub(super) fn has_proxy(&self, number: u32) -> bool {
        self.proxies.all.contains_key(&number)
    }

    fn target_active(&mut self, turn: &mut Turn<'_>, number: u32) {
        let Some(proxy) = self.proxies.all.get_mut(&number) else {
            return;
        };
        let (unit, node) = (&proxy.target.unit, &proxy.target.node);
        let line = format!("{unit} of node {node} is active");
        match &mut proxy.phase {
            Phase::Established | Phase::Unclaimed { is_active: true } => return,
            Phase::Unclaimed { is_active } => *is_active = true,
            Phase::Waiting(call) => {
                let call = call.clone();
                proxy.phase = Phase::Established;
                self.release_caller(turn, call, Ok(()));
            }
        }
        turn.log(Level::Info, line);
    }

    /// The manager refuses a proxy. Where it has no such node, another split of the proxy's name
    /// may tell one.
    fn target_refused(&mut self, turn: &mut Turn<'_>, number: u32, text: &str) {
        let proxy = self.proxies.all.get(&number);
        let next = proxy
            .filter(|_| text == NO_SUCH_NODE)
            .and_then(|proxy| proxy.target.next_split())
            .filter(|next| self.proxies.for_unit(next).is_none());
        let Some((next, proxy)) =
            next.and_then(|next| Some((next, self.proxies.all.remove(&number)?)))
        else {
            return self.target_failed(turn, number, text);
        };
        self.withdraw(turn, &proxy.target);
        let number = self.proxies.insert(next, proxy.phase);
        self.announce_proxy(turn, number);
    }

    /// The unit on the other node has ended, or can not start: so does the proxy.
    fn target_failed(&mut self, turn: &mut Turn<'_>, number: u32, text: &str) {
        let was_established = self
            .proxies
            .all
            .get(&number)
            .is_some_and(|proxy| matches!(proxy.phase, Phase::Established));
        let error = CallError::new(error_name::ACTIVATION_FAILED, text);
        let Some(target) = self.end_proxy(turn, number, error) else {
            return;
        };
        let (service, unit, node) = (target.service, target.unit, target.node);
        if was_established {
            let line = format!("{unit} of node {node} has ended: stopping {service}");
            turn.log(Level::Info, line);
            self.order(turn, &service, JobKind::Stop);
        } else {
            let line = format!("{unit} of node {node} does not start: {text}");
            turn.log(Level::Warn, line);
        }
    }
}

/// What a call of the manager means for a proxy.
enum TargetEvent {
    Nothing,
    Active,
    Ended,
    Refused(String),
}

impl TargetEvent {
    /// Only what really happened ends a proxy: a node that is offline may come back.
    fn of_state(active: &str, reason: &str) -> Self {
        match active {
            "active" => Self::Active,
            "failed" | "inactive" if reason == REAL => Self::Ended,
            _ => Self::Nothing,
        }
    }
}

fn stopped() -> CallError {
    CallError::new(error_name::FAILED, "Proxy service stopped")
}

/// Whether `split` is what the refusal of a node can have made of `first`.
fn is_split_of(split: &Target, first: &Target) -> bool {
    std::iter::successors(first.next_split(), Target::next_split).any(|next| next == *split)
}

fn check(target: &Target) -> Result<(), CallError> {
    let refuse = |text: String| Err(CallError::new(error_name::INVALID_ARGS, text));
    for name in [&target.service, &target.node, &target.unit] {
        if name.is_empty() || name.len() > limits::MAX_NAME {
            let most = limits::MAX_NAME;
            return refuse(format!("Names have 1 to {most} bytes, not {}", name.len()));
        }
    }
    if !target.unit.ends_with(SERVICE) {
        return refuse(format!(
            "Only services can be depended on, not '{}'",
            target.unit
        ));
    }
    Ok(())
}
