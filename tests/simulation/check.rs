//! What must hold for a manager whatever happens: judged by its events and actions alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use hirte::{
    bus::{Body, JobKind, ObjectPath, Value, names},
    core::Instant,
    limits,
    manager::state::event::{
        Action, Call, Client, Event, FromPeer, Method, Object, PeerId, Signal, ToPeer,
    },
};

use super::{
    proxies::Proxies,
    views::{Views, client_uid},
};

/// A caller's name and its number of the call.
type CallKey = (Client, u32);

/// What is known of one manager, from what came in and went out.
#[derive(Debug, Default)]
pub struct Checker {
    nodes: Vec<String>,
    calls: BTreeMap<CallKey, OpenCall>,
    deadlines: BTreeSet<(Instant, CallKey)>,
    jobs: BTreeMap<u32, Job>,
    /// The highest id that any run gave, and the mark that is kept for the next run.
    last_id: u32,
    kept_id: u32,
    peers: BTreeMap<PeerId, Peer>,
    /// Nodes that are online as the signals tell, and as the properties tell.
    online: BTreeSet<String>,
    online_by_property: BTreeSet<String>,
    /// The manager's property `Status`, once it was announced.
    fleet: String,
    /// Whether metrics are enabled.
    measures: bool,
    pub metrics: u64,
    lookups: usize,
    pub views: Views,
    pub proxies: Proxies,
    /// Jobs that were announced and ended, over all runs: to see that something was tested.
    pub jobs_ended: u64,
    /// Their results.
    pub results: Vec<String>,
    pub jobs_lost: u64,
    pub calls_answered: u64,
    pub timeouts: u64,
}

#[derive(Debug)]
struct OpenCall {
    deadline: Instant,
    job: Option<u32>,
    asked: (Object, Method),
}

#[derive(Debug)]
struct Job {
    node: String,
    unit: String,
    /// Whether its client still waits for the answer.
    has_caller: bool,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Asked,
    Announced,
    Replied,
}

impl Job {
    /// Whether somebody is to hear of it once more. A job that nobody waits for and that systemd
    /// does not accept just vanishes.
    fn is_owed(&self) -> bool {
        self.has_caller || self.phase != Phase::Asked
    }
}

#[derive(Debug, Default)]
struct Peer {
    node: Option<String>,
    last_serial: u32,
    /// When its last message came, or it was excused for its silence.
    heard_at: Instant,
    /// Calls without an answer, and until when they count.
    waiting: BTreeMap<u32, Instant>,
}

/// A sentence that tells which rule was broken.
pub type Verdict = Result<(), String>;

macro_rules! ensure {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err(format!($($text)+));
        }
    };
}

impl Checker {
    pub fn new(nodes: &[String]) -> Self {
        Self {
            nodes: nodes.to_vec(),
            ..Self::default()
        }
    }

    /// The manager is gone without a word: its clients and agents know that by themselves.
    pub fn manager_gone(&mut self) {
        *self = Self {
            nodes: std::mem::take(&mut self.nodes),
            last_id: self.last_id,
            kept_id: self.kept_id,
            jobs_ended: self.jobs_ended,
            results: std::mem::take(&mut self.results),
            jobs_lost: self.jobs_lost,
            views: self.views.gone(),
            calls_answered: self.calls_answered,
            timeouts: self.timeouts,
            metrics: self.metrics,
            ..Self::default()
        };
    }

    /// The manager itself could not hear anybody until now.
    pub fn excuse_silence(&mut self, now: Instant) {
        for peer in self.peers.values_mut() {
            peer.heard_at = now;
        }
    }

    pub fn is_online(&self, node: &str) -> bool {
        self.online.contains(node)
    }

    pub const fn last_id(&self) -> u32 {
        self.last_id
    }

    /// Judges what the manager did about one event.
    pub fn observe(
        &mut self,
        now: Instant,
        event: &Event,
        actions: &[Action],
        next_deadline: Option<Instant>,
    ) -> Verdict {
        let speaker = self.note_event(now, event);
        if let Event::Call {
            method: Method::SetMetrics { enabled: true },
            ..
        } = event
        {
            // Whether they are disabled again depends on the answer, which need not be asked for.
            self.measures = true;
        }
        for action in actions {
            self.action(now, event, action, speaker.as_deref())?;
        }
        let node_of = |peer| self.peers.get(&peer).and_then(|peer| peer.node.clone());
        self.proxies
            .observe(event, speaker.as_deref(), actions, node_of)?;
        self.after(now, event, next_deadline)
    }

