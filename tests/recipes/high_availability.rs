//! docs/recipes/high-availability.md, with Debian's keepalived.

use std::{
    fmt::Write as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    Lab, Node, PATIENCE, Recipe, assert_controls, boot_guide, lab, new_lab, print, require,
    run_guide, sh, state_of, text, wait_state, write_guide_file,
};
use lab::Link;

const KEEPALIVED: &str = "/etc/keepalived/keepalived.conf";
const KEEPALIVED_UNIT: &str = "/etc/systemd/system/keepalived.service.d/scripts.conf";
const SCRIPT: &str = "/usr/local/bin/hirte-failover.sh";
const FAILOVER: &str = "/etc/hirte/agent.conf.d/failover.conf";
const MARKS: [&str; 8] = [
    KEEPALIVED,
    KEEPALIVED_UNIT,
    SCRIPT,
    FAILOVER,
    "manager",
    "firewall",
    "agent",
    "faster",
];
/// What the recipe adds to the guide's file of keepalived.
const ADDED: [&str; 3] = ["garp_master_refresh", "notify_fault", "notify_stop"];
/// What keepalived logs when it takes the address.
const MASTER: &str = "Entering MASTER STATE";
/// Of the agent that has a node of its own.
const AGENT: &str = "agent";
const ALL: [&str; 3] = ["primary", "backup", AGENT];

/// Two nodes for the manager and one more, each with an agent.
struct Pair {
    _lab: Lab,
    primary: Node,
    backup: Node,
    agent: Node,
    recipe: Recipe,
}

/// Time between announcements of the address: of the recipe's primary (`garp_master_refresh`), and
/// of one that has become master, which makes two (`garp_master_delay`).
const REFRESH: Duration = Duration::from_secs(5);

/// The time since 1970, as the journals of all nodes have it.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

impl Pair {
    /// Boots the nodes, and writes what is the same in the guide and in the recipe.
    fn boot(name: &str) -> Self {
        let lab = new_lab(name);
        let backup = lab.node("backup", "192.168.1.11");
        let [primary, agent] = boot_guide(&lab);
        let recipe = Recipe::open("high-availability", &MARKS);
        assert_eq!(recipe.block(SCRIPT), text::file("second", SCRIPT));
        for node in [&primary, &backup] {
            write_guide_file(node, SCRIPT);
            write_guide_file(node, "/etc/hirte/hirte.conf");
        }
        let of_agent = text::files("second", "/etc/hirte/agent.conf").remove(1);
        backup.write(
            "/etc/hirte/agent.conf",
            of_agent.replace("=agent", "=backup"),
        );
        Self {
            _lab: lab,
            primary,
            backup,
            agent,
            recipe,
        }
    }

    /// The guide's files and commands as they stand.
    fn boot_as_the_guide_has_it(name: &str) -> Self {
        let pair = Self::boot(name);
        let files = text::files("second", KEEPALIVED);
        for (node, file) in [&pair.primary, &pair.backup].into_iter().zip(files) {
            node.write(KEEPALIVED, file);
            sh(
                node,
                "sed -i s/=primary,/=primary,backup,/ /etc/hirte/hirte.conf",
            );
            run_guide(node, "sudo chmod +x /usr/local/bin/hirte-failover.sh");
            run_guide(node, "sudo systemctl enable --now keepalived");
        }
        for node in pair.nodes() {
            run_guide(
                node,
                "sudo sed -i 's/ManagerHost=.*/ManagerHost=192.168.1.100/'",
            );
            run_guide(node, "sudo systemctl enable hirte-agent");
            run_guide(node, "sudo systemctl restart hirte-agent");
        }
        wait_online(&pair.primary, &ALL);
        pair
    }

