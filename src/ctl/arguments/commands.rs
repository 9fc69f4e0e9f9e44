//! The commands as what they are to do.

use std::time::Duration;

use super::{
    read::Words,
    words::{JobMode, Limit, LogFormat, MetricsAction, Signal, Wait, Whom, Whose},
};
use crate::{bus::JobKind, ctl::output::Form};

/// A command and its arguments.
#[derive(Debug, PartialEq)]
pub(in crate::ctl) enum Command {
    ListUnits(List),
    ListUnitFiles(List),
    ListNodes,
    ListJobs(Option<String>),
    Status {
        watch: bool,
        node_and_units: Vec<String>,
    },
    IsOnline(IsOnline),
    Monitor(Vec<String>),
    Job(Job),
    Cancel(Vec<u32>),
    Freeze(Units),
    Thaw(Units),
    Kill {
        of: Units,
        whom: Whom,
        signal: Signal,
    },
    ResetFailed(Vec<String>),
    Enable(UnitFiles),
    Disable(UnitFiles),
    IsEnabled(Units),
    GetDefault(String),
    SetDefault {
        node: String,
        target: String,
    },
    DaemonReload(String),
    SetLoglevel {
        /// Without it, the manager.
        node: Option<String>,
        level: String,
    },
    Metrics(MetricsAction),
    Logs(Logs),
    Exec {
        node: String,
        command: Vec<String>,
    },
    State(State),
    /// The live view, of this node first.
    Top(Option<String>),
    Version,
}

/// A list of one node or of all.
#[derive(Debug, PartialEq)]
pub(in crate::ctl) struct List {
    pub node: Option<String>,
    pub filter: Option<String>,
}

/// What is to be online.
#[derive(Debug, PartialEq)]
pub(in crate::ctl) struct IsOnline {
    pub what: Whose,
    /// Of a node.
    pub name: Option<String>,
    pub wait: Wait,
    pub monitor: bool,
}

/// Units of a node.
#[derive(Debug, PartialEq)]
pub(in crate::ctl) struct Units {
    pub node: String,
    pub units: Vec<String>,
}

/// Units of a node, and what their jobs do.
#[derive(Debug, PartialEq)]
pub(in crate::ctl) struct Job {
    pub kind: JobKind,
    pub of: Units,
    pub mode: JobMode,
    /// Do not wait for the ends.
    pub no_block: bool,
}

/// Of which unit the log is shown, which entries, and how.
#[derive(Debug, PartialEq)]
pub(in crate::ctl) struct Logs {
    pub node: String,
    pub unit: String,
    /// Only the latest.
    pub lines: Option<u32>,
    /// Go on with what comes.
    pub follow: bool,
    /// Not before this time.
    pub since: Option<String>,
    /// Not after this time.
    pub until: Option<String>,
    /// The least severe, or a range.
    pub priority: Option<String>,
    pub format: LogFormat,
}

/// What is done with the declared state of the fleet.
#[derive(Debug, PartialEq)]
pub(in crate::ctl) enum State {
    Show(Show),
    /// With this file.
    Diff(String),
    Apply(Apply),
    Presets {
        file: String,
        node: String,
    },
}

/// What is written as a state file.
#[derive(Debug, PartialEq)]
pub(in crate::ctl) struct Show {
    /// Without any, all.
    pub nodes: Vec<String>,
    /// Tell also which unit files are enabled.
    pub exact: bool,
}

/// A state file, and how its steps are taken.
#[derive(Debug, PartialEq)]
pub(in crate::ctl) struct Apply {
    pub file: String,
    /// Take none.
    pub dry_run: bool,
    /// Take back what was done when a step fails.
    pub rollback: bool,
    /// The longest time of one job.
    pub timeout: Option<Duration>,
}

/// Units of a node, and how their files are changed.
#[derive(Debug, PartialEq)]
pub(in crate::ctl) struct UnitFiles {
    pub of: Units,
    /// Only until the node boots again.
    pub runtime: bool,
    /// Replace links that are in the way.
    pub force: bool,
    /// Have the node's systemd read its unit files afterwards.
    pub reload: bool,
}

