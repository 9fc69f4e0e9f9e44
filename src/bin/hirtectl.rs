//! hirtectl: lists and controls the fleet from the command line.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    hirte::ctl::main(std::env::args_os().skip(1))
}
