//! The manager's loop: one inbox, one state, and the actions carried out in order.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::{fd::AsRawFd, unix::net::UnixStream},
    process::ExitCode,
    rc::Rc,
};

use smol::{LocalExecutor, channel};

use super::{
    api,
    job_ids::JobIds,
    peers,
    private::{self, Connections},
    state::{
        Settings, State,
        event::{Action, Client, Event, PeerId, PrivateId, QueueHighWater, ToPeer},
    },
};
use crate::{
    bus::{Body, Message, message::BodyCheck, names},
    daemon::{
        self, Alarm, Notify, Recorder, Signal,
        bus::{self, Bus, BusEvent},
        clock, signals,
    },
    limits, logging,
    reactor::{self, Async},
    wire::{
        address,
        inbox::Inbox,
        link::{Closed, Link, LinkSettings, Received, Role, Stream},
        listen::{Accepted, Listener, Origin},
        tcp::{self, KeepAlive},
    },
};

/// What reaches the loop, before it is known what it means.
enum Incoming {
    BusConnected(io::Result<Stream>),
    Bus(Received),
    Accepted(Accepted),
    AcceptFailed(io::Error),
    Peer(PeerId, Received),
    PrivateAccepted(io::Result<Async<UnixStream>>),
    Private(PrivateId, Received),
    Alarm,
    Signal(Signal),
}

/// What the loop needs beside the settings of the state.
pub struct Edges {
    /// Where agents connect.
    pub listeners: Vec<Listener>,
    /// Keepalive of their connections.
    pub keep_alive: KeepAlive,
    /// Where clients connect without a bus.
    pub private: Option<private::Socket>,
    /// Reads the configuration again when asked to (`SIGHUP`); `None` if it has an error.
    pub reload: Box<dyn FnMut() -> Option<Settings>>,
}