    /// Everything has come to rest: nothing waits any more.
    pub fn at_rest(&self) -> Verdict {
        ensure!(
            self.calls.is_empty(),
            "calls without answer: {:?}",
            self.calls
        );
        let open: Vec<_> = self.jobs.iter().filter(|(_, job)| job.is_owed()).collect();
        ensure!(open.is_empty(), "jobs without end: {open:?}");
        let all = self.nodes.iter().cloned().collect();
        ensure!(self.online == all, "only {:?} are online", self.online);
        ensure!(self.lookups == 0, "{} callers are looked up", self.lookups);
        Ok(())
    }

    /// What the event itself changes. Returns the node that speaks by it.
    fn note_event(&mut self, now: Instant, event: &Event) -> Option<String> {
        self.views.note_event(event);
        match event {
            Event::Call {
                call,
                object,
                method,
            } if call.expects_reply => {
                let deadline = now + limits::REQUEST;
                let open = OpenCall {
                    deadline,
                    job: None,
                    asked: (object.clone(), method.clone()),
                };
                self.deadlines.insert((deadline, key(call)));
                self.calls.insert(key(call), open);
            }
            Event::BusLost { .. } => {
                self.lookups = 0;
                self.forget_calls(Client::is_on_bus);
            }
            Event::PrivateClosed { client, .. } => {
                let gone = Client::Private(*client);
                self.forget_calls(|client| *client == gone);
            }
            Event::ClientKnown { .. } => self.lookups = self.lookups.saturating_sub(1),
            Event::PeerConnected { peer, .. } => {
                let heard_at = now;
                self.peers.insert(
                    *peer,
                    Peer {
                        heard_at,
                        ..Peer::default()
                    },
                );
            }
            Event::PeerLost { peer, .. } => {
                let node = self.peers.remove(peer).and_then(|peer| peer.node);
                return node;
            }
            Event::PeerMessage { peer, message } => {
                let peer = self.peers.get_mut(peer)?;
                peer.heard_at = now;
                if let FromPeer::Return { reply_serial, .. }
                | FromPeer::Error { reply_serial, .. } = message
                {
                    peer.waiting.remove(reply_serial);
                }
                return peer.node.clone();
            }
            _ => {}
        }
        None
    }

    /// These clients have gone, and wait for nothing.
    fn forget_calls(&mut self, is_gone: impl Fn(&Client) -> bool) {
        let calls = std::mem::take(&mut self.calls);
        for (key, call) in calls {
            if !is_gone(&key.0) {
                self.calls.insert(key, call);
                continue;
            }
            self.deadlines.remove(&(call.deadline, key));
            if let Some(job) = call.job.and_then(|id| self.jobs.get_mut(&id)) {
                job.has_caller = false;
            }
        }
    }

    fn action(
        &mut self,
        now: Instant,
        event: &Event,
        action: &Action,
        speaker: Option<&str>,
    ) -> Verdict {
        match action {
            Action::Reply { call, body } => {
                ensure!(
                    body.bytes.len() <= limits::MAX_BUS_BODY,
                    "a reply too large for a bus"
                );
                self.replied(call, Some(body))
            }
            Action::ReplyIntrospection { call, .. } => self.replied(call, Some(&Body::default())),
            Action::ReplyError { call, error } => {
                ensure!(
                    error.message.len() <= limits::MAX_ERROR_TEXT,
                    "an endless error text"
                );
                self.timeouts += u64::from(error.name.ends_with(".Timeout"));
                self.replied(call, None)
            }
            Action::Emit(signal) => self.signal(event, signal, speaker),
            Action::EmitTo { client, signal, .. } => {
                if let Signal::Unit { node, .. } = signal {
                    own(event, speaker, node)?;
                }
                self.views.signalled(Some(client), signal)
            }
            Action::LookUpClient(_) => {
                self.lookups += 1;
                ensure!(
                    self.lookups <= limits::MAX_WAITING_CLIENT_LINES,
                    "too many look-ups"
                );
                Ok(())
            }
            Action::Send {
                peer,
                serial,
                message,
            } => self.sent(now, event, *peer, *serial, message),
            Action::Admit(peer) => self.admitted(event, *peer),
            Action::Close(peer) => {
                ensure!(
                    self.peers.remove(peer).is_some(),
                    "closed {peer}, which is not open"
                );
                Ok(())
            }
            Action::KeepJobIds(mark) => {
                self.kept_id = *mark;
                Ok(())
            }
            Action::Log(_, text) => {
                ensure!(
                    !text.contains(char::is_control),
                    "a forged line of the log: {text:?}"
                );
                Ok(())
            }
            Action::AttachBus
            | Action::ClosePrivate(_)
            | Action::WatchClient(_)
            | Action::UnwatchClient(_)
            | Action::Speak { .. }
            | Action::Ready
            | Action::Status(_)
            | Action::Watchdog
            | Action::SetLogLevel(_)
            | Action::Exit { .. } => Ok(()),
        }
    }

