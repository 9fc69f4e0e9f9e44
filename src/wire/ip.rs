//! IP addresses as people write them.

use std::{
    fmt, io,
    net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6},
    str::FromStr,
};

use rustix::{io::Errno, net::netdevice::name_to_index};
use socket2::{Domain, Socket, Type};

use crate::limits;

/// An IP address, and the interface by which it is reached where it has a scope (RFC 4007, 11):
/// `192.0.2.1`, `::1`, `fe80::1%eth0`, `fe80::1%2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopedIp {
    /// The address.
    pub ip: IpAddr,
    /// Name or index of the interface; only of an IPv6 address.
    pub zone: Option<String>,
}

/// A text that is no IP address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnIp;

impl FromStr for ScopedIp {
    type Err = NotAnIp;

    fn from_str(text: &str) -> Result<Self, NotAnIp> {
        let Some((ip, zone)) = text.split_once('%') else {
            let ip = text.parse().map_err(|_| NotAnIp)?;
            return Ok(Self { ip, zone: None });
        };
        let ip: Ipv6Addr = ip.parse().map_err(|_| NotAnIp)?;
        if !is_interface_name(zone) {
            return Err(NotAnIp);
        }
        Ok(Self {
            ip: ip.into(),
            zone: Some(zone.to_owned()),
        })
    }
}

impl fmt::Display for ScopedIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.zone {
            None => write!(f, "{}", self.ip),
            Some(zone) => write!(f, "{}%{zone}", self.ip),
        }
    }
}

impl ScopedIp {
    /// The address with a port, for a socket. It fails where the machine has no such interface.
    pub fn socket_addr(&self, port: u16) -> io::Result<SocketAddr> {
        Ok(match (self.ip, &self.zone) {
            (IpAddr::V6(ip), Some(zone)) => {
                SocketAddrV6::new(ip, port, 0, interface_index(zone)?).into()
            }
            (ip, _) => SocketAddr::new(ip, port),
        })
    }
}

/// Whether `text` can be the name of a network interface, or its index.
fn is_interface_name(text: &str) -> bool {
    (1..=limits::INTERFACE_NAME_BYTES).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn interface_index(zone: &str) -> io::Result<u32> {
    if let Ok(index) = zone.parse() {
        return Ok(index);
    }
    // The kernel wants some socket of the network whose interfaces are meant.
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, None)?;
    name_to_index(socket, zone).map_err(|error| match error {
        Errno::NODEV => io::Error::new(
            io::ErrorKind::AddrNotAvailable,
            format!("there is no interface {zone}"),
        ),
        other => other.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_with_their_interface() {
        for text in [
            "192.0.2.1",
            "::1",
            "fe80::1%eth0",
            "fe80::1%2",
            "fe80::1%a.b-1",
        ] {
            let address: ScopedIp = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
        for text in [
            "",
            "localhost",
            "192.0.2.1%eth0",
            "192.0.2",
            "fe80::1%",
            "fe80::1%-x",
            "fe80::1%a b",
            "fe80::1%a/b",
            "fe80::1%eth0%eth1",
            "fe80::1%sixteen-bytes-on",
            "[::1]",
        ] {
            assert_eq!(text.parse::<ScopedIp>(), Err(NotAnIp), "{text}");
        }
    }

    #[test]
    fn an_interface_is_found_by_name_and_by_index() {
        let socket_addr = |text: &str| text.parse::<ScopedIp>().unwrap().socket_addr(842);
        let SocketAddr::V6(by_name) = socket_addr("fe80::1%lo").unwrap() else {
            panic!("it is an IPv6 address");
        };
        assert_ne!(by_name.scope_id(), 0);
        let by_index = socket_addr(&format!("fe80::1%{}", by_name.scope_id())).unwrap();
        assert_eq!(by_index, SocketAddr::V6(by_name));
        assert_eq!(
            socket_addr("192.0.2.1").unwrap().to_string(),
            "192.0.2.1:842"
        );
        let error = socket_addr("fe80::1%nowhere").unwrap_err();
        assert_eq!(error.to_string(), "there is no interface nowhere");
    }
}
