//! Where connections are awaited: TCP sockets, a Unix socket, whatever systemd passed.

use std::{
    fmt,
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io,
    net::SocketAddr,
    os::{
        fd::OwnedFd,
        unix::{
            fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
};

use listenfd::ListenFd;
use rustix::net::sockopt::{socket_acceptconn, socket_peercred};
use socket2::{Domain, SockAddr, Socket, Type};

use super::{address::connect_unix, link::Stream, tcp};
use crate::{limits, reactor::Async};

/// Accepts connections.
#[derive(Debug)]
pub enum Listener {
    /// Of other machines, and of this one.
    Tcp(tcp::Listener),
    /// Of this machine.
    Unix(Async<UnixListener>),
}

/// A connection that was accepted.
#[derive(Debug)]
pub struct Accepted {
    /// The connection.
    pub stream: Stream,
    /// Who is at its other end.
    pub origin: Origin,
}

/// Who is at the other end of an accepted connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A host.
    Host(SocketAddr),
    /// A process of this machine, with the user who connected.
    User(u32),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(address) => write!(f, "{address}"),
            Self::User(uid) => write!(f, "a process of uid {uid}"),
        }
    }
}

impl Listener {
    /// The next connection. Errors are those of [`tcp::Listener::accept`].
    pub async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok(Accepted {
                    stream: Stream::Tcp(stream),
                    origin: Origin::Host(address),
                })
            }
            Self::Unix(listener) => {
                let stream = accept_unix(listener).await?;
                let uid = socket_peercred(&stream)?.uid.as_raw();
                Ok(Accepted {
                    stream: Stream::Unix(stream),
                    origin: Origin::User(uid),
                })
            }
        }
    }

    /// The address that a TCP socket listens on.
    #[must_use]
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// The path that a Unix socket listens on, if it has one.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(listener) => {
                let address = listener.get_ref().local_addr().ok()?;
                address.as_pathname().map(Path::to_owned)
            }
        }
    }
}

impl fmt::Display for Listener {
    /// Where it listens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.tcp_address(), self.path()) {
            (Some(address), _) => write!(f, "{address}"),
            (None, Some(path)) => write!(f, "{}", path.display()),
            (None, None) => write!(f, "a socket without a name"),
        }
    }
}

/// The listening sockets that systemd passed (`sd_listen_fds(3)`), TCP or Unix ones; any other is
/// an error.
pub fn activated() -> io::Result<Vec<Listener>> {
    let mut passed = ListenFd::from_env();
    (0..passed.len())
        .map(|index| take(&mut passed, index))
        .collect()
}

fn take(passed: &mut ListenFd, index: usize) -> io::Result<Listener> {
    if let Ok(Some(listener)) = passed.take_tcp_listener(index)
        && socket_acceptconn(&listener)?
    {
        return Ok(Listener::Tcp(tcp::Listener::new(listener)?));
    }
    if let Ok(Some(listener)) = passed.take_unix_listener(index)
        && socket_acceptconn(&listener)?
    {
        return Ok(Listener::Unix(Async::new(listener)?));
    }
    let number = index + 1;
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!(
            "socket {number} of those that systemd passed listens neither on TCP nor on a Unix \
             stream socket"
        ),
    ))
}

/// The file of a Unix socket that we listen on. Dropping it removes the file.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Held as long as we listen: what another process left behind has no lock.
    lock: File,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Where it can not be removed, the next one to listen replaces it.
        let _ = fs::remove_file(&self.path);
        // Closing is not enough while a process that was just forked still has the descriptor.
        let _ = self.lock.unlock();
    }
}

/// Listens on a Unix socket at `path`, in a folder that is made if it is not there, for processes of
/// our own user and for root. `prepare` can open the socket to others before anybody can connect.
///
/// A socket that a process left behind is replaced, one that a process listens on is not: that is
/// [`io::ErrorKind::AddrInUse`]. So that two who start at once do not replace each other's, who
/// listens holds a lock on the file `path` with `.lock` added, which stays there.
pub fn unix(
    path: &Path,
    prepare: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<(Async<UnixListener>, SocketFile)> {
    if let Some(folder) = path.parent() {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o755).create(folder)?;
    }
    let lock = lock(path)?;
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile {
        path: path.to_owned(),
        lock,
    };
    // Nobody can connect before `listen`.
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    prepare(path)?;
    socket.listen(limits::LISTEN_BACKLOG)?;
    let listener = UnixListener::from(OwnedFd::from(socket));
    Ok((Async::new(listener)?, file))
}

