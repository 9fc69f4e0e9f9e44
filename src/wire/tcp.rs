//! TCP as hirte uses it: no delay, dead peers are noticed within seconds, the listener survives.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use async_io::{Async, Timer};
use listenfd::ListenFd;
use rustix::io::Errno;
use smol::future::or;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::limits;

/// When the kernel asks an idle connection's other end whether it lives. Zero is the system's
/// default.
///
/// With `TCP_USER_TIMEOUT`, which [`tune`] sets, Linux gives an unanswered connection up after that
/// time whatever `count` is (tcp(7)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeepAlive {
    /// Idle time before the first probe.
    pub time: Duration,
    /// Time between probes.
    pub interval: Duration,
    /// Unanswered probes after which the connection is lost.
    pub count: u32,
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
            match self.listener.accept().await {
                Err(error) if is_of_lost_connection(&error) => {}
                Err(error) => {
                    Timer::after(limits::ACCEPT_PAUSE).await;
                    return Err(error);
                }
                accepted => return accepted,
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
    if !keep_alive.time.is_zero() {
        probes = probes.with_time(keep_alive.time);
    }
    if !keep_alive.interval.is_zero() {
        probes = probes.with_interval(keep_alive.interval);
    }
    if keep_alive.count != 0 {
        probes = probes.with_retries(keep_alive.count);
    }
    socket.set_tcp_keepalive(&probes)?;
    socket.set_tcp_user_timeout(Some(limits::TCP_USER_TIMEOUT))
}

/// Connects to one address within `limits::CONNECT`.
pub async fn connect(address: SocketAddr, keep_alive: &KeepAlive) -> io::Result<Async<TcpStream>> {
    let stream = or(Async::<TcpStream>::connect(address), async {
        Timer::after(limits::CONNECT).await;
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

/// The address without the clothes of IPv6: `::ffff:10.0.0.1` is `10.0.0.1`.
#[must_use]
pub fn unmapped(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}
