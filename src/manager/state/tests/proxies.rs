//! Proxies: what the target's agent is asked, what the source's is told, and over faults.

use super::*;
use crate::{
    bus::{error_name, samples::list_of_units},
    manager::state::{
        NodeSettings,
        event::{Reason, UnitChange},
    },
};

/// The source is `laptop`, the target `rpi4`.
const SOURCE: PeerId = LAPTOP;
const TARGET: PeerId = RPI4;
const UNIT: &str = "db.service";
const PATH: &str = "/org/containers/hirte/internal/proxy/1";

/// A node whose units may depend on units of `others`.
fn node(name: &str, others: &[&str]) -> NodeSettings {
    NodeSettings {
        name: name.to_owned(),
        may_depend_on: others.iter().map(|&other| other.to_owned()).collect(),
    }
}

/// What each agent is asked and told, in words: `2 StartDep db.service`, or, for a proxy,
/// `1 TargetNew real` with the last part of the path before it where it is not the usual one.
fn words(actions: &[Action]) -> Vec<String> {
    let in_words = |sent: Sent| {
        let peer = sent.peer;
        match sent.message {
            ToPeer::CallWithoutReply { method, arguments } => Some(format!(
                "{peer} {method} {}",
                arguments.first_str().unwrap()
            )),
            ToPeer::Proxy {
                path,
                method,
                arguments,
            } => {
                let mut reader = arguments.reader();
                let mut text = format!("{peer} ");
                if path != PATH {
                    text = format!("{text}{} ", path.rsplit('/').next().unwrap());
                }
                text.push_str(&method);
                for _ in 0..arguments.signature.len() {
                    text = format!("{text} {}", reader.str().unwrap());
                }
                Some(text)
            }
            _ => None,
        }
    };
    sent(actions).into_iter().filter_map(in_words).collect()
}

impl Manager {
    /// Both nodes are online, and `laptop` may depend on `rpi4` and itself.
    fn with_dependencies() -> Self {
        let mut manager = Self::with_nodes();
        manager.reload(vec![node("laptop", &["rpi4", "laptop"]), node("rpi4", &[])]);
        manager
    }

    pub(super) fn reload(&mut self, nodes: Vec<NodeSettings>) -> Vec<Action> {
        let silence_limit = Duration::from_secs(6);
        self.event(Event::Reload(Settings {
            nodes,
            silence_limit,
            heartbeat_interval: None,
        }))
    }

    fn announce(&mut self, peer: PeerId, target: &str, unit: &str, path: &str) -> Vec<Action> {
        let (target, unit, path) = (target.to_owned(), unit.to_owned(), path.to_owned());
        self.message(peer, FromPeer::ProxyNew { target, unit, path })
    }

    fn depend(&mut self) -> Vec<Action> {
        self.announce(SOURCE, "rpi4", UNIT, PATH)
    }

    fn withdraw(&mut self, peer: PeerId) -> Vec<Action> {
        let (target, unit) = ("rpi4".to_owned(), UNIT.to_owned());
        self.message(peer, FromPeer::ProxyRemoved { target, unit })
    }

    fn tells(&mut self, change: UnitChange) -> Vec<String> {
        let unit = UNIT.to_owned();
        words(&self.message(TARGET, FromPeer::Unit { unit, change }))
    }

    /// The agent of `rpi4` answers the call `ListUnits` among `asked`.
    fn lists(&mut self, asked: &[Action], units: &[(&str, &str, &str)]) -> Vec<String> {
        let sent = sent(asked);
        let request = sent.iter().find(|sent| sent.is_call("ListUnits")).unwrap();
        words(&self.answer(request, list_of_units(units)))
    }

    /// The agent `peer` answers the Ping of the next tick.
    fn answer_pings(&mut self, peer: PeerId) {
        let actions = self.wait(SECOND);
        let sent = sent(&actions);
        let ping = sent
            .iter()
            .find(|sent| sent.peer == peer && sent.message == ToPeer::Ping);
        self.answer(ping.unwrap(), Body::default());
    }

    fn counts(&self) -> (usize, usize, usize) {
        self.state.proxies.counts()
    }
}

fn new(reason: Reason) -> UnitChange {
    UnitChange::New { reason }
}

fn state(active: &str, sub: &str, reason: Reason) -> UnitChange {
    UnitChange::State {
        active: active.to_owned(),
        sub: sub.to_owned(),
        reason,
    }
}

