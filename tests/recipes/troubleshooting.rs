//! docs/recipes/troubleshooting.md: what the guide's commands show when all is well.

use super::*;

const GET_UNIT: &str = "sudo busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 \
    org.freedesktop.systemd1.Manager GetUnit s \"httpd.service\"";

const DEBUG: [&str; 2] = [
    "sudo sed -i 's/LogLevel=.*/LogLevel=debug/' /etc/hirte/hirte.conf",
    "sudo sed -i 's/LogLevel=.*/LogLevel=debug/' /etc/hirte/agent.conf",
];
const INFO: [&str; 2] = [
    "sudo sed -i 's/LogLevel=.*/LogLevel=info/' /etc/hirte/hirte.conf",
    "sudo sed -i 's/LogLevel=.*/LogLevel=info/' /etc/hirte/agent.conf",
];

#[test]
fn commands_show_what_is_wrong() {
    let Some(fleet) = fleet("trouble", |lab| lab) else {
        return;
    };
    let (primary, agent) = (&fleet.primary, &fleet.agent);
    agent.unit("httpd.service", SERVICE);
    published(primary, "sudo hirtectl start agent httpd.service");
    connections(primary, agent);
    control_of_services(agent);
    performance(primary, agent);
    debug_mode(primary);
}

fn connections(primary: &Node, agent: &Node) {
    let listening = published(primary, "sudo ss -tlnp | grep 2020");
    assert!(
        listening.contains("LISTEN") && listening.contains("\"hirte\""),
        "{listening}"
    );
    // A person leaves telnet by a key; here its input ends.
    let telnet = try_to(agent, "sleep 1 | telnet 192.168.1.10 2020");
    assert!(
        telnet.stdout.contains("Connected to 192.168.1.10."),
        "{telnet}"
    );
    run(agent, "echo 192.168.1.10 primary-node >> /etc/hosts");
    let ping = published(agent, "ping -c 1 primary-node");
    assert!(ping.contains(" 0% packet loss"), "{ping}");

    let log = follow(agent, "second", "sudo journalctl -u hirte-agent -f");
    log.wait_output("Connected to manager as 'agent'", SOON);
    let log = follow(agent, "first", "journalctl -lfu hirte-agent");
    log.wait_output("Connected to manager as 'agent'", SOON);
    let log = follow(primary, "second", "sudo journalctl -lfu hirte");
    log.wait_output("Agent 'agent' connected from 192.168.1.20", SOON);
    let status = published(agent, "sudo systemctl status hirte-agent");
    assert!(status.contains("active (running)"), "{status}");
}

fn control_of_services(agent: &Node) {
    let status = published(agent, "sudo systemctl status httpd");
    assert!(status.contains("active (running)"), "{status}");
    published(agent, "sudo busctl status");
    let unit = published(agent, GET_UNIT);
    assert_eq!(
        unit,
        "o \"/org/freedesktop/systemd1/unit/httpd_2eservice\"\n"
    );
    published(agent, "sudo -u hirte-agent busctl status");
}

fn performance(primary: &Node, agent: &Node) {
    let status = published(primary, "sudo systemctl status hirte hirte-agent");
    assert_eq!(status.matches("active (running)").count(), 2, "{status}");
    assert!(status.contains("2 of 2 nodes online"), "{status}");
    let connections = published(primary, "sudo ss -tnp | grep 2020");
    assert!(connections.contains("192.168.1.20"), "{connections}");
    let traffic = follow(
        agent,
        "second",
        "sudo busctl monitor org.freedesktop.systemd1",
    );
    traffic.wait_output("Monitoring bus message stream.", SOON);
    // The agent has a connection of its own to systemd: only others are seen on the bus.
    published(agent, GET_UNIT);
    traffic.wait_output("Member=GetUnit", SOON);
    let load = published(primary, "top -b -n 1 | head -20");
    assert!(
        load.starts_with("top - ") && load.contains("load average"),
        "{load}"
    );
}

/// What the daemons of the primary node log only when told to log everything, of a command that is
/// not allowed.
const DETAILS: [&str; 2] = [
    "Connection from 127.0.0.1 on fd ",
    " of the manager refused: ",
];

fn debug_mode(primary: &Node) {
    let restart_and_fail = || {
        published(primary, "sudo systemctl restart hirte hirte-agent");
        wait_states(primary, "primary online\nagent online\n");
        let refused = try_to(primary, "hirtectl exec primary true");
        assert_eq!(refused.status.code(), Some(1), "{refused}");
    };
    published(primary, DEBUG[0]);
    published(primary, DEBUG[1]);
    let log = follow(
        primary,
        "second",
        "sudo journalctl -f -u hirte -u hirte-agent",
    );
    restart_and_fail();
    for detail in DETAILS {
        log.wait_output(detail, SOON);
    }
    let details = "journalctl -p debug..debug -u hirte -u hirte-agent";
    let details = run(primary, details);
    assert!(
        DETAILS.iter().all(|detail| details.contains(detail)),
        "{details}"
    );
    assert!(!details.contains("Starting hirte"), "{details}");
    published(primary, INFO[0]);
    published(primary, INFO[1]);
    let so_far = log.stdout().len();
    restart_and_fail();
    lab::eventually(SOON, "the log goes on", || {
        log.stdout().matches("Stream 1: Exec").count() == 2
    });
    // Until then the manager that is asked to end may log.
    let told = log.stdout().split_off(so_far);
    let (_, told) = told.rsplit_once("Waiting for connection requests").unwrap();
    for detail in DETAILS {
        assert!(!told.contains(detail), "{detail}: {told}");
    }
}
