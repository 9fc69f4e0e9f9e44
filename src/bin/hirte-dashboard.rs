//! `hirte-dashboard`: a web page of the nodes, units, jobs and events of a fleet.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    hirte::dashboard::main()
}
