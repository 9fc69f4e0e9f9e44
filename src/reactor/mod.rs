//! Waiting for sockets and times, on one thread: epoll below smol's executor.
//!
//! async-io's reactor would do, at a price for a daemon of one thread: it arms each socket anew
//! after every event, sets a timer descriptor in every turn, and its helper thread is woken about
//! ten times whenever the daemon is. Here a socket is registered once, edge-triggered (epoll(7)),
//! the next time is the time-out of the wait, and nobody else is woken.
//!
//! [`block_on`] runs an executor with it. Sockets and times that are used on other threads, or
//! without [`block_on`], are never woken.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::{Future, poll_fn},
    io,
    os::fd::{AsFd, OwnedFd},
    pin::pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use rustix::{
    buffer::spare_capacity,
    event::{EventfdFlags, Timespec, epoll, eventfd},
};
use smol::LocalExecutor;

use crate::{core::Instant, limits};

pub mod clock;

thread_local! {
    static REACTOR: RefCell<Option<Rc<Reactor>>> = const { RefCell::new(None) };
}

/// Number in epoll's data of the descriptor by which other threads wake this one.
const WAKE_UP: u64 = u64::MAX;

struct Reactor {
    epoll: OwnedFd,
    sources: RefCell<BTreeMap<u64, Rc<Source>>>,
    next_source: Cell<u64>,
    /// Who waits for which time; the number tells apart those that wait for the same.
    times: RefCell<BTreeMap<(Instant, u64), Waker>>,
    next_time: Cell<u64>,
    wake_up: Arc<WakeUp>,
}

/// The waker of the whole thread.
struct WakeUp {
    is_woken: AtomicBool,
    /// Only who sleeps in epoll needs to be told through the descriptor.
    sleeps: AtomicBool,
    eventfd: OwnedFd,
}

impl Wake for WakeUp {
    fn wake(self: Arc<Self>) {
        Self::wake_by_ref(&self);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_woken.swap(true, Ordering::SeqCst) && self.sleeps.load(Ordering::SeqCst) {
            // It can only fail when the counter is full, and then the thread is woken anyway.
            let _ = rustix::io::write(&self.eventfd, &1_u64.to_ne_bytes());
        }
    }
}

/// What is known of a registered descriptor.
#[derive(Default)]
struct Source {
    reads: Direction,
    writes: Direction,
    /// The other side is gone, or the socket failed: reads and writes tell at once, for ever.
    has_ended: Cell<bool>,
}

/// Whether an edge was reported since it was last asked for, and who waits for one.
#[derive(Default)]
struct Direction {
    is_ready: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Direction {
    fn poll(&self, has_ended: bool, context: &mut Context<'_>) -> Poll<()> {
        if self.is_ready.take() || has_ended {
            return Poll::Ready(());
        }
        let mut waker = self.waker.borrow_mut();
        if !waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(context.waker()))
        {
            *waker = Some(context.waker().clone());
        }
        Poll::Pending
    }

    fn set_ready(&self) {
        self.is_ready.set(true);
        let waker = self.waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Reactor {
    /// The reactor of this thread.
    fn current() -> io::Result<Rc<Self>> {
        REACTOR.with_borrow_mut(|current| match current {
            Some(reactor) => Ok(Rc::clone(reactor)),
            None => Ok(Rc::clone(current.insert(Rc::new(Self::new()?)))),
        })
    }

    fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, &eventfd, epoll::EventData::new_u64(WAKE_UP), flags)?;
        let (is_woken, sleeps) = (AtomicBool::new(false), AtomicBool::new(false));
        Ok(Self {
            epoll,
            sources: RefCell::default(),
            next_source: Cell::new(0),
            times: RefCell::default(),
            next_time: Cell::new(0),
            wake_up: Arc::new(WakeUp {
                is_woken,
                sleeps,
                eventfd,
            }),
        })
    }

