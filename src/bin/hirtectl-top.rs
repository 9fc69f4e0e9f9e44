//! hirtectl-top: a live view of the fleet in the terminal.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    hirte::top::main(std::env::args_os().skip(1))
}
