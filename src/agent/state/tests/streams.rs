//! Streams: their units, what is read of them, and every way in which one ends.

use super::*;
use crate::{
    agent::state::FromSource,
    bus::{Bytes, error_name},
    limits,
};

const SERVICE: &str = names::SYSTEMD_SERVICE_INTERFACE;
const UNIT: &str = names::SYSTEMD_UNIT_INTERFACE;

fn exec_arguments(id: u32) -> Body {
    Body::of(&(vec!["id", "-u"], ":1.5 (uid 0, pid 42)", id))
}

/// A value `i` in a variant, which our own properties do not have.
struct Int(i32);

impl crate::bus::body::Marshal for Int {
    fn signature(signature: &mut String) {
        signature.push('v');
    }

    fn write(&self, writer: &mut crate::bus::marshal::Writer) {
        writer.signature("i");
        writer.i32(self.0);
    }
}

fn exited(code: i32, status: i32) -> Body {
    let entries = vec![
        Entry("ExecMainCode", Int(code)),
        Entry("ExecMainStatus", Int(status)),
    ];
    Body::of(&(entries,))
}

fn state_end(id: u32, status: i32, result: &str) -> Seen {
    Seen::Signal("StreamEnd".to_owned(), Body::of(&(id, status, result)))
}

impl Driver {
    fn source(&mut self, number: u64, event: FromSource) {
        self.event(Event::Source { number, event });
    }

    /// Asks for a command: the call, and the number of the source.
    fn exec(&mut self, id: u32) -> (u32, u64) {
        let call = self.call("Exec", exec_arguments(id));
        let opened = self
            .look()
            .into_iter()
            .find_map(|(_, action)| match action {
                Action::OpenSource { number } => Some(number),
                _ => None,
            });
        (call, opened.unwrap())
    }

    /// A command that systemd has been asked to start: the call, the source, our call to systemd.
    fn starting(&mut self, id: u32) -> (u32, u64, u32) {
        let (call, source) = self.exec(id);
        let pipes = ["/run/p.1".to_owned(), "/run/p.2".to_owned()];
        self.source(source, FromSource::Opened(Ok(pipes)));
        let sent = self.sent_to_systemd();
        let [Seen::Call(method, serial, body)] = &sent[..] else {
            panic!("{sent:?}");
        };
        assert_eq!(method, "StartTransientUnit");
        assert_eq!(body.first_str(), Some(unit(source).as_str()));
        (call, source, *serial)
    }

    /// A command that runs, by systemd's job 7; the number of its source.
    fn running(&mut self, id: u32) -> u64 {
        let (call, source, serial) = self.starting(id);
        self.answer(serial, Ok(job_path(7)));
        let answered = Seen::Return(call, Body::default());
        assert_eq!(self.sent_to_manager(), [answered]);
        self.changed(source, UNIT, properties(&[("ActiveState", "active")]));
        let result = "done".to_owned();
        self.systemd_says(FromSystemd::JobRemoved { number: 7, result });
        source
    }

    fn changed(&mut self, source: u64, interface: &str, changed: Body) {
        self.systemd_says(FromSystemd::UnitProperties {
            unit: unit(source),
            interface: interface.to_owned(),
            changed,
        });
    }

    /// systemd tells that the main process and with it the unit has ended.
    fn unit_ends(&mut self, source: u64, (code, status): (i32, i32), result: &str) {
        self.changed(source, SERVICE, exited(code, status));
        self.changed(source, SERVICE, properties(&[("Result", result)]));
        self.changed(source, UNIT, properties(&[("ActiveState", "inactive")]));
    }

    fn actions(&mut self) -> Vec<Action> {
        let is_log = |action: &Action| matches!(action, Action::Log(..));
        let all = self.look().into_iter().map(|(_, action)| action);
        all.filter(|action| !is_log(action)).collect()
    }
}

fn unit(source: u64) -> String {
    format!("hirte-stream-{source}.service")
}

fn stops(seen: &[Seen], source: u64) -> bool {
    seen.iter().any(|seen| {
        matches!(seen, Seen::Call(method, _, body)
            if method == "StopUnit" && body.first_str() == Some(&unit(source)))
    })
}

