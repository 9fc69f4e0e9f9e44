//! All commands with their arguments and options: what the reader, help, completion and the documents'
//! tests go by.
//!
//! A table, because a parser that is generated for each command is a third of the executable.

/// A command.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::ctl) struct Spec {
    /// Its name; one of several words when there are several commands of one kind.
    pub name: &'static str,
    /// What it does, in sentences.
    pub about: &'static str,
    /// Its arguments as help writes them, each a word.
    pub arguments: &'static str,
    /// The fewest arguments.
    pub least: usize,
    /// The most arguments.
    pub most: usize,
    /// Behind so many arguments there are no options: all words are arguments.
    pub with_options: usize,
    pub options: &'static [Opt],
}

/// An option.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::ctl) struct Opt {
    /// Its long name without the dashes.
    pub long: &'static str,
    /// Its short name.
    pub short: Option<char>,
    /// What its value is, if it has one.
    pub value: Option<&'static str>,
    /// What it does.
    pub about: &'static str,
}

impl Opt {
    const fn switch(long: &'static str, about: &'static str) -> Self {
        Self {
            long,
            short: None,
            value: None,
            about,
        }
    }

    const fn with_value(long: &'static str, value: &'static str, about: &'static str) -> Self {
        Self {
            value: Some(value),
            ..Self::switch(long, about)
        }
    }

    const fn short(self, short: char) -> Self {
        Self {
            short: Some(short),
            ..self
        }
    }
}

/// As many arguments as one likes.
const MANY: usize = usize::MAX;

const JSON: Opt = Opt::switch("json", "print JSON");
const FILTER: Opt = Opt::with_value(
    "filter",
    "GLOB",
    "list only units whose names match this pattern (* any characters, ? one character)",
)
.short('f');
const RUNTIME: Opt = Opt::switch("runtime", "only until the node boots again");
const NO_RELOAD: Opt = Opt::switch("no-reload", "do not reload the node's unit files");
const JOB: &[Opt] = &[
    Opt::with_value(
        "job-mode",
        "MODE",
        "what becomes of jobs that are queued: replace (default), fail, isolate, \
         replace-irreversibly, ignore-dependencies or ignore-requirements",
    ),
    Opt::switch("no-block", "do not wait until the jobs have ended"),
    JSON,
];

/// The options of hirtectl itself.
pub(in crate::ctl) const OPTIONS: &[Opt] =
    &[Opt::switch("version", "print the version").short('v'), HELP];
/// An option of every command.
pub(in crate::ctl) const HELP: Opt = Opt::switch("help", "print help").short('h');

const fn command(
    name: &'static str,
    arguments: &'static str,
    count: (usize, usize),
    options: &'static [Opt],
    about: &'static str,
) -> Spec {
    Spec {
        name,
        about,
        arguments,
        least: count.0,
        most: count.1,
        with_options: MANY,
        options,
    }
}

/// A command for units of one node.
const fn of_units(name: &'static str, options: &'static [Opt], about: &'static str) -> Spec {
    command(name, "NODE UNIT...", (2, MANY), options, about)
}

