//! TCP as hirte uses it: no delay, dead peers are noticed within seconds, the listener survives.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use listenfd::ListenFd;
use rustix::io::Errno;
use smol::future::or;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::{
    limits,
    reactor::{Async, sleep},
};

/// When the kernel asks an idle connection's other end whether it lives; `None` leaves the system's
/// setting.
///
/// With `TCP_USER_TIMEOUT`, which [`tune`] sets, Linux gives an unanswered connection up after that
/// time whatever `count` is (tcp(7)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeepAlive {
    /// Idle time before the first probe, in whole seconds.
    pub time: Option<Duration>,
    /// Time between probes, in whole seconds.
    pub interval: Option<Duration>,
    /// Unanswered probes after which the connection is lost.
    pub count: Option<u32>,
}

/// Accepts the connections of agents.
#[derive(Debug)]
pub struct Listener {
    listener: Async<TcpListener>,
}

/// Listens on `port` for IPv6 and IPv4, or for IPv4 alone where the kernel has no IPv6.
pub fn listen(port: u16) -> io::Result<Listener> {
    let listener = match bind(Domain::IPV6, (Ipv6Addr::UNSPECIFIED, port).into()) {
        Err(error) if has_no_ipv6(&error) => {
            bind(Domain::IPV4, (Ipv4Addr::UNSPECIFIED, port).into())?
        }
        bound => bound?,
    };
    Listener::new(listener)
}

fn bind(domain: Domain, address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(limits::LISTEN_BACKLOG)?;
    Ok(socket.into())
}

fn has_no_ipv6(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL)
    )
}

/// The listening socket that systemd passed, if it did (`sd_listen_fds(3)`). More than one, or one
/// that is not a TCP socket, is an error.
pub fn activated() -> io::Result<Option<Listener>> {
    let mut passed = ListenFd::from_env();
    if passed.len() > 1 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "systemd passed {} sockets, expected at most one",
                passed.len()
            ),
        ));
    }
    let listener = passed.take_tcp_listener(0)?;
    listener.map(Listener::new).transpose()
}

impl Listener {
    fn new(listener: TcpListener) -> io::Result<Self> {
        Ok(Self {
            listener: Async::new(listener)?,
        })
    }

    /// The next connection.
    ///
    /// Connections that were lost before they were accepted are passed over. An error is about
    /// this machine (no descriptors, no memory); it is returned after
    /// `limits::ACCEPT_PAUSE`, so that a caller can report it and just call again.
    pub async fn accept(&self) -> io::Result<(Async<TcpStream>, SocketAddr)> {
        loop {
            match self.listener.read_with(TcpListener::accept).await {
                Err(error) if is_of_lost_connection(&error) => {}
                Err(error) => {
                    sleep(limits::ACCEPT_PAUSE).await;
                    return Err(error);
                }
                Ok((stream, address)) => return Ok((Async::new(stream)?, address)),
            }
        }
    }

    /// The address that is listened on.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.get_ref().local_addr()
    }
}

/// Linux reports errors of a waiting connection as errors of `accept` (accept(2), "Error
/// handling").
fn is_of_lost_connection(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::CONNABORTED
                | Errno::INTR
                | Errno::PERM
                | Errno::PROTO
                | Errno::NETDOWN
                | Errno::NOPROTOOPT
                | Errno::HOSTDOWN
                | Errno::NONET
                | Errno::HOSTUNREACH
                | Errno::OPNOTSUPP
                | Errno::NETUNREACH
                | Errno::TIMEDOUT
        )
    )
}

/// Sets what hirte wants of every connection: messages leave at once, a dead peer is noticed while
/// idle (keepalive) and while data is under way (`TCP_USER_TIMEOUT`).
pub fn tune(stream: &TcpStream, keep_alive: &KeepAlive) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_keepalive(true)?;
    let mut probes = TcpKeepalive::new();
    if let Some(time) = keep_alive.time {
        probes = probes.with_time(time);
    }
    if let Some(interval) = keep_alive.interval {
        probes = probes.with_interval(interval);
    }
    if let Some(count) = keep_alive.count {
        probes = probes.with_retries(count);
    }
    socket.set_tcp_keepalive(&probes)?;
    socket.set_tcp_user_timeout(Some(limits::TCP_USER_TIMEOUT))
}

/// Connects to one address within `limits::CONNECT`.
pub async fn connect(address: SocketAddr, keep_alive: &KeepAlive) -> io::Result<Async<TcpStream>> {
    let stream = or(open(address), async {
        sleep(limits::CONNECT).await;
        Err(io::ErrorKind::TimedOut.into())
    })
    .await?;
    let socket = stream.get_ref();
    // A port of the range for outgoing connections may be our own: TCP then connects a socket
    // to itself, which would also keep the manager from listening there.
    if socket.local_addr()? == socket.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    tune(socket, keep_alive)?;
    Ok(stream)
}

