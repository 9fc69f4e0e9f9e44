//! What the manager tells, as events.

use super::{
    run::Happened,
    state::{Event, Job, Told},
};
use crate::{
    bus::{
        Message,
        body::PathRef,
        names::{
            JOB_INTERFACE, JOB_PARENT_PATH, MANAGER_BUS_NAME, MANAGER_INTERFACE, MANAGER_PATH,
            MONITOR_INTERFACE,
        },
    },
    ctl::{
        Error,
        call::{Call, Properties, Variant, decode, decode_with, property},
        client::{Client, Executor, Signal, removed_job, rule},
        error::Subject,
        list_jobs::{self, Record},
        nodes,
    },
    limits,
    reactor::sleep,
    wire::Inbox,
};

/// What stands for all nodes and all units.
const ALL: &str = "*";
/// What `UnitNew` and its like say of what happened just then.
const REAL: &str = "real";

/// A connection over which the manager tells what happens.
pub(super) struct Watch {
    client: Client,
    monitor: String,
    /// Who alone may tell it: on a bus anyone can send us signals.
    sender: Option<String>,
}

impl Watch {
    /// Has the manager tell everything, and asks for what there is: units come by themselves.
    pub async fn begin(mut client: Client) -> Result<(Self, Event), Error> {
        let call = Call::manager("CreateMonitor", &());
        let body = client.call(call, Subject::Fleet).await?;
        let (PathRef(monitor),) = decode("CreateMonitor", &body)?;
        let jobs =
            format!("type='signal',sender='{MANAGER_BUS_NAME}',path_namespace='{JOB_PARENT_PATH}'");
        let rules = [rule(monitor, None), rule(MANAGER_PATH, None), jobs];
        client.watch(&rules).await?;
        let sender = client.manager_name().await?;
        let nodes = told_nodes(&mut client).await?;
        let mut jobs = Vec::new();
        let ids = list_jobs::ids(&mut client).await?;
        for id in ids.into_iter().take(limits::TOP_JOBS) {
            // One that is not there any more has ended meanwhile.
            jobs.extend(list_jobs::job(&mut client, id).await?.map(job));
        }
        // The last call: behind its answer comes much.
        let all = (ALL, ALL);
        let call = Call::object(monitor, MONITOR_INTERFACE, "Subscribe", &all);
        client.call(call, Subject::Fleet).await?;
        client.waiting_for(None);
        let watch = Self {
            monitor: monitor.to_owned(),
            client,
            sender,
        };
        Ok((watch, Event::Watching { nodes, jobs }))
    }

    /// Tells what happens until the manager is lost.
    async fn run(&mut self, inbox: &Inbox<Happened>) -> Error {
        loop {
            match self.next().await {
                Ok(event) => {
                    if let Some(event) = event {
                        inbox.push(Happened::Told(event));
                    }
                }
                Err(error) => return error,
            }
        }
    }

    async fn next(&mut self) -> Result<Option<Event>, Error> {
        let message = match self.client.next_signal().await? {
            Signal::ManagerLeft => return Err(Error::WatchEnded),
            Signal::Told(message) => message,
        };
        let sender = self.sender.as_ref();
        if sender.is_some_and(|sender| message.sender != *sender) {
            return Ok(None);
        }
        if message.path == self.monitor {
            return of_monitor(&message);
        }
        if let Some((id, _, node, unit, result)) = removed_job(&message)? {
            return Ok(Some(Event::JobEnded {
                id,
                node: node.to_owned(),
                unit: unit.to_owned(),
                result: result.to_owned(),
            }));
        }
        match message.member.as_str() {
            "JobNew" => {
                let (id, PathRef(_)) = decode("JobNew", &message.body)?;
                let told = list_jobs::job(&mut self.client, id).await?;
                Ok(told.map(|told| Event::Job(job(told))))
            }
            "NodeConnectionStateChanged" => {
                let (name, state): (&str, &str) =
                    decode("NodeConnectionStateChanged", &message.body)?;
                Ok(Some(Event::Node {
                    name: name.to_owned(),
                    is_online: state == "online",
                }))
            }
            "PropertiesChanged" => self.changed(&message).await,
            _ => Ok(None),
        }
    }

    async fn changed(&mut self, message: &Message) -> Result<Option<Event>, Error> {
        let read = decode_with("PropertiesChanged", &message.body, "sa{sv}as", |reader| {
            Ok((reader.str()?, Variant::read_all(reader)?))
        });
        let (interface, changed): (&str, Properties<'_>) = read?;
        match interface {
            MANAGER_INTERFACE if changed.contains_key("Nodes") => told_nodes(&mut self.client)
                .await
                .map(Event::Nodes)
                .map(Some),
            JOB_INTERFACE if changed.contains_key("State") => {
                let id = message.path.rsplit('/').next();
                let Some(id) = id.and_then(|id| id.parse().ok()) else {
                    return Ok(None);
                };
                let state = property::<&str>(&changed, "State")?.to_owned();
                Ok(Some(Event::JobState { id, state }))
            }
            _ => Ok(None),
        }
    }
}

/// Tells what happens, for as long as the view runs: where the manager is lost it is tried again.
pub(super) async fn run(executor: Executor, mut watch: Watch, inbox: Inbox<Happened>) {
    loop {
        let mut reason = watch.run(&inbox).await;
        drop(watch);
        watch = loop {
            let lost = Event::ManagerLost(reason.to_string());
            inbox.push(Happened::Told(lost));
            sleep(limits::TOP_RETRY).await;
            let begun = async {
                let client = Client::connect(&executor).await?;
                Watch::begin(client).await
            };
            match begun.await {
                Ok((watch, told)) => {
                    inbox.push(Happened::Told(told));
                    break watch;
                }
                Err(error) => reason = error,
            }
        };
    }
}

async fn told_nodes(client: &mut Client) -> Result<Vec<Told>, Error> {
    // That a node has nothing to tell is an error of a manager that is about to end.
    let (nodes, _) = nodes::of_fleet(client).await?;
    let nodes = nodes.into_iter().map(|node| Told {
        is_online: node.status == "online",
        name: node.name,
        last_seen_s: node.last_seen_s,
    });
    Ok(nodes.collect())
}

fn job(told: Record) -> Job {
    Job {
        id: told.job,
        node: told.node,
        unit: told.unit,
        kind: told.operation,
        state: told.state,
    }
}

fn of_monitor(message: &Message) -> Result<Option<Event>, Error> {
    let body = &message.body;
    let event = match message.member.as_str() {
        "UnitNew" => {
            let (node, unit, reason) = names(decode("UnitNew", body)?);
            Event::UnitNew {
                node,
                unit,
                is_real: reason == REAL,
            }
        }
        "UnitRemoved" => {
            let (node, unit, reason) = names(decode("UnitRemoved", body)?);
            Event::UnitRemoved {
                node,
                unit,
                is_real: reason == REAL,
            }
        }
        "UnitStateChanged" => {
            let (node, unit, active, sub, reason) = decode("UnitStateChanged", body)?;
            let (node, unit, reason) = names((node, unit, reason));
            let [active, sub] = [active, sub].map(str::to_owned);
            Event::UnitState {
                node,
                unit,
                active,
                sub,
                is_real: reason == REAL,
            }
        }
        _ => return Ok(None),
    };
    Ok(Some(event))
}

fn names<'b>((node, unit, reason): (&'b str, &'b str, &'b str)) -> (String, String, &'b str) {
    (node.to_owned(), unit.to_owned(), reason)
}
