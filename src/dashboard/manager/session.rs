//! One connection to the manager, from its begin to its end.
//!
//! A monitor of all units tells what is and what happens; the rest is asked for when something says
//! that it has changed. Nothing waits for an answer, so that a node that is silent delays nobody.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
};

use log::debug;
use smol::{channel::Receiver, future::or};

use super::{JobRequest, Refused, Status};
use crate::{
    bus::{
        Body, Message,
        body::PathRef,
        names::{
            INTROSPECTABLE_INTERFACE, JOB_INTERFACE, JOB_PARENT_PATH, MANAGER_BUS_NAME,
            MANAGER_PATH, MONITOR_INTERFACE, job_path, node_path,
        },
    },
    core::Instant,
    ctl::{
        Error, Subject,
        call::{Answer, Call, Variant, decode, decode_with, properties, property},
        client::{Client, Told, rule},
        list_jobs,
    },
    dashboard::{
        feed::Feed,
        model::{Job, Model, Time},
    },
    limits,
    reactor::{clock, sleep},
};

/// Lists of units that are asked for at once: each may wait for a node that is silent, and dbus-daemon
/// allows a client to wait for 128 replies.
const LISTINGS: usize = limits::WINDOW / 4;
/// Kinds of units that people start and stop.
const STARTABLE: [&str; 5] = ["path", "service", "socket", "target", "timer"];
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
        let started = |asked: &&Asked| matches!(asked, Asked::Start(_));
        let waiting = self.waiting.values().filter(started).count()
            + self
                .queue
                .iter()
                .map(|(_, asked)| asked)
                .filter(started)
                .count();
        if waiting >= limits::MAX_HTTP_JOBS {
            request.answer(Err(Refused::Late));
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
            Told::Signal(message) => self.take_signal(&message),
            Told::Answer(serial, answer) => {
                let Some(asked) = self.waiting.remove(&serial) else {
                    return Ok(());
                };
                if self.waiting.len() < limits::WINDOW
                    && let Some((call, asked)) = self.queue.pop_front()
                {
                    self.ask(call, asked);
                }
                self.take_answer(asked, answer)
            }
        }
    }

    fn take_signal(&mut self, message: &Message) -> Result<(), Error> {
        let body = &message.body;
        if message.path == self.monitor {
            return self.take_unit(&message.member, body);
        }
        match message.member.as_str() {
            "JobNew" if message.path == MANAGER_PATH => {
                let (id, PathRef(_)) = decode("JobNew", body)?;
                self.ask_job(id);
            }
            "JobRemoved" if message.path == MANAGER_PATH => {
                type Removed<'b> = (u32, PathRef<'b>, &'b str, &'b str, &'b str);
                let (id, _, node, unit, result): Removed<'_> = decode("JobRemoved", body)?;
                self.feed
                    .change(|model| model.job_ended(millis(), id, (node, unit), result));
            }
            "NodeConnectionStateChanged" if message.path == MANAGER_PATH => {
                let (node, state): (&str, &str) = decode("NodeConnectionStateChanged", body)?;
                let is_online = state == "online";
                self.feed
                    .change(|model| model.node_connection(millis(), node, is_online));
                self.ask_node(node);
            }
            // Of the properties of the manager only the nodes concern the page, and those of a job
            // are few.
            "PropertiesChanged" if message.path == MANAGER_PATH => {
                self.ask(Call::manager("ListNodes", &()), Asked::Nodes);
            }
            "PropertiesChanged" => {
                let id = message.path.strip_prefix(JOB_PARENT_PATH);
                let id = id.and_then(|id| id.strip_prefix('/')?.parse().ok());
                if let Some(id) = id {
                    self.job_changed(id, body)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn job_changed(&mut self, id: u32, body: &Body) -> Result<(), Error> {
        type Changed<'b> = (&'b str, BTreeMap<&'b str, Variant<'b>>);
        let (_, changed): Changed<'_> =
            decode_with("PropertiesChanged", body, "sa{sv}as", |reader| {
                Ok((reader.str()?, Variant::read_all(reader)?))
            })?;
        if let Ok(state) = property::<&str>(&changed, "State") {
            self.feed.change(|model| model.job_state(id, state));
        }
        Ok(())
    }

    fn take_unit(&mut self, member: &str, body: &Body) -> Result<(), Error> {
        match member {
            "UnitNew" => {
                let (node, unit, _): (&str, &str, &str) = decode("UnitNew", body)?;
                self.feed.change(|model| model.unit_new(node, unit));
                if unit != ALL {
                    self.list_later(node);
                } else if self.shows_installed {
                    // Told first of a node.
                    let call = Call::node(&node_path(node), "ListUnitFiles", &());
                    self.ask(call, Asked::Files(node.to_owned()));
                }
            }
            "UnitStateChanged" => {
                type State<'b> = (&'b str, &'b str, &'b str, &'b str, &'b str);
                let (node, unit, active, sub, reason): State<'_> =
                    decode("UnitStateChanged", body)?;
                let at = (reason == "real").then(millis);
                self.feed
                    .change(|model| model.unit_state((node, unit), active, sub, at));
            }
            "UnitRemoved" => {
                let (node, unit, _): (&str, &str, &str) = decode("UnitRemoved", body)?;
                self.feed.change(|model| model.unit_removed(node, unit));
            }
            _ => {}
        }
        Ok(())
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

    fn take_answer(&mut self, asked: Asked, answer: Answer) -> Result<(), Error> {
        match (asked, answer) {
            (Asked::Nodes, Ok(body)) => self.take_nodes(&body),
            (Asked::Node(name), Ok(body)) => self.take_node(&name, &body),
            (Asked::Jobs, Ok(body)) => {
                let (description,): (&str,) = decode("Introspect", &body)?;
                for id in list_jobs::children(description) {
                    self.ask_job(id);
                }
                Ok(())
            }
            (Asked::Job(id), Ok(body)) => self.take_job(id, &body),
            (Asked::Units(node), answer) => {
                self.listing.remove(&node);
                match answer {
                    Ok(body) => self.take_units(&node, &body),
                    // It is asked again when it has a unit that is new.
                    Err(refusal) => {
                        debug!("{}", Error::from_refusal(refusal, Subject::Node(&node)));
                        Ok(())
                    }
                }
            }
            (Asked::Files(node), Ok(body)) => self.take_files(&node, &body),
            (Asked::Start(request), answer) => {
                request.answer(accepted(&request, answer));
                Ok(())
            }
            (Asked::Nodes | Asked::Subscription, Err(refusal)) => {
                Err(Error::from_refusal(refusal, Subject::Fleet))
            }
            // The monitor tells; or a node or a job is gone meanwhile, or there are no jobs.
            (Asked::Subscription, Ok(_))
            | (Asked::Node(_) | Asked::Files(_) | Asked::Jobs | Asked::Job(_), Err(_)) => Ok(()),
        }
    }

    fn take_nodes(&mut self, body: &Body) -> Result<(), Error> {
        let (listed,): (Vec<(&str, PathRef<'_>, &str)>,) = decode("ListNodes", body)?;
        let nodes: Vec<(&str, bool)> = listed
            .iter()
            .map(|(name, _, state)| (*name, *state == "online"))
            .collect();
        self.feed.change(|model| model.nodes_listed(&nodes));
        for (name, _) in nodes {
            self.ask_node(name);
        }
        Ok(())
    }

    fn take_node(&mut self, name: &str, body: &Body) -> Result<(), Error> {
        let properties = properties("GetAll", body)?;
        let ip = property::<&str>(&properties, "PeerIp")?;
        let seen_s = property::<u64>(&properties, "LastSeenTimestamp")?;
        let ip = Some(ip).filter(|ip| !ip.is_empty());
        let seen = Some(seen_s.saturating_mul(1000)).filter(|seen| *seen != 0);
        self.feed.change(|model| model.node_details(name, ip, seen));
        Ok(())
    }

    fn take_job(&mut self, id: u32, body: &Body) -> Result<(), Error> {
        let properties = properties("GetAll", body)?;
        let text = |name| property::<&str>(&properties, name).map(str::to_owned);
        let job = Job {
            id,
            node: text("Node")?,
            unit: text("Unit")?,
            kind: text("JobType")?,
            state: text("State")?,
        };
        self.feed.change(|model| model.job_told(job));
        Ok(())
    }

    fn take_files(&mut self, node: &str, body: &Body) -> Result<(), Error> {
        let (files,): (Vec<(&str, &str)>,) = decode("ListUnitFiles", body)?;
        let units = files
            .iter()
            .filter_map(|(path, state)| startable(path, state));
        let units = units.collect();
        self.feed.change(|model| model.units_installed(node, units));
        Ok(())
    }

    fn take_units(&mut self, node: &str, body: &Body) -> Result<(), Error> {
        type Listed<'b> = (
            &'b str,
            &'b str,
            &'b str,
            &'b str,
            &'b str,
            &'b str,
            PathRef<'b>,
            u32,
            &'b str,
            PathRef<'b>,
        );
        let (units,): (Vec<Listed<'_>>,) = decode("ListUnits", body)?;
        self.feed.change(|model| {
            for (name, description, load, ..) in units {
                model.unit_details(node, name, description, load);
            }
        });
        Ok(())
    }
}

/// The unit of a file that can be started as it is.
fn startable(path: &str, state: &str) -> Option<String> {
    let name = path.rsplit('/').next()?;
    let (stem, kind) = name.rsplit_once('.')?;
    let is_own = !["alias", "bad", "generated", "transient"].contains(&state);
    let is_useful = is_own && !state.starts_with("masked") && !stem.ends_with('@');
    (is_useful && STARTABLE.contains(&kind)).then(|| name.to_owned())
}

/// The number of the job that was accepted.
fn accepted(request: &JobRequest, answer: Answer) -> Result<u32, Refused> {
    let refused = |error: Error| Refused::ByManager(error.to_string());
    let subject = Subject::Node(&request.node);
    let body = answer.map_err(|refusal| refused(Error::from_refusal(refusal, subject)))?;
    let method = request.kind.method();
    let (PathRef(path),) = decode(method, &body).map_err(refused)?;
    let id = path.rsplit('/').next().and_then(|id| id.parse().ok());
    id.ok_or_else(|| {
        refused(Error::Malformed {
            member: method,
            reason: format!("'{path}' is no job"),
        })
    })
}

fn millis() -> Time {
    clock::now().realtime_us / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_that_can_be_started_are_told_from_others() {
        for (path, state, unit) in [
            (
                "/usr/lib/systemd/system/a.service",
                "disabled",
                Some("a.service"),
            ),
            ("/etc/systemd/system/b.timer", "enabled", Some("b.timer")),
            ("/usr/lib/systemd/system/c@.service", "static", None),
            (
                "/usr/lib/systemd/system/c@1.service",
                "static",
                Some("c@1.service"),
            ),
            ("/etc/systemd/system/d.service", "masked", None),
            ("/run/systemd/system/e.service", "masked-runtime", None),
            ("/run/systemd/generator/f.mount", "generated", None),
            ("/usr/lib/systemd/system/dbus-org.g.service", "alias", None),
            ("/usr/lib/systemd/system/h.slice", "static", None),
        ] {
            assert_eq!(startable(path, state).as_deref(), unit, "{path}");
        }
    }
}
