//! What can stand in place of the last word of a command line, for the completion of shells.
//!
//! The scripts in `data/completions` hand over the words and print what comes back: a candidate on a
//! line, a tabulator, what it is. Nodes and units are those of the live fleet; where no manager
//! answers there are none.

use std::{collections::BTreeMap, fmt::Write as _, fs, io::Write};

use smol::future::or;

use super::{
    arguments::{
        read,
        table::{COMMANDS, HELP, OPTIONS, Opt, Spec},
        words::{JOB_MODES, LOG_FORMATS, METRICS, ONLINE, SIGNALS, WHOM, names},
    },
    call::Call,
    client::{self, Client, Executor},
    error::{Error, Subject},
    list_jobs, list_unit_files, list_units, nodes,
    output::is_hostile,
};
use crate::{limits, reactor::sleep};

/// Candidates, and what each is.
type Candidates = BTreeMap<String, String>;

/// What an argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Command,
    Node,
    /// A unit that is loaded.
    Loaded,
    /// A unit that is loaded or has a file.
    Unit,
    /// A unit that has a file.
    File,
    /// A target that has a file.
    Target,
    Job,
    StateFile,
    Level,
    Words(&'static [&'static str]),
}

/// The levels of `set-loglevel`.
const LEVELS: [&str; 4] = ["DEBUG", "INFO", "WARN", "ERROR"];
/// What can stand in place of a node behind `monitor`.
const CONNECTIONS: [&str; 1] = ["node-connection"];

/// Prints the candidates for the last of the words.
pub(super) fn run(words: &[String]) {
    let (last, before) = match words {
        [before @ .., last] => (last.as_str(), before),
        [] => ("", words),
    };
    let candidates = client::block_on(async |executor| {
        let slow = async {
            sleep(limits::COMPLETION).await;
            Candidates::new()
        };
        or(candidates(&executor, before, last), slow).await
    });
    let mut lines = String::new();
    for (candidate, what) in &candidates {
        // A name that a shell or terminal could take for something else is not worth it.
        if candidate.starts_with(last) && !candidate.chars().any(is_hostile) {
            let what: String = what.chars().filter(|c| !is_hostile(*c)).collect();
            // Writing to a String does not fail.
            let _ = writeln!(lines, "{candidate}\t{what}");
        }
    }
    // The shell that asked may have gone.
    let _ = std::io::stdout().write_all(lines.as_bytes());
}

async fn candidates(executor: &Executor, before: &[String], last: &str) -> Candidates {
    let Some(at) = before.iter().position(|word| !word.starts_with('-')) else {
        return if last.starts_with('-') {
            options(OPTIONS)
        } else {
            of_words(executor, &[Kind::Command], "").await
        };
    };
    let Some(spec) = read::find(&before[at..]) else {
        return commands(&before[at..]);
    };
    if spec.name == "help" {
        return commands(&before[at + 1..]);
    }
    let after = at + spec.name.split(' ').count();
    let typed = Typed::read(spec, &before[after..]);
    if let Some(option) = typed.open {
        return match option {
            "node" => of_words(executor, &[Kind::Node], "").await,
            option => words(values(option)),
        };
    }
    if !typed.is_ended && last.starts_with('-') {
        return match last.split_once('=') {
            Some((option, _)) => {
                let values = values(option.trim_start_matches('-')).iter();
                let values = values.map(|value| (format!("{option}={value}"), String::new()));
                gather(values)
            }
            None => options(spec.options.iter().chain([&HELP])),
        };
    }
    let kinds = kinds(spec.name, &typed.arguments);
    if kinds == [Kind::StateFile] {
        return state_files(last);
    }
    let node = typed.arguments.first().copied().unwrap_or_default();
    let mut found = of_words(executor, &kinds, node).await;
    // Nobody names a unit twice.
    for unit in typed.arguments.iter().skip(1) {
        found.remove(*unit);
    }
    found
}

/// What was typed behind the command.
struct Typed<'a> {
    /// What is no option.
    arguments: Vec<&'a str>,
    /// The option whose value comes next.
    open: Option<&'static str>,
    /// `--` was there.
    is_ended: bool,
}

impl<'a> Typed<'a> {
    fn read(spec: &'static Spec, words: &'a [String]) -> Self {
        let mut typed = Self {
            arguments: Vec::new(),
            open: None,
            is_ended: false,
        };
        for word in words {
            if typed.open.take().is_some() {
                continue;
            }
            if typed.is_ended || !word.starts_with('-') {
                typed.arguments.push(word);
                typed.is_ended |= typed.arguments.len() >= spec.with_options;
            } else if word == "--" {
                typed.is_ended = true;
            } else {
                let long = word.strip_prefix("--");
                let short = word.strip_prefix('-').and_then(|rest| rest.parse().ok());
                let option = spec.options.iter().find(|option| {
                    Some(option.long) == long || (short.is_some() && option.short == short)
                });
                let option = option.filter(|option| option.value.is_some());
                typed.open = option.map(|option| option.long);
            }
        }
        typed
    }
}

fn gather(all: impl Iterator<Item = (String, String)>) -> Candidates {
    let mut candidates = Candidates::new();
    candidates.extend(all);
    candidates
}

fn options(options: impl IntoIterator<Item = &'static Opt>) -> Candidates {
    let options = options.into_iter();
    gather(options.map(|option| (format!("--{}", option.long), option.about.to_owned())))
}

