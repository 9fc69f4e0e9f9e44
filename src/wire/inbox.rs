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

    /// How many events wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.entries.borrow().len()
    }

    /// Whether no event waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::{Context, Wake},
    };

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Wakes {
        fn count(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    fn window(wakes: &Arc<Wakes>) -> Rc<Window> {
        let window = Rc::new(Window::default());
        window.set_waker(&Waker::from(Arc::clone(wakes)));
        window
    }

    #[test]
    fn events_come_in_the_order_of_all_sources() {
        let inbox = Inbox::new();
        let window = window(&Arc::default());
        inbox.push(1);
        inbox.push_from(&window, 2, 100);
        inbox.clone().push(3);
        assert_eq!(
            [inbox.try_next(), inbox.try_next(), inbox.try_next()],
            [Some(1), Some(2), Some(3)]
        );
        assert_eq!(inbox.try_next(), None);
    }

    #[test]
    fn a_push_wakes_the_one_who_waits_once() {
        let inbox = Inbox::new();
        let count = Arc::<Wakes>::default();
        let waker = Waker::from(Arc::clone(&count));
        let mut context = Context::from_waker(&waker);
        let mut next = pin!(inbox.next());
        assert!(next.as_mut().poll(&mut context).is_pending());
        inbox.push('a');
        inbox.push('b');
        assert_eq!(count.count(), 1);
        assert_eq!(next.as_mut().poll(&mut context), Poll::Ready('a'));
        assert_eq!(inbox.try_next(), Some('b'));
    }

    #[test]
    fn a_full_window_wakes_its_link_when_half_is_free() {
        let inbox = Inbox::new();
        let wakes = Arc::default();
        let window = window(&wakes);
        for number in 0..limits::WINDOW {
            assert!(!window.is_full());
            inbox.push_from(&window, number, 100);
        }
        assert!(window.is_full());
        window.stop_until(Resume::HalfFree);
        while window.is_stopped() {
            assert_eq!(wakes.count(), 0);
            inbox.try_next().unwrap();
        }
        assert_eq!(window.messages.get(), limits::WINDOW / 2);
        assert_eq!(wakes.count(), 1);
        while inbox.try_next().is_some() {}
        assert_eq!(wakes.count(), 1, "one wake-up for one stop");
        assert_eq!((window.messages.get(), window.bytes.get()), (0, 0));
    }

    #[test]
    fn large_messages_fill_a_window_by_their_bytes() {
        let inbox = Inbox::new();
        let wakes = Arc::default();
        let window = window(&wakes);
        inbox.push_from(&window, (), limits::WINDOW_BYTES);
        assert!(window.is_full());
        window.stop_until(Resume::Empty);
        inbox.try_next().unwrap();
        assert_eq!(wakes.count(), 1);
        assert!(!window.is_full() && !window.is_stopped());
    }

    #[test]
    fn events_of_a_closed_link_stay_inside() {
        let inbox = Inbox::new();
        let (one, other) = (window(&Arc::default()), window(&Arc::default()));
        inbox.push_from(&one, 1, 100);
        inbox.push_from(&other, 2, 100);
        inbox.push_from(&one, 3, 0);
        one.close();
        assert_eq!(inbox.try_next(), Some(2));
        assert_eq!(inbox.try_next(), None);
    }

    #[test]
    fn memory_of_a_burst_is_given_back() {
        let inbox = Inbox::new();
        for number in 0..100_000 {
            inbox.push(number);
        }
        while inbox.try_next().is_some() {}
        assert!(inbox.queue.entries.borrow().capacity() < 10 * limits::KEPT_INBOX_EVENTS);
    }
}
