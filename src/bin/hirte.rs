//! The manager's executable.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    hirte::manager::command::main()
}