/// The next connection of a Unix socket. Errors are those of [`tcp::Listener::accept`].
pub async fn accept_unix(listener: &Async<UnixListener>) -> io::Result<Async<UnixStream>> {
    let (stream, _) = tcp::accept(listener, UnixListener::accept).await?;
    Async::new(stream)
}

fn lock(path: &Path) -> io::Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(name)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(is_in_use()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn is_in_use() -> io::Error {
    io::Error::new(io::ErrorKind::AddrInUse, "another process listens there")
}

/// Removes a socket on which nobody listens, and nothing else.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => match connect_unix(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
            // systemd, say, which takes no lock.
            Ok(_) | Err(_) => Err(is_in_use()),
        },
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is a file that is no socket",
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        env,
        net::{Ipv4Addr, TcpListener, TcpStream},
        os::unix::net::UnixDatagram,
        process::{self, Command},
    };

    use smol::LocalExecutor;

    use super::*;
    use crate::reactor::block_on;

    /// A folder of a test, which goes with this value.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = env::temp_dir().join(format!("hirte-listen-{name}-{}", process::id()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_unix_socket_tells_who_connects_and_goes_with_its_file() {
        let folder = Folder::new("unix");
        let path = folder.0.join("socket");
        block_on(&LocalExecutor::new(), async {
            let (listener, file) = unix(&path, |_| Ok(())).unwrap();
            let listener = Listener::Unix(listener);
            assert_eq!(listener.to_string(), path.to_string_lossy());
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            let _client = UnixStream::connect(&path).unwrap();
            let accepted = listener.accept().await.unwrap();
            let uid = rustix::process::getuid().as_raw();
            assert_eq!(accepted.origin, Origin::User(uid));
            let other = unix(&path, |_| Ok(())).unwrap_err();
            assert_eq!(other.kind(), io::ErrorKind::AddrInUse);
            assert!(path.exists());
            drop(file);
            assert!(!path.exists());
            unix(&path, |_| Ok(())).unwrap();
        });
    }

    #[test]
    fn a_socket_that_was_left_behind_is_replaced_and_another_file_is_not() {
        let folder = Folder::new("stale");
        let path = folder.0.join("socket");
        let other = UnixListener::bind(&path).unwrap();
        block_on(&LocalExecutor::new(), async {
            let error = unix(&path, |_| Ok(())).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
            drop(other);
            assert!(path.exists());
            drop(unix(&path, |_| Ok(())).unwrap());
            fs::write(&path, "precious").unwrap();
            let error = unix(&path, |_| Ok(())).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        });
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    /// Runs the test `child` of this program as systemd would, with two descriptors.
    fn run_activated(child: &str, first: OwnedFd, second: OwnedFd) {
        let script = format!(
            "LISTEN_PID=$$ LISTEN_FDS=2 exec \"$0\" --ignored --exact wire::listen::tests::{child} 3<&0 4>&2 2>&1"
        );
        let output = Command::new("sh")
            .args(["-c", &script])
            .arg(env::current_exe().unwrap())
            .stdin(first)
            .stderr(second)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}"
        );
    }

    #[test]
    fn sockets_of_systemd_are_taken() {
        let folder = Folder::new("passed");
        assert!(activated().unwrap().is_empty());
        let tcp = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let path = folder.0.join("socket");
        let (first, second) = (tcp(), UnixListener::bind(&path).unwrap());
        let _clients = (
            TcpStream::connect(first.local_addr().unwrap()).unwrap(),
            UnixStream::connect(&path).unwrap(),
        );
        let child = "child_accepts_on_the_passed_sockets";
        run_activated(child, first.into(), second.into());
        let datagram = UnixDatagram::unbound().unwrap();
        run_activated(
            "child_refuses_passed_sockets",
            tcp().into(),
            datagram.into(),
        );
    }

    #[test]
    #[ignore = "run by sockets_of_systemd_are_taken"]
    fn child_accepts_on_the_passed_sockets() {
        let passed = activated().unwrap();
        let [tcp, unix] = passed.as_slice() else {
            panic!("{passed:?}");
        };
        assert!(unix.path().is_some());
        block_on(&LocalExecutor::new(), async {
            let origin = tcp.accept().await.unwrap().origin;
            assert!(matches!(origin, Origin::Host(address) if address.ip().is_loopback()));
            let uid = rustix::process::getuid().as_raw();
            assert_eq!(unix.accept().await.unwrap().origin, Origin::User(uid));
        });
    }

    #[test]
    #[ignore = "run by sockets_of_systemd_are_taken"]
    fn child_refuses_passed_sockets() {
        let error = activated().unwrap_err().to_string();
        assert!(error.starts_with("socket 2 of those"), "{error}");
    }
}
