//! One connection to the manager, from its begin to its end.
//!
//! A monitor of all units tells what is and what happens; the rest is asked for when something says
//! that it has changed. Nothing waits for an answer, so that a node that is silent delays nobody.

mod told;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
};

use smol::{channel::Receiver, future::or};

use super::{JobRequest, Refused, Status};
use crate::{
    bus::{
        Message,
        body::PathRef,
        names::{
            INTROSPECTABLE_INTERFACE, JOB_INTERFACE, JOB_PARENT_PATH, MANAGER_BUS_NAME,
            MANAGER_PATH, MONITOR_INTERFACE, job_path, node_path,
        },
    },
    core::Instant,
    ctl::{
        Error, Subject,
        call::{Call, decode},
        client::{Client, Told, rule},
    },
    dashboard::{
        feed::Feed,
        model::{Model, Time},
    },
    limits,
    reactor::{clock, sleep},
};

/// Lists of units that are asked for at once: each may wait for a node that is silent, and dbus-daemon
/// allows a client to wait for 128 replies.
const LISTINGS: usize = limits::WINDOW / 4;
/// What stands for all nodes or all units.
const ALL: &str = "*";

/// What an answer is for.
enum Asked {
    Nodes,
    Node(String),
    Jobs,
    Job(u32),
    Units(String),
    Files(String),
    Start(JobRequest),
    Subscription,
}

pub(super) struct Session {
    client: Client,
    feed: Feed,
    status: Rc<Status>,
    /// Whether units that are not loaded are shown, for people to start them.
    shows_installed: bool,
    monitor: String,
    /// Who alone may tell it: on a bus anyone can send us signals.
    sender: Option<String>,
    waiting: BTreeMap<u32, Asked>,
    /// Calls that wait for others to be answered.
    queue: VecDeque<(Call, Asked)>,
    /// Nodes with units that are new, and when to ask for what they are.
    to_list: BTreeMap<String, Instant>,
    /// Those that are being asked.
    listing: BTreeSet<String>,
    /// When a node's units were asked for.
    listed_at: BTreeMap<String, Instant>,
    /// When the pages are told what has changed.
    tell_at: Option<Instant>,
}

/// What comes next.
enum Next {
    Told(Result<Told, Error>),
    Request(JobRequest),
    Time,
}

impl Session {
    pub fn new(client: Client, feed: Feed, status: Rc<Status>, shows_installed: bool) -> Self {
        Self {
            client,
            feed,
            status,
            shows_installed,
            monitor: String::new(),
            sender: None,
            waiting: BTreeMap::new(),
            queue: VecDeque::new(),
            to_list: BTreeMap::new(),
            listing: BTreeSet::new(),
            listed_at: BTreeMap::new(),
            tell_at: None,
        }
    }

    /// Whether the manager was there.
    pub const fn has_begun(&self) -> bool {
        !self.monitor.is_empty()
    }

    /// Goes on until the connection or the manager is lost.
    pub async fn run(&mut self, jobs: &Receiver<JobRequest>) -> Error {
        let ended = match self.begin().await {
            Ok(()) => self.go_on(jobs).await,
            Err(error) => error,
        };
        for asked in std::mem::take(&mut self.waiting).into_values() {
            if let Asked::Start(request) = asked {
                request.answer(Err(Refused::NoManager(ended.to_string())));
            }
        }
        for (_, asked) in self.queue.drain(..) {
            if let Asked::Start(request) = asked {
                request.answer(Err(Refused::NoManager(ended.to_string())));
            }
        }
        ended
    }

    /// Asks for all signals, then for what is.
    async fn begin(&mut self) -> Result<(), Error> {
        let call = Call::manager("CreateMonitor", &());
        let body = self.client.call(call, Subject::Fleet).await?;
        let (PathRef(monitor),) = decode("CreateMonitor", &body)?;
        let jobs =
            format!("type='signal',sender='{MANAGER_BUS_NAME}',path_namespace='{JOB_PARENT_PATH}'");
        let rules = [rule(MANAGER_PATH, None), rule(monitor, None), jobs];
        self.client.watch(&rules).await?;
        self.sender = self.client.manager_name().await?;
        monitor.clone_into(&mut self.monitor);
        self.feed.change(|model| model.connected(millis()));
        self.ask(Call::manager("ListNodes", &()), Asked::Nodes);
        let all = (ALL, ALL);
        let subscribe = Call::object(monitor, MONITOR_INTERFACE, "Subscribe", &all);
        self.ask(subscribe, Asked::Subscription);
        let jobs = Call::object(JOB_PARENT_PATH, INTROSPECTABLE_INTERFACE, "Introspect", &());
        self.ask(jobs, Asked::Jobs);
        Ok(())
    }

