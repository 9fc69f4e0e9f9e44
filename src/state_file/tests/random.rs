//! Random files on random fleets: the steps reach what the file says, from wherever they were
//! interrupted, and back.

use std::fmt::Write;

use super::*;

const CASES: u64 = 500;
const NODES: [&str; 3] = ["a", "b", "c"];
const UNITS: [&str; 7] = [
    "one.service",
    "two.service",
    "three.socket",
    "four.timer",
    "five.mount",
    "six.path",
    "seven.target",
];

/// A generator of reproducible numbers: `SplitMix64` (Steele, Lea, Flood: "Fast Splittable
/// Pseudorandom Number Generators", 2014).
struct Prng(u64);

impl Prng {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end as u64).unwrap()
    }

    fn pick<'t>(&mut self, choices: &[&'t str]) -> &'t str {
        choices[self.below(choices.len())]
    }
}

fn random_file(random: &mut Prng) -> String {
    let mut text = String::new();
    if random.below(2) == 0 {
        text.push_str("exact = true\n");
        if random.below(4) == 0 {
            text.push_str("allow = [\"t*\"]\n");
        }
    }
    let with_stages = random.below(2) == 0;
    let mut named = Vec::new();
    for stage in 0..=random.below(3) {
        for node in &NODES[random.below(3)..] {
            if with_stages {
                let _ = writeln!(text, "[stage.s{stage}.{node}]");
            } else if stage == 0 {
                let _ = writeln!(text, "[node.{node}]");
            } else {
                continue;
            }
            for unit in UNITS {
                if random.below(3) == 0 && !named.contains(&(*node, unit)) {
                    named.push((node, unit));
                    let wanted = random.pick(&[
                        "\"active\"",
                        "\"inactive\"",
                        "\"active\"",
                        "\"inactive\"",
                        "{ enabled = true }",
                        "{ state = \"inactive\", enabled = true }",
                        "{ state = \"active\", enabled = false }",
                    ]);
                    let _ = writeln!(text, "\"{unit}\" = {wanted}");
                }
            }
        }
    }
    text
}

fn random_fleet(random: &mut Prng) -> Fleet {
    let mut fleet = Fleet::default();
    for name in NODES {
        let node = fleet.nodes.entry(name.to_owned()).or_default();
        for unit_name in UNITS {
            let states = [
                "active",
                "inactive",
                "failed",
                "inactive",
                "active",
                "activating",
            ];
            // What can not be enabled is refused; that has its own test.
            let file = random.pick(&["enabled", "disabled", "enabled-runtime"]);
            let unit = unit(random.pick(&states), file);
            node.units.insert(unit_name.to_owned(), unit);
        }
    }
    fleet
}

/// What systemd does.
fn act(fleet: &mut Fleet, step: &Step, action: Action) {
    let node = fleet.nodes.get_mut(&step.node).unwrap();
    let unit = node.units.get_mut(&step.unit).unwrap();
    match action {
        Action::Start => unit.active = "active".to_owned(),
        Action::Stop | Action::ResetFailed => unit.active = "inactive".to_owned(),
        Action::Enable { runtime: true } => unit.file = "enabled-runtime".to_owned(),
        Action::Enable { runtime: false } => unit.file = "enabled".to_owned(),
        Action::Disable { .. } => unit.file = "disabled".to_owned(),
    }
}

/// What can be restored: neither that a unit failed nor that it was about to start.
fn restorable(fleet: &Fleet) -> Vec<(bool, String)> {
    let units = fleet.nodes.values().flat_map(|node| node.units.values());
    units
        .map(|unit| {
            (
                unit.is_active() || unit.active == "activating",
                unit.file.clone(),
            )
        })
        .collect()
}

#[test]
fn steps_reach_what_the_file_says_and_lead_back() {
    for seed in 0..CASES {
        let mut random = Prng(seed);
        let text = random_file(&mut random);
        let file = read(&text);
        let before = random_fleet(&mut random);
        let steps = plan(&file, &before).unwrap();
        assert_eq!(
            steps.is_empty(),
            diff(&file, &before).is_empty(),
            "seed {seed}: {text}"
        );

        let interrupted_after = random.below(steps.len() + 1);
        let mut fleet = before.clone();
        for step in &steps[..interrupted_after] {
            act(&mut fleet, step, step.action);
        }
        let rest = plan(&file, &fleet).unwrap();
        let actions = |steps: &[Step]| -> Vec<_> {
            let key = |step: &Step| (step.node.clone(), step.unit.clone(), step.action);
            steps.iter().map(key).collect()
        };
        assert_eq!(
            actions(&rest),
            actions(&steps[interrupted_after..]),
            "seed {seed}: a second run does the rest\n{text}"
        );

        let mut back = fleet.clone();
        for step in steps[..interrupted_after].iter().rev() {
            if let Some(action) = undo(step) {
                act(&mut back, step, action);
            }
        }
        assert_eq!(
            restorable(&back),
            restorable(&before),
            "seed {seed}:\n{text}"
        );

        for step in &rest {
            act(&mut fleet, step, step.action);
        }
        assert_eq!(diff(&file, &fleet), [], "seed {seed}:\n{text}");
        assert_eq!(plan(&file, &fleet).unwrap(), [], "seed {seed}:\n{text}");
    }
}

#[test]
fn steps_are_in_the_promised_order() {
    for seed in 0..CASES {
        let mut random = Prng(seed);
        let file = read(&random_file(&mut random));
        let steps = plan(&file, &random_fleet(&mut random)).unwrap();
        let raises = |step: &Step| matches!(step.action, Action::Start | Action::Enable { .. });
        let first_start = steps.iter().position(raises).unwrap_or(steps.len());
        let (down, up) = steps.split_at(first_start);
        assert!(up.iter().all(raises), "seed {seed}");
        assert!(
            up.is_sorted_by_key(|step| step.place.unwrap()),
            "seed {seed}"
        );
        let named = down.iter().skip_while(|step| step.place.is_none());
        let places: Vec<_> = named.map(|step| step.place.unwrap()).collect();
        assert!(places.iter().rev().is_sorted(), "seed {seed}");
    }
}
