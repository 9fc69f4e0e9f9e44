//! The second guide's containers, which Quadlet makes services of, on a node with podman: files and
//! commands are those of docs/recipes/containers.md, and the files are the guide's but for the
//! differences that are told there.
//!
//! The images have the names of the guide. Their content is Debian's: `tests/containers/make`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]
#![allow(dead_code, reason = "the lab offers more than one test uses")]

#[path = "guide/mod.rs"]
mod guide;
#[path = "lab/mod.rs"]
mod lab;
#[path = "support/tree.rs"]
mod tree;

use std::{env, path::Path, time::Duration};

use guide::Walk;
use lab::{Lab, Node, eventually};

/// Names the folder that `tests/containers/make` has filled.
const MADE: &str = "HIRTE_CONTAINERS";
const IMPORT: &str = include_str!("containers/import");
const RECIPE: &str = include_str!("../docs/recipes/containers.md");
const QUADLETS: &str = "/etc/containers/systemd";
/// Where the guide's text is not followed, and what stands there instead.
const DIFFERENCES: [[&str; 2]; 2] = [
    ["Pod=webapp\n", "Pod=webapp.pod\n"],
    ["After=webapp.pod\n", "After=webapp-pod.service\n"],
];
const REFUSED: [&str; 2] = [
    r#"converting "webapp-app.container": pod webapp is not Quadlet based"#,
    r#"converting "webapp-db.container": pod webapp is not Quadlet based"#,
];
const IGNORED: &str = "Failed to add dependency on webapp.pod, ignoring: Invalid argument";
const PAGE: &str = "curl --silent --show-error http://192.168.1.20";
/// Commands that change nothing.
const LOOKS: [&str; 4] = [
    "curl",
    "hirtectl list-units",
    "hirtectl logs",
    "hirtectl status",
];
/// For what takes a second on a machine that has time.
const PATIENCE: Duration = Duration::from_secs(30);

/// The guide's nodes, the manager's first, where the chapter on containers begins: podman is there,
/// and so are the images.
fn nodes(name: &str, images: &[&str]) -> Option<(Lab, [Node; 2])> {
    if !lab::require() {
        return None;
    }
    let made = env::var_os(MADE).filter(|made| Path::new(made).join("node").is_dir());
    let Some(made) = made else {
        lab::leave_out(&format!(
            "a node with podman: tests/containers/make fills a folder for {MADE}"
        ));
        return None;
    };
    let made = Path::new(&made);
    let tars = made.join("images");
    let lab = Lab::builder(name)
        .root(made.join("node"))
        .layer(tree::install_tree())
        .bind(&tars)
        .plain("/var/lib/containers")
        .build();
    let nodes = guide::second(&lab, &Walk { is_shown: false });
    let agent = &nodes[1];
    // On machines with cgroup v1 a node has no controllers, so that processes cannot be limited.
    agent.write(
        "/etc/containers/containers.conf.d/lab.conf",
        "[containers]\npids_limit = 0\n",
    );
    let import = ["sh", "-c", IMPORT, "import", tars.to_str().unwrap()];
    agent.ok(&[&import, images].concat());
    Some((lab, nodes))
}

fn expect(node: &Node, command: &str, status: i32, output: &str) {
    let found = node.sh(command);
    let text = format!("{}{}", found.stdout, found.stderr);
    assert!(
        found.status.code() == Some(status) && text.contains(output),
        "[{}]# {command}\nexpected status {status} and '{output}'\n{found}",
        node.name(),
    );
}

/// Runs a command that must succeed and print what is wanted. One that only looks is repeated until it
/// does: a server needs a moment, and so does the journal.
fn wait_output(node: &Node, command: &str, is_wanted: impl Fn(&str) -> bool) {
    let looks = LOOKS.iter().any(|begin| command.starts_with(begin));
    let patience = if looks { PATIENCE } else { Duration::ZERO };
    let mut last = None;
    let found = lab::holds_within(patience, || {
        let output = last.insert(node.run(&["bash", "-eo", "pipefail", "-c", command]));
        output.success() && is_wanted(&output.stdout)
    });
    assert!(found, "[{}]# {command}\n{}", node.name(), last.unwrap());
}

fn wait_page(primary: &Node, port: u16, text: &str) {
    wait_output(primary, &format!("{PAGE}:{port}/"), |page| {
        page.contains(text)
    });
}