    /// The recipe, which adds to the guide.
    fn boot_recipe(name: &str) -> Self {
        let pair = Self::boot(name);
        let files = pair.recipe.blocks(KEEPALIVED);
        let of_guide = text::files("second", KEEPALIVED);
        let managers = [&pair.primary, &pair.backup];
        for ((node, file), of_guide) in managers.into_iter().zip(&files).zip(&of_guide) {
            let is_added = |line: &&str| ADDED.iter().any(|added| line.starts_with(added));
            let lines = file.lines().map(str::trim);
            assert!(lines.filter(|line| !is_added(line)).eq(of_guide.lines()));
            node.write(KEEPALIVED, file);
            pair.recipe.write(node, KEEPALIVED_UNIT);
            sh(node, pair.recipe.block("manager"));
        }
        for node in pair.nodes() {
            pair.recipe.write(node, FAILOVER);
            sh(node, pair.recipe.block("agent"));
            node.systemctl(&["enable", "hirte-agent"]);
        }
        wait_online(&pair.primary, &ALL);
        pair
    }

    fn nodes(&self) -> [&Node; 3] {
        [&self.primary, &self.backup, &self.agent]
    }

    fn node(&self, name: &str) -> &Node {
        self.nodes()
            .into_iter()
            .find(|node| node.name() == name)
            .unwrap()
    }

    /// Waits until agents have followed the address to a node, and prints how long after `failure`
    /// the last connection of each was made. hirtectl works there.
    fn follow(&self, what: &str, failure: Duration, holder: &Node, agents: &[&str]) {
        let mut line = format!("{what}: back after");
        for name in agents {
            let mut connected = Duration::ZERO;
            lab::eventually(PATIENCE, &format!("{what}: {name} is back"), || {
                connected = last_connected(self.node(name));
                connected > failure && state_of(holder, name) == "online"
            });
            write!(line, " {name} {:.2?}", connected.abs_diff(failure)).unwrap();
        }
        print(&line);
        assert!(has_address(holder));
        assert_controls(holder, &self.agent);
    }

    /// The nodes whose manager runs.
    fn managers(&self) -> Vec<&str> {
        let is_active = |node: &&Node| {
            let state = node.run(&["systemctl", "is-active", "hirte"]);
            state.stdout == "active\n"
        };
        let on = self.nodes().into_iter().filter(|node| node.is_on());
        on.filter(is_active).map(Node::name).collect()
    }

    fn wait_managers(&self, expected: &[&str]) {
        lab::eventually(PATIENCE, &format!("managers run on {expected:?}"), || {
            self.managers() == expected
        });
    }

    fn cut_the_power(&self) {
        let failure = now();
        self.primary.crash();
        let what = "power of primary cut";
        self.follow(what, failure, &self.backup, &["backup", AGENT]);
        assert_eq!(self.managers(), ["backup"]);
    }

    fn pull_the_cable(&self) {
        let failure = now();
        self.primary.link(Link::Down);
        let what = "cable of primary pulled";
        self.follow(what, failure, &self.backup, &["backup", AGENT]);
    }

    /// The primary takes the address back after `begun`, which takes it from a manager that works.
    fn come_back(&self, what: &str, begun: Duration) {
        // A manager whose cable was out may not have noticed yet: what it says of agents is no sign.
        let mut taken = Duration::ZERO;
        lab::eventually(PATIENCE, &format!("{what}: the primary is master"), || {
            let logged = find_logged(&self.primary, "keepalived", MASTER);
            taken = logged.unwrap_or_default();
            taken > begun
        });
        wait_online(&self.primary, &ALL);
        self.follow(what, taken, &self.primary, &[AGENT, "backup"]);
        self.wait_managers(&["primary"]);
    }
}

/// When a unit has last logged this, which it must have.
fn last_logged(node: &Node, unit: &str, message: &str) -> Duration {
    find_logged(node, unit, message).unwrap()
}

fn find_logged(node: &Node, unit: &str, message: &str) -> Option<Duration> {
    let journalctl = [
        "journalctl",
        "--no-pager",
        "--output=short-unix",
        "-u",
        unit,
    ];
    let lines = node.ok(&journalctl);
    let line = lines.lines().rfind(|line| line.contains(message))?;
    let seconds = line.split(' ').next().unwrap().parse().unwrap();
    Some(Duration::from_secs_f64(seconds))
}

/// When the agent of a node has last connected.
fn last_connected(node: &Node) -> Duration {
    last_logged(node, "hirte-agent", "Connected to manager")
}

/// Waits until these agents are online at the manager of a node.
fn wait_online(manager: &Node, agents: &[&str]) {
    for agent in agents {
        wait_state(manager, agent, "online");
    }
}