/// The words that can be the value of an option.
fn values(option: &str) -> &'static [&'static str] {
    const SIGNAL_NAMES: [&str; SIGNALS.len()] = names(&SIGNALS);
    const FORMATS: [&str; LOG_FORMATS.len()] = names(&LOG_FORMATS);
    match option {
        "job-mode" => &JOB_MODES,
        "kill-whom" => &WHOM,
        "output" => &FORMATS,
        "signal" => &SIGNAL_NAMES,
        _ => &[],
    }
}

/// What the next argument of a command is, behind those that were typed.
fn kinds(command: &str, typed: &[&str]) -> Vec<Kind> {
    match (command, typed) {
        ("cancel", _) => vec![Kind::Job],
        ("metrics", []) => vec![Kind::Words(&METRICS)],
        ("is-online", []) => vec![Kind::Words(&ONLINE)],
        ("is-online", ["node"]) => vec![Kind::Node],
        ("monitor", []) => vec![Kind::Node, Kind::Words(&CONNECTIONS)],
        ("set-loglevel", []) => vec![Kind::Node, Kind::Level],
        ("set-loglevel", [level]) if LEVELS.contains(level) => vec![],
        ("set-loglevel", [_]) => vec![Kind::Level],
        ("state diff" | "state apply" | "state presets", []) => vec![Kind::StateFile],
        (
            "list-nodes" | "version" | "metrics" | "is-online" | "set-loglevel" | "state diff"
            | "state apply" | "state presets",
            _,
        ) => vec![],
        ("state show", _) | (_, []) => vec![Kind::Node],
        ("start" | "restart", _) | ("logs", [_]) => vec![Kind::Unit],
        (
            "stop" | "reload" | "status" | "monitor" | "freeze" | "thaw" | "kill" | "reset-failed",
            _,
        ) => vec![Kind::Loaded],
        ("enable" | "disable" | "is-enabled", _) => vec![Kind::File],
        ("set-default", [_]) => vec![Kind::Target],
        _ => vec![],
    }
}

fn words(words: &[&str]) -> Candidates {
    let words = words.iter();
    gather(words.map(|word| ((*word).to_owned(), String::new())))
}

/// The state files and folders whose paths begin with `start`; those of folders end with `/`.
fn state_files(start: &str) -> Candidates {
    let folder = match start.rfind('/') {
        Some(end) => &start[..=end],
        None => "",
    };
    let path = if folder.is_empty() { "." } else { folder };
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    gather(entries.filter_map(|entry| {
        let path = entry.path();
        let name = entry.file_name().into_string().ok()?;
        // A link is what it leads to.
        let is_folder = fs::metadata(&path).ok()?.is_dir();
        let end = if is_folder { "/" } else { "" };
        let is_wanted = is_folder || path.extension().is_some_and(|end| end == "toml");
        is_wanted.then(|| (format!("{folder}{name}{end}"), String::new()))
    }))
}

/// The candidates of these kinds; units are those of the node.
async fn of_words(executor: &Executor, kinds: &[Kind], node: &str) -> Candidates {
    let mut found = Candidates::new();
    let mut client = None;
    for kind in kinds {
        found.extend(match kind {
            Kind::Command => commands(&[]),
            Kind::Level => words(&LEVELS),
            Kind::Words(given) => words(given),
            of_fleet => {
                if client.is_none() {
                    client = Client::connect(executor).await.ok();
                }
                let Some(client) = &mut client else {
                    continue;
                };
                // Who has typed half a word wants no complaint.
                live(client, *of_fleet, node).await.unwrap_or_default()
            }
        });
    }
    found
}

/// The next words of the commands whose names begin with these.
fn commands(before: &[String]) -> Candidates {
    let next = |spec: &Spec| {
        let mut name = spec.name.split(' ');
        let is_begun = before.iter().all(|word| name.next() == Some(word.as_str()));
        let word = name.next().filter(|_| is_begun)?;
        let about = match name.next() {
            Some(_) => String::new(),
            None => spec.about.to_owned(),
        };
        Some((word.to_owned(), about))
    };
    gather(COMMANDS.iter().filter_map(next))
}

/// The candidates that only the manager knows.
async fn live(client: &mut Client, kind: Kind, node: &str) -> Result<Candidates, Error> {
    let mut found = Candidates::new();
    match kind {
        Kind::Node => {
            let (nodes, _) = nodes::of_fleet(client).await?;
            found.extend(nodes.into_iter().map(|node| (node.name, node.status)));
        }
        Kind::Job => {
            let ids = list_jobs::ids(client).await?;
            found.extend(ids.into_iter().map(|id| (id.to_string(), String::new())));
        }
        _ => {}
    }
    if matches!(kind, Kind::Unit | Kind::File | Kind::Target) {
        let path = client.node(node).await?;
        let list = Call::node(&path, "ListUnitFiles", &());
        let body = client.call(list, Subject::Node(node)).await?;
        let files = list_unit_files::of_node(node, &body)?.into_iter();
        let files = files.filter(|file| kind != Kind::Target || file.name.ends_with(".target"));
        found.extend(files.map(|file| (file.name.to_owned(), file.state.to_owned())));
    }
    if matches!(kind, Kind::Unit | Kind::Loaded) {
        let path = client.node(node).await?;
        let list = Call::node(&path, "ListUnits", &());
        let body = client.call(list, Subject::Node(node)).await?;
        let units = list_units::units_of_node(node, &body)?.into_iter();
        found.extend(units.map(|unit| {
            let state = format!("{} ({})", unit.active, unit.sub);
            (unit.name.to_owned(), state)
        }));
    }
    Ok(found)
}
