//! Streams: the log of a unit, or the output of a command, on its way from a node to who asked.
//!
//! A stream belongs to its caller and to nobody else. The caller grants bytes; an agent sends no
//! more than was granted, so what is on the way is bounded for each stream, and reading on the
//! node waits for the reader here. It ends by itself, with its caller, with its node, or when an
//! agent sends more than it may.

use std::collections::BTreeMap;

use super::{
    State,
    event::{
        Action, Call, Client, Dialect, FromPeer, Object, PeerId, Signal, StreamKind, StreamMethod,
        ToPeer,
    },
    jobs::{NODE_LOST, with_number},
    log,
    requests::{Purpose, reply, reply_error},
};
use crate::{
    bus::{Body, Bytes, CallError, ObjectPath, error_name, marshal::Writer, names},
    core::{Credentials, Level, Now},
    limits,
};

use super::clients::Held;

/// Result of a stream whose node sent more than it was granted.
const LIMIT: &str = "limit";
/// Exit status of a stream that has none.
const NO_STATUS: i32 = -1;

/// All streams.
#[derive(Debug, Default)]
pub(super) struct Streams {
    by_id: BTreeMap<u32, Stream>,
    last_id: u32,
}

#[derive(Debug)]
struct Stream {
    owner: Client,
    /// Index of its node.
    node: usize,
    kind: StreamKind,
    /// The call that waits for the agent; `None` once the stream is open.
    call: Option<Call>,
    /// Bytes that the agent may still send.
    credit: u32,
}

impl Streams {
    fn opened(&self, id: u32) -> Option<&Stream> {
        self.by_id.get(&id).filter(|stream| stream.call.is_none())
    }

    pub(super) fn is_open(&self, id: u32) -> bool {
        self.opened(id).is_some()
    }

    pub(super) fn open_ids(&self) -> impl Iterator<Item = u32> + '_ {
        let open = self.by_id.iter();
        open.filter(|(_, stream)| stream.call.is_none())
            .map(|(id, _)| *id)
    }

    fn take_id(&mut self) -> u32 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if !self.by_id.contains_key(&self.last_id) {
                return self.last_id;
            }
        }
    }

    /// Why there can not be one more.
    fn refusal(&self, owner: &Client, node: usize) -> Option<String> {
        let count = |is_counted: &dyn Fn(&Stream) -> bool| {
            let counted = self.by_id.values().filter(|stream| is_counted(stream));
            counted.count()
        };
        let own = count(&|stream| stream.owner == *owner);
        let of_node = count(&|stream| stream.node == node);
        [
            ("The caller has", own, limits::MAX_STREAMS_PER_CLIENT),
            ("The node has", of_node, limits::MAX_STREAMS_PER_NODE),
            ("There are", self.by_id.len(), limits::MAX_STREAMS),
        ]
        .into_iter()
        .find(|(_, count, most)| count >= most)
        .map(|(whose, count, _)| format!("{whose} {count} streams, the most that are allowed"))
    }
}

impl State {
    /// `Node.OpenLog` and `Node.Exec`. Who is not known waits until the bus has told.
    pub(super) fn open_stream(
        &mut self,
        now: Now,
        call: Call,
        object: &Object,
        (kind, arguments): (StreamKind, Body),
        actions: &mut Vec<Action>,
    ) {
        let Some((call, (index, _))) = self.online(call, object, actions) else {
            return;
        };
        let node = self.nodes[index].name.clone();
        if let Some(who) = self.credentials(&call.client) {
            let wanted = (node.as_str(), kind, arguments);
            return self.open_stream_as(now, call, wanted, Some(who), actions);
        }
        if let Err(call) = self
            .clients
            .hold(call, Held::Stream(node, kind, arguments), actions)
        {
            let text = "Too many callers wait to be looked up";
            let error = CallError::new(error_name::LIMITS_EXCEEDED, text);
            reply_error(call, error, actions);
        }
    }

