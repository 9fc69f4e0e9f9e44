//! D-Bus addresses (D-Bus Specification, "Server Addresses"), and sockets of this machine.

use std::{
    env,
    ffi::OsString,
    fmt, io,
    os::fd::OwnedFd,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};

use socket2::{Domain, SockAddr, Socket, Type};
use zbus::{
    Address,
    address::transport::{Transport, UnixSocket},
};

use super::ip::ScopedIp;
use crate::reactor::Async;

/// One place to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `tcp:host=HOST,port=PORT`
    Tcp {
        /// A name or an IP address.
        host: String,
        /// The port.
        port: u16,
    },
    /// `unix:path=PATH`, or `unix:abstract=NAME` as a path that starts with NUL.
    Unix(PathBuf),
}

/// Why an address is none that we can connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressError {
    /// The address.
    pub address: String,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "D-Bus address \"{}\": {}", self.address, self.reason)
    }
}

impl std::error::Error for AddressError {}

/// The endpoints of an address list, which are to be tried in this order. Entries that we can not
/// use are passed over if there is one that we can.
pub fn parse(address: &str) -> Result<Vec<Endpoint>, AddressError> {
    let mut endpoints = Vec::new();
    let mut first_error = None;
    for entry in address.split(';').filter(|entry| !entry.is_empty()) {
        match parse_one(entry) {
            Ok(endpoint) => endpoints.push(endpoint),
            Err(reason) => {
                first_error.get_or_insert(AddressError {
                    address: entry.to_owned(),
                    reason,
                });
            }
        }
    }
    if !endpoints.is_empty() {
        return Ok(endpoints);
    }
    Err(first_error.unwrap_or_else(|| AddressError {
        address: address.to_owned(),
        reason: "it is empty".to_owned(),
    }))
}

fn parse_one(entry: &str) -> Result<Endpoint, String> {
    let parsed: Address = entry.parse().map_err(|error| match error {
        zbus::Error::Address(reason) => reason,
        other => other.to_string(),
    })?;
    match parsed.transport() {
        Transport::Tcp(tcp) if tcp.nonce_file().is_some() => {
            Err("nonce-tcp is not supported".to_owned())
        }
        Transport::Tcp(tcp) => {
            let (host, port) = (tcp_host(tcp.host().as_bytes())?, tcp.port());
            Ok(Endpoint::Tcp { host, port })
        }
        Transport::Unix(unix) => match unix.path() {
            UnixSocket::File(path) => {
                let path = unescape(path.as_os_str().as_bytes())?;
                Ok(Endpoint::Unix(OsString::from_vec(path).into()))
            }
            UnixSocket::Abstract(name) => {
                let name = [&[0], unescape(name.as_bytes())?.as_slice()].concat();
                Ok(Endpoint::Unix(OsString::from_vec(name).into()))
            }
            _ => Err("a directory can only be listened on".to_owned()),
        },
        _ => Err("expected tcp: or unix:".to_owned()),
    }
}

/// The host of a `tcp:` address. The sign before an interface may stand as it is, although the
/// specification wants `%25`: `fe80::1%eth0` is what people write.
pub fn tcp_host(escaped: &[u8]) -> Result<String, String> {
    let not_utf8 = |_| "the host is not UTF-8".to_owned();
    let raw = String::from_utf8(escaped.to_vec()).map_err(not_utf8)?;
    let is_escaped = raw
        .split_once("%25")
        .is_some_and(|(_, zone)| !zone.is_empty());
    if !is_escaped && raw.parse::<ScopedIp>().is_ok() {
        return Ok(raw);
    }
    String::from_utf8(unescape(escaped)?).map_err(not_utf8)
}

/// Undoes the escaping of a value (`%2c` is a comma), which zbus leaves to its user.
fn unescape(value: &[u8]) -> Result<Vec<u8>, String> {
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.iter();
    while let Some(&byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        match (digit(rest.next()), digit(rest.next())) {
            (Some(high), Some(low)) => bytes.extend(u8::try_from(high << 4 | low)),
            _ => return Err("\"%\" without two hex digits".to_owned()),
        }
    }
    Ok(bytes)
}

