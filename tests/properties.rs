//! Random runs of a whole fleet in memory, with faults at every point; and each point by turns.
//!
//! A run follows from its seed. The seed of the random runs is printed; `HIRTE_SEED=N cargo test
//! --test properties` repeats one, and tells all that happened if it fails. `HIRTE_EVENTS=N` sets
//! how many events the random runs handle. Seeds that always run are in `tests/data/seeds.txt`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod simulation;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use simulation::{
    mutant::Mutant,
    prng::Prng,
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
    println!("Seeds start at {first}");
    let events = std::env::var("HIRTE_EVENTS").map_or(EVENTS, |events| events.parse().unwrap());
    let events = std::env::var("HIRTE_EVENTS").map_or(EVENTS, |events| events.parse().unwrap());
    let mut sum = Stats::default();
    for seed in first.. {
        let stats = run(seed, None).unwrap_or_else(|violation| panic!("{violation}"));
        sum.events += stats.events;
        sum.jobs_ended += stats.jobs_ended;
        sum.jobs_lost += stats.jobs_lost;
        sum.calls_answered += stats.calls_answered;
        sum.timeouts += stats.timeouts;
        if sum.events >= events {
            break;
        }
    }
    println!("{sum:?}");
    assert!(
        sum.jobs_ended > 300 && sum.jobs_lost > 0 && sum.calls_answered > 2_000,
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
        let found = (1..=60).find_map(|seed| Some((seed, run(seed, Some(mutant)).err()?)));
        let Some((seed, violation)) = found else {
            panic!("{mutant:?} keeps every rule");
        };
        let rule = violation.lines().next().unwrap();
        println!("{mutant:?} is found out in run {seed}: {rule}");
    }
}