fn active() -> UnitChange {
    state("active", "running", Reason::Real)
}

fn dead() -> UnitChange {
    state("inactive", "dead", Reason::Real)
}

fn removed() -> UnitChange {
    UnitChange::Removed {
        reason: Reason::Real,
    }
}

const STARTED: [&str; 2] = ["2 StartDep db.service", "2 Subscribe db.service"];
const STOPPED: [&str; 2] = ["2 StopDep db.service", "2 Unsubscribe db.service"];
const IS_ACTIVE: &str = "1 TargetStateChanged active running real";
const IS_DEAD: &str = "1 TargetStateChanged inactive dead real";

#[test]
fn a_proxy_starts_its_unit_is_told_all_of_it_and_ends_it() {
    let mut manager = Manager::with_dependencies();
    let asked = manager.depend();
    assert_eq!(words(&asked), STARTED);
    assert_eq!(manager.tells(new(Reason::Real)), ["1 TargetNew real"]);
    assert_eq!(manager.tells(active()), [IS_ACTIVE]);
    // What it was told of is not told again.
    assert!(
        manager
            .lists(&asked, &[(UNIT, "active", "running")])
            .is_empty()
    );
    assert_eq!(manager.tells(dead()), [IS_DEAD]);
    assert_eq!(manager.tells(removed()), ["1 TargetRemoved real"]);
    assert_eq!(words(&manager.withdraw(SOURCE)), STOPPED);
    assert!(manager.tells(active()).is_empty());
    assert!(manager.withdraw(SOURCE).is_empty());
    assert_eq!(manager.counts(), (0, 0, 0));
}

#[test]
fn a_unit_that_runs_already_is_told_from_the_list() {
    let mut manager = Manager::with_dependencies();
    let asked = manager.depend();
    let units = [
        ("other.service", "active", "running"),
        (UNIT, "active", "exited"),
    ];
    assert_eq!(
        manager.lists(&asked, &units),
        [
            "1 TargetNew virtual",
            "1 TargetStateChanged active exited virtual"
        ]
    );
    // A failed list is asked for again, and one that does not have the unit tells nothing.
    let asked = manager.announce(SOURCE, "rpi4", "x.service", "/2");
    let request = sent(&asked)
        .into_iter()
        .find(|sent| sent.is_call("ListUnits"));
    manager.refuse(&request.unwrap(), CallError::new(error_name::FAILED, "no"));
    let again = manager.wait(SECOND);
    assert!(manager.lists(&again, &units).is_empty());
}

#[test]
fn a_unit_has_as_many_proxies_as_sources_and_one_subscription() {
    let mut manager = Manager::with_dependencies();
    manager.reload(vec![node("laptop", &["rpi4"]), node("rpi4", &["rpi4"])]);
    assert_eq!(words(&manager.depend()), STARTED);
    // A node may depend on itself where it is allowed.
    let again = manager.announce(TARGET, "rpi4", UNIT, "/7");
    assert_eq!(words(&again), ["2 StartDep db.service"]);
    let told = manager.tells(active());
    assert_eq!(
        told,
        [IS_ACTIVE, "2 7 TargetStateChanged active running real"]
    );
    assert!(words(&manager.withdraw(SOURCE)).is_empty());
    assert_eq!(words(&manager.withdraw(TARGET)), STOPPED);
}

#[test]
fn monitors_and_proxies_share_a_subscription() {
    use crate::manager::state::event::MonitorMethod;
    let mut manager = Manager::with_dependencies();
    manager.call(Object::Manager, Method::CreateMonitor);
    let on_monitor = |manager: &mut Manager, method| {
        words(&manager.call(Object::Monitor(1), Method::Monitor(method)))
    };
    let subscribe = || MonitorMethod::Subscribe {
        node: "rpi4".to_owned(),
        units: vec![UNIT.to_owned()],
    };
    manager.depend();
    assert!(on_monitor(&mut manager, subscribe()).is_empty());
    assert!(on_monitor(&mut manager, MonitorMethod::Unsubscribe(1)).is_empty());
    assert!(on_monitor(&mut manager, subscribe()).is_empty());
    assert_eq!(words(&manager.withdraw(SOURCE)), ["2 StopDep db.service"]);
    assert_eq!(words(&manager.depend()), ["2 StartDep db.service"]);
    manager.withdraw(SOURCE);
    let last = on_monitor(&mut manager, MonitorMethod::Close);
    assert_eq!(last, ["2 Unsubscribe db.service"]);
}

