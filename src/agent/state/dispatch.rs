//! What the manager calls: `org.containers.hirte.internal.Agent`, the proxies, and
//! `org.freedesktop.DBus.Peer`, by which it asks whether we live.

use super::{
    Action, IncomingCall, State, Turn, jobs::JobRequest, manager::Caller, requests::Purpose,
};
use crate::{
    bus::{
        Body, CallError, JobKind, error_name,
        marshal::Malformed,
        names,
        relay::{RelayMethod, SystemdCall, relay_method},
    },
    core::Level,
};

impl State {
    /// Number of the proxy that is the object with this path, if there is one.
    fn proxy_at(&self, path: &str) -> Option<u32> {
        let number = path.strip_prefix(names::INTERNAL_PROXY_PARENT_PATH)?;
        let number = number.strip_prefix('/')?.parse().ok()?;
        (self.has_proxy(number) && names::proxy_path(number) == path).then_some(number)
    }

    /// Answers a call, or passes it on to systemd.
    pub(super) fn dispatch(&mut self, turn: &mut Turn<'_>, call: IncomingCall) {
        let caller = self.caller(call.serial, call.expects_reply);
        let outcome = if call.interface == names::PEER_INTERFACE {
            self.peer_method(turn, caller, &call)
        } else if let Some(number) = self.proxy_at(&call.path) {
            self.proxy_method(turn, caller, (number, &call))
        } else {
            self.agent_method(turn, caller, call)
        };
        if let Err(error) = outcome {
            turn.log(
                Level::Debug,
                format!("Call {} of the manager refused: {error}", caller.serial),
            );
            self.reply(turn, caller, Err(error));
        }
    }

    /// Every object has this interface (D-Bus Specification, "Standard Interfaces").
    fn peer_method(
        &mut self,
        turn: &mut Turn<'_>,
        caller: Caller,
        call: &IncomingCall,
    ) -> Result<(), CallError> {
        let body = match call.member.as_str() {
            "Ping" => Body::default(),
            "GetMachineId" => self.machine_id()?,
            _ => return Err(unknown_method(call)),
        };
        self.reply(turn, caller, Ok(body));
        Ok(())
    }

    pub(super) fn machine_id(&self) -> Result<Body, CallError> {
        match self.settings.machine_id.as_str() {
            "" => Err(CallError::new(
                error_name::FAILED,
                "This machine has no machine-id",
            )),
            id => Ok(Body::of(&(id,))),
        }
    }

    fn agent_method(
        &mut self,
        turn: &mut Turn<'_>,
        caller: Caller,
        call: IncomingCall,
    ) -> Result<(), CallError> {
        if call.path != names::INTERNAL_AGENT_PATH {
            let message = format!("Unknown object '{}'.", call.path);
            return Err(CallError::new(error_name::UNKNOWN_OBJECT, message));
        }
        if !call.interface.is_empty() && call.interface != names::INTERNAL_AGENT_INTERFACE {
            let message = format!("Unknown interface '{}'.", call.interface);
            return Err(CallError::new(error_name::UNKNOWN_INTERFACE, message));
        }
        if let Some(kind) = JobKind::of_method(&call.member) {
            expect_signature(&call, "ssu")?;
            let (unit, mode, id): (String, String, u32) =
                call.body.parse().map_err(|reason| unreadable(&reason))?;
            let arguments = Body::of(&(unit.as_str(), mode.as_str()));
            let request = JobRequest {
                caller,
                id,
                kind,
                method: kind.method(),
                unit,
                asked: turn.at(),
            };
            self.start_job(turn, request, &mode, arguments)
        } else if call.member == "StartTransientUnitJob" {
            expect_signature(&call, "ssa(sv)a(sa(sv))u")?;
            let transient = Transient::read(call.body).map_err(|reason| unreadable(&reason))?;
            let request = JobRequest {
                caller,
                id: transient.id,
                kind: JobKind::Start,
                method: "StartTransientUnit",
                unit: transient.unit,
                asked: turn.at(),
            };
            self.start_job(turn, request, &transient.mode, transient.arguments)
        } else if call.member == "JobCancel" {
            expect_signature(&call, "u")?;
            let (id,) = call.body.parse().map_err(|reason| unreadable(&reason))?;
            self.cancel_job(turn, caller, id)
        } else if call.member == "Subscribe" {
            expect_signature(&call, "s")?;
            let (unit,) = call.body.parse().map_err(|reason| unreadable(&reason))?;
            self.subscribe(turn, caller, unit)
        } else if call.member == "Unsubscribe" {
            expect_signature(&call, "s")?;
            let (unit,): (String,) = call.body.parse().map_err(|reason| unreadable(&reason))?;
            self.unsubscribe(turn, caller, &unit)
        } else if let Some(wanted) = measures_wanted(&call.member) {
            expect_signature(&call, "")?;
            self.measure_jobs(wanted)?;
            self.reply(turn, caller, Ok(Body::default()));
            Ok(())
        } else if call.member == "StartDep" {
            expect_signature(&call, "s")?;
            let (unit,): (String,) = call.body.parse().map_err(|reason| unreadable(&reason))?;
            self.start_dependency(turn, caller, &unit)
        } else if call.member == "StopDep" {
            expect_signature(&call, "s")?;
            let (unit,): (String,) = call.body.parse().map_err(|reason| unreadable(&reason))?;
            self.stop_dependency(turn, caller, &unit)
        } else if call.member == "OpenLog" {
            expect_signature(&call, "sa{sv}su")?;
            self.open_log(turn, caller, &call.body)
        } else if call.member == "Exec" {
            expect_signature(&call, "assu")?;
            self.exec(turn, caller, &call.body)
        } else if call.member == "StreamGrant" {
            expect_signature(&call, "uu")?;
            let (id, bytes) = call.body.parse().map_err(|reason| unreadable(&reason))?;
            self.grant_stream(turn, id, bytes);
            self.reply(turn, caller, Ok(Body::default()));
            Ok(())
        } else if call.member == "StreamClose" {
            expect_signature(&call, "u")?;
            let (id,) = call.body.parse().map_err(|reason| unreadable(&reason))?;
            self.close_stream(turn, id);
            self.reply(turn, caller, Ok(Body::default()));
            Ok(())
        } else if call.member == "SetLogLevel" {
            expect_signature(&call, "s")?;
            self.set_log_level(turn, caller, &call.body)
        } else if let Some(method) = relay_method(&call.member) {
            expect_signature(&call, method.arguments)?;
            self.relay(turn, caller, method, call.body)
        } else {
            Err(unknown_method(&call))
        }
    }