#[test]
fn a_command_runs_and_its_end_comes_after_all_it_wrote() {
    let mut driver = Driver::connected(settings());
    let source = driver.running(1);
    driver.call("StreamGrant", Body::of(&(1_u32, 10_u32)));
    let read = Action::ReadSource {
        number: source,
        bytes: 10,
    };
    assert!(driver.actions().contains(&read));
    let piece = || Bytes(b"abc".to_vec());
    let event = FromSource::Data {
        channel: 2,
        data: piece(),
    };
    driver.source(source, event);
    let data = Body::of(&(1_u32, 2_u32, piece()));
    let seen = Seen::Signal("StreamData".to_owned(), data);
    assert_eq!(driver.sent_to_manager(), [seen]);

    driver.unit_ends(source, (1, 3), "exit-code");
    let drain = Action::DrainSource { number: source };
    assert_eq!(driver.actions(), [drain]);
    driver.source(source, FromSource::Drained);
    let close = Action::CloseSource { number: source };
    let done = driver.look();
    assert!(done.iter().any(|(_, action)| *action == close));
    let signals = seen_by_manager(done);
    assert_eq!(signals, [state_end(1, 3, "exit-code")]);
    assert_eq!(driver.state.streams.count(), 0);
}

fn seen_by_manager(done: Vec<(u64, Action)>) -> Vec<Seen> {
    seen(done, |action| match action {
        Action::SendToManager(outgoing) => Some(outgoing),
        _ => None,
    })
}

#[test]
fn the_exit_status_is_what_a_shell_tells() {
    for (process, result, status, told) in [
        ((1, 0), "success", 0, "success"),
        ((1, 203), "exit-code", 203, "exit-code"),
        ((2, 9), "signal", 137, "signal"),
        ((3, 11), "core-dump", 139, "core-dump"),
        ((0, 0), "resources", -1, "resources"),
        ((0, 0), "success", -1, "unknown"),
    ] {
        let mut driver = Driver::connected(settings());
        let source = driver.running(1);
        driver.source(source, FromSource::Drained);
        driver.look();
        driver.unit_ends(source, process, result);
        let seen = driver.sent_to_manager();
        assert_eq!(seen, [state_end(1, status, told)]);
    }
}

#[test]
fn a_unit_that_is_about_to_start_has_not_ended() {
    let mut driver = Driver::connected(settings());
    let (_, source, serial) = driver.starting(1);
    driver.changed(source, UNIT, properties(&[("ActiveState", "inactive")]));
    driver.answer(serial, Ok(job_path(7)));
    driver.source(source, FromSource::Drained);
    driver.changed(source, UNIT, properties(&[("ActiveState", "inactive")]));
    assert_eq!(driver.state.streams.count(), 1);
    // Its start fails.
    driver.look();
    let result = "failed".to_owned();
    driver.systemd_says(FromSystemd::JobRemoved { number: 7, result });
    assert_eq!(driver.sent_to_manager(), [state_end(1, -1, "failed")]);
}

#[test]
fn commands_have_to_be_allowed() {
    let mut driver = Driver::connected(Settings {
        allow_exec: false,
        ..settings()
    });
    let call = driver.call("Exec", exec_arguments(1));
    let refused = Seen::Error(call, error_name::ACCESS_DENIED.to_owned());
    assert!(driver.log().iter().any(|line| line.contains("refused")));
    assert_eq!(driver.sent_to_manager(), [refused]);
    // Logs need no permission but the manager's.
    let options: Vec<Entry<&str, Value>> = Vec::new();
    driver.call("OpenLog", Body::of(&("a.service", options, ":1.5", 1_u32)));
    assert_eq!(driver.state.streams.count(), 1);
}