/// Whether each line of the document is in what was printed, in this order. `…` in it stands for
/// anything, and the width of columns does not count.
fn shows(printed: &str, document: &str) -> bool {
    let words = |line: &str| {
        let columns = line.replace('|', " | ");
        columns.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let mut printed = printed.lines().map(words);
    let is_like = |line: &str, wanted: &str| {
        let mut rest = line;
        wanted
            .split('…')
            .map(str::trim)
            .all(|part| match rest.find(part) {
                Some(at) => {
                    rest = &rest[at + part.len()..];
                    true
                }
                None => false,
            })
    };
    document
        .lines()
        .map(words)
        .all(|wanted| printed.any(|line| is_like(&line, &wanted)))
}

#[test]
fn shown_lines_are_found_in_order() {
    assert!(shows("a  |b\nsince 12\n", "a | b\nsince …"));
    assert!(!shows("since 12\na\n", "a\nsince …"));
    assert!(!shows("x y\n", "y … x"));
}

/// Does what the recipe says under a heading, up to its end, on both nodes: files, commands, and what
/// these print.
fn follow(heading: &str, primary: &Node, agent: &Node) {
    let (_, section) = RECIPE.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut blocks = section.split("```").skip(1).step_by(2).peekable();
    while let Some(block) = blocks.next() {
        let (kind, text) = block.split_once('\n').unwrap();
        let node = match kind {
            "sh primary" => primary,
            "sh agent" => agent,
            "ini" => {
                let (path, content) = text.split_once('\n').unwrap();
                agent.write(path.strip_prefix("# ").unwrap(), content);
                continue;
            }
            "text" => continue,
            other => panic!("{heading}: a block of {other:?}"),
        };
        let shown = blocks.peek().and_then(|next| next.strip_prefix("text\n"));
        wait_output(node, text, |printed| {
            shown.is_none_or(|shown| shows(printed, shown))
        });
    }
}

/// The guide's own text of a Quadlet file.
fn quadlet(file: &str) -> String {
    guide::text::file("second", &format!("{QUADLETS}/{file}"))
}

#[test]
fn the_recipes_files_are_the_guides_but_for_what_it_tells() {
    for file in [
        "webserver.container",
        "webapp.pod",
        "webapp-app.container",
        "webapp-db.container",
    ] {
        let mut text = quadlet(file);
        for [guide, recipe] in DIFFERENCES {
            text = text.replace(guide, recipe);
        }
        let block = format!("```ini\n# {QUADLETS}/{file}\n{text}```\n");
        assert!(RECIPE.contains(&block), "{block}");
    }
    let told = DIFFERENCES
        .as_flattened()
        .iter()
        .map(|line| line.trim_end());
    for text in told.chain([REFUSED[0], IGNORED]) {
        assert!(RECIPE.contains(&format!("`{text}`")), "{text}");
    }
}

fn podman(agent: &Node, arguments: &[&str]) -> String {
    agent.ok(&[&["podman"], arguments].concat())
}

/// hirtectl starts, stops or restarts a unit of the agent's node, and tells that it is done.
fn control(primary: &Node, operation: &str, unit: &str) {
    expect(
        primary,
        &format!("hirtectl {operation} agent {unit}"),
        0,
        &format!("Unit {unit} {operation} operation result: done"),
    );
}

#[test]
fn the_web_server_is_controlled_from_the_primary_node() {
    let Some((_lab, [primary, agent])) = nodes("webserver", &["nginx"]) else {
        return;
    };
    follow("Web server", &primary, &agent);
    is_gone(&primary, &agent);

    control(&primary, "start", "webserver.service");
    let shown = ["ps", "--format", "{{.Names}} {{.Image}} {{.Ports}}"];
    assert_eq!(
        podman(&agent, &shown),
        "systemd-webserver docker.io/library/nginx:latest 0.0.0.0:8080->80/tcp"
    );
    agent.write("/var/www/index.html", "the folder is shared\n");
    wait_page(&primary, 8080, "the folder is shared");
    let inside = |command| format!("podman exec systemd-webserver sh -c '{command}'");
    expect(&agent, &inside("echo $NGINX_HOST"), 0, "example.com");
    let write = inside("echo > /usr/share/nginx/html/index.html");
    expect(&agent, &write, 2, "Read-only file system");
    // As the guide looks at it, on the node.
    let journal = "journalctl --unit webserver.service";
    expect(&agent, journal, 0, r#""GET / HTTP/1.1" 200"#);

    it_is_restarted(&primary, &agent);
    it_starts_at_boot(&primary, &agent);
    without_its_image_it_fails(&primary, &agent);
    control(&primary, "stop", "webserver.service");
    is_gone(&primary, &agent);
}

fn is_gone(primary: &Node, agent: &Node) {
    assert_eq!(podman(agent, &["ps", "--all", "--quiet"]), "");
    expect(primary, &format!("{PAGE}:8080/"), 7, "Could not connect");
    let status = "hirtectl status agent webserver.service";
    expect(primary, status, 0, "inactive (dead)");
}

/// Each start has a container of its own, whoever asked for it.
fn it_is_restarted(primary: &Node, agent: &Node) {
    let container = || podman(agent, &["ps", "--quiet"]);
    let first = container();
    control(primary, "restart", "webserver.service");
    let second = container();
    assert!(!second.is_empty() && second != first, "{second}");
    wait_page(primary, 8080, "the folder is shared");

    podman(agent, &["kill", "systemd-webserver"]);
    eventually(PATIENCE, "systemd starts a container that died", || {
        let third = container();
        !third.is_empty() && third != second
    });
    wait_page(primary, 8080, "the folder is shared");
}

/// By its section `[Install]`, although it cannot be enabled.
fn it_starts_at_boot(primary: &Node, agent: &Node) {
    let enable = "hirtectl enable agent webserver.service";
    expect(primary, enable, 1, "transient or generated");
    agent.reboot();
    wait_page(primary, 8080, "the folder is shared");
    expect(primary, "hirtectl is-online node agent --wait=30s", 0, "");
    let status = "hirtectl status agent webserver.service";
    expect(primary, status, 0, "active (running)");
}

/// `Pull=never`, the folder for nodes whose `/etc` cannot be written, and how often systemd tries.
fn without_its_image_it_fails(primary: &Node, agent: &Node) {
    agent.write(
        "/run/containers/systemd/absent.container",
        "[Unit]\nStartLimitIntervalSec=5min\n\
         [Container]\nImage=docker.io/absent:latest\nPull=never\n[Service]\nRestart=always\n",
    );
    expect(primary, "hirtectl daemon-reload agent", 0, "");
    expect(primary, "hirtectl start agent absent", 1, "result: failed");
    let logs = "hirtectl logs agent absent.service";
    expect(primary, logs, 0, "docker.io/absent:latest: image not known");
    wait_output(primary, logs, |log| {
        log.contains("Start request repeated too quickly")
    });
    let status = "hirtectl status agent absent.service";
    expect(primary, status, 0, "Active: failed");
    expect(primary, "hirtectl reset-failed agent absent.service", 0, "");
    expect(primary, status, 0, "Active: inactive (dead)");
}

#[test]
fn the_pod_is_controlled_from_the_primary_node() {
    let Some((_lab, [primary, agent])) = nodes("pod", &["postgres", "myapp"]) else {
        return;
    };
    the_guides_own_pod_is_refused(&primary, &agent);
    follow("Pod", &primary, &agent);
    expect_pod(&primary, "inactive");
    assert_eq!(podman(&agent, &["ps", "--all", "--quiet"]), "");
    assert_eq!(podman(&agent, &["pod", "ps", "--quiet"]), "");
    let volumes = podman(&agent, &["volume", "ls", "--quiet"]);
    assert_eq!(volumes, "webapp-db-data");

    control(&primary, "start", "webapp-pod.service");
    expect_pod(&primary, "active");
    the_containers_share_a_network(&agent);
    // After the recipe's visit, of another container.
    wait_page(&primary, 8080, "visit 2 of database webapp from ::1\n");
    wait_page(&primary, 9090, "webapp_up 1\n");
    expect(&primary, &format!("{PAGE}:5432/"), 7, "Could not connect");
    control(&primary, "restart", "webapp-db.service");
    wait_page(&primary, 8080, "visit 3 of database webapp");
    let logs = "hirtectl logs agent webapp-db.service";
    expect(&primary, logs, 0, "ready to accept connections");
    let status = "hirtectl status agent webapp-pod.service";
    expect(&primary, status, 0, "Web Application Pod");

    control(&primary, "stop", "webapp-app.service");
    control(&primary, "stop", "webapp-db.service");
    expect_pod(&primary, "inactive");
}

/// Waits until the pod and both containers are in this state.
fn expect_pod(primary: &Node, state: &str) {
    let count = format!("hirtectl list-units agent | grep webapp | grep -cw '| *{state}'");
    wait_output(primary, &count, |lines| lines == "3\n");
}

/// `Pod=webapp` is no Quadlet file: there are no services of the containers, and none called webapp.
fn the_guides_own_pod_is_refused(primary: &Node, agent: &Node) {
    let containers = ["webapp-app.container", "webapp-db.container"];
    for file in ["webapp.pod", containers[0], containers[1]] {
        agent.write(&format!("{QUADLETS}/{file}"), quadlet(file));
    }
    expect(primary, "hirtectl daemon-reload agent", 0, "");
    for message in REFUSED {
        let quadlet = "/usr/libexec/podman/quadlet -dryrun";
        expect(agent, quadlet, 1, message);
    }
    for unit in ["webapp.service", "webapp-app.service", "webapp-db.service"] {
        let start = format!("hirtectl start agent {unit}");
        expect(primary, &start, 5, &format!("Unit {unit} not found"));
    }
    let [pod, _after] = DIFFERENCES;
    for file in containers {
        let text = quadlet(file).replace(pod[0], pod[1]);
        agent.write(&format!("{QUADLETS}/{file}"), text);
    }
    expect(primary, "hirtectl daemon-reload agent", 0, "");
    agent.wait_journal("init.scope", IGNORED, PATIENCE);
}

/// One network namespace, which is not the node's.
fn the_containers_share_a_network(agent: &Node) {
    let containers = ["webapp-infra", "systemd-webapp-app", "systemd-webapp-db"];
    let network_of = |container: &str| {
        let pid = podman(agent, &["inspect", "--format", "{{.State.Pid}}", container]);
        agent.ok(&["readlink", &format!("/proc/{pid}/ns/net")])
    };
    let [pod, app, database] = containers.map(network_of);
    assert_eq!(app, pod);
    assert_eq!(database, pod);
    assert_ne!(pod, agent.ok(&["readlink", "/proc/1/ns/net"]));
}
