//! One connection to the manager, over its private socket or a bus, and calls of the manager over
//! it.
//!
//! All messages are taken from one stream in the order of their arrival, so a signal that comes
//! before a reply is kept and not lost, and no queue of zbus fills up unread.

use std::{
    collections::{BTreeMap, VecDeque},
    env, io,
    num::NonZeroU32,
    path::Path,
    time::Instant,
};

use serde::Serialize;
use smol::{future::FutureExt, stream::StreamExt};
use zbus::{
    Connection, DynamicType, Message, MessageStream, ObjectPath, OwnedObjectPath,
    connection::Builder,
    message::{Body, Flags, Header, Type},
    wire::DynamicDeserialize,
};

use super::{
    error::{Error, Subject},
    runtime::{SmolRuntime, connect_unix},
};
use crate::{
    bus::names::{
        DBUS_NAME, DBUS_PATH, JOB_INTERFACE, MANAGER_BUS_NAME, MANAGER_INTERFACE, MANAGER_PATH,
        NODE_INTERFACE, PRIVATE_SOCKET, PROPERTIES_INTERFACE, RUNTIME_FOLDER, STREAM_INTERFACE,
    },
    limits,
};

/// An error reply.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    /// Name of the error.
    pub name: String,
    /// Its sentence.
    pub message: String,
    /// True when the bus itself replied instead of the manager.
    pub from_bus: bool,
}

/// What came back from a call.
pub(super) type Answer = Result<Body, Refusal>;

/// A method call that is ready to be sent.
#[derive(Debug)]
pub(super) struct Call {
    method: &'static str,
    message: Result<Message, zbus::Error>,
}

impl Call {
    fn new<B: Serialize + DynamicType>(
        destination: &str,
        path: &str,
        interface: &str,
        method: &'static str,
        body: &B,
    ) -> Self {
        let message = Message::method_call(path, method)
            .destination(destination)
            .interface(interface)
            .build(body);
        Self { method, message }
    }

    /// A method of the manager object.
    pub fn manager<B: Serialize + DynamicType>(method: &'static str, body: &B) -> Self {
        Self::new(
            MANAGER_BUS_NAME,
            MANAGER_PATH,
            MANAGER_INTERFACE,
            method,
            body,
        )
    }

    /// A method of the node object at `path`.
    pub fn node<B: Serialize + DynamicType>(
        path: &ObjectPath<'_>,
        method: &'static str,
        body: &B,
    ) -> Self {
        Self::new(MANAGER_BUS_NAME, path, NODE_INTERFACE, method, body)
    }

    /// A method of the stream object at `path`, which is not answered.
    pub fn grant(path: &ObjectPath<'_>, bytes: u32) -> Self {
        let method = "Grant";
        let message = Message::method_call(path, method)
            .destination(MANAGER_BUS_NAME)
            .interface(STREAM_INTERFACE)
            .with_flags(Flags::NO_REPLY_EXPECTED)
            .build(&bytes);
        Self { method, message }
    }

    /// Has the job at `path` cancelled.
    pub fn cancel(path: &ObjectPath<'_>) -> Self {
        Self::new(MANAGER_BUS_NAME, path, JOB_INTERFACE, "Cancel", &())
    }

    /// All properties of the node object at `path`; works for a node that is offline, too.
    pub fn node_properties(path: &ObjectPath<'_>) -> Self {
        Self::new(
            MANAGER_BUS_NAME,
            path,
            PROPERTIES_INTERFACE,
            "GetAll",
            &NODE_INTERFACE,
        )
    }
}

/// A signal that [`Client::watch_jobs`] or [`Client::watch_manager`] asked for, or of a stream of
/// ours.
#[derive(Debug)]
pub(super) enum Signal {
    /// A job has ended.
    JobRemoved {
        /// The path by which the job's request was answered.
        job: OwnedObjectPath,
        /// How it ended.
        result: String,
    },
    /// The manager's name has another owner, or none.
    ManagerLeft,
    /// Something came by a stream.
    StreamData {
        /// Which.
        path: String,
        /// 1 for standard output, 2 for standard error.
        channel: u32,
        /// What came.
        data: Vec<u8>,
    },
    /// A stream has ended.
    StreamEnd {
        /// Which.
        path: String,
        /// Exit status, or -1.
        status: i32,
        /// The word for how it ended.
        result: String,
    },
}

/// The connection.
#[derive(Debug)]
pub(super) struct Client {
    connection: Connection,
    /// Whether there is no bus between us and the manager.
    is_private: bool,
    messages: MessageStream,
    /// Signals that came while a reply was awaited. Nothing is in it before
    /// [`watch_jobs`](Self::watch_jobs), and then only what jobs and one name cause during one call:
    /// on a bus the jobs of one node.
    signals: VecDeque<Signal>,
}