#[test]
fn what_can_not_be_is_refused_with_the_reason() {
    let mut manager = Manager::with_dependencies();
    let long = format!("{}.service", "x".repeat(limits::MAX_NAME));
    for (peer, target, unit, reason) in [
        (SOURCE, "moon", UNIT, "No such node"),
        (
            TARGET,
            "laptop",
            UNIT,
            "Proxy on node not allowed: AllowDependenciesOn= in [node rpi4] does not name 'laptop'",
        ),
        (
            SOURCE,
            "rpi4",
            "db.socket",
            "'db.socket' is not the name of a service",
        ),
        (
            SOURCE,
            "rpi4",
            "a b.service",
            "'a b.service' is not the name of a service",
        ),
        (
            SOURCE,
            "rpi4",
            &long,
            &format!("'{long}' is not the name of a service"),
        ),
    ] {
        let actions = manager.announce(peer, target, unit, PATH);
        assert_eq!(words(&actions), [format!("{peer} Error {reason}")]);
        assert_eq!(logged(&actions)[0].0, Level::Warn);
    }
    let path = format!("/{}", "x".repeat(limits::MAX_PROXY_PATH));
    assert!(words(&manager.announce(SOURCE, "rpi4", UNIT, &path)).is_empty());
    manager.connect(9);
    assert!(manager.announce(9, "rpi4", UNIT, PATH).is_empty());
    assert_eq!(manager.counts(), (0, 0, 0));
}

#[test]
fn proxies_of_a_node_are_bounded() {
    let mut manager = Manager::with_dependencies();
    let announce = |manager: &mut Manager, number: usize| {
        let unit = format!("{number}.service");
        words(&manager.announce(SOURCE, "rpi4", &unit, PATH))
    };
    for number in 0..limits::MAX_PROXIES_PER_NODE {
        assert_eq!(announce(&mut manager, number).len(), 2);
    }
    let refused = "1 Error The node has 1024 proxies, the most that are allowed";
    assert_eq!(
        announce(&mut manager, limits::MAX_PROXIES_PER_NODE),
        [refused]
    );
    assert_eq!(announce(&mut manager, 0), ["2 StartDep 0.service"]);
}

#[test]
fn a_target_that_is_away_is_waited_for() {
    let mut manager = Manager::with_dependencies();
    manager.lose(TARGET);
    assert!(words(&manager.depend()).is_empty());
    let back = manager.register(3, "rpi4");
    let asked = ["3 Subscribe db.service", "3 StartDep db.service"];
    assert_eq!(words(&back), asked);
    assert_eq!(
        manager.lists(&back, &[(UNIT, "active", "running")]),
        [
            "1 TargetNew virtual",
            "1 TargetStateChanged active running virtual"
        ]
    );
    let lost = manager.lose(3);
    assert_eq!(
        words(&lost),
        [
            "1 TargetStateChanged inactive agent-offline virtual",
            "1 TargetRemoved virtual"
        ]
    );
    assert_eq!(words(&manager.register(4, "rpi4")).len(), 2);
}

/// An agent of ours tells that a unit has ended while it was away. Who waits for the unit since then
/// is not meant.
#[test]
fn an_end_from_before_ends_only_proxies_from_before() {
    for is_loaded in [true, false] {
        let mut manager = Manager::with_dependencies();
        manager.reload(vec![
            node("laptop", &["rpi4"]),
            node("rpi4", &[]),
            node("rpi3", &["rpi4"]),
        ]);
        manager.register(3, "rpi3");
        manager.depend();
        manager.tells(active());
        manager.lose(TARGET);
        manager.announce(3, "rpi4", UNIT, PATH);
        manager.register(TARGET, "rpi4");
        assert_eq!(manager.tells(new(Reason::Real)).len(), 2);
        let told = manager.tells(state("inactive", "dead", Reason::Real));
        let end = "1 TargetStateChanged inactive dead real".to_owned();
        assert_eq!(told, [end, "2 StartDep db.service".to_owned()]);
        assert_eq!(words(&manager.withdraw(SOURCE)), [""; 0]);
        if !is_loaded {
            assert_eq!(manager.tells(removed()), [""; 0]);
        }
        // What comes of the start is told, a failure too.
        let told = manager.tells(state("failed", "failed", Reason::Real));
        assert_eq!(told, ["3 TargetStateChanged failed failed real"]);
    }
}

