//! zbus on smol's reactor, for programs that are clients of it.
//!
//! zbus brings a runtime of its own; with this one there is a single reactor in the process, and
//! its tasks run on an executor that the caller drives with [`block_on`].
#![allow(dead_code, reason = "each test uses a part of it")]

use std::{
    future::Future,
    io,
    net::{SocketAddr, TcpStream},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    pin::Pin,
    process::{Command, ExitStatus, Stdio},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use hirte::limits;
use smol::{Async, Executor, Timer};
use zbus::runtime::{Interest, IoSource, traits};

/// A handle on the executor that runs the tasks of connections.
#[derive(Clone, Debug, Default)]
pub struct SmolRuntime(Arc<Executor<'static>>);

impl SmolRuntime {
    /// The executor, for who drives it without [`block_on`].
    #[must_use]
    pub fn executor(&self) -> &Executor<'static> {
        &self.0
    }
}

/// Runs `main` to its end on this thread, and beside it the tasks of all connections that are
/// built with the runtime it is given.
pub fn block_on<F: Future>(main: impl FnOnce(SmolRuntime) -> F) -> F::Output {
    let runtime = SmolRuntime::default();
    let executor = Arc::clone(&runtime.0);
    let output = smol::block_on(executor.run(main(runtime)));
    // Dropped connections have cancelled their tasks, which own the sockets, and a cancelled task
    // ends when it is run.
    while executor.try_tick() {}
    output
}

/// A descriptor that the reactor watches.
#[derive(Debug)]
pub struct Watched(Async<IoSource>);

/// A timer of the reactor.
#[derive(Debug)]
pub struct Sleep(Timer);

/// A task of the executor; it ends when this is dropped.
#[derive(Debug)]
pub struct Task<T>(smol::Task<T>);

impl traits::PollIo for Watched {
    fn poll_io<T>(
        &self,
        cx: &mut Context<'_>,
        interest: Interest,
        mut operation: impl FnMut() -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            match operation() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
            ready!(match interest {
                Interest::Writable => self.0.poll_writable(cx),
                _ => self.0.poll_readable(cx),
            })?;
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx).map(drop)
    }
}

impl<T> Future for Task<T> {
    type Output = io::Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(Ok)
    }
}

impl<T: Send + 'static> traits::TaskHandle<T> for Task<T> {
    fn detach(self) {
        self.0.detach();
    }
}

/// Connects to the socket at `path`, however long that takes.
async fn connect_unix(path: &Path) -> io::Result<Async<UnixStream>> {
    loop {
        match Async::<UnixStream>::connect(path).await {
            // The listener's backlog is full, and the kernel wakes nobody when there is room again
            // (connect(2), EAGAIN); smol tells it in one of these ways.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected
                ) =>
            {
                Timer::after(limits::FULL_BUS_PAUSE).await;
            }
            result => return result,
        }
    }
}

impl traits::Runtime for SmolRuntime {
    type RegisteredIoSource = Watched;
    type Sleep = Sleep;
    type Task<T>
        = Task<T>
    where
        T: Send + 'static;

    fn register_io_source(&self, source: IoSource) -> io::Result<Watched> {
        Async::new(source).map(Watched)
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        Sleep(Timer::after(duration))
    }

    fn spawn<T>(&self, _name: &str, future: impl Future<Output = T> + Send + 'static) -> Task<T>
    where
        T: Send + 'static,
    {
        Task(self.0.spawn(future))
    }

    async fn connect_tcp(&self, address: SocketAddr) -> io::Result<IoSource> {
        unwatched(Async::<TcpStream>::connect(address).await?)
    }

    fn connect_unix(&self, path: &Path) -> impl Future<Output = io::Result<IoSource>> + Send {
        let path = path.to_owned();
        async move { unwatched(connect_unix(&path).await?) }
    }

    /// Refused: only `unixexec:` addresses need it, and their feature of zbus is off.
    fn spawn_process(
        &self,
        _command: Command,
        _stdin: Stdio,
        _stdout: Stdio,
        _stderr: Stdio,
    ) -> io::Result<Pin<Box<dyn Future<Output = io::Result<ExitStatus>> + Send + 'static>>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Takes a connected socket back from the reactor; zbus registers it again.
fn unwatched<S: Into<OwnedFd>>(socket: Async<S>) -> io::Result<IoSource> {
    Ok(IoSource::from(socket.into_inner()?.into()))
}
