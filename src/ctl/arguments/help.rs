//! What `hirtectl help` prints.

use std::fmt::Write;

use super::{
    PROGRAM,
    read::kind,
    table::{COMMANDS, HELP, OPTIONS, Opt, Spec},
};
use crate::ctl::exit_status::ExitStatus;

/// Where descriptions begin.
const INDENT: usize = 20;
/// Where lines end.
const WIDTH: usize = 80;

/// About all commands.
pub(super) fn overview() -> String {
    let mut text = format!(
        "Usage: {PROGRAM} [-v] [-h] COMMAND [OPTIONS] [ARGUMENTS]\n\n\
         Control systemd units on the nodes that the hirte manager of this computer knows.\n\n\
         Options:\n"
    );
    options(&mut text, OPTIONS.iter());
    text.push_str("\nCommands:\n");
    for spec in COMMANDS {
        entry(&mut text, spec.name, spec.about);
    }
    text.push_str(
        "\n'hirtectl help COMMAND' tells more about a command.\n\
         A unit name without a suffix is that of a service. One that begins with '-' stands\n\
         behind '--': hirtectl start NODE -- -.mount\n\
         The manager is reached by its private socket, /run/hirte/private, or else over the\n\
         system bus. Where DBUS_SYSTEM_BUS_ADDRESS is set, that bus alone is tried.\n\n\
         Exit status:\n",
    );
    for status in ExitStatus::ALL {
        // Writing to a String does not fail.
        let _ = writeln!(text, "  {} {}", status.number(), status.meaning());
    }
    text
}

/// About the commands whose names begin with a word.
pub(super) fn of_kind(word: &str) -> String {
    let mut text = format!("Usage: {PROGRAM} {word} COMMAND [OPTIONS] [ARGUMENTS]\n\nCommands:\n");
    for spec in kind(word) {
        entry(&mut text, spec.name, spec.about);
    }
    text.push_str("\n'hirtectl help ");
    text.push_str(word);
    text.push_str(" COMMAND' tells more about one.\n");
    text
}

/// About one command.
pub(super) fn about(spec: &Spec) -> String {
    let arguments = if spec.arguments.is_empty() {
        String::new()
    } else {
        format!(" [--] {}", spec.arguments)
    };
    let mut text = format!("Usage: {PROGRAM} {} [OPTIONS]{arguments}\n", spec.name);
    for line in wrap(spec.about, WIDTH) {
        let _ = write!(text, "\n{line}");
    }
    text.push_str("\n\nOptions:\n");
    options(&mut text, spec.options.iter().chain([&HELP]));
    text
}

fn options<'o>(text: &mut String, options: impl Iterator<Item = &'o Opt>) {
    for option in options {
        let long = option.long;
        let name = match option.short {
            Some(short) => format!("-{short}, --{long}"),
            None => format!("--{long}"),
        };
        entry(text, &name, option.about);
    }
}

/// A name and what it means, in two columns.
fn entry(text: &mut String, name: &str, about: &str) {
    let mut lines = wrap(about, WIDTH - INDENT).into_iter();
    let first = lines.next().unwrap_or_default();
    let width = INDENT - 2;
    let _ = writeln!(text, "  {name:<width$}{first}");
    for line in lines {
        let _ = writeln!(text, "{:INDENT$}{line}", "");
    }
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().filter(|line| {
            line.is_empty() || line.chars().count() + 1 + word.chars().count() <= width
        });
        match line {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines
}