/// Connects however long it takes.
async fn open(address: SocketAddr) -> io::Result<Async<TcpStream>> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    match socket.connect(&address.into()) {
        Err(error) if Errno::from_io_error(&error) != Some(Errno::INPROGRESS) => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let stream = Async::new(TcpStream::from(socket))?;
    loop {
        if let Some(error) = stream.get_ref().take_error()? {
            return Err(error);
        }
        match stream.get_ref().peer_addr() {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => stream.writable().await,
            Err(error) => return Err(error),
            Ok(_) => return Ok(stream),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{env, net::IpAddr, os::fd::OwnedFd, process::Command, time::Instant};

    use smol::LocalExecutor;

    use super::*;
    use crate::reactor::block_on;

    #[test]
    fn a_connection_is_made_from_both_families_and_tuned() {
        block_on(&LocalExecutor::new(), async {
            let listener = listen(0).unwrap();
            let port = listener.local_addr().unwrap().port();
            let keep_alive = KeepAlive {
                time: Some(Duration::from_secs(1)),
                interval: Some(Duration::from_secs(2)),
                count: Some(4),
            };
            let loopbacks: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            for ip in loopbacks {
                let stream = connect((ip, port).into(), &keep_alive).await.unwrap();
                let (_accepted, peer) = listener.accept().await.unwrap();
                assert_eq!(peer.ip().to_canonical(), ip);
                let socket = SockRef::from(stream.get_ref());
                assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
                assert_eq!(socket.tcp_keepalive_time().ok(), keep_alive.time);
                assert_eq!(socket.tcp_keepalive_interval().ok(), keep_alive.interval);
                assert_eq!(socket.tcp_keepalive_retries().unwrap(), 4);
                let timeout = socket.tcp_user_timeout().unwrap();
                assert_eq!(timeout, Some(limits::TCP_USER_TIMEOUT));
            }
        });
    }

    #[test]
    fn none_leaves_the_system_setting() {
        block_on(&LocalExecutor::new(), async {
            let listener = listen(0).unwrap();
            let address = (Ipv4Addr::LOCALHOST, listener.local_addr().unwrap().port());
            let plain = TcpStream::connect(address).unwrap();
            let stream = connect(address.into(), &KeepAlive::default())
                .await
                .unwrap();
            let (plain, tuned) = (SockRef::from(&plain), SockRef::from(stream.get_ref()));
            assert_eq!(
                tuned.tcp_keepalive_time().unwrap(),
                plain.tcp_keepalive_time().unwrap()
            );
            assert_eq!(
                tuned.tcp_keepalive_retries().unwrap(),
                plain.tcp_keepalive_retries().unwrap()
            );
        });
    }

    #[test]
    fn a_port_in_use_and_a_closed_port_are_errors() {
        block_on(&LocalExecutor::new(), async {
            let listener = listen(0).unwrap();
            let port = listener.local_addr().unwrap().port();
            assert_eq!(listen(port).unwrap_err().kind(), io::ErrorKind::AddrInUse);
            drop(listener);
            let closed = (Ipv4Addr::LOCALHOST, port).into();
            let error = connect(closed, &KeepAlive::default()).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        });
    }

    #[test]
    fn an_attempt_to_connect_ends_in_time() {
        // A listener with no room that nobody serves: the kernel drops the connection's first
        // packet.
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let loopback: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
        socket.bind(&loopback.into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let _fills_it = TcpStream::connect(address).unwrap();
        let start = Instant::now();
        let error = block_on(
            &LocalExecutor::new(),
            connect(address, &KeepAlive::default()),
        )
        .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let took = start.elapsed();
        assert!(
            took >= limits::CONNECT && took < limits::CONNECT * 2,
            "{took:?}"
        );
    }

    /// Runs the test `child` of this program as systemd would, with `count` descriptors.
    fn run_activated(child: &str, count: usize, stdin: OwnedFd) {
        let script = format!(
            "LISTEN_PID=$$ LISTEN_FDS={count} exec \"$0\" --ignored --exact wire::tcp::tests::{child} 3<&0 4<&0"
        );
        let output = Command::new("sh")
            .args(["-c", &script])
            .arg(env::current_exe().unwrap())
            .stdin(stdin)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}"
        );
    }

    #[test]
    fn a_socket_of_systemd_is_taken() {
        assert!(activated().unwrap().is_none());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        run_activated("child_accepts_on_the_passed_socket", 1, listener.into());
        drop(client);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        run_activated("child_refuses_passed_sockets", 2, listener.into());
        let datagram = std::os::unix::net::UnixDatagram::unbound().unwrap();
        run_activated("child_refuses_passed_sockets", 1, datagram.into());
    }

    #[test]
    #[ignore = "run by a_socket_of_systemd_is_taken"]
    fn child_accepts_on_the_passed_socket() {
        let listener = activated().unwrap().unwrap();
        let (_stream, peer) = block_on(&LocalExecutor::new(), listener.accept()).unwrap();
        assert!(peer.ip().is_loopback());
    }

    #[test]
    #[ignore = "run by a_socket_of_systemd_is_taken"]
    fn child_refuses_passed_sockets() {
        assert!(activated().is_err());
    }
}