    /// The caller is known, or has left. Of private connections it is known already whether they
    /// may.
    pub(super) fn open_stream_as(
        &mut self,
        now: Now,
        call: Call,
        (node, kind, arguments): (&str, StreamKind, Body),
        who: Option<Credentials>,
        actions: &mut Vec<Action>,
    ) {
        let is_root = who.is_some_and(|who| who.uid == 0) || !call.client.is_on_bus();
        let (Some(who), true) = (who, is_root) else {
            let text = format!("{} is for root only", kind.method());
            let error = CallError::new(error_name::ACCESS_DENIED, text);
            return reply_error(call, error, actions);
        };
        let what = match describe(kind, &arguments) {
            Ok(what) => what,
            Err(error) => return reply_error(call, error, actions),
        };
        let object = Object::Node(node.to_owned());
        let Some((call, (index, peer))) = self.online(call, &object, actions) else {
            return;
        };
        if let Some(text) = self.streams.refusal(&call.client, index) {
            let error = CallError::new(error_name::LIMITS_EXCEEDED, text);
            return reply_error(call, error, actions);
        }
        let id = self.streams.take_id();
        let request = format!("Stream {id}: {what} on '{node}'");
        self.log_request(&call.client, request, actions);
        let asked_by = format!("{} ({who})", call.client);
        let arguments = with_number(with_string(arguments, &asked_by), id);
        self.monitors.need(&call.client, actions);
        let stream = Stream {
            owner: call.client.clone(),
            node: index,
            kind,
            call: Some(call),
            credit: 0,
        };
        self.streams.by_id.insert(id, stream);
        let request = (kind.method(), arguments);
        self.request(now, peer, request, Purpose::Stream(id), actions);
    }

    /// The agent has opened the stream, or could not. One that was too late is closed there.
    pub(super) fn stream_answered(
        &mut self,
        id: u32,
        answer: Result<(), CallError>,
        actions: &mut Vec<Action>,
    ) {
        let Some(stream) = self.streams.by_id.get_mut(&id) else {
            return;
        };
        let Some(call) = stream.call.take() else {
            return;
        };
        match answer {
            Ok(()) => {
                let path = ObjectPath(names::stream_path(id));
                reply(call, Body::of(&(path,)), actions);
            }
            Err(error) => {
                self.close_stream(id, actions);
                reply_error(call, error, actions);
            }
        }
    }

    /// A client calls a method of a stream, which only its owner may.
    pub(super) fn call_stream(
        &mut self,
        call: Call,
        id: u32,
        method: StreamMethod,
        actions: &mut Vec<Action>,
    ) {
        let is_owner = |stream: &&mut Stream| stream.owner == call.client;
        let Some(stream) = self.streams.by_id.get_mut(&id).filter(is_owner) else {
            let text = format!("Stream {id} belongs to another client");
            let error = CallError::new(error_name::ACCESS_DENIED, text);
            return reply_error(call, error, actions);
        };
        match method {
            StreamMethod::Grant(bytes) => {
                let credit = stream.credit.saturating_add(bytes);
                if credit > limits::MAX_STREAM_CREDIT {
                    let most = limits::MAX_STREAM_CREDIT;
                    let text =
                        format!("{credit} bytes would be granted; the most allowed is {most}");
                    let error = CallError::new(error_name::LIMITS_EXCEEDED, text);
                    return reply_error(call, error, actions);
                }
                stream.credit = credit;
                let node = stream.node;
                self.tell_stream(node, "StreamGrant", Body::of(&(id, bytes)), actions);
            }
            StreamMethod::Close => self.close_stream(id, actions),
        }
        reply(call, Body::default(), actions);
    }

    fn tell_stream(
        &mut self,
        node: usize,
        method: &str,
        arguments: Body,
        actions: &mut Vec<Action>,
    ) {
        if let Some(peer) = self.nodes[node].peer {
            let method = method.to_owned();
            self.send(
                peer,
                ToPeer::CallWithoutReply { method, arguments },
                actions,
            );
        }
    }

    /// A message of the agent `peer` about a stream.
    pub(super) fn stream_message(
        &mut self,
        peer: PeerId,
        message: FromPeer,
        actions: &mut Vec<Action>,
    ) {
        match message {
            FromPeer::StreamData {
                stream,
                channel,
                data,
            } => self.stream_data(peer, stream, (channel, data), actions),
            FromPeer::StreamEnd {
                stream,
                status,
                result,
            } => self.stream_ended(peer, stream, (status, result), actions),
            _ => {}
        }
    }

    /// The agent `peer` sent something of a stream, which has to be one of its own.
    fn stream_data(
        &mut self,
        peer: PeerId,
        id: u32,
        (channel, data): (u32, Bytes),
        actions: &mut Vec<Action>,
    ) {
        let node = self.peers.get(&peer).and_then(|peer| peer.node);
        let is_own = |stream: &&mut Stream| Some(stream.node) == node && stream.call.is_none();
        let Some(stream) = self.streams.by_id.get_mut(&id).filter(is_own) else {
            return;
        };
        let sent = u32::try_from(data.0.len()).unwrap_or(u32::MAX);
        let Some(credit) = stream.credit.checked_sub(sent) else {
            let node = &self.nodes[stream.node].name;
            let text = format!("Node '{node}' sent more of stream {id} than it was granted");
            log(actions, Level::Warn, text);
            self.finish_stream(id, (NO_STATUS, LIMIT.to_owned()), actions);
            return;
        };
        stream.credit = credit;
        actions.push(Action::EmitTo {
            client: stream.owner.clone(),
            dialect: Dialect::Hirte,
            signal: Signal::StreamData {
                stream: id,
                channel,
                data,
            },
        });
    }