#[test]
fn a_target_that_was_away_lets_go_when_it_is_back() {
    let mut manager = Manager::with_dependencies();
    manager.depend();
    manager.lose(TARGET);
    assert!(words(&manager.withdraw(SOURCE)).is_empty());
    // As long as it may not have heard it is asked again; it has when it answers what came later.
    for peer in [3, 4] {
        let back = manager.register(peer, "rpi4");
        assert_eq!(words(&back), [format!("{peer} StopDep db.service")]);
        manager.lose(peer);
    }
    manager.register(3, "rpi4");
    manager.answer_pings(3);
    assert_eq!(manager.state.proxies.unheard(), 0);
    // What it was never asked to run it need not let go.
    manager.lose(3);
    manager.depend();
    manager.withdraw(SOURCE);
    assert!(words(&manager.register(4, "rpi4")).is_empty());
    // Nor what is needed once more.
    manager.depend();
    manager.lose(4);
    manager.withdraw(SOURCE);
    manager.depend();
    assert_eq!(
        words(&manager.register(5, "rpi4")),
        ["5 Subscribe db.service", "5 StartDep db.service"]
    );
}

#[test]
fn a_short_loss_of_the_source_stops_nothing() {
    let mut manager = Manager::with_dependencies();
    let asked = manager.depend();
    manager.tells(active());
    manager.lists(&asked, &[(UNIT, "active", "running")]);
    assert!(words(&manager.lose(SOURCE)).is_empty());
    manager.wait_with(limits::PROXY_HOLD.saturating_sub(SECOND), |manager| {
        manager.message(TARGET, FromPeer::Heartbeat);
    });
    manager.register(LAPTOP, "laptop");
    let back = manager.depend();
    // Not asked again: an end of the unit may be on its way, of which the proxy is to hear.
    assert_eq!(words(&back), [""; 0]);
    assert_eq!(
        manager.lists(&back, &[(UNIT, "active", "running")]),
        [
            "1 TargetNew virtual",
            "1 TargetStateChanged active running virtual"
        ]
    );
    let later = manager.wait_with(2 * limits::PROXY_HOLD, |manager| {
        manager.message(TARGET, FromPeer::Heartbeat);
        manager.message(SOURCE, FromPeer::Heartbeat);
    });
    assert!(words(&later).is_empty());
    assert_eq!(manager.counts(), (1, 1, 0));
}

#[test]
fn what_a_source_does_not_announce_again_ends() {
    for comes_back in [false, true] {
        let mut manager = Manager::with_dependencies();
        manager.depend();
        manager.lose(SOURCE);
        let mut hold = limits::PROXY_HOLD;
        if comes_back {
            manager.register(3, "laptop");
            hold = limits::PROXY_ANNOUNCE;
        }
        let live = |manager: &mut Manager| {
            manager.message(TARGET, FromPeer::Heartbeat);
            manager.message(3, FromPeer::Heartbeat);
        };
        let before = manager.wait_with(hold.saturating_sub(Duration::from_millis(1)), live);
        assert!(words(&before).is_empty());
        let after = manager.wait_with(Duration::from_millis(1), live);
        assert_eq!(words(&after), STOPPED);
        assert_eq!(manager.counts(), (0, 0, 0));
    }
}