impl Client {
    /// Connects to the manager's private socket, or to the system bus where that socket can not be
    /// reached. Where `DBUS_SYSTEM_BUS_ADDRESS` names a bus, nothing else is tried.
    pub async fn connect(runtime: SmolRuntime) -> Result<Self, Error> {
        let names_bus = env::var_os("DBUS_SYSTEM_BUS_ADDRESS").is_some();
        let private = if names_bus {
            None
        } else {
            let path = Path::new(RUNTIME_FOLDER).join(PRIVATE_SOCKET);
            match in_time(connect_unix(&path))
                .await
                .and_then(smol::Async::into_inner)
            {
                Ok(stream) => {
                    let builder = Builder::unix_stream(stream).p2p();
                    let client = Self::build(builder, runtime, true).await;
                    return client.map_err(|error| Error::ConnectPrivate { path, error });
                }
                Err(error) => Some((path, error)),
            }
        };
        let client = Self::build(Builder::system(), runtime, false).await;
        client.map_err(|error| Error::Connect { private, error })
    }

    async fn build(
        builder: Builder<'_>,
        runtime: SmolRuntime,
        is_private: bool,
    ) -> Result<Self, zbus::Error> {
        let messages = in_time(builder.runtime(runtime).build_message_stream()).await?;
        Ok(Self {
            connection: Connection::from(&messages),
            is_private,
            messages,
            signals: VecDeque::new(),
        })
    }

    /// What it means that the connection has ended.
    const fn lost(&self) -> Error {
        if self.is_private {
            Error::ManagerClosed
        } else {
            Error::BusLost
        }
    }

    /// The path of the node called `name`.
    pub async fn node(&mut self, name: &str) -> Result<OwnedObjectPath, Error> {
        let call = Call::manager("GetNode", &name);
        let body = self.call(call, Subject::Node(name)).await?;
        decode::<OwnedObjectPath>("GetNode", &body)
    }

    /// Makes one call; an error reply becomes an error about `subject`.
    pub async fn call(&mut self, call: Call, subject: Subject<'_>) -> Result<Body, Error> {
        self.ask(call)
            .await?
            .map_err(|refusal| Error::from_refusal(refusal, subject))
    }

    /// Makes one call and hands out an error reply as such.
    pub async fn ask(&mut self, call: Call) -> Result<Answer, Error> {
        let mut answer = None;
        self.ask_each([call], |_, given| answer = Some(given))
            .await?;
        answer.ok_or_else(|| self.lost())
    }