    /// The agent `peer` has sent all of a stream.
    fn stream_ended(
        &mut self,
        peer: PeerId,
        id: u32,
        end: (i32, String),
        actions: &mut Vec<Action>,
    ) {
        let node = self.peers.get(&peer).and_then(|peer| peer.node);
        let stream = self.streams.opened(id);
        if stream.is_some_and(|stream| Some(stream.node) == node) {
            self.finish_stream(id, end, actions);
        }
    }

    /// Tells the owner of the end of an open stream. The agent hears of it too, should it not know.
    fn finish_stream(
        &mut self,
        id: u32,
        (status, mut result): (i32, String),
        actions: &mut Vec<Action>,
    ) {
        let Some(stream) = self.streams.opened(id) else {
            return;
        };
        super::requests::cut(&mut result, limits::MAX_NAME);
        let node = &self.nodes[stream.node].name;
        let what = stream.kind.method();
        let text = format!("Stream {id}: {what} on '{node}' ended: {result}, status {status}");
        let client = stream.owner.clone();
        let signal = Signal::StreamEnd {
            stream: id,
            status,
            result,
        };
        log(actions, Level::Info, text);
        actions.push(Action::EmitTo {
            client,
            dialect: Dialect::Hirte,
            signal,
        });
        self.close_stream(id, actions);
    }

    /// Forgets a stream, here and on its node.
    fn close_stream(&mut self, id: u32, actions: &mut Vec<Action>) {
        let Some(stream) = self.streams.by_id.remove(&id) else {
            return;
        };
        self.monitors.need_no_longer(&stream.owner, actions);
        self.tell_stream(stream.node, "StreamClose", Body::of(&(id,)), actions);
    }

    /// Owners have gone, and nobody hears of the end of their streams.
    pub(super) fn end_streams_of(
        &mut self,
        is_gone: impl Fn(&Client) -> bool,
        actions: &mut Vec<Action>,
    ) {
        let gone: Vec<u32> = self
            .streams
            .by_id
            .iter()
            .filter(|(_, stream)| is_gone(&stream.owner))
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            let text = format!("Stream {id} ended with its caller");
            log(actions, Level::Info, text);
            self.close_stream(id, actions);
        }
    }

    /// A node is lost, and its streams with it. Calls that waited for it were answered before.
    pub(super) fn end_streams_from(&mut self, node: usize, actions: &mut Vec<Action>) {
        let lost: Vec<u32> = self
            .streams
            .by_id
            .iter()
            .filter(|(_, stream)| stream.node == node)
            .map(|(id, _)| *id)
            .collect();
        for id in lost {
            self.finish_stream(id, (NO_STATUS, NODE_LOST.to_owned()), actions);
        }
    }
}

/// What is asked for, for the log.
fn describe(kind: StreamKind, arguments: &Body) -> Result<String, CallError> {
    let invalid = |text: String| CallError::new(error_name::INVALID_ARGS, text);
    if kind == StreamKind::Log {
        let unit = arguments.first_str().unwrap_or_default();
        if !names::is_unit_name(unit) {
            return Err(invalid(format!("No unit can have the name '{unit}'")));
        }
        return Ok(format!("Log of {unit}"));
    }
    let command: Vec<String> = match arguments.parse() {
        Ok((command,)) => command,
        Err(reason) => return Err(invalid(reason.to_string())),
    };
    let bytes: usize = command.iter().map(String::len).sum();
    if command.first().is_none_or(String::is_empty) {
        return Err(invalid("The command is empty".to_owned()));
    }
    if command.len() > limits::MAX_COMMAND_WORDS || bytes > limits::MAX_COMMAND_BYTES {
        let words = command.len();
        let text = format!("The command is too long: {words} words, {bytes} bytes");
        return Err(CallError::new(error_name::LIMITS_EXCEEDED, text));
    }
    Ok(format!("Exec {command:?}"))
}

/// The arguments with a text after them.
fn with_string(arguments: Body, text: &str) -> Body {
    let room = arguments.bytes.len() + text.len() + 16;
    let mut writer = Writer::with_order(arguments.endian, room);
    writer.raw(1, &arguments.bytes);
    writer.str(text);
    Body {
        signature: (arguments.signature.into_owned() + "s").into(),
        endian: arguments.endian,
        bytes: writer.into_bytes(),
    }
}
