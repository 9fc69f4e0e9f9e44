//! Random runs of a whole fleet in memory, with faults at every point; and each point by turns.
//!
//! A run follows from its seed. The seed of the random runs is printed; `HIRTE_SEED=N cargo test
//! --test properties` repeats one, and tells all that happened if it fails. `HIRTE_EVENTS=N` sets
//! how many events the random runs handle. Seeds that always run are in `tests/data/seeds.txt`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod simulation;

use std::io::Write;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use simulation::{
    chaos::Fault,
    mutant::Mutant,
    prng::Prng,
    steps::Course,
    systematic::Scenario,
    world::{Stats, World},
};

/// Events that the random runs handle in all, unless `HIRTE_EVENTS` says otherwise.
const EVENTS: u64 = 100_000;
/// Events of one run before it is brought to rest.
const EVENTS_OF_A_RUN: u64 = 4_000;

fn run(seed: u64, mutant: Option<Mutant>) -> Result<Stats, String> {
    let mut prng = Prng::new(seed);
    let nodes = 1 + prng.index(4);
    let mut world = World::new(prng.next(), nodes, mutant);
    if mutant.is_some_and(|mutant| mutant != Mutant::Chance) {
        world = world.without_replay();
    }
    world
        .run_chaos(EVENTS_OF_A_RUN)
        .map_err(|violation| format!("HIRTE_SEED={seed}: {violation}"))
}

#[test]
fn every_rule_holds_in_random_runs() {
    if let Ok(seed) = std::env::var("HIRTE_SEED") {
        let stats =
            run(seed.parse().unwrap(), None).unwrap_or_else(|violation| panic!("{violation}"));
        println!("{stats:?}");
        return;
    }
    let first = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
        * 1_000_000;
    // Past the harness, which keeps what passing tests print to itself.
    let _ = writeln!(std::io::stderr(), "seeds start at {first}");
    let events = std::env::var("HIRTE_EVENTS").map_or(EVENTS, |events| events.parse().unwrap());
    let mut sum = Stats::default();
    for seed in first.. {
        let stats = run(seed, None).unwrap_or_else(|violation| panic!("{violation}"));
        sum.events += stats.events;
        sum.jobs_ended += stats.jobs_ended;
        sum.jobs_lost += stats.jobs_lost;
        sum.calls_answered += stats.calls_answered;
        sum.timeouts += stats.timeouts;
        sum.told += stats.told;
        sum.metrics += stats.metrics;
        sum.proxies += stats.proxies;
        if sum.events >= events {
            break;
        }
    }
    let _ = writeln!(std::io::stderr(), "{sum:?}");
    assert!(
        sum.jobs_ended > 300
            && sum.jobs_lost > 0
            && sum.calls_answered > 2_000
            && sum.told > 2_000
            && sum.metrics > 50
            && sum.proxies > 50,
        "{sum:?}"
    );
}

#[test]
fn every_rule_holds_in_the_runs_that_are_kept() {
    let seeds = include_str!("data/seeds.txt");
    for line in seeds.lines().filter(|line| !line.starts_with('#')) {
        run(line.parse().unwrap(), None).unwrap_or_else(|violation| panic!("{violation}"));
    }
}

/// A run follows from its seed alone.
#[test]
fn a_seed_repeats_its_run() {
    let (first, second) = (run(7, None).unwrap(), run(7, None).unwrap());
    assert_eq!(first, second);
}

/// The rules have teeth: each fault that a manager could have is noticed within some runs.
#[test]
fn a_manager_with_a_fault_is_found_out() {
    for mutant in Mutant::ALL {
        let in_random_runs = (1..=20).find_map(|seed| run(seed, Some(mutant)).err());
        let fault = (Fault::Reset(1), TIMES[0]);
        let found = in_random_runs.or_else(|| Course::NeededNoMore.find_out(mutant, fault));
        let Some(violation) = found else {
            panic!("{mutant:?} keeps every rule");
        };
        let rule = violation.lines().next().unwrap();
        println!("{mutant:?} is found out: {rule}");
    }
}

/// The faults are short, and longer than every threshold.
const TIMES: [Duration; 2] = [Duration::from_millis(30), Duration::from_secs(9)];

#[test]
fn a_fault_at_any_step_of_a_quick_job() {
    let quick = Scenario {
        longest: Duration::from_millis(2),
        fails: false,
        cancels: false,
    };
    println!("{} runs", quick.run_all(&TIMES));
}