    async fn go_on(&mut self, jobs: &Receiver<JobRequest>) -> Error {
        loop {
            self.arrange();
            let deadline = self.next_time();
            let client = &mut self.client;
            let told = async { Next::Told(client.next_told().await) };
            let request = async {
                match jobs.recv().await {
                    Ok(request) => Next::Request(request),
                    Err(_) => std::future::pending().await,
                }
            };
            let time = async {
                match deadline {
                    Some(deadline) => sleep(deadline.since(clock::monotonic())).await,
                    None => std::future::pending().await,
                }
                Next::Time
            };
            let outcome = match or(or(request, told), time).await {
                Next::Told(Ok(told)) => self.take(told),
                Next::Told(Err(error)) => Err(error),
                Next::Request(request) => {
                    self.order(request);
                    Ok(())
                }
                Next::Time => Ok(()),
            };
            if let Err(error) = outcome {
                return error;
            }
        }
    }

    /// Does what is due.
    fn arrange(&mut self) {
        let now = clock::monotonic();
        let due: Vec<String> = self
            .to_list
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(node, _)| node.clone())
            .collect();
        for node in due {
            if self.listing.len() >= LISTINGS {
                break;
            }
            self.to_list.remove(&node);
            self.listing.insert(node.clone());
            self.listed_at.insert(node.clone(), now);
            let call = Call::node(&node_path(&node), "ListUnits", &());
            self.ask(call, Asked::Units(node));
        }
        if self.feed.read(Model::has_changes) {
            let at = *self.tell_at.get_or_insert(now + limits::DASHBOARD_SETTLE);
            if at <= now {
                self.tell_at = None;
                self.feed.tell(millis());
                let (online, all) = self.feed.read(Model::nodes_online);
                self.status.tell(format!("{online} of {all} nodes online"));
            }
        }
    }

    fn next_time(&self) -> Option<Instant> {
        let listing = if self.listing.len() < LISTINGS {
            self.to_list.values().min().copied()
        } else {
            None
        };
        [self.tell_at, listing].into_iter().flatten().min()
    }

    /// Asks, when there is room for another call.
    fn ask(&mut self, call: Call, asked: Asked) {
        if self.waiting.len() < limits::WINDOW {
            let serial = self.client.post(call);
            self.waiting.insert(serial, asked);
        } else if matches!(asked, Asked::Start(_)) {
            // Somebody waits for it.
            self.queue.push_front((call, asked));
        } else {
            self.queue.push_back((call, asked));
        }
    }

    fn order(&mut self, request: JobRequest) {
        if request.is_given_up() {
            return;
        }
        let started = |asked: &&Asked| matches!(asked, Asked::Start(_));
        let waiting = self.waiting.values().filter(started).count()
            + self
                .queue
                .iter()
                .map(|(_, asked)| asked)
                .filter(started)
                .count();
        if waiting >= limits::MAX_HTTP_JOBS {
            let reason = "Too many requests wait for the manager.".to_owned();
            request.answer(Err(Refused::NoManager(reason)));
            return;
        }
        let arguments = (request.unit.as_str(), "replace");
        let path = node_path(&request.node);
        let call = Call::node(&path, request.kind.method(), &arguments);
        self.ask(call, Asked::Start(request));
    }

    fn take(&mut self, told: Told) -> Result<(), Error> {
        match told {
            Told::ManagerLeft => Err(Error::WatchEnded),
            Told::Signal(message) if self.is_of_manager(&message) => self.take_signal(&message),
            Told::Signal(_) => Ok(()),
            Told::Answer(serial, answer) => {
                let Some(asked) = self.waiting.remove(&serial) else {
                    return Ok(());
                };
                while self.waiting.len() < limits::WINDOW
                    && let Some((call, asked)) = self.queue.pop_front()
                {
                    if !matches!(&asked, Asked::Start(request) if request.is_given_up()) {
                        self.ask(call, asked);
                    }
                }
                self.take_answer(asked, answer)
            }
        }
    }

    fn is_of_manager(&self, message: &Message) -> bool {
        let sender = self.sender.as_ref();
        sender.is_none_or(|sender| message.sender == *sender)
    }

    /// Asks for the node's units after the others that are told with this one, and not too often.
    fn list_later(&mut self, node: &str) {
        if !self.to_list.contains_key(node) {
            let soon = clock::monotonic() + limits::DASHBOARD_SETTLE;
            let again = self.listed_at.get(node).copied().unwrap_or_default();
            let at = soon.max(again + limits::DASHBOARD_LISTING);
            self.to_list.insert(node.to_owned(), at);
        }
    }

    fn ask_node(&mut self, name: &str) {
        let call = Call::node_properties(&node_path(name));
        self.ask(call, Asked::Node(name.to_owned()));
    }

    fn ask_job(&mut self, id: u32) {
        let call = Call::properties(&job_path(id), JOB_INTERFACE);
        self.ask(call, Asked::Job(id));
    }
}

fn millis() -> Time {
    clock::now().realtime_us / 1000
}
