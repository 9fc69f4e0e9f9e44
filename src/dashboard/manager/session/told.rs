//! What the manager tells and answers, as changes of the model.

use log::debug;

use super::{ALL, Asked, Session, millis};
use crate::{
    bus::{
        Body, Message,
        body::PathRef,
        names::{JOB_PARENT_PATH, MANAGER_PATH, node_path},
    },
    ctl::{
        Error, Subject,
        call::{Answer, Call, Properties, Variant, decode, decode_with, properties, property},
        list_jobs, list_units,
    },
    dashboard::{
        manager::{JobRequest, Refused},
        model::Job,
    },
};

/// Kinds of units that people start and stop.
const STARTABLE: [&str; 5] = ["path", "service", "socket", "target", "timer"];

impl Session {
    pub(super) fn take_signal(&mut self, message: &Message) -> Result<(), Error> {
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
            "PropertiesChanged"
                if message.path == MANAGER_PATH && changed(body)?.contains_key("Nodes") =>
            {
                self.ask(Call::manager("ListNodes", &()), Asked::Nodes);
            }
            "PropertiesChanged" => {
                let id = message.path.strip_prefix(JOB_PARENT_PATH);
                let id = id.and_then(|id| id.strip_prefix('/')?.parse().ok());
                if let Some(id) = id
                    && let Ok(state) = property::<&str>(&changed(body)?, "State")
                {
                    self.feed.change(|model| model.job_state(id, state));
                }
            }
            _ => {}
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

    pub(super) fn take_answer(&mut self, asked: Asked, answer: Answer) -> Result<(), Error> {
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
        let is_new = |(name, _): &&(&str, bool)| !self.feed.read(|model| model.knows_node(name));
        let news: Vec<&str> = nodes.iter().filter(is_new).map(|(name, _)| *name).collect();
        self.feed.change(|model| model.nodes_listed(&nodes));
        for name in news {
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
        let units = list_units::units_of_node(node, body)?;
        self.feed.change(|model| {
            for unit in units {
                model.unit_details(node, unit.name, unit.description, unit.load);
            }
        });
        Ok(())
    }
}

/// The properties that a signal tells anew.
fn changed(body: &Body) -> Result<Properties<'_>, Error> {
    decode_with("PropertiesChanged", body, "sa{sv}as", |reader| {
        reader.str()?;
        Variant::read_all(reader)
    })
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