#[test]
fn a_fault_at_any_step_of_a_job_that_fails() {
    let failing = Scenario {
        longest: Duration::from_millis(500),
        fails: true,
        cancels: false,
    };
    println!("{} runs", failing.run_all(&TIMES));
}

#[test]
fn a_fault_at_any_step_of_a_job_that_is_cancelled() {
    let cancelled = Scenario {
        longest: Duration::from_mins(10),
        fails: false,
        cancels: true,
    };
    println!("{} runs", cancelled.run_all(&TIMES));
}

/// Each is over before proxies of a lost node are given up, so that nothing is left of it.
#[test]
fn a_fault_at_any_step_of_a_proxy() {
    println!("{} runs", Course::NeededNoMore.run_all(&TIMES));
}

#[test]
fn a_fault_at_any_step_of_a_proxy_that_is_denied() {
    println!("{} runs", Course::Denied.run_all(&TIMES));
}

#[test]
fn a_fault_at_any_step_of_a_proxy_that_ends() {
    for course in [Course::TargetFails, Course::TargetStops] {
        println!("{} runs", course.run_all(&TIMES));
    }
}

#[test]
fn a_fault_at_any_step_of_a_proxy_that_is_forbidden() {
    println!("{} runs", Course::Forbidden.run_all(&TIMES));
}

#[test]
fn a_fault_at_any_step_of_a_monitor() {
    println!("{} runs", Course::Watched.run_all(&TIMES));
}

#[test]
fn two_faults_within_some_steps() {
    let failing = Scenario {
        longest: Duration::from_millis(500),
        fails: true,
        cancels: false,
    };
    let mut prng = Prng::new(1);
    let runs: u64 = (0..3).map(|_| failing.run_pairs(&mut prng)).sum();
    println!("{runs} runs");
}

/// A fleet of three nodes that is online, for each of some seeds.
fn fleets() -> impl Iterator<Item = World> {
    (1..=40).map(|seed| {
        let mut world = World::new(seed, 3, None);
        world.boot();
        world.run_until(world.now + Duration::from_secs(5));
        assert!(online(&world).into_iter().all(|online| online));
        world
    })
}

fn online(world: &World) -> [bool; 3] {
    ["node-0", "node-1", "node-2"].map(|node| world.checker.is_online(node))
}

#[test]
fn a_silent_partition_is_noticed_within_6_s_and_over_3_s_after_healing() {
    for mut world in fleets() {
        let cut_for = world
            .prng
            .time(Duration::from_secs(7), Duration::from_mins(1));
        let cut_at = world.now;
        world.inject(Fault::Partition(1), cut_for);
        world.run_until(cut_at + Duration::from_secs(6));
        assert_eq!(online(&world), [true, false, true]);
        world.run_until(cut_at + cut_for + Duration::from_secs(3));
        assert_eq!(online(&world), [true; 3]);
        world.finish().unwrap();
    }
}

#[test]
fn a_stopped_agent_is_offline_within_6_s_and_back_3_s_after_it_goes_on() {
    for mut world in fleets() {
        let stopped_at = world.now;
        let stopped_for = Duration::from_secs(20);
        world.inject(Fault::AgentFreeze(1), stopped_for);
        world.run_until(stopped_at + Duration::from_secs(6));
        assert_eq!(online(&world), [true, false, true]);
        world.run_until(stopped_at + stopped_for + Duration::from_secs(3));
        assert_eq!(online(&world), [true; 3]);
        world.finish().unwrap();
    }
}

#[test]
fn agents_are_back_within_1_s_after_the_restart_of_the_manager() {
    for fault in [Fault::ManagerCrash, Fault::ManagerStop] {
        for mut world in fleets() {
            let away = world
                .prng
                .time(Duration::from_millis(1), Duration::from_millis(300));
            world.inject(fault, away);
            world.run_until(world.now + away + Duration::from_secs(1));
            assert_eq!(online(&world), [true; 3]);
            world.finish().unwrap();
        }
    }
}

#[test]
fn a_suspended_manager_loses_nobody() {
    for fault in [Fault::ManagerSuspend, Fault::ManagerFreeze] {
        for mut world in fleets() {
            // Short enough that the agents do not lose the manager.
            let time = Duration::from_secs(3);
            world.inject(fault, time);
            let end = world.now + time + Duration::from_secs(8);
            while world.now < end {
                world.step();
                assert_eq!(online(&world), [true; 3]);
            }
            world.finish().unwrap();
        }
    }
}