    /// Waits until a socket is ready, a time has come or another thread wakes this one, and wakes
    /// who waited for that.
    fn wait(&self, events: &mut Vec<epoll::Event>) -> io::Result<()> {
        self.wake_up.sleeps.store(true, Ordering::SeqCst);
        let timeout = if self.wake_up.is_woken.load(Ordering::SeqCst) {
            Some(Duration::ZERO)
        } else {
            self.until_next_time()
        };
        events.clear();
        let waited = epoll::wait(
            &self.epoll,
            spare_capacity(events),
            timespec(timeout).as_ref(),
        );
        self.wake_up.sleeps.store(false, Ordering::SeqCst);
        match waited {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &*events {
            self.report(event);
        }
        self.ring();
        Ok(())
    }

    fn report(&self, event: &epoll::Event) {
        let number = event.data.u64();
        if number == WAKE_UP {
            // Edge-triggered, so that the counter need not be read.
            return;
        }
        // A source that was dropped since the wait is no longer there.
        let source = self.sources.borrow().get(&number).cloned();
        let Some(source) = source else { return };
        let flags = event.flags;
        let ends = epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR;
        if flags.intersects(ends) {
            source.has_ended.set(true);
        }
        if flags.intersects(ends | epoll::EventFlags::IN) {
            source.reads.set_ready();
        }
        if flags
            .intersects(epoll::EventFlags::OUT | epoll::EventFlags::HUP | epoll::EventFlags::ERR)
        {
            source.writes.set_ready();
        }
    }

    fn until_next_time(&self) -> Option<Duration> {
        let times = self.times.borrow();
        let (next, _) = times.first_key_value()?.0;
        Some(next.since(clock::monotonic()))
    }

    /// Wakes those whose time has come.
    fn ring(&self) {
        if self.times.borrow().is_empty() {
            return;
        }
        let now = clock::monotonic();
        loop {
            let due = {
                let mut times = self.times.borrow_mut();
                match times.first_entry() {
                    Some(first) if first.key().0 <= now => first.remove(),
                    _ => return,
                }
            };
            due.wake();
        }
    }
}

fn timespec(timeout: Option<Duration>) -> Option<Timespec> {
    // A duration of more than 292 billion years waits for ever instead.
    timeout.and_then(|timeout| Timespec::try_from(timeout).ok())
}

/// Runs `future` and the tasks of `executor` on this thread until `future` is done.
///
/// # Panics
/// If the kernel has no epoll descriptor to give; nothing can run then.
#[allow(
    clippy::expect_used,
    reason = "without epoll nothing can run, and nobody could be told"
)]
pub fn block_on<T>(executor: &LocalExecutor<'static>, future: impl Future<Output = T>) -> T {
    let reactor = Reactor::current().expect("a descriptor for epoll");
    let waker = Waker::from(Arc::clone(&reactor.wake_up));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(executor.run(future));
    let mut events = Vec::with_capacity(limits::REACTOR_EVENTS);
    loop {
        reactor.wake_up.is_woken.store(false, Ordering::SeqCst);
        if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
            return result;
        }
        reactor
            .wait(&mut events)
            .expect("epoll waits on descriptors that it was given");
    }
}

/// A socket, or another descriptor that epoll takes, that does not block.
///
/// An operation is tried first; when it would block, [`poll_readable`](Self::poll_readable) or
/// [`poll_writable`](Self::poll_writable) tells when to try again. They may tell so once too
/// often, never too seldom.
#[derive(Debug)]
pub struct Async<T: AsFd> {
    io: T,
    number: u64,
    source: Rc<Source>,
    reactor: Rc<Reactor>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Reactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reactor").finish_non_exhaustive()
    }
}

impl<T: AsFd> Async<T> {
    /// Makes `io` non-blocking and registers it with the reactor of this thread.
    pub fn new(io: T) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&io, true)?;
        let reactor = Reactor::current()?;
        let number = reactor.next_source.get();
        reactor.next_source.set(number + 1);
        let flags = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::ET;
        epoll::add(
            &reactor.epoll,
            &io,
            epoll::EventData::new_u64(number),
            flags,
        )?;
        let source = Rc::<Source>::default();
        reactor
            .sources
            .borrow_mut()
            .insert(number, Rc::clone(&source));
        Ok(Self {
            io,
            number,
            source,
            reactor,
        })
    }

    /// The socket.
    pub const fn get_ref(&self) -> &T {
        &self.io
    }

    /// Ready when a read may tell something that it did not tell before.
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        self.source.reads.poll(self.source.has_ended.get(), context)
    }

    /// Ready when a write may go on.
    pub fn poll_writable(&self, context: &mut Context<'_>) -> Poll<()> {
        self.source
            .writes
            .poll(self.source.has_ended.get(), context)
    }

    /// Tries `operation` until it does not block on reading.
    pub async fn read_with<R>(&self, operation: impl Fn(&T) -> io::Result<R>) -> io::Result<R> {
        loop {
            match operation(&self.io) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll_fn(|context| self.poll_readable(context)).await;
                }
                result => return result,
            }
        }
    }

    /// Waits until a write may go on.
    pub async fn writable(&self) {
        poll_fn(|context| self.poll_writable(context)).await;
    }
}

impl<T: AsFd> AsFd for Async<T> {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.io.as_fd()
    }
}

