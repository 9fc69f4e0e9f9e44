//! A run that was recorded on real nodes can be replayed: the state that gets the same events
//! does the same things.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]
#![allow(dead_code, reason = "the lab offers more than one test uses")]

#[path = "guide/mod.rs"]
mod guide;
#[path = "lab/mod.rs"]
mod lab;
#[path = "support/tree.rs"]
mod tree;

use std::fmt::Debug;

use hirte::{agent, core::Now, manager};
use serde::{Deserialize, de::DeserializeOwned};

/// A line of a recording.
#[derive(Deserialize)]
struct Line<E, A> {
    now: Now,
    event: E,
    actions: Vec<A>,
}

/// Replays the recording of one run and returns how many events it had.
fn replay<Settings, Event, Action, State>(
    recording: &str,
    new: impl FnOnce(Settings) -> State,
    handle: impl Fn(&mut State, Now, Event, &mut Vec<Action>),
) -> usize
where
    Settings: DeserializeOwned,
    Event: DeserializeOwned,
    Action: DeserializeOwned + PartialEq + Debug,
{
    let mut lines = recording.lines();
    let first: Line<Settings, Action> = serde_json::from_str(lines.next().unwrap()).unwrap();
    let mut state = new(first.event);
    let mut events = 0;
    for line in lines {
        let Line {
            now,
            event,
            actions,
        } = serde_json::from_str(line).expect(line);
        let mut replayed = Vec::new();
        handle(&mut state, now, event, &mut replayed);
        assert_eq!(replayed, actions, "{line}");
        events += 1;
    }
    events
}

#[test]
fn recorded_runs_are_replayed_exactly() {
    if !lab::require() {
        return;
    }
    let lab = lab::Lab::builder("record")
        .layer(tree::install_tree())
        .build();
    let files = [("laptop", "hirte"), ("rpi4", "hirte-agent")];
    let nodes = guide::first_with(&lab, &guide::Walk { is_shown: false }, |node| {
        for unit in ["hirte", "hirte-agent"] {
            let drop_in = format!("/etc/systemd/system/{unit}.service.d/record.conf");
            let setting = format!("[Service]\nEnvironment=HIRTE_RECORD=/var/lib/{unit}/record\n");
            node.write(&drop_in, setting);
        }
        node.systemctl(&["daemon-reload"]);
    });
    let recordings = files.map(|(name, unit)| {
        let node = nodes.iter().find(|node| node.name() == name).unwrap();
        node.systemctl(&["stop", unit]);
        node.read(&format!("/var/lib/{unit}/record"))
    });
    let events = replay(
        &recordings[0],
        manager::state::State::new,
        |state, now, event, actions| {
            state.handle(now, event, actions);
        },
    );
    assert!(
        recordings[0].contains("JobRemoved") && events > 20,
        "{events} events"
    );
    let events = replay(
        &recordings[1],
        agent::state::State::new,
        |state, now, event, actions| {
            state.handle(now, event, actions);
        },
    );
    assert!(
        recordings[1].contains("JobDone") && events > 20,
        "{events} events"
    );
}
