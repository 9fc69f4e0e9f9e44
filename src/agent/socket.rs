//! What both edges share: one attempt to connect at a time, and one link.

use std::{future::Future, rc::Rc};

use smol::{LocalExecutor, Task};

use super::state::{Content, Outgoing};
use crate::{
    bus::Message,
    wire::{Inbox, Link, LinkSettings, Received, Role, Stream},
};

/// What an edge reports to the inbox of the daemon, with the number of the connection.
#[derive(Debug)]
pub(super) enum SocketEvent {
    /// The attempt to connect has ended; an error is a reason for the log.
    Opened(Result<Stream, String>),
    /// From the link.
    Received(Received),
}

/// A connection, or the attempt to make one.
pub(super) struct Socket<E: 'static> {
    executor: Rc<LocalExecutor<'static>>,
    inbox: Inbox<E>,
    wrap: fn(u32, SocketEvent) -> E,
    settings: LinkSettings,
    connection: u32,
    attempt: Option<Task<()>>,
    link: Option<Link>,
}

impl<E: 'static> Socket<E> {
    pub(super) fn new(
        executor: &Rc<LocalExecutor<'static>>,
        inbox: &Inbox<E>,
        wrap: fn(u32, SocketEvent) -> E,
        settings: LinkSettings,
    ) -> Self {
        Self {
            executor: Rc::clone(executor),
            inbox: inbox.clone(),
            wrap,
            settings,
            connection: 0,
            attempt: None,
            link: None,
        }
    }

    /// Starts connection number `connection`, by which the one before it ends.
    pub(super) fn connect(
        &mut self,
        connection: u32,
        open: impl Future<Output = Result<Stream, String>> + 'static,
    ) {
        self.close();
        self.connection = connection;
        let (inbox, wrap) = (self.inbox.clone(), self.wrap);
        self.attempt = Some(self.executor.spawn(async move {
            let opened = open.await;
            inbox.push(wrap(connection, SocketEvent::Opened(opened)));
        }));
    }

    /// The stream of connection number `connection` is there: the handshake starts. A stream that
    /// comes too late is closed.
    pub(super) fn opened(&mut self, connection: u32, stream: Stream) {
        if connection == self.connection && self.attempt.take().is_some() {
            let wrap = self.wrap;
            self.link = Some(Link::open(
                &self.executor,
                stream,
                Role::Client,
                self.settings,
                &self.inbox,
                move |received| wrap(connection, SocketEvent::Received(received)),
            ));
        }
    }

    /// Closes the connection or gives the attempt up. Nothing is reported of it from here on,
    /// except for a stream that was opened already.
    pub(super) fn close(&mut self) {
        self.attempt = None;
        self.link = None;
    }

    /// Queues a message; without a link it is lost, as it would be on a closed one.
    pub(super) fn send(&self, outgoing: Outgoing) {
        if let Some(link) = &self.link {
            link.send(&message(outgoing));
        }
    }

    /// Writes what was queued.
    pub(super) fn flush(&self) {
        if let Some(link) = &self.link {
            link.flush();
        }
    }
}

/// What the state wants to be sent, as a message.
#[must_use]
pub fn message(outgoing: Outgoing) -> Message {
    let mut message = match outgoing.content {
        Content::Call {
            destination,
            path,
            interface,
            member,
            body,
        } => Message::call(&path, &interface, &member, body).to(&destination),
        Content::Return { to, body } => Message::reply(to, body),
        Content::Error { to, error } => Message::error(to, &error),
        Content::Signal {
            path,
            interface,
            member,
            body,
        } => Message::signal(&path, &interface, &member, body),
    };
    message.serial = outgoing.serial;
    message
}