    /// Makes many calls, [`limits::WINDOW`] of them at a time (dbus-daemon allows a client to wait
    /// for 128 replies), and hands each answer on with the index of its call, in the order of
    /// arrival. Fails when the bus is lost or nothing is answered for [`limits::CLIENT_CALL`].
    pub async fn ask_each(
        &mut self,
        calls: impl IntoIterator<Item = Call>,
        mut answered: impl FnMut(usize, Answer),
    ) -> Result<(), Error> {
        let mut calls = calls.into_iter().enumerate();
        let mut waiting: BTreeMap<NonZeroU32, (usize, &'static str)> = BTreeMap::new();
        loop {
            while waiting.len() < limits::WINDOW
                && let Some((index, call)) = calls.next()
            {
                let serial = self.send(&call).await?;
                waiting.insert(serial, (index, call.method));
            }
            let Some(&(_, method)) = waiting.values().next() else {
                return Ok(());
            };
            let deadline = Instant::now() + limits::CLIENT_CALL;
            let (index, reply) = loop {
                let message = self
                    .next_before(deadline)
                    .await?
                    .ok_or(Error::NoAnswer { method })?;
                let serial = message.header().reply_serial();
                match serial.and_then(|serial| waiting.remove(&serial)) {
                    Some((index, _)) => break (index, message),
                    None => self.signals.extend(read_signal(&message)?),
                }
            };
            answered(index, read_answer(&reply));
        }
    }

    /// Has the bus deliver the ends of the node's jobs and the manager's departure. Without a bus
    /// the manager sends every signal, and its departure ends the connection.
    pub async fn watch_jobs(&mut self, node: &str) -> Result<(), Error> {
        if self.is_private {
            return Ok(());
        }
        let jobs = format!(
            "type='signal',sender='{MANAGER_BUS_NAME}',path='{MANAGER_PATH}',\
             interface='{MANAGER_INTERFACE}',member='JobRemoved',arg2={}",
            quote(node)
        );
        self.add_match(&jobs).await?;
        self.watch_manager().await
    }

    /// Has the bus deliver the manager's departure; without a bus it ends the connection.
    pub async fn watch_manager(&mut self) -> Result<(), Error> {
        if self.is_private {
            return Ok(());
        }
        let owner = format!(
            "type='signal',sender='{DBUS_NAME}',path='{DBUS_PATH}',interface='{DBUS_NAME}',\
             member='NameOwnerChanged',arg0='{MANAGER_BUS_NAME}'"
        );
        self.add_match(&owner).await
    }

    async fn add_match(&mut self, rule: &str) -> Result<(), Error> {
        let call = Call::new(DBUS_NAME, DBUS_PATH, DBUS_NAME, "AddMatch", &rule);
        self.call(call, Subject::Fleet).await.map(drop)
    }

    /// The next signal in the order of arrival; waits as long as it takes.
    pub async fn next_signal(&mut self) -> Result<Signal, Error> {
        loop {
            if let Some(signal) = self.signals.pop_front() {
                return Ok(signal);
            }
            let message = self.next().await?;
            self.signals.extend(read_signal(&message)?);
        }
    }

    /// Sends a call that is not answered.
    pub async fn tell(&self, call: Call) -> Result<(), Error> {
        self.send(&call).await.map(drop)
    }

    async fn send(&self, call: &Call) -> Result<NonZeroU32, Error> {
        let message = call.message.as_ref().map_err(|error| Error::Malformed {
            member: call.method,
            reason: error.to_string(),
        })?;
        self.connection
            .send(message)
            .await
            .map_err(|_| self.lost())?;
        Ok(message.primary_header().serial_num())
    }

    async fn next(&mut self) -> Result<Message, Error> {
        match self.messages.next().await {
            Some(Ok(message)) => Ok(message),
            Some(Err(_)) | None => Err(self.lost()),
        }
    }

    /// The next message, or nothing when there is none at the deadline.
    async fn next_before(&mut self, deadline: Instant) -> Result<Option<Message>, Error> {
        async { self.next().await.map(Some) }
            .or(async {
                smol::Timer::at(deadline).await;
                Ok(None)
            })
            .await
    }
}

/// Gives up after [`limits::CLIENT_CALL`].
async fn in_time<T, E: From<io::Error>>(
    attempt: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    attempt
        .or(async {
            smol::Timer::after(limits::CLIENT_CALL).await;
            Err(io::Error::from(io::ErrorKind::TimedOut).into())
        })
        .await
}

/// Reads the body of the answer to `method`, borrowing from it what can be borrowed.
pub(super) fn decode<'b, T>(method: &'static str, body: &'b Body) -> Result<T, Error>
where
    T: DynamicDeserialize<'b>,
{
    body.deserialize().map_err(|error| Error::Malformed {
        member: method,
        reason: error.to_string(),
    })
}

fn read_answer(reply: &Message) -> Answer {
    let body = reply.body();
    if reply.message_type() != Type::Error {
        return Ok(body);
    }
    let header = reply.header();
    Err(Refusal {
        name: header
            .error_name()
            .map(ToString::to_string)
            .unwrap_or_default(),
        // The message is the first argument, by convention only.
        message: body.deserialize::<&str>().unwrap_or_default().to_owned(),
        from_bus: header.sender().is_some_and(|sender| sender == DBUS_NAME),
    })
}

/// Reads a signal of the rules in [`Client::watch_jobs`]; others do not concern us.
fn read_signal(message: &Message) -> Result<Option<Signal>, Error> {
    let header = message.header();
    if message.message_type() != Type::Signal {
        return Ok(None);
    }
    let body = message.body();
    Ok(match header.member().map(zbus::names::MemberName::as_str) {
        Some("JobRemoved") => {
            let (_, job, _, _, result) =
                decode::<(u32, OwnedObjectPath, &str, &str, String)>("JobRemoved", &body)?;
            Some(Signal::JobRemoved { job, result })
        }
        Some("NameOwnerChanged") => Some(Signal::ManagerLeft),
        Some("Data") if is_of_stream(&header) => {
            let (channel, data) = decode::<(u32, Vec<u8>)>("Data", &body)?;
            let path = path_of(&header);
            Some(Signal::StreamData {
                path,
                channel,
                data,
            })
        }
        Some("End") if is_of_stream(&header) => {
            let (status, result) = decode::<(i32, String)>("End", &body)?;
            let path = path_of(&header);
            Some(Signal::StreamEnd {
                path,
                status,
                result,
            })
        }
        _ => None,
    })
}

fn is_of_stream(header: &Header<'_>) -> bool {
    let interface = header.interface();
    interface.is_some_and(|interface| interface == STREAM_INTERFACE)
}

fn path_of(header: &Header<'_>) -> String {
    header.path().map(ToString::to_string).unwrap_or_default()
}

/// A value of a match rule (D-Bus Specification, "Match Rules"): within apostrophes nothing is
/// special but the apostrophe.
fn quote(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_match_rules_are_quoted() {
        assert_eq!(quote("rpi4"), "'rpi4'");
        assert_eq!(quote(r"a'b\,c"), r"'a'\''b\,c'");
    }
}