/// Runs a manager until it is told to stop. Returns the exit status of the process.
#[must_use]
pub fn run(settings: Settings, edges: Edges) -> ExitCode {
    let executor = Rc::new(LocalExecutor::new());
    match Loop::new(settings, edges, Rc::clone(&executor)) {
        Ok(mut manager) => reactor::block_on(&executor, manager.run()),
        Err(error) => {
            log::error!("Failed to watch for signals: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Loop {
    executor: Rc<LocalExecutor<'static>>,
    inbox: Inbox<Incoming>,
    state: State,
    actions: Vec<Action>,
    bus: Bus,
    /// Clients without a bus.
    private: Connections,
    peers: BTreeMap<PeerId, Link>,
    /// Peers to which something was sent in this turn.
    to_flush: BTreeSet<PeerId>,
    next_peer: PeerId,
    keep_alive: KeepAlive,
    /// Each accepted connection that the loop takes lets the next one be queued.
    accepted: channel::Receiver<()>,
    job_ids: JobIds,
    alarm: Alarm,
    notify: Notify,
    /// For `systemctl status`, at the end of the turn: a fleet that registers changes it often.
    status: Option<String>,
    recorder: Recorder,
    /// The most that waited so far, and what of that the state knows.
    queues: QueueHighWater,
    told_queues: QueueHighWater,
    reload: Box<dyn FnMut() -> Option<Settings>>,
    exit: Option<ExitCode>,
}

impl Loop {
    fn new(
        settings: Settings,
        edges: Edges,
        executor: Rc<LocalExecutor<'static>>,
    ) -> io::Result<Self> {
        let inbox = Inbox::new();
        let (gate, accepted) = channel::bounded(1);
        for listener in edges.listeners {
            let accepting = accept_all(listener, inbox.clone(), gate.clone());
            executor.spawn(accepting).detach();
        }
        signals(&executor, &inbox, Incoming::Signal)?;
        let alarm = Alarm::new(&executor, &inbox, || Incoming::Alarm);
        let wrap = Incoming::PrivateAccepted;
        let private = Connections::new(edges.private, &executor, &inbox, wrap);
        let mut recorder = Recorder::from_env();
        // The first line of a recorded run has the settings in place of an event.
        recorder.record(clock::now(), &settings, &[] as &[Action]);
        Ok(Self {
            inbox,
            state: State::new(settings),
            actions: Vec::new(),
            bus: Bus::new(vec![names::MANAGER_BUS_NAME]),
            private,
            peers: BTreeMap::new(),
            to_flush: BTreeSet::new(),
            next_peer: 1,
            keep_alive: edges.keep_alive,
            accepted,
            job_ids: JobIds::default(),
            alarm,
            notify: Notify,
            status: None,
            recorder,
            queues: QueueHighWater::default(),
            told_queues: QueueHighWater::default(),
            reload: edges.reload,
            exit: None,
            executor,
        })
    }

    async fn run(&mut self) -> ExitCode {
        let last_job_id = self.job_ids.read();
        self.handle(Event::Started { last_job_id });
        self.tell_log_settings();
        loop {
            self.finish_turn();
            if let Some(exit) = self.exit {
                self.notify.stopping();
                return exit;
            }
            let first = self.inbox.next().await;
            let waiting = u64::try_from(self.inbox.len() + 1).unwrap_or(u64::MAX);
            self.queues.events = self.queues.events.max(waiting);
            self.take(first);
            for _ in 1..limits::EVENTS_PER_TURN {
                match self.inbox.try_next() {
                    Some(incoming) => self.take(incoming),
                    None => break,
                }
            }
        }
    }

    /// Sends what was queued in this turn: one write for each connection, however many messages.
    /// What happened is recorded first, so that a recording never lacks what others have seen.
    fn finish_turn(&mut self) {
        self.recorder.flush();
        if let Some(status) = self.status.take() {
            self.notify.status(&status);
        }
        while let Some(event) = self.bus.flush() {
            self.handle_bus_event(event);
        }
        self.private.flush();
        self.queues.bus_bytes = self.queues.bus_bytes.max(self.bus.queued());
        for peer in std::mem::take(&mut self.to_flush) {
            if let Some(link) = self.peers.get(&peer) {
                link.flush();
                let queued = u64::try_from(link.queued()).unwrap_or(u64::MAX);
                self.queues.agent_bytes = self.queues.agent_bytes.max(queued);
            }
        }
        self.alarm.set(self.state.next_deadline());
    }

    /// Finds out what something that came in means, and hands it to the state.
    fn take(&mut self, incoming: Incoming) {
        let event = match incoming {
            Incoming::BusConnected(stream) => {
                let (executor, inbox) = (&self.executor, &self.inbox);
                let event = self.bus.connected(stream, executor, inbox, Incoming::Bus);
                event.and_then(|event| self.bus_event(event))
            }
            Incoming::Bus(received) => {
                let event = self.bus.received(received);
                event.and_then(|event| self.bus_event(event))
            }
            Incoming::Accepted(accepted) => self.accepted(accepted),
            Incoming::PrivateAccepted(Ok(stream)) => {
                let (executor, inbox) = (&self.executor, &self.inbox);
                self.private
                    .accepted(stream, executor, inbox, Incoming::Private)
            }
            Incoming::Private(client, received) => self.private.received(client, received),
            Incoming::AcceptFailed(error) | Incoming::PrivateAccepted(Err(error)) => {
                Some(Event::AcceptFailed {
                    reason: error.to_string(),
                })
            }
            Incoming::Peer(peer, received) => self.peer_received(peer, received),
            Incoming::Alarm => {
                self.tell_queues();
                Some(Event::Deadline)
            }
            Incoming::Signal(Signal::Stop) => Some(Event::Stop),
            Incoming::Signal(Signal::Reload) => {
                self.notify.reloading();
                let settings = (self.reload)();
                self.tell_log_settings();
                if let Some(settings) = settings {
                    self.handle(Event::Reload(settings));
                }
                self.notify.ready();
                None
            }
        };
        if let Some(event) = event {
            self.handle(event);
        }
    }

    /// With the alarm, because each longest queue so far is soon followed by a longer one.
    fn tell_queues(&mut self) {
        if self.queues != self.told_queues {
            self.told_queues = self.queues;
            self.handle(Event::QueueHighWater(self.queues));
        }
    }

    fn tell_log_settings(&mut self) {
        if let Some(settings) = logging::settings() {
            self.handle(Event::LogSettings {
                level: settings.level,
                target: settings.target.name().to_owned(),
            });
        }
    }

    fn handle(&mut self, event: Event) {
        let now = clock::now();
        let recorded = self.recorder.is_on().then(|| event.clone());
        let mut actions = std::mem::take(&mut self.actions);
        self.state.handle(now, event, &mut actions);
        if let Some(event) = recorded {
            self.recorder.record(now, &event, &actions);
        }
        for action in actions.drain(..) {
            self.perform(action);
        }
        self.actions = actions;
        if let Some(event) = self.bus.overflow() {
            self.handle_bus_event(event);
        }
    }

    fn handle_bus_event(&mut self, event: BusEvent) {
        if let Some(event) = self.bus_event(event) {
            self.handle(event);
        }
    }

    /// What an event of the bus means for the state.
    fn bus_event(&mut self, event: BusEvent) -> Option<Event> {
        Some(match event {
            BusEvent::Attached => Event::BusAttached,
            BusEvent::Lost { reason } => Event::BusLost { reason },
            BusEvent::NameRefused { name, reason } => {
                let name = name.to_owned();
                Event::BusNameRefused { name, reason }
            }
            BusEvent::Congested(is_congested) => Event::BusCongested(is_congested),
            BusEvent::Call(message) => return decode_call(&mut self.bus, message),
            BusEvent::ClientKnown {
                client,
                credentials,
            } => Event::ClientKnown {
                client,
                credentials,
            },
            BusEvent::ClientLeft { client } => Event::ClientLeft { client },
        })
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Reply { call, body } => self.send_to(&call.client, api::reply(&call, body)),
            Action::ReplyError { call, error } => {
                self.send_to(&call.client, api::reply_error(&call, &error));
            }
            Action::ReplyIntrospection {
                call,
                object,
                children,
            } => {
                let answer = api::introspection(&call, &object, &children);
                self.send_to(&call.client, answer);
            }
            Action::Emit(signal) => {
                let message = api::signal(&signal);
                self.private.send_to_all(&message);
                self.bus.send_if_attached(message);
            }
            Action::EmitTo { client, signal } => self.send_to(&client, api::signal(&signal)),
            Action::ClosePrivate(client) => self.private.close(client),
            Action::WatchClient(client) => self.bus.watch(client),
            Action::UnwatchClient(client) => self.bus.unwatch(&client),
            Action::LookUpClient(client) => self.bus.look_up(client),
            Action::AttachBus => {
                let stream = bus::connect(&address::system_bus());
                self.inbox.push(Incoming::BusConnected(stream));
            }
            Action::Send {
                peer,
                serial,
                message,
            } => self.send(peer, serial, message),
            Action::Admit(peer) => {
                if let Some(link) = self.peers.get(&peer) {
                    link.set_max_message(limits::MAX_MESSAGE);
                    link.set_max_queued(limits::MAX_QUEUED_TO_PEER);
                }
            }
            Action::Close(peer) => {
                if let Some(link) = self.peers.remove(&peer) {
                    link.close();
                }
            }
            Action::KeepJobIds(mark) => self.job_ids.keep(mark),
            Action::Ready => self.notify.ready(),
            Action::Status(status) => self.status = Some(status),
            Action::Watchdog => self.notify.watchdog(),
            Action::SetLogLevel(level) => logging::set_level(level),
            Action::Log(level, text) => log::log!(level.into(), "{text}"),
            Action::Exit { status } => self.exit = Some(ExitCode::from(status)),
        }
    }

    fn send_to(&mut self, client: &Client, message: Message) {
        match client {
            Client::Bus(name) => self.bus.send_if_attached(message.to(name)),
            Client::Private(client) => self.private.send(*client, message),
        }
    }

    fn send(&mut self, peer: PeerId, serial: u32, message: ToPeer) {
        if let Some(link) = self.peers.get(&peer) {
            link.send(&peers::encode(serial, message));
            self.to_flush.insert(peer);
        }
    }

    fn accepted(&mut self, Accepted { stream, origin }: Accepted) -> Option<Event> {
        // The acceptors can not be gone: they never end.
        let _ = self.accepted.try_recv();
        if let Stream::Tcp(stream) = &stream
            && let Err(error) = tcp::tune(stream.get_ref(), &self.keep_alive)
        {
            // The peer has reset the connection already.
            log::debug!("Connection from {origin}: {error}");
            return None;
        }
        let address = match origin {
            Origin::Host(address) => address.ip().to_canonical().to_string(),
            Origin::User(0) => String::new(),
            Origin::User(_) => {
                log::warn!("Connection from {origin} refused: agents run as root");
                return None;
            }
        };
        let peer = self.next_peer;
        self.next_peer += 1;
        let fd = stream.as_raw_fd();
        let settings = LinkSettings {
            max_message: limits::MAX_UNREGISTERED_MESSAGE,
            max_queued: Some(limits::MAX_QUEUED_TO_UNREGISTERED),
            body_check: BodyCheck::Full,
        };
        let wrap = move |received| Incoming::Peer(peer, received);
        let link = Link::open(
            &self.executor,
            stream,
            Role::Server,
            settings,
            &self.inbox,
            wrap,
        );
        self.peers.insert(peer, link);
        Some(Event::PeerConnected { peer, address, fd })
    }

    fn peer_received(&mut self, peer: PeerId, received: Received) -> Option<Event> {
        match received {
            Received::Ready => None,
            Received::Message(message) => Some(Event::PeerMessage {
                peer,
                message: peers::decode(message),
            }),
            Received::Closed(reason) => {
                self.peers.remove(&peer);
                Some(peer_lost(peer, &reason))
            }
        }
    }
}

/// A connection ended by itself, or because the peer broke a rule.
fn peer_lost(peer: PeerId, reason: &Closed) -> Event {
    let is_fault = match reason {
        Closed::ByPeer | Closed::Io(_) => false,
        Closed::Handshake(_) | Closed::BadMessage(_) | Closed::QueueFull { .. } => true,
    };
    let reason = reason.to_string();
    if is_fault {
        Event::PeerDropped { peer, reason }
    } else {
        Event::PeerLost { peer, reason }
    }
}

/// A client's call becomes an event; what needs no state is answered here.
fn decode_call(bus: &mut Bus, message: Message) -> Option<Event> {
    let client = Client::on_bus(&message.sender);
    match api::decode(client, message) {
        api::Incoming::Event(event) => Some(event),
        api::Incoming::MachineId(call) => {
            let id = daemon::machine_id();
            let answer = api::reply(&call, Body::of(&(id.as_str(),)));
            if let Client::Bus(name) = &call.client {
                bus.send_if_attached(answer.to(name));
            }
            None
        }
        api::Incoming::NotACall => None,
    }
}

/// Accepts connections for ever. Of all listeners not more than one and of each one more wait for
/// the loop, so that a flood of them does not grow the inbox.
async fn accept_all(listener: Listener, inbox: Inbox<Incoming>, gate: channel::Sender<()>) {
    loop {
        match listener.accept().await {
            Ok(accepted) => {
                inbox.push(Incoming::Accepted(accepted));
                if gate.send(()).await.is_err() {
                    return;
                }
            }
            Err(error) => inbox.push(Incoming::AcceptFailed(error)),
        }
    }
}
