//! Proxies and monitors, and a fault at every step in turn.

use std::time::Duration;

use hirte::{
    bus::JobKind,
    core::Instant,
    manager::state::event::{Client, Event, Method, MonitorMethod, Object},
};

use super::{
    chaos::Fault,
    check::Verdict,
    dependencies::keeper_of,
    mutant::Mutant,
    systemd::Effects,
    world::{Happening, World},
};

/// What happens, and then ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// A unit of the first node needs one of the second, and then does not.
    NeededNoMore,
    /// It needs one that fails after a while.
    TargetFails,
    /// It needs one that an administrator stops after a while.
    TargetStops,
    /// It needs one, until the configuration forbids that.
    Forbidden,
    /// It needs one that it may not need.
    Denied,
    /// A client watches the units of the first node, of which one is started and stopped.
    Watched,
}

/// When it begins.
const BEGINS_AT: Duration = Duration::from_secs(2);
/// When it ends: after the longest fault, with what follows that.
const ENDS_AT: Duration = Duration::from_secs(14);
/// How long steps follow from each of these.
const STEPS_FOR: Duration = Duration::from_millis(40);

const PROXY: &str = "hirte-proxy@node-1_a.service";
const NEEDED: &str = "a.service";

fn root() -> Client {
    Client::on_bus(":1.0")
}

fn watch(world: &mut World) {
    world.client_calls_as(root(), Object::Manager, Method::CreateMonitor);
    world.after(
        Duration::from_millis(25),
        Happening::Do(|world| {
            let (node, units) = ("node-0".to_owned(), vec!["*".to_owned()]);
            let method = Method::Monitor(MonitorMethod::Subscribe { node, units });
            world.client_calls_as(root(), Object::Monitor(1), method);
            let units = vec![NEEDED.to_owned()];
            let method = Method::Monitor(MonitorMethod::Subscribe {
                node: "*".to_owned(),
                units,
            });
            world.client_calls_as(root(), Object::Monitor(1), method);
            queue_job(world, JobKind::Start);
        }),
    );
}

fn queue_job(world: &mut World, kind: JobKind) {
    let (unit, mode) = (NEEDED.to_owned(), "replace".to_owned());
    let node = Object::Node("node-0".to_owned());
    world.client_calls_as(root(), node, Method::QueueJob { kind, unit, mode });
}

fn forbid(world: &mut World) {
    world.settings.nodes[0].may_depend_on.clear();
    world.manager_handles(Event::Reload(world.settings.clone()));
}

fn fail(world: &mut World) {
    let mut effects = Effects::default();
    let systemd = &mut world.nodes[1].systemd;
    systemd.enter(NEEDED, ("failed", "failed"), &mut world.prng, &mut effects);
    world.take_effect(1, effects);
}

impl Course {
    fn begins(self) -> fn(&mut World) {
        match self {
            Self::Watched => watch,
            _ => |world| world.wants(0, PROXY, "start"),
        }
    }

    fn ends(self) -> fn(&mut World) {
        match self {
            Self::NeededNoMore | Self::Denied => |world| world.wants(0, PROXY, "stop"),
            Self::TargetFails => fail,
            Self::TargetStops => |world| world.wants(1, NEEDED, "stop"),
            Self::Forbidden => forbid,
            Self::Watched => |world| queue_job(world, JobKind::Stop),
        }
    }

    fn world(self, mutant: Option<Mutant>) -> World {
        let mut world = World::new(1, 2, mutant).without_replay();
        world.latency = Duration::from_millis(2);
        for host in &mut world.nodes {
            host.settings.heartbeat_interval = None;
            host.systemd.longest = Duration::from_millis(5);
            host.systemd.failing = 0;
        }
        let allowed = &mut world.settings.nodes[0].may_depend_on;
        allowed.clear();
        if self != Self::Denied {
            allowed.insert("node-1".to_owned());
        }
        world.boot();
        world.after(BEGINS_AT, Happening::Do(self.begins()));
        world.after(ENDS_AT, Happening::Do(self.ends()));
        world
    }