impl Command {
    /// What words that fit the table mean; otherwise what is wrong with a value.
    pub(super) fn of(words: &Words) -> Result<(Self, Form), String> {
        let name = words.command.map_or("version", |spec| spec.name);
        let mut is_stream = false;
        let command = match name {
            "list-units" => Self::ListUnits(list(words)),
            "list-unit-files" => Self::ListUnitFiles(list(words)),
            "list-nodes" => Self::ListNodes,
            "list-jobs" => Self::ListJobs(words.arguments.first().cloned()),
            "status" => {
                is_stream = words.has("watch");
                Self::Status {
                    watch: is_stream,
                    node_and_units: words.arguments.clone(),
                }
            }
            "is-online" => {
                is_stream = words.has("monitor");
                Self::IsOnline(is_online(words)?)
            }
            "monitor" => {
                is_stream = true;
                Self::Monitor(words.arguments.clone())
            }
            "cancel" => Self::Cancel(jobs(&words.arguments)?),
            "freeze" => Self::Freeze(units(words)),
            "thaw" => Self::Thaw(units(words)),
            "kill" => Self::Kill {
                of: units(words),
                whom: words.parsed("kill-whom")?.unwrap_or_default(),
                signal: words.parsed("signal")?.unwrap_or_default(),
            },
            "reset-failed" => Self::ResetFailed(words.arguments.clone()),
            "enable" => Self::Enable(unit_files(words)),
            "disable" => Self::Disable(unit_files(words)),
            "is-enabled" => Self::IsEnabled(units(words)),
            "get-default" => Self::GetDefault(argument(words, 0)),
            "set-default" => Self::SetDefault {
                node: argument(words, 0),
                target: argument(words, 1),
            },
            "daemon-reload" => Self::DaemonReload(argument(words, 0)),
            "set-loglevel" => Self::SetLoglevel {
                node: (words.arguments.len() == 2).then(|| argument(words, 0)),
                level: words.arguments.last().cloned().unwrap_or_default(),
            },
            "metrics" => {
                let action: MetricsAction = argument(words, 0).parse()?;
                is_stream = action.0 == "listen";
                Self::Metrics(action)
            }
            "logs" => {
                is_stream = true;
                Self::Logs(logs(words)?)
            }
            "exec" => Self::Exec {
                node: argument(words, 0),
                command: words.arguments.get(1..).unwrap_or_default().to_vec(),
            },
            "state show" => Self::State(State::Show(Show {
                nodes: words.arguments.clone(),
                exact: words.has("exact"),
            })),
            "state diff" => Self::State(State::Diff(argument(words, 0))),
            "state apply" => Self::State(State::Apply(Apply {
                file: argument(words, 0),
                dry_run: words.has("dry-run"),
                rollback: words.has("rollback"),
                timeout: words.parsed("timeout")?.map(|Limit(timeout)| timeout),
            })),
            "state presets" => Self::State(State::Presets {
                file: argument(words, 0),
                node: words
                    .value("node")
                    .ok_or("Missing option: --node NODE")?
                    .to_owned(),
            }),
            "top" => Self::Top(words.arguments.first().cloned()),
            name => match JobKind::ALL.into_iter().find(|kind| kind.as_str() == name) {
                Some(kind) => Self::Job(Job {
                    kind,
                    of: units(words),
                    mode: words.parsed("job-mode")?.unwrap_or_default(),
                    no_block: words.has("no-block"),
                }),
                None => Self::Version,
            },
        };
        let form = match (words.has("json"), is_stream) {
            (false, _) => Form::Text,
            (true, false) => Form::Document,
            (true, true) => Form::Lines,
        };
        Ok((command, form))
    }
}

fn argument(words: &Words, index: usize) -> String {
    words.arguments.get(index).cloned().unwrap_or_default()
}

fn list(words: &Words) -> List {
    List {
        node: words.arguments.first().cloned(),
        filter: words.value("filter").map(str::to_owned),
    }
}

fn units(words: &Words) -> Units {
    Units {
        node: argument(words, 0),
        units: full_names(words.arguments.get(1..).unwrap_or_default()),
    }
}

fn logs(words: &Words) -> Result<Logs, String> {
    let text = |option| words.value(option).map(str::to_owned);
    let format = words.parsed("output")?.unwrap_or_default();
    Ok(Logs {
        node: argument(words, 0),
        unit: full_name(&argument(words, 1)),
        lines: words.parsed("lines")?,
        follow: words.has("follow"),
        since: text("since"),
        until: text("until"),
        priority: text("priority"),
        format: if words.has("json") {
            LogFormat::Json
        } else {
            format
        },
    })
}

fn unit_files(words: &Words) -> UnitFiles {
    UnitFiles {
        of: units(words),
        runtime: words.has("runtime"),
        force: words.has("force"),
        reload: !words.has("no-reload"),
    }
}

fn jobs(arguments: &[String]) -> Result<Vec<u32>, String> {
    let number = |text: &String| {
        text.parse()
            .map_err(|_| format!("'{text}' is no number of a job"))
    };
    arguments.iter().map(number).collect()
}

fn is_online(words: &Words) -> Result<IsOnline, String> {
    let what: Whose = argument(words, 0).parse()?;
    let name = words.arguments.get(1).cloned();
    match (what.0, &name) {
        ("node", None) => Err("Missing argument: NAME".to_owned()),
        ("agent" | "system", Some(name)) => Err(format!("Unexpected argument '{name}'")),
        _ => Ok(IsOnline {
            what,
            name,
            wait: words.parsed("wait")?.unwrap_or_default(),
            monitor: words.has("monitor"),
        }),
    }
}

/// The suffixes of unit names (systemd.unit(5)).
const SUFFIXES: [&str; 11] = [
    ".service",
    ".socket",
    ".target",
    ".device",
    ".mount",
    ".automount",
    ".swap",
    ".timer",
    ".path",
    ".slice",
    ".scope",
];

/// The names of units as a person wrote them: a name without a suffix is that of a service, as for
/// `systemctl`.
pub(in crate::ctl) fn full_names(names: &[String]) -> Vec<String> {
    names.iter().map(|name| full_name(name)).collect()
}

fn full_name(name: &str) -> String {
    let is_full = SUFFIXES.iter().any(|suffix| name.ends_with(suffix));
    if is_full || name.is_empty() {
        name.to_owned()
    } else {
        format!("{name}.service")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_suffix_is_a_service() {
        for (name, expected) in [
            ("httpd", "httpd.service"),
            ("httpd.service", "httpd.service"),
            ("-.mount", "-.mount"),
            ("a.b", "a.b.service"),
            ("getty@tty1", "getty@tty1.service"),
            ("", ""),
        ] {
            assert_eq!(full_name(name), expected);
        }
    }
}
