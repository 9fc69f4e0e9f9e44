//! docs/recipes/encryption.md, with Debian's stunnel4 and openssl.

use std::time::Instant;

use super::{
    Lab, Node, PATIENCE, Recipe, assert_controls, boot_guide, lab, new_lab, print, require,
    run_guide, sh, state_of, text, wait_state, write_guide_file,
};

const SERVER: &str = "/etc/stunnel/hirte-server.conf";
const CLIENT: &str = "/etc/stunnel/hirte-client.conf";
const LOOPBACK: &str = "/etc/hirte/hirte.conf.d/loopback.conf";
const FORKING: &str = "/etc/systemd/system/stunnel@.service.d/forking.conf";
const CERTIFICATE: &str = "/etc/stunnel/hirte.pem";
const AUTHORITY: &str = "/etc/stunnel/hirte-ca.crt";

/// The two nodes of the guide, joined by stunnel.
struct Tunnel {
    lab: Lab,
    primary: Node,
    agent: Node,
    recipe: Recipe,
}

#[test]
fn stunnel_between_agent_and_manager() {
    if !require(&["stunnel4", "openssl", "tcpdump", "telnet"]) {
        return;
    }
    let lab = new_lab("stunnel");
    let [primary, agent] = boot_guide(&lab);
    let recipe = Recipe::open(
        "encryption",
        &[SERVER, CLIENT, LOOPBACK, FORKING, "primary", "agent"],
    );
    let tunnel = Tunnel {
        lab,
        primary,
        agent,
        recipe,
    };
    tunnel.build_as_the_guide_has_it();
    tunnel.nothing_plain_crosses_the_link();
    tunnel.a_silent_partition_is_noticed();
    tunnel.give_certificates();
    tunnel.only_who_has_a_certificate_gets_in();
}

impl Tunnel {
    fn build_as_the_guide_has_it(&self) {
        let Self { primary, agent, .. } = self;
        for (node, path) in [(primary, SERVER), (agent, CLIENT)] {
            write_guide_file(node, path);
            assert_eq!(self.recipe.blocks(path)[0], text::file("second", path));
        }
        run_guide(primary, "sudo openssl req");
        assert_eq!(primary.ok(&["stat", "-c", "%a", CERTIFICATE]), "600");

        // What Debian's unit makes of a stunnel that goes to the background.
        primary.systemctl(&["start", "hirte", "hirte-agent"]);
        run_guide(primary, "sudo systemctl enable --now stunnel@hirte-server");
        let state = "systemctl is-active stunnel@hirte-server";
        let ended = || primary.sh(state).stdout == "inactive\n";
        lab::eventually(PATIENCE, "systemd ends it", ended);

        self.recipe.write(primary, LOOPBACK);
        for node in [primary, agent] {
            self.recipe.write(node, FORKING);
        }
        for node in [primary, agent] {
            let commands = self.recipe.blocks(node.name())[0];
            assert_same_commands(commands);
            sh(node, commands);
        }
        wait_state(primary, "agent", "online");
        wait_state(primary, "primary", "online");
        let address = sh(agent, "grep ManagerHost /etc/hirte/agent.conf");
        assert_eq!(address, "ManagerHost=127.0.0.1\n");
        let plain = agent.sh("telnet 192.168.1.10 2020 < /dev/null");
        assert!(plain.stderr.contains("Connection refused"), "{plain}");
    }

    /// Looks at the packets of the agent's node while it registers and starts a unit.
    fn nothing_plain_crosses_the_link(&self) {
        let Self { primary, agent, .. } = self;
        agent.systemctl(&["stop", "hirte-agent"]);
        let captures = ["lo", "eth0"].map(|card| {
            let file = format!("/run/{card}.pcap");
            let capture = agent.spawn(&[
                "tcpdump",
                "--immediate-mode",
                "-U",
                "-Z",
                "root",
                "-i",
                card,
                "-w",
                &file,
            ]);
            capture.wait_output("listening on", PATIENCE);
            capture
        });
        agent.systemctl(&["start", "hirte-agent"]);
        wait_state(primary, "agent", "online");
        assert_controls(primary, agent);
        for capture in captures {
            capture.end("INT");
        }
        let count = |filter: &str| {
            let read = format!("tcpdump -n -r /run/eth0.pcap '{filter}' | wc -l");
            sh(agent, &read).trim().parse::<u32>().unwrap()
        };
        assert!(count("tcp port 2021") > 20);
        assert_eq!(count("tcp and not port 2021"), 0);
        let [inside, outside] = ["lo", "eth0"].map(|card| agent.read(&format!("/run/{card}.pcap")));
        for words in ["org.containers.hirte", "quick.service", "AUTH EXTERNAL"] {
            assert!(inside.contains(words), "{words}");
            assert!(!outside.contains(words), "{words}");
        }
    }

