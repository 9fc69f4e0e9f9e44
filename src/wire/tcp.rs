//! TCP as hirte uses it: no delay, dead peers are noticed within seconds, the listener survives.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    time::Duration,
};

use rustix::io::Errno;
use smol::future::or;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::{
    limits,
    reactor::{Async, sleep},
};

/// When the kernel asks an idle connection's other end whether it lives, and when it gives a
/// connection up; `None` leaves the system's setting.
///
/// With `user_timeout`, Linux gives an unanswered connection up after that time whatever `count`
/// is (tcp(7)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeepAlive {
    /// Idle time before the first probe, in whole seconds.
    pub time: Option<Duration>,
    /// Time between probes, in whole seconds.
    pub interval: Option<Duration>,
    /// Unanswered probes after which the connection is lost.
    pub count: Option<u32>,
    /// How long sent data may be without an acknowledgement (`TCP_USER_TIMEOUT`), in whole
    /// milliseconds.
    pub user_timeout: Option<Duration>,
}

/// A listening TCP socket.
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

/// Listens on one address. It need not be there yet: a network may come up later.
pub fn listen_on(address: SocketAddr) -> io::Result<Listener> {
    Listener::new(bind(Domain::for_address(address), address)?)
}

fn bind(domain: Domain, address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(false)?;
        socket.set_freebind_v6(true)?;
    } else {
        socket.set_freebind_v4(true)?;
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

impl Listener {
    /// Takes a socket that listens.
    pub(super) fn new(listener: TcpListener) -> io::Result<Self> {
        Ok(Self {
            listener: Async::new(listener)?,
        })
    }

    /// The next connection.
    ///
    /// Connections that were lost before they were accepted are passed over. An error is about
    /// this machine (no descriptors, no memory); it is returned after `limits::ACCEPT_PAUSE`, so
    /// that a caller can report it and just call again.
    pub async fn accept(&self) -> io::Result<(Async<TcpStream>, SocketAddr)> {
        let (stream, address) = accept(&self.listener, TcpListener::accept).await?;
        Ok((Async::new(stream)?, address))
    }

    /// The address that is listened on.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.get_ref().local_addr()
    }
}

/// The next connection of a listening socket of any kind, as [`Listener::accept`] says.
pub(super) async fn accept<L: AsFd, T>(
    listener: &Async<L>,
    accept: impl Fn(&L) -> io::Result<T>,
) -> io::Result<T> {
    loop {
        match listener.read_with(&accept).await {
            Err(error) if is_of_lost_connection(&error) => {}
            Err(error) => {
                sleep(limits::ACCEPT_PAUSE).await;
                return Err(error);
            }
            accepted => return accepted,
        }
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
    match keep_alive.user_timeout {
        Some(timeout) => socket.set_tcp_user_timeout(Some(timeout)),
        None => Ok(()),
    }
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
    use std::{net::IpAddr, time::Instant};

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
                user_timeout: Some(Duration::from_millis(2500)),
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
                assert_eq!(timeout, keep_alive.user_timeout);
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
            assert_eq!(tuned.tcp_user_timeout().unwrap(), None);
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

    #[test]
    fn an_address_that_is_not_there_yet_can_be_listened_on() {
        block_on(&LocalExecutor::new(), async {
            for address in ["192.0.2.77:0", "[2001:db8::77]:0"] {
                let listener = listen_on(address.parse().unwrap()).unwrap();
                let bound = listener.local_addr().unwrap();
                assert_eq!(
                    bound.ip().to_string(),
                    address[..address.len() - 2].trim_matches(['[', ']'])
                );
            }
        });
    }
}