#[test]
fn a_source_that_returns_is_told_of_the_end_that_it_missed() {
    for end in [dead(), state("failed", "failed", Reason::Real), removed()] {
        let mut manager = Manager::with_dependencies();
        manager.depend();
        manager.tells(active());
        manager.lose(SOURCE);
        assert!(manager.tells(end.clone()).is_empty());
        assert!(manager.tells(active()).is_empty());
        manager.register(LAPTOP, "laptop");
        let told = words(&manager.depend());
        let expected = match end {
            UnitChange::State { active, sub, .. } => {
                format!("1 TargetStateChanged {active} {sub} real")
            }
            _ => "1 TargetRemoved real".to_owned(),
        };
        assert_eq!(told, [expected]);
        assert_eq!(words(&manager.withdraw(SOURCE)), STOPPED);
        assert_eq!(manager.counts().0, 0);
    }
    // One that was told to a source that may not have heard it is told again.
    for runs_again in [false, true] {
        let mut manager = Manager::with_dependencies();
        manager.depend();
        manager.tells(active());
        manager.tells(dead());
        if runs_again {
            manager.tells(active());
        }
        manager.lose(SOURCE);
        manager.register(LAPTOP, "laptop");
        let told = words(&manager.depend());
        let is_told = told == ["1 TargetStateChanged inactive dead real"];
        assert_eq!(is_told, !runs_again, "{told:?}");
    }
    // What only tells that the target was lost is no end.
    let mut manager = Manager::with_dependencies();
    manager.depend();
    manager.lose(SOURCE);
    manager.tells(state("inactive", "dead", Reason::Virtual));
    manager.lose(TARGET);
    let target_back = manager.register(3, "rpi4");
    assert!(words(&target_back).contains(&"3 StartDep db.service".to_owned()));
    manager.register(4, "laptop");
    let back = manager.announce(4, "rpi4", UNIT, PATH);
    assert_eq!(words(&back), [""; 0]);
}

#[test]
fn a_restarted_manager_learns_all_from_the_agents() {
    let mut manager = Manager::empty();
    manager.reload(vec![node("laptop", &["rpi4"]), node("rpi4", &[])]);
    manager.register(SOURCE, "laptop");
    assert!(words(&manager.depend()).is_empty());
    let back = manager.register(TARGET, "rpi4");
    assert_eq!(
        words(&back),
        ["2 Subscribe db.service", "2 StartDep db.service"]
    );
    let told = manager.lists(&back, &[(UNIT, "active", "running")]);
    assert_eq!(told[1], "1 TargetStateChanged active running virtual");
}

#[test]
fn a_refused_call_of_a_proxy_is_logged_and_changes_nothing() {
    let mut manager = Manager::with_dependencies();
    manager.depend();
    let told = |manager: &mut Manager| {
        let unit = UNIT.to_owned();
        let change = active();
        let actions = manager.message(TARGET, FromPeer::Unit { unit, change });
        sent(&actions)[0].clone()
    };
    let unknown = || CallError::new(error_name::UNKNOWN_OBJECT, "Unknown object");
    let call = told(&mut manager);
    assert_eq!(logged(&manager.refuse(&call, unknown()))[0].0, Level::Warn);
    assert!(manager.refuse(&call, unknown()).is_empty());
    let call = told(&mut manager);
    assert!(manager.answer(&call, Body::default()).is_empty());
    // An agent that never answers is told all the same.
    let first = told(&mut manager);
    for _ in 0..limits::MAX_PROXY_CALLS {
        told(&mut manager);
    }
    assert!(manager.refuse(&first, unknown()).is_empty());
    let last = told(&mut manager);
    manager.withdraw(SOURCE);
    assert_eq!(logged(&manager.refuse(&last, unknown()))[0].0, Level::Debug);
}

#[test]
fn a_dependency_that_is_no_longer_allowed_ends() {
    let nodes = || vec![node("laptop", &[]), node("rpi4", &[])];
    // One that waits gets the reason.
    let mut manager = Manager::with_dependencies();
    manager.depend();
    let reason = "Proxy on node not allowed: AllowDependenciesOn= in [node laptop] does not name \
                  'rpi4'";
    assert_eq!(
        words(&manager.reload(nodes())),
        [
            STOPPED[0].to_owned(),
            STOPPED[1].to_owned(),
            format!("1 Error {reason}")
        ]
    );
    assert!(manager.withdraw(SOURCE).is_empty());
    // One that has succeeded ends with its unit.
    let not_allowed = "1 TargetStateChanged inactive not-allowed real";
    let mut manager = Manager::with_dependencies();
    manager.depend();
    manager.tells(active());
    let told = words(&manager.reload(nodes()));
    assert_eq!(told, [STOPPED[0], STOPPED[1], not_allowed]);
    assert_eq!(manager.counts(), (0, 0, 0));
    // One whose agent is away is told when it is back.
    let mut manager = Manager::with_dependencies();
    manager.depend();
    manager.lose(SOURCE);
    assert_eq!(words(&manager.reload(nodes())), STOPPED);
    manager.register(LAPTOP, "laptop");
    assert_eq!(words(&manager.depend()), [not_allowed]);
    assert!(words(&manager.depend())[0].starts_with("1 Error Proxy on node not allowed"));
    assert_eq!(manager.counts().0, 0);
}