    /// The numbers of the steps at which something goes on.
    fn steps(self) -> Vec<u64> {
        let mut world = self.world(None);
        let (begins_at, ends_at) = (world.now + BEGINS_AT, world.now + ENDS_AT);
        let goes_on = |now: Instant| {
            [begins_at, ends_at]
                .iter()
                .any(|&at| at <= now && now <= at + STEPS_FOR)
        };
        let mut steps = Vec::new();
        for step in 1.. {
            world.step();
            if goes_on(world.now) {
                steps.push(step);
            }
            if world.now > ends_at + STEPS_FOR {
                break;
            }
        }
        steps
    }

    fn run(self, step: u64, (fault, time): (Fault, Duration), mutant: Option<Mutant>) -> Verdict {
        let mut world = self.world(mutant);
        let over_at = world.now + ENDS_AT + STEPS_FOR;
        for _ in 0..step {
            world.step();
        }
        world.inject(fault, time);
        let healed_at = world.now + time + Duration::from_secs(1);
        world.run_until(over_at.max(healed_at));
        world.come_to_rest()?;
        let verdict = self.judge(&world, fault);
        verdict.map_err(|violation| format!("{violation}\n{}", world.last_turns()))
    }

    /// All is as it would be without the fault.
    fn judge(self, world: &World, fault: Fault) -> Verdict {
        if self == Self::Watched {
            return world.checker.views.expect_one(fault);
        }
        let [source, target] = [0, 1].map(|node| &world.nodes[node].systemd);
        let activations = target.activations.get(NEEDED).copied().unwrap_or_default();
        let seen = (
            source.state(PROXY),
            target.state(&keeper_of(NEEDED)),
            activations,
        );
        let ended = if self == Self::Denied {
            "failed"
        } else {
            "inactive"
        };
        let expected = (ended, "inactive", u32::from(self != Self::Denied));
        // An agent that was away when the unit ended does not know of it, and starts it again.
        let is_unknown = matches!(fault, Fault::AgentCrash(_) | Fault::AgentStop(_));
        let ends_away = matches!(self, Self::TargetFails | Self::TargetStops) && is_unknown;
        let is_again = ends_away && seen == ("active", "active", 2);
        if seen == expected || is_again {
            return Ok(());
        }
        Err(format!(
            "the proxy, what keeps its unit, and how often that started: {seen:?}"
        ))
    }

    /// Runs it with a share of the faults at each step, and each of them at every third step, for each
    /// of the times by turns; with all of them if `HIRTE_EVERY_FAULT` is set. Counts the runs.
    pub fn run_all(self, times: &[Duration]) -> u64 {
        let share = if std::env::var_os("HIRTE_EVERY_FAULT").is_some() {
            1
        } else {
            3
        };
        let mut runs = 0;
        for (turn, step) in self.steps().into_iter().enumerate() {
            for (number, fault) in faults().into_iter().enumerate() {
                if (turn + number) % share != 0 {
                    continue;
                }
                let time = times[(turn / share + number) % times.len()];
                let verdict = self.run(step, (fault, time), None);
                verdict.unwrap_or_else(|violation| {
                    panic!("{fault:?} for {time:?} at step {step} of {self:?}: {violation}")
                });
                runs += 1;
            }
        }
        runs
    }

    /// What is wrong with this mutant at the first step where something is.
    pub fn find_out(self, mutant: Mutant, fault: (Fault, Duration)) -> Option<String> {
        let steps = self.steps().into_iter();
        let mut verdicts = steps.map(|step| self.run(step, fault, Some(mutant)));
        verdicts.find_map(Result::err)
    }
}

/// Every fault, of either node and of the manager.
fn faults() -> Vec<Fault> {
    let first = Fault::all(0);
    let second = Fault::all(1);
    let of_second = second.into_iter().filter(|fault| !first.contains(fault));
    first.into_iter().chain(of_second).collect()
}
