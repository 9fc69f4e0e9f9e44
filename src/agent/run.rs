//! The loop of the agent: takes events from the inbox, lets the state decide, performs its
//! actions.

use std::{env, error::Error, ffi::OsString, path::PathBuf, process::ExitCode, rc::Rc};

use log::{error, info, warn};
use smol::LocalExecutor;

use super::{
    arguments::{Arguments, VALUE_OPTIONS},
    peer,
    socket::{Socket, SocketEvent},
    state::{Action, Event, Settings, State},
    systemd,
};
use crate::{
    cmdline,
    config::{self, AgentConfig, AgentOptions, ConfigError, Loaded, Roots},
    daemon::{self, Alarm, Notify, Recorder, Signal, clock, signals},
    limits, logging, reactor,
    wire::{
        Inbox,
        address::{self, Endpoint},
        tcp::KeepAlive,
    },
};

/// The name of the program, also in the log.
const PROGRAM: &str = "hirte-agent";

/// Runs `hirte-agent` with these arguments, which do not include the program's name, until it is
/// told to end.
#[must_use]
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let is_version = |arguments: &Arguments| arguments.version;
    let arguments = match cmdline::parse_or_exit(PROGRAM, args, &VALUE_OPTIONS, is_version) {
        Ok(arguments) => arguments,
        Err(status) => return status,
    };
    let is_of_user = arguments.user;
    let source = ConfigSource {
        file: arguments.config.clone(),
        options: arguments.into_options(),
    };
    match run(source, is_of_user) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => cmdline::complain(PROGRAM, &error),
    }
}

/// Where the configuration comes from, besides the usual files.
struct ConfigSource {
    file: Option<PathBuf>,
    options: AgentOptions,
}

impl ConfigSource {
    /// Reads the configuration and sets up the log as it says.
    fn load(&self) -> Result<AgentConfig, ConfigError> {
        let Loaded { config, notices } = config::load_agent(
            &Roots::default(),
            self.file.as_deref(),
            &self.options,
            |name| env::var(name).ok(),
        )?;
        logging::init(PROGRAM, config.log);
        for notice in notices {
            warn!("{notice}");
        }
        Ok(config)
    }
}

fn run(source: ConfigSource, is_of_user: bool) -> Result<(), Box<dyn Error>> {
    let config = source.load()?;
    let systemd = if is_of_user {
        systemd::Place::of_user(env::var_os("XDG_RUNTIME_DIR"))?
    } else {
        systemd::Place::of_machine()
    };
    let running = config.clone();
    let manager = config.manager().to_string();
    let endpoints = address::parse(&manager)?;
    info!("Starting {PROGRAM} {}", env!("CARGO_PKG_VERSION"));
    let settings = Settings {
        node: config.node_name,
        manager,
        heartbeat_interval: config.heartbeat_interval,
        reconnect_interval: config.reconnect_interval,
        manager_threshold: config.manager_heartbeat_threshold,
        loud_retries: config.loud_retries,
        systemd: systemd.access(),
        machine_id: daemon::machine_id(),
    };
    let executor = Rc::new(LocalExecutor::new());
    let keep_alive = config.tcp_keep_alive;
    let mut daemon = Daemon::new(
        &executor,
        settings,
        (source, running),
        systemd,
        endpoints,
        keep_alive,
    )?;
    reactor::block_on(&executor, daemon.run());
    Ok(())
}

/// What comes through the inbox.
enum Input {
    /// A timer or a signal.
    Event(Event),
    /// From the edge to the manager.
    Peer(u32, SocketEvent),
    /// From the edge to systemd.
    Systemd(u32, SocketEvent),
}

/// The state with everything around it.
struct Daemon {
    state: State,
    inbox: Inbox<Input>,
    alarm: Alarm,
    recorder: Recorder,
    peer: Socket<Input>,
    systemd: Socket<Input>,
    translator: systemd::Translator,
    place: systemd::Place,
    endpoints: Vec<Endpoint>,
    keep_alive: KeepAlive,
    source: ConfigSource,
    /// The configuration of the start.
    running: AgentConfig,
    /// Whether the service manager knows that the start is complete.
    is_ready: bool,
    has_ended: bool,
}

