//! The command `hirte`: its options, its configuration, its start.

use std::{env, path::PathBuf, process::ExitCode};

use argh::FromArgs;

use super::{
    run::{self, Edges},
    state::Settings,
};
use crate::{
    cmdline::{self, Stop, ValueOptions},
    config::{ConfigError, Loaded, ManagerConfig, ManagerOptions, Notice, Roots, load_manager},
    daemon, logging,
    wire::tcp::{self, KeepAlive},
};

/// Control systemd services on several computers: the manager.
#[derive(Debug, FromArgs)]
struct Options {
    /// port on which agents are awaited
    #[argh(option, short = 'p')]
    port: Option<String>,
    /// file to read after all others
    #[argh(option, short = 'c')]
    config: Option<PathBuf>,
    /// print the version
    #[argh(switch, short = 'v')]
    version: bool,
}

const VALUE_OPTIONS: ValueOptions = ValueOptions {
    long: &["port", "config"],
    short: &['p', 'c'],
};

/// Runs the manager. Returns the exit status: 0 when it was told to stop or only printed
/// something, 1 when it could not start.
#[must_use]
pub fn main() -> ExitCode {
    let options: Options = match cmdline::parse("hirte", env::args_os().skip(1), &VALUE_OPTIONS) {
        Ok(options) => options,
        Err(Stop::Help(text)) => {
            println!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(Stop::Usage(text)) => {
            eprintln!("hirte: {text}");
            return ExitCode::FAILURE;
        }
    };
    if options.version {
        println!("{}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    let Loaded { config, notices } = match load(&options) {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("hirte: {error}");
            return ExitCode::FAILURE;
        }
    };
    logging::init(
        "hirte",
        config.log.level,
        config.log.target,
        config.log.quiet,
    );
    log_notices(&notices);
    log::info!("Starting hirte {}", env!("CARGO_PKG_VERSION"));
    start(config, options)
}

fn load(options: &Options) -> Result<Loaded<ManagerConfig>, ConfigError> {
    let given = ManagerOptions {
        port: options.port.clone(),
    };
    load_manager(
        &Roots::default(),
        options.config.as_deref(),
        &given,
        |name| env::var(name).ok(),
    )
}

fn log_notices(notices: &[Notice]) {
    for notice in notices {
        log::warn!("{notice}");
    }
}

fn start(config: ManagerConfig, options: Options) -> ExitCode {
    // Far more than a fleet needs; without it the soft limit of 1024 would be the bound.
    let descriptors = daemon::raise_descriptor_limit();
    log::debug!("At most {descriptors} descriptors");
    let listener = match tcp::activated() {
        Ok(Some(listener)) => Ok(listener),
        Ok(None) => tcp::listen(config.port),
        Err(error) => Err(error),
    };
    let listener = match listener {
        Ok(listener) => listener,
        Err(error) => {
            log::error!("Failed to listen on port {}: {error}", config.port);
            return ExitCode::FAILURE;
        }
    };
    log::info!("Waiting for connection requests on port {}...", config.port);
    let settings = Settings {
        nodes: config.allowed_node_names.clone(),
        silence_limit: config.node_heartbeat_threshold.unwrap_or_default(),
    };
    let keep_alive = KeepAlive {
        time: config.tcp_keep_alive.time.unwrap_or_default(),
        interval: config.tcp_keep_alive.interval.unwrap_or_default(),
        count: config.tcp_keep_alive.count.unwrap_or_default(),
    };
    let reload = Box::new(move || reload(&options, &config));
    run::run(
        settings,
        Edges {
            listener,
            keep_alive,
            reload,
        },
    )
}

/// `SIGHUP`: the log settings change at once; for anything else it says that a restart is needed.
/// A configuration with an error changes nothing.
fn reload(options: &Options, running: &ManagerConfig) {
    match load(options) {
        Ok(Loaded { config, notices }) => {
            log_notices(&notices);
            logging::set_level(config.log.level);
            logging::set_target(config.log.target);
            logging::set_quiet(config.log.quiet);
            if (ManagerConfig {
                log: running.log,
                ..config
            }) != *running
            {
                log::warn!("Only the log settings were reloaded; the others need a restart");
            }
            log::info!("Reloaded the configuration");
        }
        Err(error) => log::error!("Configuration not reloaded: {error}"),
    }
}