#[test]
fn whoever_asked_and_what_is_in_the_log() {
    let mut driver = Driver::connected(settings());
    let body = Body::of(&(vec!["a\nb"], "x\ny", 1_u32));
    driver.call("Exec", body);
    let lines = driver.log();
    assert!(lines[0].contains(r#"Exec ["a\nb"]"#), "{lines:?}");
    assert!(lines[0].contains(r#"asked by "x\ny""#), "{lines:?}");
}

#[test]
fn what_can_not_be_started_is_refused_and_leaves_nothing() {
    let failed = |driver: &mut Driver, call: u32, error: &str| {
        let seen = driver.sent_to_manager();
        assert!(
            seen.contains(&Seen::Error(call, error.to_owned())),
            "{seen:?}"
        );
        assert_eq!(driver.state.streams.count(), 0);
    };
    let mut driver = Driver::connected(settings());
    let (call, source) = driver.exec(1);
    driver.source(source, FromSource::Opened(Err("no room".to_owned())));
    failed(&mut driver, call, error_name::FAILED);

    let (call, _, serial) = driver.starting(1);
    let error = CallError::new(error_name::INVALID_ARGS, "no");
    driver.answer(serial, Err(error));
    failed(&mut driver, call, error_name::INVALID_ARGS);

    let (call, ..) = driver.starting(1);
    driver.systemd_says(FromSystemd::Closed("gone".to_owned()));
    failed(&mut driver, call, error_name::NO_REPLY);
}

#[test]
fn a_unit_ends_with_its_stream_and_with_the_manager() {
    let mut driver = Driver::connected(settings());
    let source = driver.running(1);
    driver.look();
    driver.call("StreamClose", Body::of(&(1_u32,)));
    assert!(stops(&driver.sent_to_systemd(), source));

    // Closed before systemd has answered.
    let (_, source, _) = driver.starting(2);
    driver.call("StreamClose", Body::of(&(2_u32,)));
    assert!(stops(&driver.sent_to_systemd(), source));

    let source = driver.running(3);
    driver.look();
    driver.manager_says(FromManager::Closed("reset".to_owned()));
    let done = driver.look();
    let close = Action::CloseSource { number: source };
    assert!(done.iter().any(|(_, action)| *action == close));
    assert_eq!(driver.state.streams.count(), 0);

    let mut driver = Driver::connected(settings());
    let source = driver.running(4);
    driver.look();
    driver.event(Event::Stop);
    assert!(stops(&driver.sent_to_systemd(), source));
}

#[test]
fn units_that_ended_unseen_have_no_status() {
    let mut driver = Driver::connected(settings());
    let source = driver.running(1);
    driver.systemd_says(FromSystemd::Closed("gone".to_owned()));
    driver.pass(1000);
    driver.answer_systemd_setup(&[], &[]);
    driver.look();
    driver.source(source, FromSource::Drained);
    assert_eq!(driver.sent_to_manager(), [state_end(1, -1, "unknown")]);
}

#[test]
fn an_agent_that_restarts_stops_what_it_has_left() {
    let mut driver = Driver::start(settings());
    driver.look();
    let left = unit(77);
    driver.answer_systemd_setup(&[], &[(left.as_str(), "active", "running")]);
    assert!(stops(&driver.sent_to_systemd(), 77));
}

#[test]
fn streams_and_credit_are_bounded() {
    let mut driver = Driver::connected(settings());
    let many = u32::try_from(limits::MAX_STREAMS_PER_NODE).unwrap();
    let sources: Vec<u64> = (1..=many).map(|id| driver.exec(id).1).collect();
    assert!(sources.is_sorted_by(|one, next| one < next));
    for (id, error) in [
        (many + 1, error_name::LIMITS_EXCEEDED),
        (1, error_name::INVALID_ARGS),
    ] {
        let call = driver.call("Exec", exec_arguments(id));
        let refused = Seen::Error(call, error.to_owned());
        assert_eq!(driver.sent_to_manager(), [refused]);
    }
    for bytes in [limits::MAX_STREAM_CREDIT, 0, 0] {
        driver.call("StreamGrant", Body::of(&(1_u32, u32::MAX)));
        let number = sources[0];
        assert!(
            driver
                .actions()
                .contains(&Action::ReadSource { number, bytes })
        );
    }
}
