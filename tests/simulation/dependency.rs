//! A unit of one node that depends on a unit of another one, and a fault at every step in turn.

use std::time::Duration;

use hirte::{
    agent::state::{self as agent, FromBus, LocalCall, Object, Target},
    core::Instant,
    manager::state::NodeSettings,
};

use super::{chaos::Fault, world::World};

const SOURCE: usize = 0;
const TARGET: usize = 1;
const UNIT: &str = "a.service";
const KEEPER: &str = "hirte-dep@a.service";
const PROXY: &str = "hirte-proxy@node-1_a.service";

const STARTED_AT: Duration = Duration::from_secs(2);
/// How long the proxy is active before the administrator stops the unit, so that the start is over.
const STOPPED_AFTER: Duration = Duration::from_secs(1);
/// When the scenario without a fault is over.
const OVER_AT: Duration = Duration::from_secs(4);

/// The fleet, and what runs `hirte-proxy` on the node of the source.
struct Dependency {
    world: World,
    /// The run of the agent that was asked for the proxy, and our number of the call.
    asked: Option<(u32, u32)>,
    established: Option<Instant>,
}

/// How a run went on.
struct Plan {
    /// Whether an administrator stops the unit of the other node.
    stops: bool,
    fault: Option<(u64, Fault, Duration)>,
}

impl Dependency {
    fn new() -> Self {
        let mut world = World::new(3, 2, None).without_replay();
        world.settings.nodes[SOURCE] = NodeSettings {
            name: "node-0".to_owned(),
            may_depend_on: ["node-1".to_owned()].into(),
        };
        for node in &mut world.nodes {
            node.systemd.failing = 0;
            node.systemd.longest = Duration::from_millis(2);
        }
        world.nodes[TARGET].systemd.load(KEEPER, "inactive", "dead");
        world.nodes[SOURCE]
            .systemd
            .load(PROXY, "activating", "start");
        world.boot();
        Self {
            world,
            asked: None,
            established: None,
        }
    }

    /// `hirte-proxy` asks the agent, and again one that was started again.
    fn proxy_asks(&mut self) {
        let host = &self.world.nodes[SOURCE];
        let run = host.run;
        if let Some((asked, serial)) = self.asked {
            let is_answer = |action: &agent::Action| matches!(action, agent::Action::Reply { call, .. } if call.serial == serial);
            let mut turns = host.turns.iter();
            if asked == run && turns.any(|(_, _, actions)| actions.iter().any(is_answer)) {
                self.established = Some(self.world.now);
                let host = &mut self.world.nodes[SOURCE];
                host.systemd.load(PROXY, "active", "exited");
                return;
            }
        }
        let is_attached = host
            .turns
            .iter()
            .any(|(_, event, _)| matches!(event, agent::Event::Bus(FromBus::Attached)));
        if self.asked.is_some_and(|(asked, _)| asked == run) || host.agent.is_none() || !is_attached
        {
            return;
        }
        let serial = self.asked.map_or(1, |(_, serial)| serial + 1);
        self.asked = Some((run, serial));
        let call = LocalCall {
            client: ":1.7".to_owned(),
            serial,
            expects_reply: true,
        };
        let target = Target {
            service: PROXY.to_owned(),
            node: "node-1".to_owned(),
            unit: UNIT.to_owned(),
        };
        let event = agent::Event::Bus(FromBus::Call {
            call,
            object: Object::Agent,
            method: agent::Method::CreateProxy(target),
        });
        self.world.agent_handles(SOURCE, event);
    }

    /// Runs it, with the rest that follows; how many steps it had before that.
    fn run(mut self, plan: &Plan) -> Result<(Self, u64), String> {
        let begun = self.world.now;
        let (mut steps, mut over_at) = (0, begun + OVER_AT);
        let mut is_stopped = false;
        // What there is before is the start of the daemons.
        while self.world.now < begun + STARTED_AT {
            self.world.step();
        }
        while self.world.now < over_at {
            if let Some((step, fault, time)) = plan.fault
                && step == steps
            {
                self.world.inject(fault, time);
                over_at = over_at.max(self.world.now + time + Duration::from_secs(30));
            }
            self.world.step();
            steps += 1;
            if self.established.is_none() {
                self.proxy_asks();
            }
            let may_stop = |at: Instant| self.world.now >= at + STOPPED_AFTER;
            if plan.stops && !is_stopped && self.established.is_some_and(may_stop) {
                is_stopped = true;
                self.world.administrator_stops(TARGET, UNIT);
            }
            if let Some(violation) = self.world.violation.take() {
                return Err(violation);
            }
        }
        if plan.stops && !is_stopped {
            return Err("the proxy was never answered".to_owned());
        }
        Ok((self, steps))
    }

    /// Whether proxy, keeper and unit are active.
    fn active(&self) -> [bool; 3] {
        let is_active = |node: usize, unit| self.world.nodes[node].systemd.is_active(unit);
        [
            is_active(SOURCE, PROXY),
            is_active(TARGET, KEEPER),
            is_active(TARGET, UNIT),
        ]
    }
}

/// Puts each fault, for each time, at some steps; counts the runs. In the end both nodes are as without
/// the fault.
pub fn run_all(stops: bool, times: &[Duration]) -> u64 {
    let plan = Plan { stops, fault: None };
    let (calm, count) = Dependency::new().run(&plan).unwrap();
    assert_eq!(calm.active(), [!stops; 3], "without a fault");
    let mut runs = 0;
    for step in 0..=count {
        let faults = Fault::all(SOURCE).into_iter().chain(Fault::all(TARGET));
        let faults = faults.zip(0..).filter(|(_, number)| {
            // Each fault at every fifth step, for less time.
            (step + number) % 5 == 0
        });
        for (fault, _) in faults {
            for &time in times {
                let plan = Plan {
                    stops,
                    fault: Some((step, fault, time)),
                };
                let what = || format!("{fault:?} for {time:?} at step {step}, stops {stops}");
                let run = Dependency::new().run(&plan);
                let (after, _) = run.unwrap_or_else(|violation| panic!("{}: {violation}", what()));
                let active = after.active();
                // An agent that was away when the unit ended does not know that it has run.
                let may_restart = matches!(fault, Fault::AgentCrash(_) | Fault::AgentStop(_));
                let is_right = active == [!stops; 3] || may_restart && active == [true; 3];
                assert!(is_right, "{}: {active:?}", what());
                runs += 1;
            }
        }
    }
    runs
}
