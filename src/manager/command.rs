//! The command `hirte`: its options, its configuration, its start.

use std::{env, path::PathBuf, process::ExitCode};

use argh::FromArgs;

use super::{
    listeners::{self, Listeners},
    private::{self, OpenError},
    run::{self, Edges},
    state::{NodeSettings, Settings},
};
use crate::{
    cmdline::{self, ValueOptions},
    config::{ConfigError, Loaded, ManagerConfig, ManagerOptions, Roots, load_manager},
    daemon, logging,
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

/// The name of the program, also in the log.
const PROGRAM: &str = "hirte";

/// Runs the manager. Returns the exit status: 0 when it was told to stop or only printed
/// something, 1 when it could not start.
#[must_use]
pub fn main() -> ExitCode {
    let args = env::args_os().skip(1);
    let is_version = |options: &Options| options.version;
    let options = match cmdline::parse_or_exit(PROGRAM, args, &VALUE_OPTIONS, is_version) {
        Ok(options) => options,
        Err(status) => return status,
    };
    let config = match load(&options) {
        Ok(config) => config,
        Err(error) => return cmdline::complain(PROGRAM, &error),
    };
    log::info!("Starting {PROGRAM} {}", env!("CARGO_PKG_VERSION"));
    start(config, options)
}

/// Reads the configuration and sets up the log as it says.
fn load(options: &Options) -> Result<ManagerConfig, ConfigError> {
    let given = ManagerOptions {
        port: options.port.clone(),
    };
    let file = options.config.as_deref();
    let Loaded { config, notices } =
        load_manager(&Roots::default(), file, &given, |name| env::var(name).ok())?;
    logging::init(PROGRAM, config.log);
    for notice in notices {
        log::warn!("{notice}");
    }
    Ok(config)
}

fn start(config: ManagerConfig, options: Options) -> ExitCode {
    // Far more than a fleet needs; without it the soft limit of 1024 would be the bound.
    let descriptors = daemon::raise_descriptor_limit();
    log::debug!("At most {descriptors} descriptors");
    let Listeners { sockets, file } = match listeners::open(&config) {
        Ok(listeners) => listeners,
        Err(error) => {
            log::error!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let private = match private::Socket::open(&super::runtime_folder()) {
        Ok(socket) => Some(socket),
        Err(error @ OpenError::Taken(_)) => {
            log::error!("{error}");
            return ExitCode::FAILURE;
        }
        Err(error @ OpenError::Io(..)) => {
            log::warn!("No private socket, clients need the bus: {error}");
            None
        }
    };
    let settings = settings_of(&config);
    let keep_alive = config.tcp_keep_alive;
    let reload = Box::new(move || reload(&options, &config));
    let status = run::run(
        settings,
        Edges {
            listeners: sockets,
            keep_alive,
            private,
            reload,
        },
    );
    drop(file);
    status
}

fn settings_of(config: &ManagerConfig) -> Settings {
    let allowed = config.allowed_nodes().into_iter();
    let nodes = allowed.map(|(name, section)| NodeSettings {
        name: name.to_owned(),
        may_depend_on: section
            .into_iter()
            .flat_map(|section| section.allow_dependencies_on.iter().cloned())
            .collect(),
    });
    Settings {
        nodes: nodes.collect(),
        silence_limit: config.node_heartbeat_threshold.unwrap_or_default(),
        heartbeat_interval: config.heartbeat_interval,
    }
}

/// `SIGHUP`: the log settings change here, and what the state decides by is handed back. What needs
/// a restart is named. A configuration with an error changes nothing.
fn reload(options: &Options, running: &ManagerConfig) -> Option<Settings> {
    match load(options) {
        Ok(config) => {
            let keys = running.keys_for_a_restart(&config);
            if !keys.is_empty() {
                let keys = keys.join(", ");
                log::warn!("Not reloaded, as it needs a restart of {PROGRAM}: {keys}");
            }
            log::info!("Reloaded the configuration");
            Some(settings_of(&config))
        }
        Err(error) => {
            log::error!("Configuration not reloaded: {error}");
            None
        }
    }
}
