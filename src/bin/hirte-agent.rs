//! `hirte-agent`: controls the systemd of its machine for a hirte manager.
#![forbid(unsafe_code)]

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    hirte::agent::main(env::args_os().skip(1))
}