impl<T: AsFd> Drop for Async<T> {
    fn drop(&mut self) {
        self.reactor.sources.borrow_mut().remove(&self.number);
        // The kernel forgets it too when the last copy of the descriptor is closed.
        let _ = epoll::delete(&self.reactor.epoll, &self.io);
    }
}

/// Waits for a point in time.
async fn sleep_until(time: Instant) {
    let mut sleeper = None;
    poll_fn(|context| {
        sleeper.take();
        if time <= clock::monotonic() {
            return Poll::Ready(());
        }
        match Sleeper::new(time, context.waker().clone()) {
            Ok(waiting) => {
                sleeper = Some(waiting);
                Poll::Pending
            }
            // block_on has told.
            Err(_) => Poll::Ready(()),
        }
    })
    .await;
}

/// Waits for a while.
pub async fn sleep(time: Duration) {
    sleep_until(clock::monotonic() + time).await;
}

/// An entry in the reactor's times, removed when its owner no longer waits.
pub(crate) struct Sleeper {
    reactor: Rc<Reactor>,
    key: (Instant, u64),
}

impl Sleeper {
    /// Wakes `waker` at `time`, once.
    pub(crate) fn new(time: Instant, waker: Waker) -> io::Result<Self> {
        let reactor = Reactor::current()?;
        let number = reactor.next_time.get();
        reactor.next_time.set(number + 1);
        let key = (time, number);
        reactor.times.borrow_mut().insert(key, waker);
        Ok(Self { reactor, key })
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.reactor.times.borrow_mut().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::unix::net::UnixStream,
        thread,
    };

    use smol::future::or;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn run<T>(future: impl Future<Output = T>) -> T {
        block_on(&LocalExecutor::new(), future)
    }

    #[test]
    fn a_socket_wakes_for_every_edge_and_for_its_end() {
        let (mut near, far) = UnixStream::pair().unwrap();
        let far = Async::new(far).unwrap();
        let read = || far.read_with(|mut far| far.read(&mut [0; 8]));
        run(async {
            for _ in 0..3 {
                let writer = thread::spawn(move || {
                    thread::sleep(5 * MS);
                    near.write_all(b"x").unwrap();
                    near
                });
                assert_eq!(read().await.unwrap(), 1);
                near = writer.join().unwrap();
            }
            // Both in one edge: the end must still be told after the short read.
            near.write_all(b"xy").unwrap();
            drop(near);
            assert_eq!(read().await.unwrap(), 2);
            assert_eq!(read().await.unwrap(), 0);
            assert_eq!(read().await.unwrap(), 0);
        });
    }

    #[test]
    fn a_full_socket_can_be_written_when_it_was_read() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let near = Async::new(near).unwrap();
        run(async {
            let mut written = 0;
            while let Ok(more) = near.get_ref().write(&vec![0; 65536]) {
                written += more;
            }
            let reader = thread::spawn(move || {
                thread::sleep(5 * MS);
                let mut rest = vec![0; written];
                far.read_exact(&mut rest).unwrap();
                far
            });
            while near.get_ref().write(&[0; 8]).is_err() {
                near.writable().await;
            }
            reader.join().unwrap();
        });
    }

    #[test]
    fn times_come_in_order_and_never_early() {
        let executor = LocalExecutor::new();
        let order = Rc::new(RefCell::new(Vec::new()));
        // Far enough for all to wait before the first is due, however busy the machine is.
        let start = clock::monotonic() + 500 * MS;
        let tasks = [30, 10, 20, 10].map(|after| {
            let order = Rc::clone(&order);
            executor.spawn(async move {
                sleep_until(start + after * MS).await;
                assert!(clock::monotonic() >= start + after * MS);
                order.borrow_mut().push(after);
            })
        });
        block_on(&executor, async {
            for task in tasks {
                task.await;
            }
        });
        assert_eq!(*order.borrow(), [10, 10, 20, 30]);
    }

    #[test]
    fn a_wait_that_is_given_up_leaves_nothing() {
        run(async {
            or(sleep(MS), sleep(60_000 * MS)).await;
            assert!(Reactor::current().unwrap().times.borrow().is_empty());
        });
        let (near, _far) = UnixStream::pair().unwrap();
        drop(Async::new(near).unwrap());
        assert!(Reactor::current().unwrap().sources.borrow().is_empty());
    }

    #[test]
    fn another_thread_wakes_the_loop() {
        let (sender, receiver) = smol::channel::bounded(1);
        thread::spawn(move || {
            thread::sleep(5 * MS);
            sender.send_blocking(7).unwrap();
        });
        assert_eq!(run(receiver.recv()), Ok(7));
    }
}