    /// Each call is answered once; that for a job after `JobNew` and before `JobRemoved`.
    fn replied(&mut self, call: &Call, body: Option<&Body>) -> Verdict {
        let Some(open) = self.calls.remove(&key(call)) else {
            return Err(format!("an answer to {call:?}, which waits for none"));
        };
        self.deadlines.remove(&(open.deadline, key(call)));
        self.calls_answered += 1;
        let Some(id) = open.job else {
            return match body {
                Some(body) => self.views.answered(&call.client, &open.asked, body),
                None => Ok(()),
            };
        };
        let Some(job) = self.jobs.get_mut(&id) else {
            return Err(format!("the call for job {id} is answered after its end"));
        };
        job.has_caller = false;
        if let Some(body) = body {
            let path = ObjectPath(names::job_path(id));
            ensure!(
                job.phase == Phase::Announced,
                "job {id} is {:?} at its answer",
                job.phase
            );
            ensure!(
                *body == Body::of(&(path,)),
                "the answer names another job than {id}"
            );
            job.phase = Phase::Replied;
        } else {
            ensure!(
                job.phase == Phase::Asked,
                "job {id} is refused after JobNew"
            );
            self.jobs.remove(&id);
        }
        Ok(())
    }

    fn signal(&mut self, event: &Event, signal: &Signal, speaker: Option<&str>) -> Verdict {
        match signal {
            Signal::JobNew { id } => {
                let Some(job) = self.jobs.get_mut(id) else {
                    return Err(format!("JobNew of job {id}, which nobody asked for"));
                };
                ensure!(job.phase == Phase::Asked, "a second JobNew of job {id}");
                job.phase = Phase::Announced;
                own(event, speaker, &job.node)
            }
            Signal::JobRemoved {
                id,
                node,
                unit,
                result,
            } => {
                let Some(job) = self.jobs.remove(id) else {
                    return Err(format!("JobRemoved of job {id}, which does not exist"));
                };
                ensure!(
                    job.phase != Phase::Asked,
                    "JobRemoved of job {id} before JobNew"
                );
                ensure!(
                    !job.has_caller,
                    "JobRemoved of job {id} before the answer to its call"
                );
                ensure!(
                    (node, unit) == (&job.node, &job.unit),
                    "JobRemoved of job {id} lies"
                );
                ensure!(result.len() <= limits::MAX_NAME, "an endless result");
                self.jobs_ended += 1;
                self.results.push(result.clone());
                self.jobs_lost += u64::from(result == "node-lost");
                own(event, speaker, node)
            }
            Signal::NodeConnectionStateChanged { node, state } => {
                let changed = match state.as_str() {
                    "online" => self.online.insert(node.clone()),
                    _ => self.online.remove(node),
                };
                ensure!(changed, "{node} is {state} once more");
                Ok(())
            }
            Signal::Unit { node, .. } => {
                own(event, speaker, node)?;
                self.views.signalled(None, signal)
            }
            Signal::PeerRemoved { .. } => Err("PeerRemoved is sent to all".to_owned()),
            Signal::StreamData { .. } | Signal::StreamEnd { .. } => {
                Err("a stream is told to all".to_owned())
            }
            Signal::PropertiesChanged { object, changed } => match object {
                Object::Job(id) => {
                    let job = self.jobs.get(id).filter(|job| job.phase != Phase::Asked);
                    let Some(job) = job else {
                        return Err(format!("the state of job {id}, which is not known"));
                    };
                    own(event, speaker, &job.node)
                }
                Object::Node(node) => {
                    let online = ("Status".to_owned(), Value::Str("online".to_owned()));
                    if changed.contains(&online) {
                        self.online_by_property.insert(node.clone());
                    } else {
                        self.online_by_property.remove(node);
                    }
                    Ok(())
                }
                Object::Manager => {
                    for (property, value) in changed {
                        if let ("Status", Value::Str(fleet)) = (property.as_str(), value) {
                            ensure!(*fleet != self.fleet, "the fleet is {fleet} once more");
                            self.fleet.clone_from(fleet);
                        }
                    }
                    Ok(())
                }
                other => Err(format!("properties of {other:?} changed")),
            },
            Signal::AgentJobMetrics {
                node, unit, method, ..
            } => {
                let is_meant = |job: &&Job| (&job.node, &job.unit) == (node, unit);
                let job = self.jobs.values().find(is_meant);
                ensure!(job.is_some(), "{method} of {unit} is timed and has no job");
                self.measured(event, speaker, node)
            }
            Signal::StartUnitJobMetrics { node, id, .. } => {
                ensure!(
                    !self.jobs.contains_key(id),
                    "job {id} is measured before JobRemoved"
                );
                // A start whose times can not be had is told of when the requests for them end.
                let node_speaks = matches!(event, Event::PeerMessage { .. });
                let speaker = speaker.filter(|_| node_speaks).unwrap_or(node);
                self.measured(event, Some(speaker), node)
            }
        }
    }

