//! Where agents are awaited: what the configuration says, beside what systemd passed.

use std::net::{IpAddr, SocketAddr};

use super::runtime_folder;
use crate::{
    config::ManagerConfig,
    wire::{
        listen::{self, Listener, SocketFile},
        tcp,
    },
};

/// The Unix socket for agents, in the runtime folder.
const SOCKET: &str = "hirte-agent.sock";

/// The listening sockets.
pub(super) struct Listeners {
    pub(super) sockets: Vec<Listener>,
    /// The file of our Unix socket, for as long as it is listened on.
    pub(super) file: Option<SocketFile>,
}

/// Opens every socket of the configuration that systemd has not passed already. An error is a
/// line for the log.
///
/// Without the Unix socket, other machines are still served: its failure ends the start only where
/// nothing else is listened on.
pub(super) fn open(config: &ManagerConfig) -> Result<Listeners, String> {
    let passed = listen::activated().map_err(|error| {
        let port = config.port;
        format!("Failed to listen on port {port}: {error}")
    })?;
    for listener in &passed {
        log::info!("Listening on {listener}, passed by systemd");
    }
    let mut sockets = if config.use_tcp {
        open_tcp(config, &passed)?
    } else {
        Vec::new()
    };
    sockets.extend(passed);
    let path = runtime_folder().join(SOCKET);
    let is_passed = sockets
        .iter()
        .any(|listener| listener.path().as_ref() == Some(&path));
    let mut file = None;
    if config.use_uds && !is_passed {
        match listen::unix(&path, |_| Ok(())) {
            Ok((listener, its_file)) => {
                let listener = Listener::Unix(listener);
                log::info!("Listening on {listener}");
                sockets.push(listener);
                file = Some(its_file);
            }
            Err(error) => {
                let text = format!("Failed to listen on {}: {error}", path.display());
                if sockets.is_empty() {
                    return Err(text);
                }
                log::warn!("{text}");
            }
        }
    }
    if sockets.is_empty() {
        let text = "Nothing to listen on: UseTCP and UseUDS are off, and systemd passed no socket";
        return Err(text.to_owned());
    }
    if sockets
        .iter()
        .any(|listener| listener.tcp_address().is_some())
    {
        log::info!("Waiting for connection requests on port {}...", config.port);
    }
    Ok(Listeners { sockets, file })
}

fn open_tcp(config: &ManagerConfig, passed: &[Listener]) -> Result<Vec<Listener>, String> {
    let port = config.port;
    let passed: Vec<SocketAddr> = passed.iter().filter_map(Listener::tcp_address).collect();
    if config.listen_addresses.is_empty() {
        if passed.iter().any(|address| address.port() == port) {
            return Ok(Vec::new());
        }
        return match tcp::listen(port) {
            Ok(listener) => Ok(vec![Listener::Tcp(listener)]),
            Err(error) => Err(format!("Failed to listen on port {port}: {error}")),
        };
    }
    let mut listeners = Vec::new();
    for address in &config.listen_addresses {
        let failed = |error| format!("Failed to listen on {address}, port {port}: {error}");
        let address = address.socket_addr(port).map_err(failed)?;
        if passed.iter().any(|passed| serves(*passed, address)) {
            continue;
        }
        let listener = Listener::Tcp(tcp::listen_on(address).map_err(failed)?);
        log::info!("Listening on {listener}");
        listeners.push(listener);
    }
    Ok(listeners)
}

/// Whether a socket at `passed` stands in the way of one at `wanted`, or makes it needless.
fn serves(passed: SocketAddr, wanted: SocketAddr) -> bool {
    passed.port() == wanted.port()
        && (includes(passed.ip(), wanted.ip()) || includes(wanted.ip(), passed.ip()))
}

/// Whether who listens on one address listens on the other, too. All addresses of IPv6 include
/// those of IPv4.
fn includes(one: IpAddr, other: IpAddr) -> bool {
    one == other || one.is_unspecified() && (one.is_ipv6() || other.is_ipv4())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemd_passed_is_not_opened_again() {
        for (passed, wanted, expected) in [
            ("[::]:842", "0.0.0.0:842", true),
            ("[::]:842", "10.0.0.1:842", true),
            ("[::]:842", "[fe80::1]:842", true),
            ("[::]:842", "[::]:843", false),
            ("0.0.0.0:842", "10.0.0.1:842", true),
            ("0.0.0.0:842", "[fe80::1]:842", false),
            ("10.0.0.1:842", "10.0.0.1:842", true),
            ("10.0.0.1:842", "10.0.0.2:842", false),
            ("10.0.0.1:842", "0.0.0.0:842", true),
            ("10.0.0.1:842", "[::]:842", true),
            ("[fe80::1]:842", "10.0.0.1:842", false),
        ] {
            let is_served = serves(passed.parse().unwrap(), wanted.parse().unwrap());
            assert_eq!(is_served, expected, "{passed} {wanted}");
        }
    }
}