impl Daemon {
    fn new(
        executor: &Rc<LocalExecutor<'static>>,
        settings: Settings,
        (source, running): (ConfigSource, AgentConfig),
        place: systemd::Place,
        endpoints: Vec<Endpoint>,
        keep_alive: KeepAlive,
    ) -> std::io::Result<Self> {
        let inbox = Inbox::new();
        signals(executor, &inbox, |signal| {
            Input::Event(match signal {
                Signal::Stop => Event::Stop,
                Signal::Reload => Event::Reload,
            })
        })?;
        let mut recorder = Recorder::from_env();
        // The first line of a recorded run has the settings in place of an event.
        recorder.record(clock::now(), &settings, &[] as &[Action]);
        Ok(Self {
            state: State::new(settings),
            alarm: Alarm::new(executor, &inbox, || Input::Event(Event::Alarm)),
            recorder,
            peer: Socket::new(executor, &inbox, Input::Peer, peer::LINK),
            systemd: Socket::new(executor, &inbox, Input::Systemd, systemd::LINK),
            translator: systemd::Translator::new(place.access()),
            inbox,
            place,
            endpoints,
            keep_alive,
            source,
            running,
            is_ready: false,
            has_ended: false,
        })
    }

    /// One turn after the other: what has come is handled, then what follows from it is done.
    async fn run(&mut self) {
        let mut actions = Vec::new();
        self.handle(Event::Start, &mut actions);
        loop {
            self.end_turn(&mut actions);
            if self.has_ended {
                return;
            }
            let input = self.inbox.next().await;
            self.take(input, &mut actions);
            for _ in 1..limits::EVENTS_PER_TURN {
                let Some(input) = self.inbox.try_next() else {
                    break;
                };
                self.take(input, &mut actions);
            }
        }
    }

    fn take(&mut self, input: Input, actions: &mut Vec<Action>) {
        match input {
            Input::Event(event) => self.handle(event, actions),
            Input::Peer(connection, event) => match peer::translate(event) {
                Ok(event) => self.handle(Event::Manager { connection, event }, actions),
                Err(stream) => self.peer.opened(connection, stream),
            },
            Input::Systemd(connection, event) => match self.translator.translate(event) {
                Ok(Some(event)) => self.handle(Event::Systemd { connection, event }, actions),
                Ok(None) => {}
                Err(stream) => self.systemd.opened(connection, stream),
            },
        }
    }

    fn handle(&mut self, event: Event, actions: &mut Vec<Action>) {
        let now = clock::now();
        let first = actions.len();
        if self.recorder.is_on() {
            let recorded = event.clone();
            self.state.handle(now, event, actions);
            self.recorder.record(now, &recorded, &actions[first..]);
        } else {
            self.state.handle(now, event, actions);
        }
    }

    fn end_turn(&mut self, actions: &mut Vec<Action>) {
        self.recorder.flush();
        for action in actions.drain(..) {
            self.perform(action);
        }
        self.systemd.flush();
        self.peer.flush();
        self.alarm.set(self.state.next_deadline());
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Log(level, line) => log::log!(level.into(), "{line}"),
            Action::ConnectManager { connection } => {
                let open = peer::open(self.endpoints.clone(), self.keep_alive);
                self.peer.connect(connection, open);
            }
            Action::CloseManager => self.peer.close(),
            Action::SendToManager(message) => self.peer.send(message),
            Action::ConnectSystemd { connection } => {
                let opened = systemd::open(&self.place);
                self.systemd.connect(connection, std::future::ready(opened));
            }
            Action::CloseSystemd => self.systemd.close(),
            Action::SendToSystemd(message) => self.systemd.send(message),
            Action::Ready => {
                self.is_ready = true;
                Notify.ready();
            }
            Action::Status(status) => Notify.status(&status),
            Action::Watchdog => Notify.watchdog(),
            Action::ReloadLogSettings => self.reload_log_settings(),
            Action::SetLogLevel(level) => logging::set_level(level),
            Action::Exit => {
                Notify.stopping();
                self.has_ended = true;
            }
        }
    }

    /// The settings of the log are read from all their sources again; the others need a restart.
    fn reload_log_settings(&self) {
        if self.is_ready {
            Notify.reloading();
        }
        match self.source.load() {
            Ok(config) => {
                let log = self.running.log;
                if (AgentConfig { log, ..config }) != self.running {
                    warn!("Only the log settings were reloaded; the others need a restart");
                }
                info!("Reloaded the configuration");
            }
            Err(reason) => error!("Configuration not reloaded: {reason}"),
        }
        if self.is_ready {
            Notify.ready();
        }
    }
}
