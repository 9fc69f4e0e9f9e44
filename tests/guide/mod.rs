//! The walks through the published guides, step by step, on real nodes. The test checks them, and
//! the demonstration shows them.

pub mod text;

use std::{fs, path::Path, time::Duration};

use crate::lab::{Lab, Node};

/// The addresses of the first guide.
pub const FIRST_NODES: [(&str, &str); 2] = [("laptop", "192.168.42.10"), ("rpi4", "192.168.42.15")];

/// For what has no promised time, also with executables that are emulated.
const PATIENCE: Duration = Duration::from_secs(30);

/// A block of a guide, exactly as published.
fn published(guide: &str, block: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/guides");
    fs::read_to_string(folder.join(guide).join(block)).expect("the guides' blocks are committed")
}

/// Runs commands on nodes and, in a demonstration, shows each with what it printed.
pub struct Walk {
    /// Whether steps are shown.
    pub is_shown: bool,
}

impl Walk {
    /// Says what comes next.
    pub fn say(&self, text: &str) {
        if self.is_shown {
            println!("\n# {text}");
        }
    }

    /// Writes a configuration file.
    pub fn write(&self, node: &Node, file: &str, content: &str) {
        if self.is_shown {
            println!("\n[{}]# cat {file}\n{}", node.name(), content.trim_end());
        }
        node.write(file, content);
    }

    /// Runs a command that must succeed and returns what it printed.
    pub fn run(&self, node: &Node, command: &str) -> String {
        let output = node.sh(command);
        if self.is_shown {
            println!("\n[{}]# {command}", node.name());
            print!("{}{}", output.stdout, output.stderr);
        }
        assert!(
            output.success(),
            "[{}]# {command}\n{output}\n{}",
            node.name(),
            journals(node)
        );
        output.stdout
    }
}

/// What the daemons of a node logged, for the message of a failure.
pub fn journals(node: &Node) -> String {
    format!(
        "{}\n{}",
        node.journal("hirte.service"),
        node.journal("hirte-agent.service")
    )
}

/// A web server for the walk: what matters is that systemd starts it.
const HTTPD: &str = "[Unit]\nDescription=The web server of the guide\n\
    [Service]\nExecStart=/bin/sleep infinity\nExecReload=/bin/true\n\
    [Install]\nWantedBy=multi-user.target\n";

/// The first guide, from configuration to a web server that runs on the other computer. Returns
/// laptop and rpi4.
pub fn first(lab: &Lab, walk: &Walk) -> [Node; 2] {
    first_with(lab, walk, |_| {})
}

/// The first guide on nodes that `prepare` has changed after they booted.
pub fn first_with(lab: &Lab, walk: &Walk, prepare: impl Fn(&Node)) -> [Node; 2] {
    let nodes = lab.boot(&FIRST_NODES);
    nodes.iter().for_each(prepare);
    let [laptop, rpi4] = &nodes;
    rpi4.unit("httpd.service", HTTPD);

    walk.say("Configure hirte and the agents, as the guide prints it");
    walk.write(
        laptop,
        "/etc/hirte/hirte.conf",
        &published("first", "hirte.conf"),
    );
    walk.write(
        laptop,
        "/etc/hirte/agent.conf",
        &published("first", "agent-laptop.conf"),
    );
    walk.write(
        rpi4,
        "/etc/hirte/agent.conf",
        &published("first", "agent-rpi4.conf"),
    );

    walk.say("Start them");
    walk.run(laptop, "systemctl start hirte hirte-agent");
    walk.run(rpi4, "systemctl start hirte-agent");
    for name in ["laptop", "rpi4"] {
        laptop.wait_journal("hirte.service", &format!(" as '{name}'"), PATIENCE);
    }
    let log = walk.run(laptop, "journalctl --no-pager --output cat -u hirte");
    assert!(log.contains("Registered managed node from fd"), "{log}");
    assert!(
        log.contains("Agent 'rpi4' connected from 192.168.42.15"),
        "{log}"
    );

    walk.say("Look at the services that run");
    let units = walk.run(laptop, "hirtectl list-units | head -n 6");
    assert!(units.starts_with("NODE            "), "{units}");
    let units = walk.run(laptop, "hirtectl list-units rpi4 | head -n 6");
    assert!(units.starts_with("ID         "), "{units}");

    walk.say("Start httpd on the Raspberry Pi from the laptop");
    assert_eq!(
        rpi4.run(&["systemctl", "is-active", "httpd.service"])
            .stdout,
        "inactive\n"
    );
    let started = walk.run(laptop, "hirtectl start rpi4 httpd.service");
    assert_eq!(started, "Unit httpd.service start operation result: done\n");
    assert_eq!(
        walk.run(rpi4, "systemctl is-active httpd.service"),
        "active\n"
    );
    let log = walk.run(rpi4, "journalctl --no-pager --output cat -u hirte-agent");
    let request = "Request to StartUnit unit: httpd.service - Action: replace";
    assert!(log.contains(request), "{log}");
    let units = walk.run(laptop, "hirtectl list-units rpi4 | grep httpd");
    let columns: Vec<_> = units.trim_end().split('|').map(str::trim).collect();
    assert_eq!(columns, ["httpd.service", "active", "running"]);

    walk.say("Restart, reload and stop it");
    for (command, state) in [
        ("restart", "active"),
        ("reload", "active"),
        ("stop", "inactive"),
    ] {
        let done = walk.run(laptop, &format!("hirtectl {command} rpi4 httpd.service"));
        assert_eq!(
            done,
            format!("Unit httpd.service {command} operation result: done\n")
        );
        assert_eq!(
            rpi4.run(&["systemctl", "is-active", "httpd.service"])
                .stdout
                .trim(),
            state
        );
    }
    walk.run(laptop, "hirtectl list-nodes");
    nodes
}

