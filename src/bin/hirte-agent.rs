//! `hirte-agent`: controls the systemd of its machine for a hirte manager.
#![forbid(unsafe_code)]

use std::{env, path::Path, process::ExitCode};

fn main() -> ExitCode {
    let mut args = env::args_os();
    let program = args.next().unwrap_or_default();
    if Path::new(&program)
        .file_name()
        .is_some_and(|name| name == "hirte-proxy")
    {
        // The link in libexec must never run a second agent by mistake.
        let reason = "this version has no dependencies across nodes";
        return hirte::cmdline::complain("hirte-proxy", &reason);
    }
    hirte::agent::main(args)
}
