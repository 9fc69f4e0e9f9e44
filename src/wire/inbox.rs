//! The one ordered event queue of a daemon.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

use crate::limits;

/// The ordered queue of all that happens to a daemon. Clones are handles of the same queue; one
/// place takes events from it.
///
/// What [`push`](Self::push) adds is not bounded here: signals, timers and connects are few by
/// their nature. Messages of a link are bounded by the link's window.
pub struct Inbox<E> {
    queue: Rc<Queue<E>>,
}

struct Queue<E> {
    entries: RefCell<VecDeque<Entry<E>>>,
    waker: RefCell<Option<Waker>>,
}

struct Entry<E> {
    event: E,
    /// The window of the link that the event is from.
    window: Option<Rc<Window>>,
    /// Length of the message; 0 where the event takes no place in the window.
    bytes: usize,
}

impl<E> Clone for Inbox<E> {
    fn clone(&self) -> Self {
        Self {
            queue: Rc::clone(&self.queue),
        }
    }
}

impl<E> Default for Inbox<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E> Inbox<E> {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self {
            queue: Rc::new(Queue {
                entries: RefCell::default(),
                waker: RefCell::default(),
            }),
        }
    }

    /// Appends an event.
    pub fn push(&self, event: E) {
        self.append(Entry {
            event,
            window: None,
            bytes: 0,
        });
    }

    /// Appends an event of a link; `bytes` is the length of its message, or 0.
    pub(super) fn push_from(&self, window: &Rc<Window>, event: E, bytes: usize) {
        if bytes > 0 {
            window.take_place(bytes);
        }
        self.append(Entry {
            event,
            window: Some(Rc::clone(window)),
            bytes,
        });
    }

    fn append(&self, entry: Entry<E>) {
        self.queue.entries.borrow_mut().push_back(entry);
        if let Some(waker) = self.queue.waker.take() {
            waker.wake();
        }
    }

    /// The next event. Never waits twice in a row without one; taking an event frees its place in
    /// its link's window.
    pub async fn next(&self) -> E {
        poll_fn(|context| {
            if let Some(event) = self.try_next() {
                return Poll::Ready(event);
            }
            let mut waker = self.queue.waker.borrow_mut();
            if !waker
                .as_ref()
                .is_some_and(|waker| waker.will_wake(context.waker()))
            {
                *waker = Some(context.waker().clone());
            }
            Poll::Pending
        })
        .await
    }

    /// The next event, if one waits. Events of links that were closed by their owner are left out.
    #[must_use]
    pub fn try_next(&self) -> Option<E> {
        loop {
            let entry = self.pop()?;
            let Some(window) = entry.window else {
                return Some(entry.event);
            };
            if window.is_closed() {
                continue;
            }
            if entry.bytes > 0 {
                window.free_place(entry.bytes);
            }
            return Some(entry.event);
        }
    }

    fn pop(&self) -> Option<Entry<E>> {
        let mut entries = self.queue.entries.borrow_mut();
        let entry = entries.pop_front();
        if entries.is_empty() && entries.capacity() > limits::KEPT_INBOX_EVENTS {
            entries.shrink_to(limits::KEPT_INBOX_EVENTS);
        }
        entry
    }
}

/// What lets a link go on reading after it had to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resume {
    /// Half of the window is free: fewer wake-ups than one for each message.
    HalfFree,
    /// All messages that wait were taken.
    Empty,
}

/// The share of the inbox that one link may fill, and the way to wake its task.
#[derive(Default)]
pub(super) struct Window {
    messages: Cell<usize>,
    bytes: Cell<usize>,
    stopped: Cell<Option<Resume>>,
    closed: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Window {
    fn take_place(&self, bytes: usize) {
        self.messages.set(self.messages.get() + 1);
        self.bytes.set(self.bytes.get() + bytes);
    }

    fn free_place(&self, bytes: usize) {
        self.messages.set(self.messages.get() - 1);
        self.bytes.set(self.bytes.get() - bytes);
        let resumes = match self.stopped.get() {
            None => false,
            Some(Resume::HalfFree) => {
                self.messages.get() <= limits::WINDOW / 2
                    && self.bytes.get() <= limits::WINDOW_BYTES / 2
            }
            Some(Resume::Empty) => self.is_empty(),
        };
        if resumes {
            self.stopped.set(None);
            self.wake();
        }
    }

    /// Whether no message waits.
    pub(super) fn is_empty(&self) -> bool {
        self.messages.get() == 0
    }

    /// Whether another message may not be added.
    pub(super) fn is_full(&self) -> bool {
        self.messages.get() >= limits::WINDOW || self.bytes.get() >= limits::WINDOW_BYTES
    }

    /// Stops the link until `resume`. At least one of its messages waits, so that taking it wakes
    /// the link.
    pub(super) fn stop_until(&self, resume: Resume) {
        debug_assert!(!self.is_empty());
        self.stopped.set(Some(resume));
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.get().is_some()
    }

    /// From here on no event of the link leaves the inbox.
    pub(super) fn close(&self) {
        self.closed.set(true);
        self.wake();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    pub(super) fn set_waker(&self, waker: &Waker) {
        let mut own = self.waker.borrow_mut();
        if !own.as_ref().is_some_and(|own| own.will_wake(waker)) {
            *own = Some(waker.clone());
        }
    }

    /// Forgets the task, which has ended.
    pub(super) fn forget_waker(&self) {
        self.waker.take();
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }
}
