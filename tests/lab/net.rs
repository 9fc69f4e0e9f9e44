//! Network namespaces, the bridge and the cables of a lab.
//!
//! No namespace has a name on the machine (`ip netns` would leave a mount behind): each lives as long as the process that
//! holds it, and that one as long as a pipe from the test process.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::net::IpAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// Whether a node's cable is plugged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Plugged in.
    Up,
    /// Pulled: packets vanish, the node's card has no carrier.
    Down,
}

/// A network namespace and the process that holds it.
struct NetNs {
    holder: Child,
}

impl NetNs {
    /// Runs `holder` in a namespace of its own. It prints a line once it stands, and ends with its input.
    fn new(holder: &Command) -> NetNs {
        // A process group of its own, so that Ctrl-C in a terminal reaches the test only.
        let mut holder = Command::new("unshare")
            .arg("--net")
            .arg("--")
            .arg(holder.get_program())
            .args(holder.get_args())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("start the holder of a network namespace");
        let mut line = String::new();
        let output = holder
            .stdout
            .as_mut()
            .expect("the holder's output is piped");
        BufReader::new(output)
            .read_line(&mut line)
            .expect("read from the holder of a network namespace");
        assert_eq!(
            line, "ready\n",
            "the holder of a network namespace did not start"
        );
        NetNs { holder }
    }

    /// The namespace's file.
    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.holder.id())
    }

    /// Runs lines of ip(8) in the namespace.
    fn ip(&self, lines: &str) {
        if let Err(error) = self.try_ip(lines) {
            panic!("ip: {error}in:\n{lines}");
        }
    }

    fn try_ip(&self, lines: &str) -> Result<(), String> {
        let mut ip = Command::new("nsenter")
            .arg(format!("--net={}", self.path()))
            .args(["ip", "-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start ip");
        let mut input = ip.stdin.take().expect("ip's input is piped");
        input.write_all(lines.as_bytes()).expect("write to ip");
        drop(input);
        let output = ip.wait_with_output().expect("wait for ip");
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}

impl Drop for NetNs {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

/// The bridge that joins the nodes of a lab, in a namespace held by the lab's keeper.
pub(super) struct Hub {
    namespace: NetNs,
}

impl Hub {
    pub(super) fn new(keeper: &Command) -> Hub {
        let namespace = NetNs::new(keeper);
        // Without snooping IPv6 neighbours are found at once.
        namespace.ip("link add bridge type bridge mcast_snooping 0\nlink set bridge up\n");
        Hub { namespace }
    }

    /// Ends the keeper and waits until it has removed everything.
    pub(super) fn close(self) {
        drop(self.namespace);
    }

    /// Plugs a node's cable in or pulls it, on the side of the bridge.
    pub(super) fn set_link(&self, index: usize, link: Link) {
        let state = match link {
            Link::Up => "up",
            Link::Down => "down",
        };
        self.namespace
            .ip(&format!("link set node{index} {state}\n"));
    }

    /// Removes a node's cable. What the kernel still has to send for the dead (a FIN) goes nowhere.
    pub(super) fn unplug(&self, index: usize) {
        // It may be gone already, with the node's namespace.
        let _ = self.namespace.try_ip(&format!("link del node{index}\n"));
    }
}

/// The network card of a running node. Each boot has its own: a computer that starts remembers no connection.
pub(super) struct Card {
    namespace: NetNs,
}

impl Card {
    /// Makes the network namespace of a node and joins it to the bridge. The MAC address follows from the index.
    pub(super) fn new(hub: &Hub, index: usize, address: IpAddr, link: Link) -> Card {
        let mut holder = Command::new("sh");
        holder.args(["-c", "echo ready; exec cat"]);
        let namespace = NetNs::new(&holder);
        let mac = format!("02:00:00:00:{:02x}:{:02x}", index / 256 + 1, index % 256);
        hub.namespace.ip(&format!(
            "link add node{index} type veth peer name eth0 address {mac} netns {}\n\
             link set node{index} master bridge\n",
            namespace.holder.id()
        ));
        let (prefix, option) = if address.is_ipv4() {
            (16, "")
        } else {
            (64, "nodad")
        };
        namespace.ip(&format!(
            "link set lo up\naddr add {address}/{prefix} dev eth0 {option}\nlink set eth0 up\n"
        ));
        hub.set_link(index, link);
        Card { namespace }
    }

    /// The file of the network namespace.
    pub(super) fn namespace(&self) -> String {
        self.namespace.path()
    }

    /// Sends packets for these addresses to a MAC address that nobody has, so that they vanish without an error.
    pub(super) fn cut(&self, addresses: &[IpAddr]) {
        let mut lines = String::new();
        for address in addresses {
            let _ = writeln!(
                lines,
                "neigh replace {address} lladdr 02:00:00:00:00:00 dev eth0 nud permanent"
            );
        }
        self.namespace.ip(&lines);
    }

    /// Undoes [`Card::cut`].
    pub(super) fn heal(&self, address: IpAddr) {
        self.namespace
            .ip(&format!("neigh del {address} dev eth0\n"));
    }
}