    /// Applies from here on, so that the caller finds the next line logged or not.
    fn set_log_level(
        &mut self,
        turn: &mut Turn<'_>,
        caller: Caller,
        body: &Body,
    ) -> Result<(), CallError> {
        let level = body.first_str().and_then(Level::parse);
        let level = level.ok_or_else(|| {
            CallError::new(error_name::INVALID_ARGS, "Invalid input for log level")
        })?;
        turn.act(Action::SetLogLevel(level));
        self.log_level_set(turn, level);
        self.reply(turn, caller, Ok(Body::default()));
        Ok(())
    }

    /// Passes a call on to systemd, whose answer is passed back as it is.
    fn relay(
        &mut self,
        turn: &mut Turn<'_>,
        caller: Caller,
        method: &'static RelayMethod,
        body: Body,
    ) -> Result<(), CallError> {
        let purpose = Purpose::Relay {
            caller,
            method: method.name.into(),
        };
        match method.call {
            SystemdCall::Manager => self.call_systemd_manager(turn, method.name, body, purpose),
            SystemdCall::UnitProperties(member) => {
                let (unit, arguments) =
                    split_first(method.arguments, &body).map_err(|reason| unreadable(&reason))?;
                self.call_systemd_properties(turn, &unit, member, arguments, purpose)
            }
        }
    }
}

/// The arguments of `StartTransientUnitJob`: those of systemd's `StartTransientUnit`, and the
/// manager's number of the job.
struct Transient {
    unit: String,
    mode: String,
    id: u32,
    /// What systemd gets.
    arguments: Body,
}

impl Transient {
    fn read(mut body: Body) -> Result<Self, Malformed> {
        let mut reader = body.reader();
        let (unit, mode) = (reader.str()?.to_owned(), reader.str()?.to_owned());
        reader.skip(b"a(sv)")?;
        reader.skip(b"a(sa(sv))")?;
        let end = reader.offset();
        let id = reader.u32()?;
        body.bytes.truncate(end);
        body.signature = "ssa(sv)a(sa(sv))".into();
        Ok(Self {
            unit,
            mode,
            id,
            arguments: body,
        })
    }
}

/// What a method that switches the metrics asks for.
fn measures_wanted(member: &str) -> Option<bool> {
    match member {
        "EnableMetrics" => Some(true),
        "DisableMetrics" => Some(false),
        _ => None,
    }
}

/// The first of several strings, and the others as arguments of their own.
fn split_first(signature: &'static str, body: &Body) -> Result<(String, Body), Malformed> {
    let mut reader = body.reader();
    let first = reader.str()?.to_owned();
    // What follows a string starts at a multiple of 4, which in a body of its own is 0: that is
    // right for strings, and only for types that are aligned no wider.
    debug_assert!(signature.bytes().all(|code| code == b's'), "{signature}");
    if !reader.is_at_end() {
        reader.align(4)?;
    }
    let rest = Body {
        signature: signature[1..].into(),
        endian: body.endian,
        bytes: body.bytes[reader.offset()..].to_vec(),
    };
    Ok((first, rest))
}

fn expect_signature(call: &IncomingCall, expected: &str) -> Result<(), CallError> {
    if call.body.signature == expected {
        return Ok(());
    }
    Err(CallError::new(
        error_name::INVALID_ARGS,
        format!(
            "Invalid arguments '{}' to call {}.{}(), expecting '{expected}'.",
            call.body.signature,
            names::INTERNAL_AGENT_INTERFACE,
            call.member,
        ),
    ))
}

pub(super) fn unknown_method(call: &IncomingCall) -> CallError {
    let message = format!(
        "Unknown method '{}' or interface '{}'.",
        call.member, call.interface
    );
    CallError::new(error_name::UNKNOWN_METHOD, message)
}

pub(super) fn unreadable(reason: &Malformed) -> CallError {
    CallError::new(
        error_name::INVALID_ARGS,
        format!("The arguments can not be read: {reason}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::relay::RELAY_METHODS;

    #[test]
    fn the_rest_of_the_arguments_is_a_valid_body() {
        for unit in ["a", "ab.service", "abc.service", "abcd.service", ""] {
            let body = Body::of(&(unit, "org.freedesktop.systemd1.Unit", "Id"));
            let (first, rest) = split_first("sss", &body).unwrap();
            assert_eq!(first, unit);
            assert_eq!(rest, Body::of(&("org.freedesktop.systemd1.Unit", "Id")));
        }
    }

    #[test]
    fn arguments_of_calls_on_units_are_strings_only() {
        for method in RELAY_METHODS {
            if let SystemdCall::UnitProperties(_) = method.call {
                assert!(method.arguments.bytes().all(|code| code == b's'));
            }
        }
    }
}
