//! A model of systemd: jobs, units, merging of jobs on one unit, failures.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use hirte::{
    agent::state::Content,
    bus::{Body, CallError, Message, ObjectPath, Value, body::Entry, error_name, marshal, names},
    core::Instant,
};

use super::{
    dependencies::{Command, kept_by, target_of},
    prng::Prng,
};

/// One node's systemd.
#[derive(Debug)]
pub struct Systemd {
    pub units: BTreeMap<String, Unit>,
    pub jobs: BTreeMap<u32, Job>,
    last_job: u32,
    /// Shortest and longest time that a job waits, and that it runs.
    pub shortest: Duration,
    pub longest: Duration,
    /// Of a hundred jobs so many fail.
    pub failing: u64,
    /// How its jobs ended.
    pub results: Vec<String>,
    /// How often units have become active.
    pub activations: BTreeMap<String, u32>,
    /// Keepers that were stopped because their units were to be, and have not run since: the units
    /// may run on.
    pub left: BTreeSet<String>,
}

#[derive(Clone, Debug, Default)]
pub struct Unit {
    pub active: &'static str,
    pub sub: &'static str,
    result: &'static str,
    changed: Instant,
    activated: Instant,
}

impl Unit {
    pub fn inactive() -> Self {
        Self {
            active: "inactive",
            sub: "dead",
            result: "success",
            ..Self::default()
        }
    }
}

#[derive(Clone, Debug)]
pub struct Job {
    pub unit: String,
    pub kind: &'static str,
    pub state: &'static str,
}

/// What follows a call, or time.
#[derive(Debug, Default)]
pub struct Effects {
    pub signals: Vec<Message>,
    /// Jobs that go a step on after a time.
    pub steps: Vec<(Duration, u32)>,
    /// What processes have to do for the units of proxies.
    pub commands: Vec<(String, Command)>,
}

const KINDS: [(&str, &str); 4] = [
    ("StartUnit", "start"),
    ("StopUnit", "stop"),
    ("RestartUnit", "restart"),
    ("ReloadUnit", "reload"),
];

impl Systemd {
    pub fn new(units: &[&str]) -> Self {
        Self {
            units: units
                .iter()
                .map(|unit| ((*unit).to_owned(), Unit::inactive()))
                .collect(),
            jobs: BTreeMap::new(),
            last_job: 0,
            shortest: Duration::from_micros(20),
            longest: Duration::from_secs(1),
            failing: 10,
            results: Vec::new(),
            activations: BTreeMap::new(),
            left: BTreeSet::new(),
        }
    }

    /// Answers a call. Signals that the call causes come after its answer.
    pub fn call(
        &mut self,
        content: &Content,
        prng: &mut Prng,
        effects: &mut Effects,
    ) -> Result<Body, CallError> {
        let Content::Call {
            path, member, body, ..
        } = content
        else {
            panic!("The agent sent {content:?} to systemd");
        };
        let kind = KINDS.iter().find(|(method, _)| method == member);
        if let Some((_, kind)) = kind {
            let (unit, mode): (String, String) = body.parse().unwrap();
            return self.queue(&unit, kind, &mode, prng, effects);
        }
        match member.as_ref() {
            "StartTransientUnit" => {
                let mut reader = body.reader();
                let (unit, mode) = (reader.str().unwrap(), reader.str().unwrap());
                self.queue(unit, "start", mode, prng, effects)
            }
            "ListUnitFiles" => Ok(Body::of(&(vec![("/etc/a.service", "enabled")],))),
            "Subscribe" | "AddMatch" => Ok(Body::default()),
            "Reload" => {
                self.reload(effects);
                Ok(Body::default())
            }
            "Hello" => Ok(Body::of(&(":1.1",))),
            "ListJobs" => Ok(self.list_jobs()),
            "ListUnits" => Ok(self.list_units(|_| true)),
            "ListUnitsByPatterns" => {
                let (states, patterns): (Vec<String>, Vec<String>) = body.parse().unwrap();
                assert!(states.is_empty());
                Ok(self.list_units(|name| patterns.contains(name)))
            }
            "CancelJob" => {
                let (number,) = body.parse().unwrap();
                self.cancel(number, effects)
            }
            "GetAll" => self.unit_of(path).map(properties),
            "Get" => {
                let (_, property): (String, String) = body.parse().unwrap();
                self.unit_of(path).map(|unit| property_of(unit, &property))
            }
            "EnableUnitFiles" => Ok(Body::of(&(true, Vec::<(String, String, String)>::new()))),
            "DisableUnitFiles" => Ok(Body::of(&(Vec::<(String, String, String)>::new(),))),
            other => panic!("The agent called {other} of systemd"),
        }
    }

    fn unit_of(&self, path: &str) -> Result<&Unit, CallError> {
        let found = self
            .units
            .iter()
            .find(|(name, _)| names::systemd_unit_path(name) == path);
        found.map(|(_, unit)| unit).ok_or_else(no_such_unit)
    }

