//! The machine of the manager, and its bus.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use hirte::{
    core::{Credentials, Instant},
    manager::{
        peers,
        state::{
            Settings,
            event::{Access, Action, Client, Event, PeerId, PrivateId},
        },
    },
};

use super::{
    mutant::Subject,
    network::{End, Item},
    replay::Turn,
    views::client_uid,
    world::{Happening, World, reading},
};

/// Private connections that a manager has.
const PRIVATE_CLIENTS: usize = 4;

/// The machine of the manager.
pub struct ManagerHost {
    pub subject: Option<Subject>,
    /// Those with which it was started.
    pub settings: Settings,
    /// Which run of the manager this is.
    pub run: u32,
    pub is_frozen: bool,
    pub waiting: VecDeque<Event>,
    pub kept_id: u32,
    pub slept: Duration,
    /// How long it had slept at its last event.
    pub noticed_sleep: Duration,
    pub turns: Vec<Turn<Event, Action>>,
    /// Open private connections, and the last number of one.
    pub privates: Vec<PrivateId>,
    pub last_private: PrivateId,
}

impl ManagerHost {
    pub fn new(settings: Settings) -> Self {
        Self {
            subject: None,
            settings,
            run: 0,
            is_frozen: false,
            waiting: VecDeque::new(),
            kept_id: 0,
            slept: Duration::ZERO,
            noticed_sleep: Duration::ZERO,
            turns: Vec::new(),
            privates: Vec::new(),
            last_private: 0,
        }
    }
}

/// The bus of the manager, with its clients.
pub struct Bus {
    pub is_up: bool,
    pub is_attached: bool,
    pub last_serial: u32,
    pub clients_left_until: Instant,
    /// Names of the clients. A name is never used again.
    pub clients: Vec<String>,
    /// Those of which the manager wants to know when they leave.
    pub watched: BTreeSet<String>,
}

impl Bus {
    pub fn new() -> Self {
        Self {
            is_up: true,
            is_attached: false,
            last_serial: 0,
            clients_left_until: Instant::default(),
            clients: (0..12).map(|number| format!(":1.{number}")).collect(),
            watched: BTreeSet::new(),
        }
    }
}

impl World {
    pub const fn last_job_id(&self) -> u32 {
        self.checker.last_id()
    }

    pub fn start_manager(&mut self) {
        if self.manager.subject.is_some() {
            return;
        }
        self.manager.run += 1;
        self.manager.turns.clear();
        self.manager.settings = self.settings.clone();
        self.checker.proxies.configure(&self.settings);
        self.manager.subject = Some(Subject::new(self.settings.clone(), self.mutant));
        let last_job_id = self.manager.kept_id;
        self.manager_handles(Event::Started { last_job_id });
        for _ in 0..PRIVATE_CLIENTS {
            self.private_connects();
        }
    }

    /// The process of the manager is gone: the kernel closes its connections.
    pub fn manager_ends(&mut self) {
        self.manager.subject = None;
        self.manager.run += 1;
        self.manager.waiting.clear();
        self.manager.privates.clear();
        self.bus.is_attached = false;
        self.bus.watched.clear();
        self.checker.manager_gone();
        let open: Vec<PeerId> = self.connections.keys().copied().collect();
        for peer in open {
            if self.connections[&peer].manager_end.is_open {
                self.close_manager_end(peer);
            }
        }
    }

    pub fn thaw_manager(&mut self) {
        self.manager.is_frozen = false;
        self.checker.excuse_silence(self.now);
        if self.manager_deadline().is_some_and(|at| at <= self.now) && self.prng.percent(50) {
            self.manager_handles(Event::Deadline);
        }
        while let Some(event) = self.manager.waiting.pop_front() {
            self.manager_handles(event);
        }
    }

    /// The manager handles an event, now or when it runs again.
    pub fn manager_handles(&mut self, event: Event) {
        if self.manager.is_frozen {
            self.manager.waiting.push_back(event);
            return;
        }
        let Some(subject) = &mut self.manager.subject else {
            return;
        };
        self.events += 1;
        if self.manager.noticed_sleep != self.manager.slept {
            self.manager.noticed_sleep = self.manager.slept;
            self.checker.excuse_silence(self.now);
        }
        let now = reading(self.now, self.manager.slept);
        let mut actions = Vec::new();
        subject.handle(now, event.clone(), &mut actions);
        let next_deadline = subject.next_deadline();
        let verdict = self
            .checker
            .observe(self.now, &event, &actions, next_deadline);
        if let Err(violation) = verdict {
            self.violation.get_or_insert(violation);
        }
        self.manager.turns.push((now, event, actions.clone()));
        for action in actions {
            self.manager_acts(action);
        }
    }

