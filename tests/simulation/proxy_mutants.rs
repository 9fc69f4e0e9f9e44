//! Faults of managers and agents with proxies.

use hirte::{
    agent::state::{self as agent, Content, FromManager, Outgoing},
    bus::Body,
    manager::state::{
        Settings,
        event::{Action, Event, ToPeer},
    },
};

use super::mutant::Mutant;

/// Whether the manager admits a node by these actions.
fn admits(actions: &[Action]) -> bool {
    actions
        .iter()
        .any(|action| matches!(action, Action::Admit(_)))
}

fn is_command(action: &Action, wanted: &str) -> bool {
    let Action::Send { message, .. } = action else {
        return false;
    };
    matches!(message, ToPeer::Call { method, .. } | ToPeer::CallWithoutReply { method, .. }
        if method == wanted)
}

fn is_told(action: &Action, wanted: &str) -> bool {
    let Action::Send { message, .. } = action else {
        return false;
    };
    matches!(message, ToPeer::Proxy { method, .. } if method == wanted)
}

/// Whether a proxy is told that its unit has really ended.
fn is_end(action: &Action) -> bool {
    let Action::Send {
        message: ToPeer::Proxy {
            method, arguments, ..
        },
        ..
    } = action
    else {
        return false;
    };
    let is_end =
        |(active, _, reason): (String, String, String)| active != "active" && reason == "real";
    match method.as_str() {
        "TargetStateChanged" => arguments.parse().is_ok_and(is_end),
        "TargetRemoved" => true,
        _ => false,
    }
}

/// Every node may depend on every other one.
pub fn allow_all(settings: &mut Settings) {
    let names: Vec<String> = settings
        .nodes
        .iter()
        .map(|node| node.name.clone())
        .collect();
    for node in &mut settings.nodes {
        node.may_depend_on.extend(names.iter().cloned());
    }
}

pub fn change_event(mutant: Mutant, event: Event) -> Event {
    match (mutant, event) {
        (Mutant::AllowAll, Event::Reload(mut settings)) => {
            allow_all(&mut settings);
            Event::Reload(settings)
        }
        (_, event) => event,
    }
}

/// What a manager does with one of these faults.
pub fn change_actions(mutant: Mutant, actions: &mut Vec<Action>) {
    match mutant {
        Mutant::StartNotRepeated if admits(actions) => {
            actions.retain(|action| !is_command(action, "StartDep"));
        }
        Mutant::StopNotRepeated if admits(actions) => {
            actions.retain(|action| !is_command(action, "StopDep"));
        }
        Mutant::SubscribeNotRepeated if admits(actions) => {
            actions.retain(|action| !is_command(action, "Subscribe"));
        }
        Mutant::NeverStops => actions.retain(|action| !is_command(action, "StopDep")),
        Mutant::QuietEnd => actions.retain(|action| !is_end(action)),
        Mutant::QuietRefusal => actions.retain(|action| !is_told(action, "Error")),
        _ => {}
    }
}

fn is_signal(action: &agent::Action, wanted: &str) -> bool {
    let agent::Action::SendToManager(Outgoing { content, .. }) = action else {
        return false;
    };
    matches!(content, Content::Signal { member, .. } if member == wanted)
}

/// Whether systemd is to stop a unit whose name begins with this.
fn stops(action: &agent::Action, prefix: &str) -> bool {
    let agent::Action::SendToSystemd(Outgoing { content, .. }) = action else {
        return false;
    };
    let unit = |body: &Body| body.first_str().unwrap_or_default().starts_with(prefix);
    matches!(content, Content::Call { member, body, .. } if member == "StopUnit" && unit(body))
}

/// What an agent does with one of these faults.
pub fn change_agent(mutant: Mutant, event: &agent::Event, actions: &mut Vec<agent::Action>) {
    let is_answer = matches!(
        event,
        agent::Event::Manager {
            event: FromManager::Answer { .. },
            ..
        }
    );
    match mutant {
        Mutant::QuietWithdrawal => actions.retain(|action| !is_signal(action, "ProxyRemoved")),
        Mutant::NotAnnouncedAgain if is_answer => {
            actions.retain(|action| !is_signal(action, "ProxyNew"));
        }
        Mutant::RemaindersRun if *event == agent::Event::Alarm => {
            actions.retain(|action| !stops(action, "hirte-dep@"));
        }
        Mutant::ServiceRunsOn => actions.retain(|action| !stops(action, "hirte-proxy@")),
        Mutant::CallerForgotten => {
            actions.retain(|action| !matches!(action, agent::Action::ReplyError { .. }));
        }
        Mutant::CallerToldTwice => {
            let is_reply = |action: &&agent::Action| matches!(action, agent::Action::Reply { .. });
            let reply = actions.iter().find(is_reply).cloned();
            actions.extend(reply);
        }
        _ => {}
    }
}
