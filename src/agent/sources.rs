//! The edge to the sources of streams: pipes with names, to which systemd lets a unit write.
//!
//! A pipe is read only while there is credit, so a writer waits in the kernel for a reader that
//! may be far away. The pipes are in the agent's own folder below `/run`, which only its user can
//! enter.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    env,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::PathBuf,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, mknodat},
    io::ioctl_fionread,
};
use smol::{LocalExecutor, Task};

use super::state::FromSource;
use crate::{bus::Bytes, limits, reactor::Async, wire::Inbox};

/// Name of the folder where systemd has made none for us.
const FOLDER: &str = "hirte-agent";
/// Standard output and standard error.
const CHANNELS: [u32; 2] = [1, 2];

/// All sources.
pub(super) struct Sources<E: 'static> {
    executor: Rc<LocalExecutor<'static>>,
    inbox: Inbox<E>,
    wrap: fn(u64, FromSource) -> E,
    folder: PathBuf,
    by_number: BTreeMap<u64, Source>,
}

struct Source {
    shared: Rc<Shared>,
    pipes: Vec<PathBuf>,
    /// They end with the source.
    _tasks: Vec<Task<()>>,
}

/// What the pipes of one source have in common.
#[derive(Default)]
struct Shared {
    /// Bytes that may be read.
    credit: Cell<u32>,
    /// Whether nobody writes any more, so that an empty pipe is at its end.
    is_last: Cell<bool>,
    /// Pipes that are not at their end.
    open: Cell<usize>,
    wakers: RefCell<Vec<Waker>>,
}

impl Shared {
    fn wait(&self, waker: &Waker) {
        let mut wakers = self.wakers.borrow_mut();
        if !wakers.iter().any(|other| other.will_wake(waker)) {
            wakers.push(waker.clone());
        }
    }

    fn wake(&self) {
        for waker in self.wakers.take() {
            waker.wake();
        }
    }
}

impl<E: 'static> Sources<E> {
    pub(super) fn new(
        executor: &Rc<LocalExecutor<'static>>,
        inbox: &Inbox<E>,
        wrap: fn(u64, FromSource) -> E,
    ) -> Self {
        Self {
            executor: Rc::clone(executor),
            inbox: inbox.clone(),
            wrap,
            folder: folder(),
            by_number: BTreeMap::new(),
        }
    }

    /// Makes the pipes of source number `number`, and reports them.
    pub(super) fn open(&mut self, number: u64) {
        let opened = self.try_open(number).map_err(|error| {
            let folder = self.folder.display();
            format!("{folder}: {error}")
        });
        self.inbox
            .push((self.wrap)(number, FromSource::Opened(opened)));
    }

    fn try_open(&mut self, number: u64) -> io::Result<[String; 2]> {
        DirBuilder::new()
            .mode(0o700)
            .recursive(true)
            .create(&self.folder)?;
        let shared = Rc::<Shared>::default();
        let (mut pipes, mut tasks) = (Vec::new(), Vec::new());
        for channel in CHANNELS {
            let path = self.folder.join(format!("{number}.{channel}"));
            let opened = open_pipe(&path);
            pipes.push(path);
            match opened.and_then(Async::new) {
                Ok(pipe) => tasks.push(self.read_all((number, channel), pipe, &shared)),
                Err(error) => {
                    remove(&pipes);
                    return Err(error);
                }
            }
        }
        shared.open.set(pipes.len());
        let paths = CHANNELS.map(|channel| {
            let path = self.folder.join(format!("{number}.{channel}"));
            path.to_string_lossy().into_owned()
        });
        let source = Source {
            shared,
            pipes,
            _tasks: tasks,
        };
        self.by_number.insert(number, source);
        Ok(paths)
    }

    /// Reports what comes by a pipe until its end.
    fn read_all(
        &self,
        (number, channel): (u64, u32),
        pipe: Async<File>,
        shared: &Rc<Shared>,
    ) -> Task<()> {
        let (inbox, wrap, shared) = (self.inbox.clone(), self.wrap, Rc::clone(shared));
        self.executor.spawn(async move {
            let mut pipe = Pipe {
                pipe,
                had_writer: false,
            };
            loop {
                let read = std::future::poll_fn(|context| pipe.poll(&shared, context)).await;
                let Some(bytes) = read else { break };
                let data = Bytes(bytes);
                inbox.push(wrap(number, FromSource::Data { channel, data }));
                // Other work has its turn between two chunks.
                smol::future::yield_now().await;
            }
            shared.open.set(shared.open.get() - 1);
            if shared.open.get() == 0 {
                inbox.push(wrap(number, FromSource::Drained));
            }
        })
    }

    /// Reads `bytes` more of a source.
    pub(super) fn read(&self, number: u64, bytes: u32) {
        if let Some(source) = self.by_number.get(&number) {
            let credit = &source.shared.credit;
            credit.set(credit.get().saturating_add(bytes));
            source.shared.wake();
        }
    }

    /// Nobody writes to a source any more.
    pub(super) fn drain(&self, number: u64) {
        if let Some(source) = self.by_number.get(&number) {
            source.shared.is_last.set(true);
            source.shared.wake();
        }
    }

    /// Removes the pipes of a source; whoever still writes to them gets `SIGPIPE`.
    pub(super) fn close(&mut self, number: u64) {
        if let Some(source) = self.by_number.remove(&number) {
            remove(&source.pipes);
        }
    }
}