/// The address of the system bus: `DBUS_SYSTEM_BUS_ADDRESS`, or the socket of the specification,
/// which some systems have in `/var/run` alone.
#[must_use]
pub fn system_bus() -> String {
    env::var("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or_else(|_| {
        "unix:path=/run/dbus/system_bus_socket;unix:path=/var/run/dbus/system_bus_socket".to_owned()
    })
}

/// The address of the user's bus: `DBUS_SESSION_BUS_ADDRESS`, or the socket that systemd makes for it
/// in `XDG_RUNTIME_DIR`.
#[must_use]
pub fn user_bus() -> String {
    env::var("DBUS_SESSION_BUS_ADDRESS").unwrap_or_else(|_| {
        let folder = env::var("XDG_RUNTIME_DIR").unwrap_or_default();
        format!("unix:path={folder}/bus")
    })
}

/// Connects to the socket at `path`; an abstract name starts with NUL.
pub fn connect_unix(path: &Path) -> io::Result<Async<UnixStream>> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    // A socket of this machine connects at once, or not: its queue is full then.
    socket.connect(&SockAddr::unix(path)?)?;
    Async::new(UnixStream::from(OwnedFd::from(socket)))
}

#[cfg(test)]
mod tests {
    use std::os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    };

    use super::*;

    #[test]
    fn addresses_of_guides_are_read() {
        let tcp = |host: &str, port| Endpoint::Tcp {
            host: host.to_owned(),
            port,
        };
        let unix = |path: &str| Endpoint::Unix(path.into());
        for (address, endpoints) in [
            ("tcp:host=10.0.0.1,port=842", vec![tcp("10.0.0.1", 842)]),
            ("tcp:host=::1,port=842", vec![tcp("::1", 842)]),
            (
                "tcp:host=fe80::1%25eth0,port=1",
                vec![tcp("fe80::1%eth0", 1)],
            ),
            ("tcp:host=fe80::1%eth0,port=1", vec![tcp("fe80::1%eth0", 1)]),
            ("tcp:host=fe80::1%25,port=1", vec![tcp("fe80::1%25", 1)]),
            ("tcp:host=fe80::1%252,port=1", vec![tcp("fe80::1%2", 1)]),
            (
                "unix:path=/run/systemd/private",
                vec![unix("/run/systemd/private")],
            ),
            (
                "unix:path=/run/user/0/bus,guid=1ec2ebf95527427bb07f0295f52425a5",
                vec![unix("/run/user/0/bus")],
            ),
            ("unix:path=/tmp/a%2cb%20c", vec![unix("/tmp/a,b c")]),
            ("unix:abstract=dbus-x", vec![unix("\0dbus-x")]),
            (
                "unixexec:path=/bin/x;unix:path=/a;tcp:host=h,port=1;",
                vec![unix("/a"), tcp("h", 1)],
            ),
        ] {
            assert_eq!(parse(address), Ok(endpoints), "{address}");
        }
    }

    #[test]
    fn other_addresses_are_errors_that_name_the_entry() {
        for address in [
            "",
            ";",
            "10.0.0.1:842",
            "tcp:host=a",
            "tcp:host=a,port=70000",
            "unix:path=/a%2",
            "unix:dir=/tmp",
            "unixexec:path=/bin/x",
            "nonce-tcp:host=a,port=1,noncefile=/x",
        ] {
            let error = parse(address).unwrap_err();
            let entry = address.trim_end_matches(';');
            assert!(
                error.address == address || error.address == entry,
                "{error}"
            );
            assert!(!error.reason.is_empty());
        }
    }

    #[test]
    fn the_bus_of_the_machine_has_an_address() {
        assert!(parse(&system_bus()).is_ok());
    }

    #[test]
    fn an_abstract_socket_is_connected_to() {
        let name = format!("hirte-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let _listener = UnixListener::bind_addr(&address).unwrap();
        let endpoints = parse(&format!("unix:abstract={name}")).unwrap();
        let [Endpoint::Unix(path)] = endpoints.as_slice() else {
            panic!("{endpoints:?}");
        };
        connect_unix(path).unwrap();
        let missing = connect_unix(Path::new("/nowhere"));
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
