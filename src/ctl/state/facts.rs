//! Asks nodes for what state files speak of.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    bus::{Body, body::PathRef, names::SYSTEMD_UNIT_INTERFACE},
    ctl::{
        call::{Answer, Call, decode, only_property, properties, property},
        client::Client,
        error::{Error, Subject},
        exit_status::ExitStatus,
        list_units,
        output::Output,
    },
    state_file::{self, Fleet, Node, NodeEntry, StateFile, Unit},
};

/// A node of the manager's configuration.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub name: String,
    pub path: String,
    pub is_online: bool,
}

/// All nodes, in the order of the configuration.
pub(super) async fn nodes(client: &mut Client) -> Result<Vec<Known>, Error> {
    let call = Call::manager("ListNodes", &());
    let body = client.call(call, Subject::Fleet).await?;
    let (nodes,): (Vec<(&str, PathRef<'_>, &str)>,) = decode("ListNodes", &body)?;
    let known = nodes
        .into_iter()
        .map(|(name, PathRef(path), status)| Known {
            name: name.to_owned(),
            path: path.to_owned(),
            is_online: status == "online",
        });
    Ok(known.collect())
}

/// Whether the manager knows all nodes of the file called `name`; complains of those that it does
/// not.
pub(super) fn knows_nodes(
    name: &str,
    file: &StateFile,
    known: &[Known],
    output: &mut Output,
) -> bool {
    let names: Vec<&str> = known.iter().map(|node| node.name.as_str()).collect();
    let is_unknown = |entry: &&NodeEntry| !names.contains(&entry.name.as_str());
    for entry in file.nodes.iter().filter(is_unknown) {
        output.fail(&Error::State {
            node: Some(entry.name.clone()),
            message: format!(
                "{name}:{}: node '{}' is not known to the manager; its nodes are: {}",
                entry.place,
                entry.name,
                names.join(", ")
            ),
            status: ExitStatus::Unknown,
        });
    }
    !file.nodes.iter().any(|entry| is_unknown(&entry))
}

/// What is asked of a node besides its loaded units.
#[derive(Debug)]
pub(super) struct Question<'q> {
    /// The node.
    pub node: &'q Known,
    /// Units that are asked for by name, loaded or not.
    pub named: Vec<&'q str>,
    /// Whether the states of unit files matter.
    pub with_files: bool,
    /// Whether it matters when units became active.
    pub with_times: bool,
}

/// What `file` speaks of, on each of its nodes that answers, and the errors of the others.
pub(super) async fn of_file(
    client: &mut Client,
    file: &StateFile,
    known: &[Known],
) -> Result<(Fleet, Vec<Error>), Error> {
    let questions = file.nodes.iter().filter_map(|entry| {
        let named = file.entries_of(&entry.name);
        Some(Question {
            node: known.iter().find(|node| node.name == entry.name)?,
            named: named.map(|entry| entry.unit.as_str()).collect(),
            with_files: file.judges_unit_files(),
            with_times: false,
        })
    });
    let questions: Vec<Question<'_>> = questions.collect();
    let (mut fleet, mut failures) = (Fleet::default(), Vec::new());
    for (question, answer) in questions.iter().zip(of_nodes(client, &questions).await?) {
        match answer {
            Ok(node) => {
                fleet.nodes.insert(question.node.name.clone(), node);
            }
            Err(error) => failures.push(error),
        }
    }
    Ok((fleet, failures))
}

/// What there is to know of each node, in the order of the questions. The long lists are asked of all
/// nodes at once, so that it takes as long as the slowest one. Fails as a whole only when there is
/// nobody left to ask.
pub(super) async fn of_nodes(
    client: &mut Client,
    questions: &[Question<'_>],
) -> Result<Vec<Result<Node, Error>>, Error> {
    let mut answers: Vec<Result<Node, Error>> = questions
        .iter()
        .map(|Question { node, .. }| {
            if node.is_online {
                return Ok(Node::default());
            }
            let node = node.name.clone();
            Err(Error::Offline { node })
        })
        .collect();
    for (index, body) in lists(client, questions, &mut answers, "ListUnits").await? {
        answers[index] = loaded(&questions[index].node.name, &body);
    }
    let mut files: Vec<Files> = questions.iter().map(|_| Files::new()).collect();
    for (index, body) in lists(client, questions, &mut answers, "ListUnitFiles").await? {
        match read_files(&body) {
            Ok(read) => files[index] = read,
            Err(error) => answers[index] = Err(error),
        }
    }
    for ((question, files), answer) in questions.iter().zip(files).zip(&mut answers) {
        let Ok(node) = answer else {
            continue;
        };
        match ask_units(client, question, &files, node).await {
            Ok(()) => {}
            Err(error) if error.status() == ExitStatus::NoManager => return Err(error),
            Err(error) => *answer = Err(error),
        }
    }
    Ok(answers)
}

/// Makes many calls; their answers in the order of the calls. One function for all, because each
/// further copy of what waits for answers costs kilobytes.
async fn ask(client: &mut Client, calls: Vec<Call>) -> Result<Vec<Answer>, Error> {
    let mut answers = Vec::new();
    answers.resize_with(calls.len(), || None);
    client
        .ask_each(calls, |index, answer| answers[index] = Some(answer))
        .await?;
    Ok(answers.into_iter().flatten().collect())
}

/// Asks all nodes that have not failed for a list, if they are to be asked for it.
async fn lists(
    client: &mut Client,
    questions: &[Question<'_>],
    answers: &mut [Result<Node, Error>],
    method: &'static str,
) -> Result<Vec<(usize, Body)>, Error> {
    let is_asked = |index: &usize| {
        answers[*index].is_ok() && (method == "ListUnits" || questions[*index].with_files)
    };
    let indexes: Vec<usize> = (0..questions.len()).filter(is_asked).collect();
    let calls = indexes
        .iter()
        .map(|index| Call::node(&questions[*index].node.path, method, &()))
        .collect();
    let replies = ask(client, calls).await?;
    let mut bodies = Vec::new();
    for (index, reply) in indexes.into_iter().zip(replies) {
        match reply {
            Ok(body) => bodies.push((index, body)),
            Err(refusal) => {
                let subject = Subject::Node(&questions[index].node.name);
                let error = Error::from_refusal(refusal, subject);
                if error.status() == ExitStatus::NoManager {
                    return Err(error);
                }
                answers[index] = Err(error);
            }
        }
    }
    Ok(bodies)
}

/// Adds the unit files, and asks for what the lists do not tell.
async fn ask_units(
    client: &mut Client,
    question: &Question<'_>,
    files: &Files,
    node: &mut Node,
) -> Result<(), Error> {
    for (name, state) in files {
        node.units
            .entry(name.clone())
            .and_modify(|unit| unit.file.clone_from(state))
            .or_insert_with(|| Unit::not_loaded(state));
    }
    ask_named(client, question, node).await?;
    if question.with_files {
        ask_files(client, question, files, node).await?;
    }
    if question.with_times {
        ask_times(client, question.node, node).await?;
    }
    Ok(())
}

/// Reads the answer of `ListUnits`.
fn loaded(node: &str, body: &Body) -> Result<Node, Error> {
    let units = list_units::units_of_node(node, body)?;
    let units = units.into_iter().map(|listed| {
        let unit = Unit {
            load: listed.load.to_owned(),
            active: listed.active.to_owned(),
            sub: listed.sub.to_owned(),
            active_since_us: 0,
            file: String::new(),
        };
        (listed.name.to_owned(), unit)
    });
    Ok(Node {
        units: units.collect(),
        aliases: BTreeMap::new(),
    })
}

/// The unit files of a node by their names, each with its state.
type Files = BTreeMap<String, String>;

/// Reads the answer of `ListUnitFiles`.
fn read_files(body: &Body) -> Result<Files, Error> {
    let (files,): (Vec<(&str, &str)>,) = decode("ListUnitFiles", body)?;
    let named = files.into_iter().filter_map(|(path, state)| {
        let (_, name) = path.rsplit_once('/')?;
        Some((name.to_owned(), state.to_owned()))
    });
    Ok(named.collect())
}

/// Whether a unit is loaded under this very name.
fn is_loaded(node: &Node, name: &str) -> bool {
    node.units
        .get(name)
        .is_some_and(|unit| !unit.load.is_empty())
}

/// Asks for the named units that are not loaded, or under another name.
async fn ask_named(
    client: &mut Client,
    question: &Question<'_>,
    node: &mut Node,
) -> Result<(), Error> {
    let names: Vec<&str> = question
        .named
        .iter()
        .copied()
        .filter(|name| !is_loaded(node, name) && !state_file::is_template(name))
        .collect();
    let calls = names.iter().map(|name| {
        let arguments = (*name, SYSTEMD_UNIT_INTERFACE);
        Call::node(&question.node.path, "GetUnitProperties", &arguments)
    });
    let answers = ask(client, calls.collect()).await?;
    for (name, answer) in names.into_iter().zip(answers) {
        let (id, found) = unit_of(&question.node.name, name, answer)?;
        if id != name {
            node.aliases.insert(name.to_owned(), id.clone());
        }
        let unit = node.units.entry(id).or_insert_with(Unit::absent);
        *unit = Unit {
            file: std::mem::take(&mut unit.file),
            ..found
        };
    }
    Ok(())
}

/// A unit from the answer of `GetUnitProperties` for `name`, behind the name that systemd has for it.
fn unit_of(node: &str, name: &str, answer: Answer) -> Result<(String, Unit), Error> {
    let answer = answer.map_err(|refusal| Error::from_refusal(refusal, Subject::Units(node)));
    let body = match answer {
        Err(Error::UnknownUnit { .. }) => return Ok((name.to_owned(), Unit::absent())),
        answer => answer?,
    };
    let properties = properties("GetUnitProperties", &body)?;
    let text = |name| property::<&str>(&properties, name).map(str::to_owned);
    let unit = Unit {
        load: text("LoadState")?,
        active: text("ActiveState")?,
        sub: text("SubState")?,
        active_since_us: 0,
        file: String::new(),
    };
    Ok((text("Id")?, unit))
}

/// One unit as it is at this moment.
pub(super) async fn unit(
    client: &mut Client,
    node: &str,
    path: &str,
    unit: &str,
) -> Result<Unit, Error> {
    let call = Call::node(path, "GetUnitProperties", &(unit, SYSTEMD_UNIT_INTERFACE));
    let answer = client.ask(call).await?;
    unit_of(node, unit, answer).map(|(_, unit)| unit)
}

/// Asks for the unit files that systemd does not list: those of instances.
async fn ask_files(
    client: &mut Client,
    question: &Question<'_>,
    files: &Files,
    node: &mut Node,
) -> Result<(), Error> {
    let asked_for = question.named.iter().map(|name| node.id(name).to_owned());
    let running = node.units.iter().filter(|(_, unit)| !unit.is_inactive());
    let instances: BTreeSet<String> = asked_for
        .chain(running.map(|(name, _)| name.clone()))
        .filter(|name| name.contains('@') && !files.contains_key(name))
        .collect();
    let calls = instances
        .iter()
        .map(|name| Call::node(&question.node.path, "GetUnitFileState", &(name.as_str(),)));
    let answers = ask(client, calls.collect()).await?;
    for (name, answer) in instances.iter().zip(answers) {
        if let Some(unit) = node.units.get_mut(name) {
            unit.file = file_state_of(&question.node.name, answer)?;
        }
    }
    Ok(())
}

/// The state of a unit file from the answer of `GetUnitFileState`; empty where there is no file.
fn file_state_of(node: &str, answer: Answer) -> Result<String, Error> {
    let answer = answer.map_err(|refusal| Error::from_refusal(refusal, Subject::Units(node)));
    match answer {
        Ok(body) => {
            let (state,): (String,) = decode("GetUnitFileState", &body)?;
            Ok(state)
        }
        Err(Error::UnknownUnit { .. }) => Ok(String::new()),
        Err(error) => Err(error),
    }
}

/// The state of one unit file at this moment.
pub(super) async fn file_state(
    client: &mut Client,
    node: &str,
    path: &str,
    unit: &str,
) -> Result<String, Error> {
    let answer = client
        .ask(Call::node(path, "GetUnitFileState", &(unit,)))
        .await?;
    file_state_of(node, answer)
}

/// Asks when the units that run became active.
async fn ask_times(client: &mut Client, known: &Known, node: &mut Node) -> Result<(), Error> {
    const PROPERTY: &str = "ActiveEnterTimestampMonotonic";
    let names: Vec<String> = node.running().map(|(name, _)| name.to_owned()).collect();
    let calls = names.iter().map(|name| {
        let arguments = (name.as_str(), SYSTEMD_UNIT_INTERFACE, PROPERTY);
        Call::node(&known.path, "GetUnitProperty", &arguments)
    });
    let answers = ask(client, calls.collect()).await?;
    for (name, answer) in names.iter().zip(answers) {
        let subject = Subject::Units(&known.name);
        let body = answer.map_err(|refusal| Error::from_refusal(refusal, subject))?;
        if let Some(unit) = node.units.get_mut(name) {
            unit.active_since_us = only_property(PROPERTY, &body)?;
        }
    }
    Ok(())
}