/// The commands in the order in which help lists them.
pub(in crate::ctl) const COMMANDS: &[Spec] = &[
    command(
        "list-units",
        "[NODE]",
        (0, 1),
        &[FILTER, JSON],
        "List the loaded units of a node, or of all nodes that are online.",
    ),
    command(
        "list-unit-files",
        "[NODE]",
        (0, 1),
        &[FILTER, JSON],
        "List the installed unit files of a node, or of all nodes that are online.",
    ),
    command(
        "list-nodes",
        "",
        (0, 0),
        &[JSON],
        "List the nodes, whether they are online, and when they were last heard of.",
    ),
    command(
        "list-jobs",
        "[NODE]",
        (0, 1),
        &[JSON],
        "List the jobs that have not ended, of a node or of all nodes.",
    ),
    command(
        "status",
        "[NODE [UNIT...]]",
        (0, MANY),
        &[
            Opt::switch("watch", "show it again whenever it changes, until Ctrl-C").short('w'),
            JSON,
        ],
        "Show all nodes, one node, one unit in detail, or several units. That a node is offline or \
         a unit not running is no failure; that a unit does not exist is one.",
    ),
    command(
        "is-online",
        "agent | node NAME | system",
        (1, 2),
        &[
            Opt::with_value(
                "wait",
                "TIME",
                "wait at most this long until it is online, such as 5s; a bare number is \
                 milliseconds",
            ),
            Opt::switch(
                "monitor",
                "when it is online, go on until it is not, which is a failure",
            ),
            JSON,
        ],
        "Tell by the exit status whether the agent of this computer, a node or the whole system is \
         online.",
    ),
    command(
        "monitor",
        "[NODE [UNIT...] | node-connection]",
        (0, MANY),
        &[JSON],
        "Tell what happens to units, or to the connections of nodes, until Ctrl-C. Commas may join \
         the units; * stands for all nodes or units, as if left out.",
    ),
    command(
        "top",
        "[NODE]",
        (0, 1),
        &[],
        "Show nodes, units, jobs and what happens to them on a full screen, live, with keys to start, \
         stop and restart units. It is hirtectl-top(1), a package of its own.",
    ),
    of_units(
        "start",
        JOB,
        "Start units and wait until their jobs have ended.",
    ),
    of_units(
        "stop",
        JOB,
        "Stop units and wait until their jobs have ended.",
    ),
    of_units(
        "restart",
        JOB,
        "Restart units and wait until their jobs have ended.",
    ),
    of_units(
        "reload",
        JOB,
        "Have units reload their configuration and wait until their jobs have ended.",
    ),
    command(
        "cancel",
        "JOB...",
        (1, MANY),
        &[],
        "Cancel jobs that have not ended, by the numbers that list-jobs shows.",
    ),
    of_units("freeze", &[JSON], "Suspend all processes of units."),
    of_units(
        "thaw",
        &[JSON],
        "Let the processes of frozen units run again.",
    ),
    of_units(
        "kill",
        &[
            Opt::with_value(
                "kill-whom",
                "WHOM",
                "which processes: main, control or all (default)",
            ),
            Opt::with_value(
                "signal",
                "SIGNAL",
                "the signal, by name or number (default SIGTERM)",
            )
            .short('s'),
            JSON,
        ],
        "Send a signal to processes of units.",
    ),
    command(
        "reset-failed",
        "[NODE [UNIT...]]",
        (0, MANY),
        &[JSON],
        "Forget that units failed: of all nodes that are online, all of a node, or those that are \
         named.",
    ),
    of_units(
        "enable",
        &[
            Opt::switch("force", "replace links that are in the way").short('f'),
            RUNTIME,
            NO_RELOAD,
            JSON,
        ],
        "Have units start by themselves as their unit files say, then reload the node's unit files.",
    ),
    of_units(
        "disable",
        &[RUNTIME, NO_RELOAD, JSON],
        "Have units no longer start by themselves, then reload the node's unit files.",
    ),
    of_units(
        "is-enabled",
        &[JSON],
        "Tell whether units start by themselves; a failure unless all do, or need not.",
    ),
    command(
        "get-default",
        "NODE",
        (1, 1),
        &[JSON],
        "Print the target into which a node boots.",
    ),
    command(
        "set-default",
        "NODE TARGET",
        (2, 2),
        &[JSON],
        "Set the target into which a node boots.",
    ),
    command(
        "daemon-reload",
        "NODE",
        (1, 1),
        &[],
        "Have a node's systemd read its unit files again.",
    ),
    command(
        "set-loglevel",
        "[NODE] LEVEL",
        (1, 2),
        &[],
        "Set what the manager logs, or the agent of a node: DEBUG, INFO, WARN or ERROR. It holds \
         until the configuration is read again.",
    ),
    command(
        "metrics",
        "enable|disable|listen",
        (1, 1),
        &[JSON],
        "Measure jobs on the manager and all agents: switch it on or off, or print what is measured \
         until Ctrl-C.",
    ),
    command(
        "logs",
        "NODE UNIT",
        (2, 2),
        &[
            Opt::with_value("lines", "N", "show only so many of the latest entries").short('n'),
            Opt::switch("follow", "go on with what comes, until Ctrl-C").short('f'),
            Opt::with_value(
                "since",
                "TIME",
                "not before this time, as journalctl takes it: \"2026-01-31 12:00\", yesterday, -1h",
            )
            .short('S'),
            Opt::with_value("until", "TIME", "not after this time").short('U'),
            Opt::with_value(
                "priority",
                "PRIORITY",
                "only entries of this priority and more severe ones, or of a range: err, warning, \
                 0..3",
            )
            .short('p'),
            Opt::with_value(
                "output",
                "FORMAT",
                "how: short (default), short-precise, short-iso, short-unix, cat or json",
            )
            .short('o'),
            JSON,
        ],
        "Show what a node's journal has of a unit. For root only.",
    ),
    Spec {
        with_options: 1,
        ..command(
            "exec",
            "NODE COMMAND...",
            (2, MANY),
            &[],
            "Run a command on a node, show what it writes, and end with its exit status: a program \
             and its arguments, or one word for /bin/sh -c. For root only, and only where the \
             node's agent has AllowExec=yes. Options stand before the node.",
        )
    },
    command(
        "state show",
        "[NODE...]",
        (0, MANY),
        &[
            Opt::switch(
                "exact",
                "make it exact: tell also which unit files are enabled",
            ),
            JSON,
        ],
        "Print what runs as a state file (hirte-state(5)): every service, socket, timer, mount and \
         path unit that is active, in the order in which they became active.",
    ),
    command(
        "state diff",
        "FILE",
        (1, 1),
        &[JSON],
        "Print what is not as a state file wants it. The exit status is 0 if all is, 1 if something \
         is not, and 2 or more if that can not be told.",
    ),
    command(
        "state apply",
        "FILE",
        (1, 1),
        &[
            Opt::switch("dry-run", "print the steps and take none"),
            Opt::switch(
                "rollback",
                "when a step fails, take back what was done, in reverse order",
            ),
            Opt::with_value(
                "timeout",
                "TIME",
                "how long one job may take, such as 30s or 2min; then it is taken back, and the step \
                 has failed",
            ),
            JSON,
        ],
        "Bring the fleet to what a state file says: stop in the reverse order of the file, then start \
         in its order, one step at a time. It ends at the first step that fails.",
    ),
    command(
        "state presets",
        "FILE",
        (1, 1),
        &[Opt::with_value(
            "node",
            "NODE",
            "the node, which must be given",
        )],
        "Print systemd presets (systemd.preset(5)) for one node of a state file. No manager is needed.",
    ),
    command("version", "", (0, 0), &[JSON], "Print the version."),
    command(
        "help",
        "[COMMAND]",
        (0, MANY),
        &[],
        "Print the commands, or more about one.",
    ),
];