    fn measured(&mut self, event: &Event, speaker: Option<&str>, node: &str) -> Verdict {
        ensure!(self.measures, "metrics of {node} while they are disabled");
        self.metrics += 1;
        own(event, speaker, node)
    }

    fn sent(
        &mut self,
        now: Instant,
        event: &Event,
        id: PeerId,
        serial: u32,
        message: &ToPeer,
    ) -> Verdict {
        if let Event::Call { call, method, .. } = event {
            ensure!(
                call.client.is_on_bus() || client_uid(&call.client) == 0 || method.only_reads(),
                "{method:?} of a reader makes the manager send {message:?}"
            );
        }
        let Some(peer) = self.peers.get_mut(&id) else {
            return Err(format!("{message:?} is sent to {id}, which is not open"));
        };
        ensure!(
            serial > peer.last_serial,
            "message {serial} follows {}",
            peer.last_serial
        );
        peer.last_serial = serial;
        let ToPeer::Call { method, arguments } = message else {
            return Ok(());
        };
        let Some(node) = peer.node.clone() else {
            return Err(format!(
                "{method} is called on {id}, which has not registered"
            ));
        };
        peer.waiting.retain(|_, until| *until > now);
        peer.waiting.insert(serial, now + limits::REQUEST);
        ensure!(
            peer.waiting.len() <= limits::MAX_REQUESTS_PER_NODE,
            "too many requests to {node}"
        );
        ensure!(
            arguments.bytes.len() <= limits::MAX_REQUEST_BODY,
            "a request too large"
        );
        if method == "StartTransientUnitJob" || JobKind::of_method(method).is_some() {
            return self.job_asked(event, node, arguments);
        }
        Ok(())
    }

    /// Ids are never used again, not even after a crash.
    fn job_asked(&mut self, event: &Event, node: String, arguments: &Body) -> Verdict {
        let (unit, id) = unit_and_id(arguments);
        let Event::Call {
            call,
            object,
            method,
        } = event
        else {
            return Err(format!("job {id} is asked for by {event:?}"));
        };
        ensure!(
            matches!(
                method,
                Method::QueueJob { .. } | Method::StartTransientUnit { .. }
            ),
            "job {id} is asked for by {method:?}"
        );
        ensure!(
            *object == Object::Node(node.clone()),
            "job {id} is asked of {node}"
        );
        ensure!(id > self.last_id, "job {id} follows job {}", self.last_id);
        ensure!(
            id <= self.kept_id,
            "job {id} is above the kept mark {}",
            self.kept_id
        );
        self.last_id = id;
        let on_node = self.jobs.values().filter(|job| job.node == node).count();
        ensure!(
            on_node < limits::MAX_JOBS_PER_NODE,
            "too many jobs of {node}"
        );
        if let Some(open) = self.calls.get_mut(&key(call)) {
            open.job = Some(id);
        }
        let job = Job {
            node,
            unit,
            has_caller: call.expects_reply,
            phase: Phase::Asked,
        };
        self.jobs.insert(id, job);
        Ok(())
    }

