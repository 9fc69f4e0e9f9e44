//! zbus on smol's reactor and one executor, so that tests run zbus beside our own links on one
//! thread.

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

use async_io::{Async, Timer};
use smol::{Executor, Task};
use zbus::runtime::{Interest, IoSource, traits};

/// zbus's tasks run when this executor does.
#[derive(Clone, Default)]
pub struct SmolRuntime(pub Arc<Executor<'static>>);

pub struct Registered(Async<IoSource>);

pub struct Sleep(Timer);

pub struct Handle<T>(Task<T>);

impl traits::PollIo for Registered {
    fn poll_io<T>(
        &self,
        context: &mut Context<'_>,
        interest: Interest,
        mut operation: impl FnMut() -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            match operation() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
            ready!(match interest {
                Interest::Writable => self.0.poll_writable(context),
                _ => self.0.poll_readable(context),
            })?;
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(context).map(|_| ())
    }
}

impl<T> Future for Handle<T> {
    type Output = io::Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        Pin::new(&mut self.0).poll(context).map(Ok)
    }
}

impl<T: Send + 'static> traits::TaskHandle<T> for Handle<T> {
    fn detach(self) {
        self.0.detach();
    }
}

fn source<S: Into<OwnedFd>>(connected: Async<S>) -> io::Result<IoSource> {
    let descriptor: OwnedFd = connected.into_inner()?.into();
    Ok(descriptor.into())
}

impl traits::Runtime for SmolRuntime {
    type RegisteredIoSource = Registered;
    type Sleep = Sleep;
    type Task<T>
        = Handle<T>
    where
        T: Send + 'static;

    fn register_io_source(&self, source: IoSource) -> io::Result<Registered> {
        Async::new(source).map(Registered)
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        Sleep(Timer::after(duration))
    }

    fn spawn<T>(&self, _name: &str, future: impl Future<Output = T> + Send + 'static) -> Handle<T>
    where
        T: Send + 'static,
    {
        Handle(self.0.spawn(future))
    }

    async fn connect_tcp(&self, address: SocketAddr) -> io::Result<IoSource> {
        source(Async::<TcpStream>::connect(address).await?)
    }

    fn connect_unix(&self, path: &Path) -> impl Future<Output = io::Result<IoSource>> + Send {
        let path = path.to_owned();
        async move { source(Async::<UnixStream>::connect(path).await?) }
    }

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