    /// The job of a unit, with its number.
    pub fn job_of(&self, unit: &str) -> Option<(u32, &Job)> {
        let mut jobs = self.jobs.iter();
        let found = jobs.find(|(_, job)| job.unit == unit);
        found.map(|(number, job)| (*number, job))
    }

    pub fn queue(
        &mut self,
        unit: &str,
        kind: &'static str,
        mode: &str,
        prng: &mut Prng,
        effects: &mut Effects,
    ) -> Result<Body, CallError> {
        if !self.load(unit, effects) {
            return Err(no_such_unit());
        }
        if let Some((number, job)) = self.job_of(unit) {
            if job.kind == kind {
                return Ok(Body::of(&(job_path(number),)));
            }
            if mode == "fail" {
                return Err(CallError::from_reply(
                    "org.freedesktop.systemd1.TransactionIsDestructive".to_owned(),
                    &Body::of(&("Transaction is destructive.",)),
                ));
            }
            self.end_job(number, "canceled", effects);
        }
        self.last_job += 1;
        let number = self.last_job;
        let job = Job {
            unit: unit.to_owned(),
            kind,
            state: "waiting",
        };
        self.jobs.insert(number, job);
        effects.steps.push((self.time(prng), number));
        self.queue_others(unit, kind, prng, effects);
        Ok(Body::of(&(job_path(number),)))
    }

    fn time(&self, prng: &mut Prng) -> Duration {
        prng.time(self.shortest, self.longest)
    }

    fn cancel(&mut self, number: u32, effects: &mut Effects) -> Result<Body, CallError> {
        if self.jobs.contains_key(&number) {
            self.remove(number, "canceled", effects);
            return Ok(Body::default());
        }
        Err(CallError::new(
            error_name::NO_SUCH_JOB,
            "Job does not exist.",
        ))
    }

    /// A job starts to run, or ends.
    pub fn step(&mut self, now: Instant, number: u32, prng: &mut Prng) -> Effects {
        let mut effects = Effects::default();
        let time = self.time(prng);
        let Some(job) = self.jobs.get_mut(&number) else {
            return effects;
        };
        if job.state == "waiting" {
            job.state = "running";
            let path = job_path(number).0;
            let properties = vec![Entry("State", word("running"))];
            effects
                .signals
                .push(changed(&path, names::SYSTEMD_JOB_INTERFACE, properties));
            let (name, kind) = (job.unit.clone(), job.kind);
            if target_of(&name).is_none() {
                effects.steps.push((time, number));
            } else if self.proxy_step((number, &name), kind, prng, &mut effects) {
                self.put_off(number, time, &mut effects);
            }
            return effects;
        }
        let (name, kind) = (job.unit.clone(), job.kind);
        if target_of(&name).is_some() {
            return effects;
        }
        if kept_by(&name).is_some() {
            if self.keeper_step((number, &name), kind, prng, &mut effects) {
                self.put_off(number, time, &mut effects);
            }
            return effects;
        }
        let failed = prng.percent(self.failing);
        let unit = self.units.get_mut(&name).unwrap();
        unit.changed = now;
        let active = match kind {
            "stop" => "inactive",
            _ if failed => "failed",
            _ => "active",
        };
        unit.result = if failed { "exit-code" } else { "success" };
        if active == "active" {
            unit.activated = now;
        }
        let sub = match active {
            "active" => "running",
            "inactive" => "dead",
            other => other,
        };
        self.enter(&name, (active, sub), prng, &mut effects);
        let result = match (failed, kind) {
            (true, "start" | "restart" | "reload") => {
                *prng.pick(&["failed", "timeout", "dependency"])
            }
            _ => "done",
        };
        self.remove(number, result, &mut effects);
        effects
    }

    /// A job goes its step on only later.
    fn put_off(&mut self, number: u32, time: Duration, effects: &mut Effects) {
        if let Some(job) = self.jobs.get_mut(&number)
            && target_of(&job.unit).is_some()
        {
            job.state = "waiting";
        }
        effects.steps.push((time, number));
    }

    /// A job ends, and perhaps nothing needs its unit any more.
    pub fn remove(&mut self, number: u32, result: &str, effects: &mut Effects) {
        let unit = self.end_job(number, result, effects);
        self.unload(&unit, effects);
    }

    fn end_job(&mut self, number: u32, result: &str, effects: &mut Effects) -> String {
        let unit = self.jobs.remove(&number).map(|job| job.unit);
        self.results.push(result.to_owned());
        let unit = unit.unwrap_or_default();
        effects.signals.push(Message::signal(
            names::SYSTEMD_PATH,
            names::SYSTEMD_MANAGER_INTERFACE,
            "JobRemoved",
            Body::of(&(number, job_path(number), unit.as_str(), result)),
        ));
        unit
    }

    fn list_jobs(&self) -> Body {
        let row = |(&number, job): (&u32, &Job)| {
            let unit = ObjectPath(names::systemd_unit_path(&job.unit));
            let (kind, state) = (job.kind.to_owned(), job.state.to_owned());
            (
                number,
                job.unit.clone(),
                kind,
                state,
                job_path(number),
                unit,
            )
        };
        Body::of(&(self.jobs.iter().map(row).collect::<Vec<_>>(),))
    }

