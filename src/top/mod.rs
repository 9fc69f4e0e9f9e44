//! hirtectl-top: a live view of the fleet on a full terminal.
//!
//! ```text
//! manager -> watch -+                                            +-> ask -> manager
//! answers  <- ask  -+-> run -> state.handle(now, event, actions) +
//! terminal -> input +      `-> layout, view -> screen -> terminal
//! ```
//!
//! `state` decides everything and touches nothing, as the daemons' do. `watch` turns what the manager
//! signals into events, `ask` makes the calls that the state wants, each over a connection of its own
//! for as long as it takes, so that one slow node holds up nothing. Nothing is polled: without events
//! the process sleeps.
//!
//! It is a program of its own because drawing costs more than all of `hirtectl`, which executes it for
//! `hirtectl top`.

mod ask;
mod input;
mod key;
mod layout;
mod run;
mod screen;
mod state;
mod view;
mod watch;

use std::{
    env,
    ffi::OsString,
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use argh::FromArgs;

use crate::{
    cmdline::{self, Stop, ValueOptions},
    ctl::{ExitStatus, client, output::escape},
};

const PROGRAM: &str = "hirtectl-top";

/// Shows nodes, units, jobs and what happens to them on a full terminal, live, with keys to start, stop
/// and restart units; h shows them all.
#[derive(Debug, FromArgs)]
struct Arguments {
    /// show the units of this node first
    #[argh(positional)]
    node: Option<String>,
    /// print the version
    #[argh(switch, short = 'v')]
    version: bool,
}

/// Runs hirtectl-top with these arguments (without the program's own name) to its end.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let options = ValueOptions {
        long: &[],
        short: &[],
    };
    let arguments: Arguments = match cmdline::parse(PROGRAM, args, &options) {
        Ok(arguments) => arguments,
        Err(Stop::Help(text)) => return print(text.trim_end()),
        Err(Stop::Usage(text)) => return complain(&text, ExitStatus::Usage),
    };
    if arguments.version {
        return print(env!("CARGO_PKG_VERSION"));
    }
    let is_dumb = env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    if is_dumb || !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        let reason = "The live view needs a terminal; 'hirtectl status --watch' and 'hirtectl monitor' \
                      write anywhere";
        return complain(reason, ExitStatus::Usage);
    }
    match client::block_on(async |executor| run::run(&executor, arguments.node).await) {
        Ok(status) => ExitCode::from(status),
        Err(error) => complain(&error.to_string(), error.status()),
    }
}

fn print(text: &str) -> ExitCode {
    // A reader that had enough is no failure.
    let _ = writeln!(io::stdout(), "{text}");
    ExitCode::SUCCESS
}

fn complain(reason: &str, status: ExitStatus) -> ExitCode {
    for line in reason.lines() {
        // Where this can not be written there is nowhere to say so.
        let _ = writeln!(io::stderr(), "{}", escape(line));
    }
    status.into()
}