fn has_address(node: &Node) -> bool {
    node.ok(&["ip", "address"]).contains("192.168.1.100/24")
}

#[test]
fn the_guides_keepalived_moves_the_manager() {
    if !require(&["keepalived", "firewall-cmd"]) {
        return;
    }
    print("keepalived as the guide has it");
    let pair = Pair::boot_as_the_guide_has_it("failover-guide");
    pair.wait_managers(&["primary"]);
    assert_controls(&pair.primary, &pair.agent);
    pair.cut_the_power();
    let begun = now();
    pair.primary.boot();
    pair.come_back("primary back", begun);

    // The guide has no script for a card without a link, nor for the end of keepalived: its manager
    // goes on, without agents.
    pair.pull_the_cable();
    assert_eq!(pair.managers(), ["primary", "backup"]);
    let begun = now();
    pair.primary.link(Link::Up);
    pair.come_back("cable plugged in", begun);
    let failure = now();
    pair.primary.systemctl(&["stop", "keepalived"]);
    pair.follow("keepalived stopped", failure, &pair.backup, &ALL);
    assert_eq!(pair.managers(), ["primary", "backup"]);
    assert!(!has_address(&pair.primary));
    wait_state(&pair.primary, AGENT, "offline");
}

#[test]
fn one_manager_runs_whatever_fails() {
    if !require(&["keepalived", "firewall-cmd"]) {
        return;
    }
    let pair = Pair::boot_recipe("failover");
    pair.wait_managers(&["primary"]);

    pair.pull_the_cable();
    pair.wait_managers(&["backup"]);
    let begun = now();
    pair.primary.link(Link::Up);
    pair.come_back("cable plugged in", begun);

    let failure = now();
    pair.primary.systemctl(&["stop", "keepalived"]);
    pair.follow("keepalived stopped", failure, &pair.backup, &ALL);
    pair.wait_managers(&["backup"]);
    let begun = now();
    pair.primary.systemctl(&["start", "keepalived"]);
    pair.come_back("keepalived started", begun);

    // systemd starts a manager that dies again; the address stays.
    let failure = now();
    pair.primary.kill("hirte", "KILL");
    pair.follow("manager killed", failure, &pair.primary, &ALL);

    for node in [&pair.primary, &pair.backup] {
        sh(node, pair.recipe.block("faster"));
    }
    pair.wait_managers(&["primary"]);
    wait_online(&pair.primary, &ALL);
    print("advertisements every 0.3 s:");
    pair.cut_the_power();
}

#[test]
fn two_managers_that_do_not_hear_each_other() {
    if !require(&["keepalived", "firewall-cmd"]) {
        return;
    }
    let pair = Pair::boot_recipe("failover-split");
    // Firewalls that know nothing of VRRP.
    for node in [&pair.primary, &pair.backup] {
        node.systemctl(&["start", "firewalld"]);
        sh(node, "firewall-cmd --add-port=2020/tcp");
    }
    pair.wait_managers(&["primary", "backup"]);
    assert!(has_address(&pair.primary) && has_address(&pair.backup));
    // Each announcement may draw the agent to the other side: the primary's comes so soon after one
    // of the backup at times that the agent sends nothing in between. The primary's are the last ones.
    let taken = last_logged(&pair.backup, "keepalived", MASTER);
    lab::eventually(PATIENCE, "the agent has settled at the primary", || {
        let moved = last_connected(&pair.agent).max(taken + REFRESH);
        now().saturating_sub(moved) > REFRESH + Duration::from_secs(1)
            && state_of(&pair.primary, AGENT) == "online"
            && state_of(&pair.backup, AGENT) == "offline"
    });
    let settled = last_connected(&pair.agent);

    // The backup hears the primary first and gives way without a word, which is the worse order.
    let commands = pair.recipe.block("firewall");
    sh(&pair.backup, commands);
    pair.wait_managers(&["primary"]);
    sh(&pair.primary, commands);
    wait_online(&pair.primary, &ALL);
    assert_controls(&pair.primary, &pair.agent);
    assert_eq!(last_connected(&pair.agent), settled);
}