    /// systemd loads its configuration again, and announces every unit once more.
    fn reload(&self, effects: &mut Effects) {
        let reloading = |is_so: bool| manager_signal("Reloading", Body::of(&(is_so,)));
        effects.signals.push(reloading(true));
        for unit in self.units.keys() {
            effects.signals.push(announced("UnitRemoved", unit));
        }
        for unit in self.units.keys() {
            effects.signals.push(announced("UnitNew", unit));
        }
        effects.signals.push(reloading(false));
    }

    /// A unit is loaded, and perhaps active before it is announced; or fails; or is unloaded.
    pub fn come_or_go(&mut self, prng: &mut Prng) -> Effects {
        let mut effects = Effects::default();
        let name = "e.service".to_owned();
        match self.units.get(&name) {
            None => {
                let (active, sub) = *prng.pick(&[("inactive", "dead"), ("active", "running")]);
                let unit = Unit {
                    active,
                    sub,
                    ..Unit::inactive()
                };
                *self.activations.entry(name.clone()).or_default() += u32::from(active == "active");
                self.units.insert(name.clone(), unit);
                effects.signals.push(announced("UnitNew", &name));
            }
            Some(unit) if unit.active == "active" => {
                self.enter(&name, ("failed", "failed"), prng, &mut effects);
            }
            Some(_) if self.job_of(&name).is_some() || self.is_kept(&name) => {}
            Some(_) => {
                self.units.remove(&name);
                effects.signals.push(announced("UnitRemoved", &name));
            }
        }
        effects
    }

    fn list_units(&self, wanted: impl Fn(&String) -> bool) -> Body {
        let mut writer = marshal::Writer::default();
        writer.array(8, |rows| {
            for (name, unit) in self.units.iter().filter(|(name, _)| wanted(name)) {
                rows.align(8);
                for text in [name, "", "loaded", unit.active, unit.sub, ""] {
                    rows.str(text);
                }
                rows.str(&names::systemd_unit_path(name));
                rows.u32(0);
                rows.str("");
                rows.str("/");
            }
        });
        Body {
            signature: "a(ssssssouso)".into(),
            endian: marshal::Endian::Little,
            bytes: writer.into_bytes(),
        }
    }
}

/// What systemd signals when a service has changed: its own properties, and those of all units.
pub fn unit_changed(name: &str, unit: &Unit) -> [Message; 2] {
    let path = names::systemd_unit_path(name);
    let own = vec![Entry("MainPID", Value::U32(7))];
    let of_all = vec![
        Entry("ActiveState", word(unit.active)),
        Entry("SubState", word(unit.sub)),
    ];
    [
        changed(&path, "org.freedesktop.systemd1.Service", own),
        changed(&path, names::SYSTEMD_UNIT_INTERFACE, of_all),
    ]
}

/// That a unit is loaded or unloaded.
pub fn announced(member: &str, name: &str) -> Message {
    let path = ObjectPath(names::systemd_unit_path(name));
    manager_signal(member, Body::of(&(name, path)))
}

fn manager_signal(member: &str, body: Body) -> Message {
    let (path, interface) = (names::SYSTEMD_PATH, names::SYSTEMD_MANAGER_INTERFACE);
    Message::signal(path, interface, member, body)
}

fn property_of(unit: &Unit, property: &str) -> Body {
    Body::of(&(match property {
        "ActiveEnterTimestampMonotonic" => Value::U64(unit.activated.0),
        "InactiveExitTimestampMonotonic" => Value::U64(unit.changed.0),
        _ => Value::Str(unit.active.to_owned()),
    },))
}

fn properties(unit: &Unit) -> Body {
    Body::of(&(vec![
        Entry("ActiveState", Value::Str(unit.active.to_owned())),
        Entry("Result", Value::Str(unit.result.to_owned())),
        Entry("StateChangeTimestampMonotonic", Value::U64(unit.changed.0)),
        Entry(
            "ActiveEnterTimestampMonotonic",
            Value::U64(unit.activated.0),
        ),
        Entry("ConditionResult", Value::Bool(true)),
        Entry("ConditionTimestampMonotonic", Value::U64(unit.changed.0)),
    ],))
}

fn word(text: &str) -> Value {
    Value::Str(text.to_owned())
}

/// `PropertiesChanged`
fn changed(path: &str, interface: &str, properties: Vec<Entry<&'static str, Value>>) -> Message {
    Message::signal(
        path,
        names::PROPERTIES_INTERFACE,
        "PropertiesChanged",
        Body::of(&(interface, properties, Vec::<String>::new())),
    )
}

fn job_path(number: u32) -> ObjectPath {
    ObjectPath(format!("/org/freedesktop/systemd1/job/{number}"))
}

fn no_such_unit() -> CallError {
    CallError::from_reply(
        "org.freedesktop.systemd1.NoSuchUnit".to_owned(),
        &Body::of(&("Unit nope.service not found.",)),
    )
}
