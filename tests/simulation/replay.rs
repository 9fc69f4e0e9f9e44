//! Recorded runs: the same events give the same actions, and both survive being written down.

use hirte::{
    agent,
    core::Now,
    manager::state::{
        Settings,
        event::{Action, Event},
    },
};
use serde::{Serialize, de::DeserializeOwned};

use super::mutant::{Mutant, Subject};

/// One turn of a daemon, as a recorded run holds it.
pub type Turn<E, A> = (Now, E, Vec<A>);

fn written_and_read<T: Serialize + DeserializeOwned>(value: &T) -> T {
    serde_json::from_slice(&serde_json::to_vec(value).unwrap()).unwrap()
}

fn judge<E, A: PartialEq + std::fmt::Debug>(event: &E, then: &[A], now: &[A]) -> Result<(), String>
where
    E: std::fmt::Debug,
{
    if then == now {
        return Ok(());
    }
    Err(format!("{event:?} gave {then:?}, and in a replay {now:?}"))
}

/// Feeds a recorded run to another manager.
pub fn replay_manager(
    settings: &Settings,
    mutant: Option<Mutant>,
    turns: &[Turn<Event, Action>],
) -> Result<(), String> {
    let mut subject = Subject::new(settings.clone(), mutant);
    let mut actions = Vec::new();
    for turn in turns {
        let (now, event, expected) = written_and_read(turn);
        subject.handle(now, event, &mut actions);
        judge(&turn.1, &turn.2, &actions)?;
        judge(&turn.1, &turn.2, &expected)?;
        actions.clear();
    }
    Ok(())
}

/// Feeds a recorded run to another agent.
pub fn replay_agent(
    settings: &agent::state::Settings,
    turns: &[Turn<agent::state::Event, agent::state::Action>],
) -> Result<(), String> {
    let mut state = agent::state::State::new(settings.clone());
    let mut actions = Vec::new();
    for turn in turns {
        let (now, event, expected) = written_and_read(turn);
        state.handle(now, event, &mut actions);
        judge(&turn.1, &turn.2, &actions)?;
        judge(&turn.1, &turn.2, &expected)?;
        actions.clear();
    }
    Ok(())
}
