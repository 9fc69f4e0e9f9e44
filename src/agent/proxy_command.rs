//! `hirte-proxy`, which systemd runs for the units of proxies: it has the agent make a proxy, and
//! ends when the unit on the other node is active, or remove it.

use std::{ffi::OsString, process::ExitCode, rc::Rc};

use argh::FromArgs;
use smol::{LocalExecutor, future::or};

use super::state::Target;
use crate::{
    bus::{Body, CallError, Kind, Message, error_name, message::BodyCheck, names},
    cmdline::{self, ValueOptions},
    daemon::{bus, clock},
    limits,
    reactor::{self, sleep},
    wire::{Inbox, Link, LinkSettings, Received, Role, Stream, address},
};

/// The name of the program, by which the agent's executable knows what to be.
pub const PROGRAM: &str = "hirte-proxy";

const OPTIONS: ValueOptions = ValueOptions {
    long: &[],
    short: &[],
};

/// Make or remove the agent's proxy for a service of another node; systemd runs it for
/// hirte-proxy@NODE_UNIT.service.
#[derive(FromArgs)]
#[argh(
    note = "Commands:",
    note = "  create  waits until the service of the other node is active",
    note = "  remove  lets it go"
)]
struct Arguments {
    /// use the agent on the user's bus
    #[argh(switch, short = 'u')]
    user: bool,
    /// print the version
    #[argh(switch, short = 'v')]
    version: bool,
    /// create or remove; then the name of the node, an underscore, and the name of the service
    #[argh(positional, arg_name = "COMMAND NODE_UNIT")]
    words: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Create,
    Remove,
}

/// Runs `hirte-proxy` with these arguments, which do not include the program's name.
#[must_use]
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let is_version = |arguments: &Arguments| arguments.version;
    let arguments = match cmdline::parse_or_exit(PROGRAM, args, &OPTIONS, is_version) {
        Ok(arguments) => arguments,
        Err(status) => return status,
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => cmdline::complain(PROGRAM, &reason),
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let [command, name] = arguments.words.as_slice() else {
        let count = if arguments.words.len() < 2 {
            "Not enough"
        } else {
            "Too many"
        };
        return Err(format!("{count} arguments specified"));
    };
    let command = match command.to_lowercase().as_str() {
        "create" => Command::Create,
        "remove" => Command::Remove,
        _ => return Err(format!("Unsupported command {command}")),
    };
    let target = Target::parse(name).map_err(|error| error.explain(name))?;
    let address = if arguments.user {
        address::user_bus()
    } else {
        address::system_bus()
    };
    let executor = Rc::new(LocalExecutor::new());
    let agent = Agent { executor, address };
    let executor = Rc::clone(&agent.executor);
    reactor::block_on(&executor, async {
        match command {
            Command::Create => agent.create(&target).await,
            Command::Remove => agent.remove(&target).await,
        }
    })
}

/// The agent of this node.
struct Agent {
    executor: Rc<LocalExecutor<'static>>,
    /// Of its bus.
    address: String,
}

/// How a call of the agent ended.
enum Outcome {
    Done,
    Refused(CallError),
    /// No agent was there, or it went before it answered, for this reason.
    Absent(String),
}

impl Agent {
    /// Waits until the proxy's target is active. An agent or bus that restarts meanwhile is asked
    /// again, so that a start that waits for another node survives it.
    async fn create(&self, target: &Target) -> Result<(), String> {
        let mut is_repeated = false;
        let mut missed_at = None;
        loop {
            let asked_at = clock::monotonic();
            let reason = match self.call("CreateProxy", target).await {
                Outcome::Done => return Ok(()),
                // That this program's own call of before is gone the agent hears a little later.
                Outcome::Refused(error)
                    if is_repeated && error.name == error_name::ADDRESS_IN_USE =>
                {
                    error.message
                }
                Outcome::Refused(error) => {
                    let (service, node) = (&target.service, &target.node);
                    return Err(format!(
                        "Failed to activate {service} (on {node}): {}",
                        error.message
                    ));
                }
                Outcome::Absent(reason) => reason,
            };
            is_repeated = true;
            // The time counts from the latest sign of life: a call may have waited for days.
            let now = clock::monotonic();
            if now.since(asked_at) >= limits::BUS_FIRST_RETRY {
                missed_at = None;
            }
            let missed_at = *missed_at.get_or_insert(now);
            if now.since(missed_at) >= limits::AGENT_RETURN {
                return Err(format!("Failed to call CreateProxy: {reason}"));
            }
            sleep(limits::BUS_FIRST_RETRY).await;
        }
    }

