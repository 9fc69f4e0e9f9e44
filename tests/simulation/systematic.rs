//! One manager, one agent, one job, and a fault at every step in turn.

use std::time::Duration;

use hirte::{
    bus::JobKind,
    core::Instant,
    manager::state::event::{Method, Object},
};

use super::{
    chaos::Fault,
    prng::Prng,
    world::{Happening, Stats, World},
};

/// What is asked, and how systemd takes it.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Longest time that the job waits, and that it runs.
    pub longest: Duration,
    pub fails: bool,
    /// Whether the client cancels it half a second after it asked for it.
    pub cancels: bool,
}

const LONGEST_FAULT: Duration = Duration::from_secs(9);
const ASKED_AT: Duration = Duration::from_secs(2);
const CANCELLED_AT: Duration = Duration::from_millis(2500);
/// When the scenario without a fault is over, its job included if that is quick.
const OVER_AT: Duration = Duration::from_secs(4);

impl Scenario {
    fn world(self) -> World {
        let mut world = World::new(1, 1, None).without_replay();
        let systemd = &mut world.nodes[0].systemd;
        systemd.longest = self.longest;
        if self.cancels {
            systemd.shortest = self.longest / 2;
        }
        systemd.failing = if self.fails { 100 } else { 0 };
        world.boot();
        let method = Method::QueueJob {
            kind: JobKind::Start,
            unit: "a.service".to_owned(),
            mode: "replace".to_owned(),
        };
        let node = Object::Node("node-0".to_owned());
        world.after(ASKED_AT, Happening::Ask(node, method));
        if self.cancels {
            let job = Object::Job(1);
            world.after(CANCELLED_AT, Happening::Ask(job, Method::CancelJob));
        }
        world
    }

    /// How many steps the scenario has without a fault.
    fn steps(self) -> u64 {
        let mut world = self.world();
        let over_at = world.now + OVER_AT;
        let mut steps = 0;
        while world.now < over_at {
            world.step();
            steps += 1;
        }
        steps
    }

    fn run(self, step: u64, fault: Fault, time: Duration) -> Result<Stats, String> {
        let mut world = self.world();
        let over_at = world.now + OVER_AT;
        for _ in 0..step {
            world.step();
        }
        world.inject(fault, time);
        let healed_at: Instant = world.now + time + Duration::from_secs(1);
        world.run_until(over_at.max(healed_at));
        world.finish()
    }

    /// Runs the scenario with each fault, for each time, at each step; counts the runs.
    pub fn run_all(self, times: &[Duration]) -> u64 {
        let mut runs = 0;
        for step in 0..=self.steps() {
            for fault in Fault::all(0) {
                for &time in times {
                    let what = || format!("{fault:?} for {time:?} at step {step} of {self:?}");
                    let stats = self.run(step, fault, time);
                    let stats = stats.unwrap_or_else(|violation| panic!("{}: {violation}", what()));
                    self.expect_truth(&stats)
                        .unwrap_or_else(|lie| panic!("{}: {lie}", what()));
                    runs += 1;
                }
            }
        }
        runs
    }

    /// Runs the scenario with two faults, the second by chance soon after each of the first.
    pub fn run_pairs(self, prng: &mut Prng) -> u64 {
        let mut runs = 0;
        for step in 0..=self.steps() {
            for first in Fault::all(0) {
                let second = *prng.pick(&Fault::all(0));
                let between = prng.below(20);
                let times = [(); 2].map(|()| prng.time(Duration::from_millis(1), LONGEST_FAULT));
                let what = || {
                    format!("{first:?} at step {step}, {second:?} {between} steps later, {times:?}")
                };
                let mut world = self.world();
                (0..step).for_each(|_| world.step());
                world.inject(first, times[0]);
                (0..between).for_each(|_| world.step());
                world.inject(second, times[1]);
                let healed_at = world.now + times[0] + times[1] + OVER_AT;
                world.run_until(healed_at);
                world
                    .finish()
                    .unwrap_or_else(|violation| panic!("{}: {violation}", what()));
                runs += 1;
            }
        }
        runs
    }

    /// What the client hears of the end is what systemd did, unless the node was lost.
    fn expect_truth(self, stats: &Stats) -> Result<(), String> {
        for result in &stats.results {
            let is_true = match result.as_str() {
                "node-lost" => true,
                "done" => !self.fails && !self.cancels || stats.truth.contains(&"done".to_owned()),
                "canceled" => self.cancels,
                _ => self.fails,
            };
            if !is_true || (result != "node-lost" && stats.truth.is_empty()) {
                return Err(format!(
                    "the client hears {result}, systemd says {:?}",
                    stats.truth
                ));
            }
        }
        Ok(())
    }
}