    /// TCP's own probes end at stunnel; what finds out is the heartbeat.
    fn a_silent_partition_is_noticed(&self) {
        let Self { primary, agent, .. } = self;
        let begun = Instant::now();
        self.lab.cut(primary, agent);
        wait_state(primary, "agent", "offline");
        print(&format!("TLS, cut: offline after {:.1?}", begun.elapsed()));
        let begun = Instant::now();
        self.lab.heal(primary, agent);
        wait_state(primary, "agent", "online");
        print(&format!("TLS, healed: back after {:.1?}", begun.elapsed()));
    }

    fn give_certificates(&self) {
        let Self { primary, agent, .. } = self;
        sh(primary, self.recipe.blocks("primary")[1]);
        let for_agent = "/etc/stunnel/ca/agent.pem";
        for (from, to) in [(for_agent, CERTIFICATE), (AUTHORITY, AUTHORITY)] {
            agent.write(to, primary.read(from));
            agent.ok(&["chmod", "600", to]);
        }
        // Soon again, after each attempt that fails below.
        sh(
            agent,
            "sed -i s/ReconnectInterval=.*/ReconnectInterval=1s/ /etc/hirte/agent.conf",
        );
        agent.systemctl(&["reload", "hirte-agent"]);
        primary.write(SERVER, self.recipe.blocks(SERVER)[1]);
        agent.write(CLIENT, self.recipe.blocks(CLIENT)[1]);
        self.restart();
        wait_state(primary, "agent", "online");
        assert_controls(primary, agent);
        for node in [primary, agent] {
            assert_eq!(
                node.ok(&["ps", "-C", "stunnel4", "-o", "user="]),
                "stunnel4"
            );
        }
    }

    fn restart(&self) {
        self.primary.systemctl(&["restart", "stunnel@hirte-server"]);
        self.agent.systemctl(&["restart", "stunnel@hirte-client"]);
    }

    fn only_who_has_a_certificate_gets_in(&self) {
        let Self { primary, agent, .. } = self;
        let (server, client) = ("stunnel@hirte-server", "stunnel@hirte-client");
        let good = primary.read(CERTIFICATE);
        let issue = self.recipe.blocks("primary")[1]
            .lines()
            .skip_while(|line| !line.starts_with("issue() {"))
            .take_while(|line| *line != "issue primary serverAuth")
            .collect::<Vec<_>>()
            .join("\n");
        sh(
            primary,
            &format!("cd /etc/stunnel/ca\n{issue}\nissue other serverAuth"),
        );

        // The guide's client: it has no certificate.
        write_guide_file(agent, CLIENT);
        self.restart();
        self.assert_turned_away(primary, server, "peer did not return a certificate");
        agent.write(CLIENT, self.recipe.blocks(CLIENT)[1]);

        // A manager with the guide's certificate, which the authority has not signed.
        run_guide(primary, "sudo openssl req");
        let refused = "certificate verify failed";
        self.restart();
        self.assert_turned_away(agent, client, refused);
        // The agent's own certificate is none for a manager, nor is one with another name.
        for other in ["agent", "other"] {
            primary.ok(&["cp", &format!("/etc/stunnel/ca/{other}.pem"), CERTIFICATE]);
            self.restart();
            self.assert_turned_away(agent, client, refused);
        }

        primary.write(CERTIFICATE, good);
        self.restart();
        wait_state(primary, "agent", "online");
    }

    /// The agent is offline, since the stunnel of a node logs this reason for what it has begun.
    fn assert_turned_away(&self, node: &Node, unit: &str, reason: &str) {
        let pid = node.pid_of(unit).unwrap();
        let log = || node.ok(&["journalctl", "--output=cat", &format!("_PID={pid}")]);
        lab::eventually(PATIENCE, reason, || log().contains(reason));
        assert_eq!(state_of(&self.primary, "agent"), "offline");
    }
}

/// The document's commands are those of the guide, beside those that its additions need.
fn assert_same_commands(commands: &str) {
    let guide = text::text("second").replace("sudo ", "");
    let additions = ["systemctl daemon-reload", "systemctl restart hirte"];
    for line in commands.lines() {
        let is_known = guide.lines().any(|known| known == line) || additions.contains(&line);
        assert!(is_known, "{line}");
    }
}
