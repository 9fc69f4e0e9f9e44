//! `hirte-agent`: controls the systemd of its machine for a hirte manager. By the name `hirte-proxy`
//! it is the helper that units of proxies run.
#![forbid(unsafe_code)]

use std::{env, path::Path, process::ExitCode};

use hirte::agent::proxy_command;

fn main() -> ExitCode {
    let mut args = env::args_os();
    let program = args.next().unwrap_or_default();
    if Path::new(&program)
        .file_name()
        .is_some_and(|name| name == proxy_command::PROGRAM)
    {
        return proxy_command::main(args);
    }
    hirte::agent::main(args)
}
