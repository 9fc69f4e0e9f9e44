//! The one timer of a daemon.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use smol::LocalExecutor;

use super::clock;
use crate::{core::Instant, reactor::Sleeper, wire::Inbox};

/// A timer that pushes an event when its time has come, once for each time set.
pub struct Alarm {
    state: Rc<State>,
}

#[derive(Default)]
struct State {
    /// When the event is due.
    due: Cell<Option<Instant>>,
    /// When the task wakes. It may be earlier than `due`: a later time costs nothing until then,
    /// and most times are put off before they come.
    wakes: Cell<Option<Instant>>,
    waker: RefCell<Option<Waker>>,
    is_dropped: Cell<bool>,
}

impl Alarm {
    /// A timer that is not set. `event` makes its event.
    pub fn new<E: 'static>(
        executor: &LocalExecutor<'static>,
        inbox: &Inbox<E>,
        event: impl Fn() -> E + 'static,
    ) -> Self {
        let state = Rc::new(State::default());
        let inbox = inbox.clone();
        let mut task = Task {
            state: Rc::clone(&state),
            sleeper: None,
        };
        executor
            .spawn(poll_fn(move |context| {
                task.poll(context, || inbox.push(event()))
            }))
            .detach();
        Self { state }
    }

    /// Sets the time of the next event, earlier or later than before; `None` switches the timer
    /// off. The time that is set already changes nothing and wakes nobody.
    pub fn set(&self, due: Option<Instant>) {
        self.state.due.set(due);
        if let Some(due) = due
            && self.state.wakes.get().is_none_or(|wakes| due < wakes)
        {
            self.state.wakes.set(Some(due));
            self.state.wake();
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.state.is_dropped.set(true);
        self.state.wake();
    }
}

impl State {
    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

struct Task {
    state: Rc<State>,
    sleeper: Option<Sleeper>,
}

impl Task {
    fn poll(&mut self, context: &mut Context<'_>, ring: impl Fn()) -> Poll<()> {
        let state = &self.state;
        if state.is_dropped.get() {
            return Poll::Ready(());
        }
        *state.waker.borrow_mut() = Some(context.waker().clone());
        self.sleeper = None;
        let now = clock::monotonic();
        if state.wakes.get().is_some_and(|wakes| wakes <= now) {
            if state.due.get().is_some_and(|due| due <= now) {
                state.due.set(None);
                ring();
            }
            state.wakes.set(state.due.get());
        }
        if let Some(wakes) = state.wakes.get() {
            match Sleeper::new(wakes, context.waker().clone()) {
                Ok(sleeper) => self.sleeper = Some(sleeper),
                // There is no reactor, so that nothing polls this.
                Err(_) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use smol::future::or;

    use super::*;
    use crate::reactor::{block_on, sleep};

    const MS: Duration = Duration::from_millis(1);

    /// Runs `test` with an alarm whose events are the times at which they came.
    fn run(test: impl AsyncFnOnce(Alarm, Inbox<Instant>)) {
        let executor = LocalExecutor::new();
        let inbox = Inbox::new();
        let alarm = Alarm::new(&executor, &inbox, clock::monotonic);
        block_on(&executor, test(alarm, inbox));
    }

    async fn within(inbox: &Inbox<Instant>, time: Duration) -> Option<Instant> {
        or(async { Some(inbox.next().await) }, async {
            sleep(time).await;
            None
        })
        .await
    }

    #[test]
    fn it_rings_once_and_never_early() {
        run(async |alarm, inbox| {
            for after in [Duration::ZERO, 3 * MS, 20 * MS] {
                let due = clock::monotonic() + after;
                alarm.set(Some(due));
                let rang = within(&inbox, 2000 * MS).await.unwrap();
                assert!(rang >= due);
                assert_eq!(within(&inbox, 30 * MS).await, None);
            }
        });
    }

    #[test]
    fn it_can_be_set_earlier_and_later() {
        run(async |alarm, inbox| {
            let start = clock::monotonic();
            alarm.set(Some(start + 60_000 * MS));
            assert_eq!(within(&inbox, 5 * MS).await, None);
            alarm.set(Some(start + 500 * MS));
            assert_eq!(within(&inbox, 5 * MS).await, None);
            alarm.set(Some(start + 700 * MS));
            let rang = within(&inbox, 20_000 * MS).await.unwrap();
            assert!(rang >= start + 700 * MS && rang < start + 20_000 * MS);
        });
    }

    #[test]
    fn it_can_be_switched_off_and_on() {
        run(async |alarm, inbox| {
            let due = clock::monotonic() + 500 * MS;
            alarm.set(Some(due));
            assert_eq!(within(&inbox, MS).await, None);
            alarm.set(None);
            assert_eq!(within(&inbox, 550 * MS).await, None);
            alarm.set(Some(due));
            assert!(within(&inbox, 2000 * MS).await.is_some());
        });
    }

    #[test]
    fn a_dropped_alarm_is_silent() {
        run(async |alarm, inbox| {
            alarm.set(Some(clock::monotonic() + 10 * MS));
            drop(alarm);
            assert_eq!(within(&inbox, 50 * MS).await, None);
        });
    }
}