/// The second guide's installation, verification and service control.
/// Returns primary and agent.
pub fn second(lab: &Lab, walk: &Walk) -> [Node; 2] {
    let nodes = lab.boot(&[("primary", "192.168.1.10"), ("agent", "192.168.1.20")]);
    let [primary, agent] = &nodes;
    let [on_primary, on_agent] =
        <[String; 2]>::try_from(text::files("second", "/etc/hirte/agent.conf"))
            .expect("the guide configures two agents");
    agent.unit("httpd.service", HTTPD);
    primary.ok(&["hirtectl", "--version"]);
    walk.write(
        primary,
        "/etc/hirte/hirte.conf",
        &text::file("second", "/etc/hirte/hirte.conf"),
    );
    walk.write(primary, "/etc/hirte/agent.conf", &on_primary);
    walk.write(agent, "/etc/hirte/agent.conf", &on_agent);
    walk.run(primary, "systemctl start hirte hirte-agent");
    walk.run(primary, "systemctl enable hirte hirte-agent");
    walk.run(primary, "systemctl status --no-pager hirte hirte-agent");
    walk.run(agent, "systemctl start hirte-agent");
    walk.run(agent, "systemctl enable hirte-agent");
    let connected = "Agent 'agent' connected from 192.168.1.20";
    for message in [connected, " as 'primary'"] {
        primary.wait_journal("hirte.service", message, PATIENCE);
    }

    let listed = walk.run(primary, "hirtectl list-nodes");
    assert!(listed.lines().next().is_some_and(|header| {
        header
            .split_whitespace()
            .eq(["NODE", "STATE", "LAST", "SEEN"])
    }));
    let names = walk.run(
        primary,
        "hirtectl list-nodes | tail -n +2 | awk '{print $1, $2}'",
    );
    assert_eq!(names, "primary online\nagent online\n");

    walk.run(primary, "hirtectl list-units");
    walk.run(primary, "hirtectl list-units agent");
    walk.run(primary, "hirtectl start agent httpd.service");
    let status = walk.run(primary, "hirtectl status agent httpd.service");
    assert!(
        status.contains("httpd.service") && status.contains("running"),
        "{status}"
    );
    walk.run(primary, "hirtectl stop agent httpd.service");
    walk.run(primary, "hirtectl restart agent httpd.service");
    assert_eq!(
        walk.run(agent, "systemctl is-active httpd.service"),
        "active\n"
    );
    walk.run(primary, "hirtectl enable agent httpd.service");
    assert_eq!(
        walk.run(agent, "systemctl is-enabled httpd.service"),
        "enabled\n"
    );
    walk.run(primary, "hirtectl disable agent httpd.service");
    assert_eq!(
        agent
            .run(&["systemctl", "is-enabled", "httpd.service"])
            .stdout,
        "disabled\n"
    );
    walk.run(primary, "hirtectl daemon-reload agent");
    nodes
}
