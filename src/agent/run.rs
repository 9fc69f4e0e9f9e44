//! The loop of the agent: takes events from the inbox, lets the state decide, performs its
//! actions.

use std::{env, error::Error, ffi::OsString, io, path::PathBuf, process::ExitCode, rc::Rc};

use log::{error, info, warn};
use smol::LocalExecutor;

use super::{
    api,
    arguments::{Arguments, VALUE_OPTIONS},
    peer,
    socket::{Socket, SocketEvent},
    sources::Sources,
    state::{Action, Event, FromBus, FromSource, Pace, Settings, State},
    systemd,
};
use crate::{
    bus::names,
    cmdline,
    config::{self, AgentConfig, AgentOptions, ConfigError, Loaded, Roots},
    daemon::{
        self, Alarm, Notify, Recorder, Signal,
        bus::{self, Bus, BusEvent},
        clock, signals,
    },
    limits, logging, reactor,
    wire::{
        Inbox, Received, Stream,
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
        Ok(status) => ExitCode::from(status),
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

fn run(source: ConfigSource, is_of_user: bool) -> Result<u8, Box<dyn Error>> {
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
        allow_exec: config.allow_exec,
        is_of_user,
        systemd: systemd.access(),
        machine_id: daemon::machine_id(),
    };
    let edges = Edges {
        place: systemd,
        bus_address: if is_of_user {
            address::user_bus()
        } else {
            address::system_bus()
        },
        endpoints,
        keep_alive: config.tcp_keep_alive,
    };
    let executor = Rc::new(LocalExecutor::new());
    let mut daemon = Daemon::new(&executor, settings, (source, running), edges)?;
    Ok(reactor::block_on(&executor, daemon.run()))
}

/// What comes through the inbox.
enum Input {
    /// A timer or a signal.
    Event(Event),
    /// From the edge to the manager.
    Peer(u32, SocketEvent),
    /// From the edge to systemd.
    Systemd(u32, SocketEvent),
    /// The attempt to reach the message bus has ended.
    BusConnected(io::Result<Stream>),
    /// From the message bus.
    Bus(Received),
}

/// What the agent connects to.
struct Edges {
    place: systemd::Place,
    /// Of the bus on which the agent takes its name.
    bus_address: String,
    /// Of the manager.
    endpoints: Vec<Endpoint>,
    keep_alive: KeepAlive,
}

/// The state with everything around it.
struct Daemon {
    state: State,
    inbox: Inbox<Input>,
    alarm: Alarm,
    recorder: Recorder,
    peer: Socket<Input>,
    systemd: Socket<Input>,
    sources: Sources<Input>,
    bus: Bus,
    executor: Rc<LocalExecutor<'static>>,
    translator: systemd::Translator,
    edges: Edges,
    source: ConfigSource,
    /// The configuration of the start.
    running: AgentConfig,
    /// Whether the service manager knows that the start is complete.
    is_ready: bool,
    /// Exit status of the process, once it is to end.
    exit: Option<u8>,
    /// Empty between turns: what follows from actions while they are performed.
    more: Vec<Action>,
}

impl Daemon {
    fn new(
        executor: &Rc<LocalExecutor<'static>>,
        settings: Settings,
        (source, running): (ConfigSource, AgentConfig),
        edges: Edges,
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
            sources: Sources::new(executor, &inbox, from_source),
            bus: Bus::new(vec![names::AGENT_BUS_NAME]),
            executor: Rc::clone(executor),
            translator: systemd::Translator::new(edges.place.access()),
            inbox,
            edges,
            source,
            running,
            is_ready: false,
            exit: None,
            more: Vec::new(),
        })
    }

    /// One turn after the other: what has come is handled, then what follows from it is done.
    async fn run(&mut self) -> u8 {
        let mut actions = Vec::new();
        self.handle(Event::Start, &mut actions);
        self.tell_log_settings(&mut actions);
        loop {
            self.end_turn(&mut actions);
            if let Some(status) = self.exit {
                return status;
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
            Input::BusConnected(stream) => {
                let (executor, inbox) = (&self.executor, &self.inbox);
                let event = self.bus.connected(stream, executor, inbox, Input::Bus);
                self.bus_reported(event, actions);
            }
            Input::Bus(received) => {
                let event = self.bus.received(received);
                self.bus_reported(event, actions);
            }
        }
    }

    fn bus_reported(&mut self, event: Option<BusEvent>, actions: &mut Vec<Action>) {
        if let Some(event) = event.and_then(from_bus) {
            self.handle(Event::Bus(event), actions);
        }
    }

    fn tell_log_settings(&mut self, actions: &mut Vec<Action>) {
        if let Some(settings) = logging::settings() {
            let event = Event::LogSettings {
                level: settings.level,
                target: settings.target.name().to_owned(),
            };
            self.handle(event, actions);
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
        self.perform_all(actions);
        while let Some(event) = self.bus.flush() {
            self.bus_reported(Some(event), actions);
            self.perform_all(actions);
        }
        self.systemd.flush();
        self.peer.flush();
        self.alarm.set(self.state.next_deadline());
    }

    /// Performs the actions and what follows from them. Both buffers keep their memory for the next
    /// turn.
    fn perform_all(&mut self, actions: &mut Vec<Action>) {
        let mut more = std::mem::take(&mut self.more);
        while !actions.is_empty() {
            for action in actions.drain(..) {
                self.perform(action, &mut more);
            }
            std::mem::swap(actions, &mut more);
        }
        self.more = more;
    }

    /// What follows from an action at once is appended to `more`.
    fn perform(&mut self, action: Action, more: &mut Vec<Action>) {
        match action {
            Action::Log(level, line) => log::log!(level.into(), "{line}"),
            Action::ConnectManager { connection } => {
                let open = peer::open(self.edges.endpoints.clone(), self.edges.keep_alive);
                self.peer.connect(connection, open);
            }
            Action::CloseManager => self.peer.close(),
            Action::SendToManager(message) => self.peer.send(message),
            Action::ConnectSystemd { connection } => {
                let opened = systemd::open(&self.edges.place);
                self.systemd.connect(connection, std::future::ready(opened));
            }
            Action::CloseSystemd => self.systemd.close(),
            Action::SendToSystemd(message) => self.systemd.send(message),
            Action::AttachBus => {
                let stream = bus::connect(&self.edges.bus_address);
                self.inbox.push(Input::BusConnected(stream));
            }
            Action::Reply { call, body } => self.bus.send_if_attached(api::reply(&call, body)),
            Action::ReplyError { call, error } => {
                self.bus.send_if_attached(api::reply_error(&call, &error));
            }
            Action::ReplyIntrospection { call, object } => {
                self.bus
                    .send_if_attached(api::introspection(&call, &object));
            }
            Action::PropertiesChanged(changed) => {
                self.bus.send_if_attached(api::properties_changed(changed));
            }
            Action::WatchClient(client) => self.bus.watch(client),
            Action::UnwatchClient(client) => self.bus.unwatch(&client),
            Action::OpenSource { number } => self.sources.open(number),
            Action::ReadSource { number, bytes } => self.sources.read(number, bytes),
            Action::DrainSource { number } => self.sources.drain(number),
            Action::CloseSource { number } => self.sources.close(number),
            Action::SetManagerAddress(address) => match address::parse(&address) {
                Ok(endpoints) => self.edges.endpoints = endpoints,
                Err(error) => error!("Not switching to manager on {address}: {error}"),
            },
            Action::Ready => {
                self.is_ready = true;
                Notify.ready();
            }
            Action::Status(status) => Notify.status(&status),
            Action::Watchdog => Notify.watchdog(),
            Action::ReloadConfiguration => {
                if let Some(pace) = self.reload() {
                    self.handle(Event::Reloaded(pace), more);
                }
                self.tell_log_settings(more);
            }
            Action::SetLogLevel(level) => logging::set_level(level),
            Action::Exit { status } => {
                Notify.stopping();
                self.exit = Some(status);
            }
        }
    }

    /// The configuration is read from all its sources again. The settings of the log change here, and
    /// what the state decides by is handed back. What needs a restart is named. A configuration with
    /// an error changes nothing.
    fn reload(&self) -> Option<Pace> {
        if self.is_ready {
            Notify.reloading();
        }
        let pace = match self.source.load() {
            Ok(config) => {
                let keys = self.running.keys_for_a_restart(&config);
                if !keys.is_empty() {
                    let keys = keys.join(", ");
                    warn!("Not reloaded, as it needs a restart of {PROGRAM}: {keys}");
                }
                info!("Reloaded the configuration");
                Some(Pace {
                    heartbeat_interval: config.heartbeat_interval,
                    reconnect_interval: config.reconnect_interval,
                    manager_threshold: config.manager_heartbeat_threshold,
                    loud_retries: config.loud_retries,
                    allow_exec: config.allow_exec,
                })
            }
            Err(reason) => {
                error!("Configuration not reloaded: {reason}");
                None
            }
        };
        if self.is_ready {
            Notify.ready();
        }
        pace
    }
}

fn from_source(number: u64, event: FromSource) -> Input {
    Input::Event(Event::Source { number, event })
}

/// What an event of the bus means for the state, if anything.
fn from_bus(event: BusEvent) -> Option<FromBus> {
    Some(match event {
        BusEvent::Attached => FromBus::Attached,
        BusEvent::Lost { reason } => FromBus::Lost(reason),
        BusEvent::NameRefused { name, reason } => {
            let name = name.to_owned();
            FromBus::NameRefused { name, reason }
        }
        BusEvent::Congested(is_congested) => FromBus::Congested(is_congested),
        BusEvent::Call(message) => api::decode(message),
        BusEvent::ClientLeft { client } => FromBus::ClientLeft(client),
        // Nobody is looked up.
        BusEvent::ClientKnown { .. } => return None,
    })
}
