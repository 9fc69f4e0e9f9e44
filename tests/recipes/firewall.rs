//! docs/recipes/firewall.md, with Debian's firewalld and the nftables of each node.

use super::{
    Node, Recipe, assert_controls, boot_guide, failed_attempt, lab, new_lab, require, run_guide,
    sh, wait_state,
};

/// What an agent gets to hear of a port that firewalld keeps closed.
const CLOSED: &str = "No route to host";

#[test]
fn firewalld_lets_in_on_what_is_opened() {
    if !require(&["firewall-cmd", "telnet"]) {
        return;
    }
    let lab = new_lab("firewall");
    let [primary, agent] = boot_guide(&lab);
    for node in [&primary, &agent] {
        node.systemctl(&["start", "firewalld"]);
        assert_eq!(sh(node, "firewall-cmd --state"), "running\n");
    }
    primary.systemctl(&["start", "hirte", "hirte-agent"]);
    // The node's own agent comes over the loopback interface.
    wait_state(&primary, "primary", "online");
    let recipe = Recipe::open("firewall", &["primary"]);
    the_port_of_the_guide(&primary, &agent, &recipe);
    the_service_of_the_package(&primary, &agent, &recipe);
    the_network_of_the_nodes(&primary, &agent, &recipe);
}

fn telnet(node: &Node, arguments: &str) -> lab::Output {
    node.sh(&format!("telnet {arguments} < /dev/null"))
}

fn the_port_of_the_guide(primary: &Node, agent: &Node, recipe: &Recipe) {
    let refused = format!("192.168.1.10:2020: {CLOSED}");
    assert!(failed_attempt(agent).starts_with(&refused));
    let knock = telnet(agent, "192.168.1.10 2020");
    assert!(knock.stderr.contains(CLOSED), "{knock}");

    let mut printed = String::new();
    for beginning in [
        "sudo firewall-cmd --permanent --add-port=2020/tcp",
        "sudo firewall-cmd --reload",
        "sudo firewall-cmd --list-ports",
    ] {
        assert!(recipe.blocks("primary")[0].contains(&beginning["sudo ".len()..]));
        printed += &run_guide(primary, beginning);
    }
    assert_eq!(printed, "success\nsuccess\n2020/tcp\n");
    wait_state(primary, "agent", "online");
    assert_controls(primary, agent);

    let listens = run_guide(primary, "sudo ss -tlnp | grep 2020");
    assert!(listens.contains("\"hirte\""), "{listens}");
    let knock = telnet(agent, "192.168.1.10 2020");
    assert!(
        knock.stdout.contains("Connected to 192.168.1.10"),
        "{knock}"
    );
    let all = run_guide(primary, "sudo firewall-cmd --list-all");
    assert!(all.contains("ports: 2020/tcp\n"), "{all}");
}

fn the_service_of_the_package(primary: &Node, agent: &Node, recipe: &Recipe) {
    sh(
        primary,
        "firewall-cmd --permanent --remove-port=2020/tcp && firewall-cmd --reload",
    );
    // A closed port keeps its connections.
    assert_controls(primary, agent);
    for node in [primary, agent] {
        sh(
            node,
            "sed -i '/ManagerPort=/d; s/ReconnectInterval=.*/ReconnectInterval=1s/' /etc/hirte/*.conf",
        );
    }
    primary.systemctl(&["restart", "hirte", "hirte-agent"]);
    wait_state(primary, "primary", "online");
    let refused = format!("192.168.1.10:842: {CLOSED}");
    assert!(failed_attempt(agent).starts_with(&refused));
    let silent = "firewall-cmd --permanent --set-target=DROP && firewall-cmd --reload";
    sh(primary, silent);
    assert_eq!(failed_attempt(agent), "192.168.1.10:842: timed out");
    sh(primary, "firewall-cmd --permanent --set-target=default");
    sh(primary, recipe.blocks("primary")[1]);
    wait_state(primary, "agent", "online");
    let all = run_guide(primary, "sudo firewall-cmd --list-all");
    let services = all.lines().find(|line| line.contains("services: "));
    assert!(services.unwrap().ends_with(" hirte ssh"), "{all}");
}

fn the_network_of_the_nodes(primary: &Node, agent: &Node, recipe: &Recipe) {
    let stranger = "-b 192.168.2.20 192.168.1.10 842";
    agent.ok(&["ip", "address", "add", "192.168.2.20/16", "dev", "eth0"]);
    let knock = telnet(agent, stranger);
    assert!(knock.stdout.contains("Connected"), "{knock}");
    sh(primary, recipe.blocks("primary")[2]);
    let knock = telnet(agent, stranger);
    assert!(knock.stderr.contains(CLOSED), "{knock}");
    primary.systemctl(&["restart", "hirte"]);
    wait_state(primary, "agent", "online");
    assert_controls(primary, agent);
}