    /// Where no agent is there is no proxy: one that starts finds only those of active units.
    async fn remove(&self, target: &Target) -> Result<(), String> {
        let call = self.call("RemoveProxy", target);
        let overdue = async {
            sleep(limits::CLIENT_CALL).await;
            let waited = limits::CLIENT_CALL.as_secs();
            let text = format!("the agent did not answer within {waited} s");
            Outcome::Refused(CallError::new(error_name::TIMEOUT, text))
        };
        match or(call, overdue).await {
            Outcome::Done | Outcome::Absent(_) => Ok(()),
            Outcome::Refused(error) => Err(format!("Failed to call RemoveProxy: {error}")),
        }
    }

    /// Calls the agent over a connection of its own, and waits for the answer for ever.
    async fn call(&self, member: &'static str, target: &Target) -> Outcome {
        let stream = match bus::connect(&self.address) {
            Ok(stream) => stream,
            Err(error) => return Outcome::Absent(format!("{}: {error}", self.address)),
        };
        let arguments = (
            target.service.as_str(),
            target.node.as_str(),
            target.unit.as_str(),
        );
        let call = Message::call(
            names::AGENT_PATH,
            names::AGENT_INTERFACE,
            member,
            Body::of(&arguments),
        );
        self.exchange(stream, call.to(names::AGENT_BUS_NAME)).await
    }

    async fn exchange(&self, stream: Stream, call: Message) -> Outcome {
        const HELLO: u32 = 1;
        const CALL: u32 = 2;
        let settings = LinkSettings {
            max_message: limits::MAX_BUS_MESSAGE,
            max_queued: None,
            body_check: BodyCheck::Trusted,
        };
        let inbox = Inbox::new();
        let (executor, role) = (&self.executor, Role::Client);
        let link = Link::open(executor, stream, role, settings, &inbox, |received| {
            received
        });
        let hello = Message::call(names::DBUS_PATH, names::DBUS_NAME, "Hello", Body::default());
        let mut next = Some((HELLO, hello.to(names::DBUS_NAME)));
        let mut call = Some((CALL, call));
        loop {
            match inbox.next().await {
                Received::Ready => {}
                Received::Closed(reason) => return Outcome::Absent(reason.to_string()),
                Received::Message(answer) => match (answer.reply_serial, answer.kind) {
                    (HELLO, Kind::Return) => next = call.take(),
                    (CALL, Kind::Return) => return Outcome::Done,
                    (HELLO | CALL, Kind::Error) => return refused(answer),
                    _ => continue,
                },
            }
            if let Some((serial, mut message)) = next.take() {
                message.serial = serial;
                link.send(&message);
                link.flush();
            }
        }
    }
}

/// What an error means: those of the bus itself tell that the agent is not there.
fn refused(answer: Message) -> Outcome {
    let error = CallError::from_reply(answer.error_name, &answer.body);
    let is_absent = [
        error_name::SERVICE_UNKNOWN,
        error_name::NAME_HAS_NO_OWNER,
        error_name::NO_REPLY,
    ];
    if is_absent.contains(&error.name.as_ref()) {
        let name = names::AGENT_BUS_NAME;
        return Outcome::Absent(format!(
            "hirte-agent is not on the bus as {name}: {}",
            error.message
        ));
    }
    Outcome::Refused(error)
}