    fn manager_acts(&mut self, action: Action) {
        let run = self.manager.run;
        match action {
            Action::Send {
                peer,
                serial,
                message,
            } => {
                let message = Box::new(peers::encode(serial, message));
                self.travel(peer, End::Far, Item::Message(message));
            }
            Action::Close(peer) => self.close_manager_end(peer),
            Action::KeepJobIds(mark) => self.manager.kept_id = mark,
            Action::AttachBus => {
                let time = self
                    .prng
                    .time(Duration::from_micros(100), Duration::from_millis(20));
                let event = if self.bus.is_up {
                    self.bus.is_attached = true;
                    Event::BusAttached
                } else {
                    let reason = "No such file or directory".to_owned();
                    Event::BusLost { reason }
                };
                self.after(time, Happening::ToManager(run, event));
            }
            Action::LookUpClient(client) => {
                let time = self
                    .prng
                    .time(Duration::from_micros(100), Duration::from_millis(20));
                let has_left = self.now < self.bus.clients_left_until;
                let uid = client_uid(&Client::on_bus(&client));
                let credentials = (!has_left).then_some(Credentials { uid, pid: 7 });
                let event = Event::ClientKnown {
                    client,
                    credentials,
                };
                self.after(time, Happening::ToManager(run, event));
            }
            Action::WatchClient(client) => {
                if self.bus.clients.contains(&client) {
                    self.bus.watched.insert(client);
                } else {
                    let time = Duration::from_millis(1);
                    self.after(
                        time,
                        Happening::ToManager(run, Event::ClientLeft { client }),
                    );
                }
            }
            Action::UnwatchClient(client) => drop(self.bus.watched.remove(&client)),
            Action::ClosePrivate(client) => self.manager.privates.retain(|open| *open != client),
            Action::Exit { .. } => self.manager_ends(),
            _ => {}
        }
    }

    /// A client connects to the private socket: root, or a member of the group.
    fn private_connects(&mut self) {
        self.manager.last_private += 1;
        let client = self.manager.last_private;
        let uid = client_uid(&Client::Private(client));
        self.manager.privates.push(client);
        self.manager_handles(Event::PrivateConnected {
            client,
            credentials: Credentials { uid, pid: 7 },
            access: Access::of(uid, 0, true),
        });
    }

    /// A private connection ends, and another one begins.
    pub fn private_leaves(&mut self) {
        if self.manager.privates.is_empty() {
            return;
        }
        let at = self.prng.index(self.manager.privates.len());
        let client = self.manager.privates.remove(at);
        let reason = "closed by the other side".to_owned();
        self.manager_handles(Event::PrivateClosed { client, reason });
        self.private_connects();
    }

    /// A client leaves the bus, and another one comes.
    pub fn client_leaves(&mut self) {
        let at = self.prng.index(self.bus.clients.len());
        let number = self.bus.clients.len() * 1000 + usize::try_from(self.queued).unwrap();
        let another = format!(":1.{}", number * 2 + at % 2);
        let client = std::mem::replace(&mut self.bus.clients[at], another);
        if self.bus.watched.contains(&client) {
            let time = self
                .prng
                .time(Duration::from_micros(100), Duration::from_millis(20));
            let event = Event::ClientLeft { client };
            self.after(time, Happening::ToManager(self.manager.run, event));
        }
    }

    /// The bus restarts: whatever it still had to say is lost.
    pub fn bus_lost(&mut self, time: Duration) {
        self.bus.is_up = false;
        self.bus.watched.clear();
        self.after(time, Happening::BusBack);
        self.queue.retain(|_, happening| {
            !matches!(
                happening,
                Happening::ToManager(
                    _,
                    Event::ClientKnown { .. } | Event::ClientLeft { .. } | Event::BusAttached
                )
            )
        });
        if std::mem::take(&mut self.bus.is_attached) {
            let reason = "Connection reset by peer".to_owned();
            self.manager_handles(Event::BusLost { reason });
        }
    }
}