fn remove(pipes: &[PathBuf]) {
    for pipe in pipes {
        // What is not there needs no removal.
        let _ = fs::remove_file(pipe);
    }
}

/// Where the pipes are: the folder that systemd made for the agent (`RuntimeDirectory=`), or one of
/// the same name for an agent that was started by hand.
fn folder() -> PathBuf {
    let of_unit = env::var_os("RUNTIME_DIRECTORY");
    // Several folders are separated by colons.
    let first = of_unit
        .as_ref()
        .and_then(|folders| env::split_paths(folders).next());
    first.unwrap_or_else(|| {
        let of_user = env::var_os("XDG_RUNTIME_DIR");
        PathBuf::from(of_user.unwrap_or_else(|| "/run".into())).join(FOLDER)
    })
}

/// Makes a pipe and opens the end to read from, which is there before anybody writes.
fn open_pipe(path: &PathBuf) -> io::Result<File> {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
}

/// The end of a pipe to read from.
struct Pipe {
    pipe: Async<File>,
    /// Whether somebody has ever written, or closed the other end. Before that the kernel tells of
    /// an end that is none: nobody has opened the other one yet.
    had_writer: bool,
}

impl Pipe {
    /// Some bytes, or `None` at the end.
    fn poll(&mut self, shared: &Shared, context: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        loop {
            if !self.had_writer && self.pipe.poll_readable(context).is_ready() {
                self.had_writer = true;
            }
            let (credit, is_last) = (shared.credit.get(), shared.is_last.get());
            if credit == 0 || !self.had_writer {
                let has_more = || ioctl_fionread(&self.pipe).is_ok_and(|waiting| waiting > 0);
                if is_last && !has_more() {
                    return Poll::Ready(None);
                }
                if credit == 0 || !is_last {
                    shared.wait(context.waker());
                    return Poll::Pending;
                }
            }
            let mut bytes = vec![0; credit.min(limits::STREAM_CHUNK) as usize];
            match self.pipe.get_ref().read(&mut bytes) {
                Ok(0) => return Poll::Ready(None),
                Ok(read) => {
                    bytes.truncate(read);
                    bytes.shrink_to_fit();
                    let read = u32::try_from(read).unwrap_or(u32::MAX);
                    shared.credit.set(shared.credit.get().saturating_sub(read));
                    return Poll::Ready(Some(bytes));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if is_last {
                        return Poll::Ready(None);
                    }
                    if self.pipe.poll_readable(context).is_pending() {
                        shared.wait(context.waker());
                        return Poll::Pending;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Poll::Ready(None),
            }
        }
    }
}
