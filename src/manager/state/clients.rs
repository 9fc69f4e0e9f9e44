//! Who asked for a job: the caller's uid and pid, looked up beside the request, for the log.

use std::{collections::BTreeMap, fmt};

use super::{
    event::{Action, Credentials},
    log,
};
use crate::{core::Level, limits};

/// Who a caller was that left the bus before anybody could ask.
const LEFT: &str = "uid unknown (left)";

/// What is known about callers.
///
/// A bus gives a unique name only once in its life (D-Bus Specification, "Unique names"), so an
/// entry stays true until the bus itself goes; only the number of entries needs a bound.
#[derive(Debug, Default)]
pub(super) struct Clients {
    known: BTreeMap<String, Known>,
    /// Lines that wait for their caller, in the order of the requests.
    waiting: BTreeMap<String, Vec<String>>,
    waiting_lines: usize,
    uses: u64,
}

#[derive(Debug)]
struct Known {
    credentials: Credentials,
    last_use: u64,
}

impl Clients {
    /// Logs `request` with its caller, at once or when the bus has told who that is.
    pub(super) fn log(&mut self, client: &str, request: String, actions: &mut Vec<Action>) {
        self.uses += 1;
        if let Some(known) = self.known.get_mut(client) {
            known.last_use = self.uses;
            write(client, &known.credentials.to_string(), &request, actions);
            return;
        }
        if self.waiting_lines >= limits::MAX_WAITING_CLIENT_LINES {
            write(client, "uid unknown", &request, actions);
            return;
        }
        self.waiting_lines += 1;
        let lines = self.waiting.entry(client.to_owned()).or_default();
        lines.push(request);
        if lines.len() == 1 {
            actions.push(Action::LookUpClient(client.to_owned()));
        }
    }

    /// The bus has told who `client` is.
    pub(super) fn known(
        &mut self,
        client: &str,
        credentials: Option<Credentials>,
        actions: &mut Vec<Action>,
    ) {
        let Some(lines) = self.waiting.remove(client) else {
            return;
        };
        self.waiting_lines -= lines.len();
        let who = credentials.map_or(LEFT.to_owned(), |credentials| credentials.to_string());
        for line in lines {
            write(client, &who, &line, actions);
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
    }

    fn make_room(&mut self) {
        if self.known.len() >= limits::MAX_KNOWN_CLIENTS {
            let oldest = self.known.iter().min_by_key(|(_, known)| known.last_use);
            if let Some(oldest) = oldest.map(|(client, _)| client.clone()) {
                self.known.remove(&oldest);
            }
        }
    }

    /// The bus is gone, and with it the meaning of its names.
    pub(super) fn forget_all(&mut self, actions: &mut Vec<Action>) {
        for (client, lines) in std::mem::take(&mut self.waiting) {
            for line in lines {
                write(&client, LEFT, &line, actions);
            }
        }
        self.known.clear();
        self.waiting_lines = 0;
    }

    #[cfg(test)]
    pub(super) fn entries(&self) -> (usize, usize) {
        (self.known.len(), self.waiting_lines)
    }
}

fn write(client: &str, who: &str, request: &str, actions: &mut Vec<Action>) {
    let text = format!("{request}, asked by {client} ({who})");
    log(actions, Level::Info, text);
}

impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uid {}, pid {}", self.uid, self.pid)
    }
}
