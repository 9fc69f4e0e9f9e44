//! Who calls: the caller's uid and pid, for the log, and where it decides what the caller may do.
//! Of a client on the bus they are looked up beside the request, of a private connection they are
//! known.

use std::collections::BTreeMap;

use super::{
    State,
    event::{Action, Call, Client, MonitorMethod, StreamKind},
    log,
};
use crate::{
    bus::Body,
    core::{Credentials, Level, Now},
    limits,
};

/// Who a caller was that left the bus before anybody could ask.
const LEFT: &str = "uid unknown (left)";

/// What is known about callers on the bus.
///
/// A bus gives a unique name only once in its life (D-Bus Specification, "Unique names"), so an
/// entry stays true until the bus itself goes; only the number of entries needs a bound.
#[derive(Debug, Default)]
pub(super) struct Clients {
    known: BTreeMap<String, Known>,
    /// What waits for its caller, in the order of the requests.
    waiting: BTreeMap<String, Vec<Waiting>>,
    waiting_count: usize,
    uses: u64,
}

/// What is held until it is known who the caller is.
#[derive(Debug)]
enum Waiting {
    /// A line for the log.
    Line(String),
    /// A call that only root may make.
    Call(HeldCall),
}

/// A call that waits for its caller to be known, and what it is for.
pub(super) type HeldCall = (Call, Held);

/// What a call is for that only root may make.
#[derive(Debug)]
pub(super) enum Held {
    /// A method of a monitor that belongs to somebody else.
    Monitor(u32, MonitorMethod),
    /// A stream from a node, with the arguments.
    Stream(String, StreamKind, Body),
}

#[derive(Debug)]
struct Known {
    credentials: Credentials,
    last_use: u64,
}

impl Clients {
    /// Logs `request` with its caller, at once or when the bus has told who that is.
    fn log(&mut self, client: &str, request: String, actions: &mut Vec<Action>) {
        self.uses += 1;
        if let Some(known) = self.known.get_mut(client) {
            known.last_use = self.uses;
            write(client, &known.credentials.to_string(), &request, actions);
            return;
        }
        if self.waiting_count >= limits::MAX_WAITING_CLIENT_LINES {
            write(client, "uid unknown", &request, actions);
            return;
        }
        self.wait(client, Waiting::Line(request), actions);
    }

    fn wait(&mut self, client: &str, what: Waiting, actions: &mut Vec<Action>) {
        self.waiting_count += 1;
        let waiting = self.waiting.entry(client.to_owned()).or_default();
        waiting.push(what);
        if waiting.len() == 1 {
            actions.push(Action::LookUpClient(client.to_owned()));
        }
    }

    fn credentials(&self, client: &str) -> Option<Credentials> {
        self.known.get(client).map(|known| known.credentials)
    }

    /// Holds a call until it is known who the caller is; gives it back if too much waits.
    pub(super) fn hold(
        &mut self,
        call: Call,
        what: Held,
        actions: &mut Vec<Action>,
    ) -> Result<(), Call> {
        match call.client.clone() {
            Client::Bus(client) if self.waiting_count < limits::MAX_WAITING_CLIENT_LINES => {
                self.wait(&client, Waiting::Call((call, what)), actions);
                Ok(())
            }
            Client::Bus(_) | Client::Private(_) => Err(call),
        }
    }

    /// The bus has told who `client` is. Returns the calls that waited for it.
    pub(super) fn known(
        &mut self,
        client: &str,
        credentials: Option<Credentials>,
        actions: &mut Vec<Action>,
    ) -> Vec<HeldCall> {
        let Some(waiting) = self.waiting.remove(client) else {
            return Vec::new();
        };
        self.waiting_count -= waiting.len();
        let who = credentials.map_or(LEFT.to_owned(), |credentials| credentials.to_string());
        let mut calls = Vec::new();
        for what in waiting {
            match what {
                Waiting::Line(line) => write(client, &who, &line, actions),
                Waiting::Call(call) => calls.push(call),
            }
        }
        if let Some(credentials) = credentials {
            self.make_room();
            let last_use = self.uses;
            self.known.insert(
                client.to_owned(),
                Known {
                    credentials,
                    last_use,
                },
            );
        }
        calls
    }

    fn make_room(&mut self) {
        if self.known.len() >= limits::MAX_KNOWN_CLIENTS {
            let oldest = self.known.iter().min_by_key(|(_, known)| known.last_use);
            if let Some(oldest) = oldest.map(|(client, _)| client.clone()) {
                self.known.remove(&oldest);
            }
        }
    }

    /// The bus is gone, and with it the meaning of its names. Returns the calls that waited.
    pub(super) fn forget_all(&mut self, actions: &mut Vec<Action>) -> Vec<Call> {
        let mut calls = Vec::new();
        for (client, waiting) in std::mem::take(&mut self.waiting) {
            for what in waiting {
                match what {
                    Waiting::Line(line) => write(&client, LEFT, &line, actions),
                    Waiting::Call((call, _)) => calls.push(call),
                }
            }
        }
        self.known.clear();
        self.waiting_count = 0;
        calls
    }

    #[cfg(test)]
    pub(super) fn entries(&self) -> (usize, usize) {
        (self.known.len(), self.waiting_count)
    }
}

impl State {
    /// The bus has told who a caller is.
    pub(super) fn client_known(
        &mut self,
        now: Now,
        client: &str,
        credentials: Option<Credentials>,
        actions: &mut Vec<Action>,
    ) {
        let uid = credentials.map(|credentials| credentials.uid);
        for (call, held) in self.clients.known(client, credentials, actions) {
            match held {
                Held::Monitor(id, method) => {
                    self.use_foreign_monitor(call, (id, method), uid, actions);
                }
                Held::Stream(node, kind, arguments) => {
                    let wanted = (node.as_str(), kind, arguments);
                    self.open_stream_as(now, call, wanted, credentials, actions);
                }
            }
        }
    }

    /// Somebody has left: what belongs to them ends.
    pub(super) fn client_left(&mut self, client: &Client, actions: &mut Vec<Action>) {
        self.end_streams_of(|owner| owner == client, actions);
        self.leave_monitors(client, actions);
    }

    /// Logs `request` with its caller.
    pub(super) fn log_request(
        &mut self,
        client: &Client,
        request: String,
        actions: &mut Vec<Action>,
    ) {
        match client {
            Client::Bus(name) => self.clients.log(name, request, actions),
            Client::Private(id) => {
                let who = self.privates.credentials(*id);
                let who = who.map_or(LEFT.to_owned(), |who| who.to_string());
                write(&client.to_string(), &who, &request, actions);
            }
        }
    }

    /// Who a caller is, if that is known; of a private connection it always is.
    pub(super) fn credentials(&self, client: &Client) -> Option<Credentials> {
        match client {
            Client::Bus(name) => self.clients.credentials(name),
            Client::Private(id) => self.privates.credentials(*id),
        }
    }

    /// The user of a caller who is known.
    pub(super) fn uid(&self, client: &Client) -> Option<u32> {
        self.credentials(client).map(|who| who.uid)
    }
}

fn write(client: &str, who: &str, request: &str, actions: &mut Vec<Action>) {
    let text = format!("{request}, asked by {client} ({who})");
    log(actions, Level::Info, text);
}
