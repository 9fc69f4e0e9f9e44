//! The task of a link: reads, cuts the bytes into messages, writes what could not be written.

use std::{
    cell::RefCell,
    rc::Rc,
    task::{Context, Poll},
};

use super::{
    inbox::{Inbox, Resume},
    link::{Closed, Received, Shared},
    sasl::Sasl,
};
use crate::{
    bus::{
        Message,
        message::{BadMessage, announced_len},
    },
    limits,
};

thread_local! {
    /// Where all links of a thread read to, one after the other.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; limits::READ_BUFFER]);
}

pub(super) struct Driver<E, W> {
    shared: Rc<Shared>,
    inbox: Inbox<E>,
    wrap: W,
    /// `None` once the handshake is done.
    handshake: Option<Box<Sasl>>,
    /// Bytes that were read and not delivered: the start of a message, or what did not fit into
    /// the window. It has no memory while there are none, because most links are idle.
    partial: Vec<u8>,
    /// Whether the socket may have bytes; `false` after a read that did not fill the buffer.
    may_read: bool,
}

impl<E, W: Fn(Received) -> E> Driver<E, W> {
    pub(super) fn new(shared: Rc<Shared>, sasl: Sasl, inbox: Inbox<E>, wrap: W) -> Self {
        Self {
            shared,
            inbox,
            wrap,
            handshake: Some(Box::new(sasl)),
            partial: Vec::new(),
            may_read: true,
        }
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.shared.window.is_closed() {
            self.shared.window.set_waker(context.waker());
            let Err(why) = self.turn(context) else {
                return Poll::Pending;
            };
            self.shared.disconnect();
            self.push(Received::Closed(why), 0);
        }
        self.shared.window.forget_waker();
        Poll::Ready(())
    }

    /// One turn: at most one buffer is read before other links have theirs.
    fn turn(&mut self, context: &mut Context<'_>) -> Result<(), Closed> {
        if self.handshake.is_some() {
            self.shared.write();
        }
        self.shared.poll_write(context);
        if let Some(why) = self.shared.take_queue_full() {
            return Err(why);
        }
        if self.shared.window.is_stopped() {
            return Ok(());
        }
        self.deliver_partial()?;
        if self.shared.window.is_stopped()
            || (!self.may_read && self.shared.poll_readable(context).is_pending())
        {
            return Ok(());
        }
        self.may_read = SCRATCH.with_borrow_mut(|scratch| self.read(scratch))?;
        if self.shared.window.is_stopped() {
            return Ok(());
        }
        if self.may_read || self.shared.poll_readable(context).is_ready() {
            self.may_read = true;
            context.waker().wake_by_ref();
        }
        Ok(())
    }

    /// Reads once. Returns whether there may be more.
    fn read(&mut self, scratch: &mut [u8]) -> Result<bool, Closed> {
        let Some(read) = self.shared.read(scratch)? else {
            return Ok(false);
        };
        let mut bytes = &scratch[..read];
        if let Some(sasl) = &mut self.handshake {
            let mut answers = Vec::new();
            let taken = sasl.feed(bytes, &mut answers).map_err(Closed::Handshake)?;
            self.shared.answer(answers);
            let Some(taken) = taken else {
                return Ok(read == scratch.len());
            };
            bytes = &bytes[taken..];
            self.handshake = None;
            self.push(Received::Ready, 0);
            self.shared.release_held();
        }
        if self.partial.is_empty() {
            let delivered = self.deliver(bytes)?;
            self.partial = bytes[delivered..].to_vec();
        } else {
            self.keep(bytes);
            self.deliver_partial()?;
        }
        Ok(read == scratch.len())
    }

    /// Appends to the kept bytes. Memory is never more than twice what has arrived.
    fn keep(&mut self, bytes: &[u8]) {
        let length = self.partial.len();
        if let Ok(Some(announced)) = announced_len(&self.partial, self.shared.max_message())
            && announced > length
        {
            let more = (announced - length).min(length);
            self.partial.reserve_exact(more.max(bytes.len()));
        }
        self.partial.extend_from_slice(bytes);
    }

    fn deliver_partial(&mut self) -> Result<(), Closed> {
        if self.partial.is_empty() {
            return Ok(());
        }
        let delivered = self.deliver(&self.partial)?;
        if delivered == self.partial.len() {
            self.partial = Vec::new();
        } else if delivered > 0 {
            self.partial.drain(..delivered);
            self.partial.shrink_to(limits::READ_BUFFER);
        }
        Ok(())
    }

    /// Delivers the whole messages at the start of `bytes`, as far as the window has places.
    /// Returns their length.
    fn deliver(&self, bytes: &[u8]) -> Result<usize, Closed> {
        let window = &self.shared.window;
        let mut rest = bytes;
        loop {
            if window.is_full() {
                window.stop_until(Resume::HalfFree);
                break;
            }
            let message = match announced_len(rest, self.shared.max_message()) {
                Ok(Some(length)) if length <= rest.len() => &rest[..length],
                Ok(_) => break,
                // The handling of a message before may allow longer ones.
                Err(BadMessage::TooLong { .. }) if !window.is_empty() => {
                    window.stop_until(Resume::Empty);
                    break;
                }
                Err(bad) => return Err(Closed::BadMessage(bad)),
            };
            rest = &rest[message.len()..];
            let length = message.len();
            let message =
                Message::decode(message, self.shared.body_check()).map_err(Closed::BadMessage)?;
            self.push(Received::Message(message), length);
        }
        Ok(bytes.len() - rest.len())
    }

    fn push(&self, received: Received, bytes: usize) {
        let event = (self.wrap)(received);
        self.inbox.push_from(&self.shared.window, event, bytes);
    }
}