    fn admitted(&mut self, event: &Event, id: PeerId) -> Verdict {
        let Event::PeerMessage {
            peer: from,
            message: FromPeer::Register { name, .. },
        } = event
        else {
            return Err(format!("{id} is admitted by {event:?}"));
        };
        ensure!(*from == id, "{from} registers and {id} is admitted");
        ensure!(
            self.nodes.contains(name),
            "a node called {name} is admitted"
        );
        let mut others = self.peers.values();
        let is_taken = others.any(|peer| peer.node.as_ref() == Some(name));
        ensure!(!is_taken, "a second {name} is admitted");
        match self.peers.get_mut(&id) {
            Some(peer) if peer.node.is_none() => peer.node = Some(name.clone()),
            _ => {
                return Err(format!(
                    "{id} is admitted, which is {:?}",
                    self.peers.get(&id)
                ));
            }
        }
        Ok(())
    }

    fn after(&self, now: Instant, event: &Event, next_deadline: Option<Instant>) -> Verdict {
        let is_waiting = next_deadline.is_none_or(|at| at > now);
        if *event == Event::Deadline {
            ensure!(
                is_waiting,
                "the deadline that is over is still the next one"
            );
        }
        if let Some((deadline, call)) = self.deadlines.first()
            && is_waiting
        {
            ensure!(
                *deadline > now,
                "{call:?} has no answer within the deadline"
            );
        }
        for peer in self
            .peers
            .values()
            .filter(|peer| is_waiting && peer.node.is_some())
        {
            let silence = now.since(peer.heard_at);
            let (node, limit) = (&peer.node, Duration::from_secs(6));
            ensure!(
                silence < limit,
                "{node:?} is silent for {silence:?} and online"
            );
        }
        let of_peers = |peer: &Peer| peer.node.clone();
        let connected: BTreeSet<String> = self.peers.values().filter_map(of_peers).collect();
        ensure!(
            connected == self.online,
            "{connected:?} are connected, {:?} online",
            self.online
        );
        ensure!(
            connected == self.online_by_property,
            "Status tells something else"
        );
        let fleet = match connected.len() {
            0 => "down",
            some if some < self.nodes.len() => "degraded",
            _ => "up",
        };
        ensure!(
            self.fleet == fleet || (self.fleet.is_empty() && fleet == "down"),
            "the fleet is {fleet}, and its status {}",
            self.fleet
        );
        for (id, job) in &self.jobs {
            let may_be = !job.is_owed() || connected.contains(&job.node);
            ensure!(may_be, "job {id} outlives the loss of {}", job.node);
        }
        let unregistered = self.peers.len() - connected.len();
        ensure!(
            unregistered <= limits::MAX_UNREGISTERED,
            "{unregistered} have not registered"
        );
        if *event == Event::Stop {
            let is_owed = self.jobs.values().any(Job::is_owed);
            ensure!(self.calls.is_empty() && !is_owed, "a stop leaves {self:?}");
            ensure!(self.peers.is_empty(), "a stop leaves connections");
        }
        Ok(())
    }
}

/// Unit and number of a job that an agent is asked for.
fn unit_and_id(arguments: &Body) -> (String, u32) {
    let mut reader = arguments.reader();
    let unit = reader.str().unwrap().to_owned();
    reader.str().unwrap();
    if arguments.signature == "ssa(sv)a(sa(sv))u" {
        reader.skip(b"a(sv)").unwrap();
        reader.skip(b"a(sa(sv))").unwrap();
    }
    (unit, reader.u32().unwrap())
}

fn key(call: &Call) -> CallKey {
    (call.client.clone(), call.serial)
}

/// By its messages and by its loss a node changes only what is its own.
fn own(event: &Event, speaker: Option<&str>, node: &str) -> Verdict {
    if let Event::PeerMessage { .. } | Event::PeerLost { .. } = event {
        ensure!(speaker == Some(node), "{speaker:?} changes a job of {node}");
    }
    Ok(())
}