#[test]
fn dependencies_end_with_the_node_that_is_removed() {
    // The target: it lets go before its connection is closed.
    let mut manager = Manager::with_dependencies();
    manager.depend();
    let gone = manager.reload(vec![node("laptop", &["rpi4"])]);
    assert_eq!(
        words(&gone),
        [STOPPED[0], STOPPED[1], "1 Error No such node"]
    );
    assert_eq!(closed(&gone), [TARGET]);
    assert_eq!(manager.counts(), (0, 0, 0));
    assert_eq!(words(&manager.depend()), ["1 Error No such node"]);
    // The source.
    let mut manager = Manager::with_dependencies();
    manager.depend();
    manager.tells(active());
    let gone = manager.reload(vec![node("rpi4", &[])]);
    let not_allowed = "1 TargetStateChanged inactive not-allowed real";
    assert_eq!(words(&gone), [STOPPED[0], STOPPED[1], not_allowed]);
    assert_eq!(closed(&gone), [SOURCE]);
    assert_eq!(manager.counts(), (0, 0, 0));
    // A target that is away and owes a stop.
    let mut manager = Manager::with_dependencies();
    manager.depend();
    manager.lose(TARGET);
    manager.withdraw(SOURCE);
    manager.reload(vec![node("laptop", &[])]);
    assert_eq!(manager.state.proxies.unheard(), 0);
}

#[test]
fn what_an_agent_may_not_have_heard_is_bounded() {
    let mut manager = Manager::with_dependencies();
    for number in 0..limits::MAX_UNHEARD_STOPS + 10 {
        let (target, unit) = ("rpi4".to_owned(), format!("{number}.service"));
        manager.announce(SOURCE, &target, &unit, PATH);
        manager.message(SOURCE, FromPeer::ProxyRemoved { target, unit });
    }
    assert_eq!(manager.state.proxies.unheard(), limits::MAX_UNHEARD_STOPS);
    manager.answer_pings(TARGET);
    assert_eq!(manager.state.proxies.unheard(), 0);
}

/// What was stopped for want of proxies may still be ending when there is one again.
#[test]
fn the_end_of_what_was_is_not_told_to_a_proxy_that_begins() {
    let ending = |reason| state("deactivating", "stop-sigterm", reason);
    let begin = || {
        let mut manager = Manager::with_dependencies();
        manager.depend();
        manager.tells(active());
        manager.withdraw(SOURCE);
        let begun = words(&manager.depend());
        assert_eq!(begun, ["2 StartDep db.service", "2 Subscribe db.service"]);
        manager
    };
    for reason in [Reason::Real, Reason::Virtual] {
        let mut manager = begin();
        let word = reason.word();
        assert_eq!(
            manager.tells(ending(reason)),
            [format!(
                "1 TargetStateChanged deactivating stop-sigterm {word}"
            )]
        );
        assert_eq!(manager.tells(dead()), ["2 StartDep db.service"]);
        assert_eq!(manager.tells(removed()), [""; 0]);
        manager.tells(new(Reason::Real));
        assert_eq!(
            manager.tells(active()),
            ["1 TargetStateChanged active running real"]
        );
        assert_eq!(
            manager.tells(dead()),
            ["1 TargetStateChanged inactive dead real"]
        );
    }

    // One that begins and fails has failed for the proxy.
    let mut manager = begin();
    manager.tells(state("activating", "start", Reason::Real));
    manager.tells(ending(Reason::Real));
    assert_eq!(
        manager.tells(state("failed", "failed", Reason::Real)),
        ["1 TargetStateChanged failed failed real"]
    );

    // So has one that does not even begin.
    let mut manager = begin();
    assert_eq!(
        manager.tells(dead()),
        ["1 TargetStateChanged inactive dead real"]
    );
}

/// Nor where the unit is watched already, so that its agent tells nothing anew.
#[test]
fn the_end_of_what_was_is_not_told_where_the_unit_was_known_to_live() {
    let mut manager = Manager::with_dependencies();
    manager.depend();
    manager.tells(active());
    let more = "/org/containers/hirte/internal/proxy/2";
    let begun = manager.announce(SOURCE, "rpi4", UNIT, more);
    assert!(words(&begun).contains(&"2 StartDep db.service".to_owned()));
    assert_eq!(manager.tells(dead()), ["2 StartDep db.service"]);
}
