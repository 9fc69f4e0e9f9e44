//! The second guide's containers, which Quadlet makes units of, on a node with Debian 13 and podman:
//! the web server as the guide has it, the pod with the guide's mistakes put right.
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
use lab::{Lab, Node, Output, eventually};

/// Names the folder that `tests/containers/make` has filled.
const MADE: &str = "HIRTE_CONTAINERS";
const IMPORT: &str = include_str!("containers/import");
const QUADLETS: &str = "/etc/containers/systemd";
/// For what takes a second on a machine that has time.
const PATIENCE: Duration = Duration::from_secs(30);
/// Of 5.4's messages one tells why there is no service of a container.
const REFUSED: [&str; 2] = [
    r#"converting "webapp-app.container": pod webapp is not Quadlet based"#,
    r#"converting "webapp-db.container": pod webapp is not Quadlet based"#,
];
const WALK: Walk = Walk { is_shown: false };

/// The guide's nodes, the manager's first, where the chapter on containers begins: podman is there,
/// and so are the images.
fn nodes(name: &str, images: &[&str]) -> Option<(Lab, [Node; 2])> {
    if !lab::require() {
        return None;
    }
    let Some(made) = env::var_os(MADE) else {
        lab::leave_out(&format!(
            "a node with podman: tests/containers/make makes a folder for {MADE}"
        ));
        return None;
    };
    let made = Path::new(&made);
    let executables = Path::new(env!("CARGO_BIN_EXE_hirte")).parent().unwrap();
    let tars = made.join("images");
    let lab = Lab::builder(name)
        .root(made.join("node"))
        .layer(tree::install_tree(executables))
        .bind(&tars)
        .plain("/var/lib/containers")
        .build();
    let nodes = guide::second(&lab, &WALK);
    let agent = &nodes[1];
    // Of cgroup v1 machines a node has no controllers, thus no limit on processes.
    agent.write(
        "/etc/containers/containers.conf.d/lab.conf",
        "[containers]\npids_limit = 0\n",
    );
    let import = ["sh", "-c", IMPORT, "import", tars.to_str().unwrap()];
    agent.ok(&[&import, images].concat());
    Some((lab, nodes))
}

/// The guide's own text of a Quadlet file.
fn quadlet(file: &str) -> String {
    guide::text::file("second", &format!("{QUADLETS}/{file}"))
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

/// hirtectl starts, stops or restarts units of the agent's node, and tells that it is done.
fn control(primary: &Node, operation: &str, units: &[&str]) {
    for unit in units {
        expect(
            primary,
            &format!("hirtectl {operation} agent {unit}"),
            0,
            &format!("Unit {unit} {operation} operation result: done"),
        );
    }
}

/// The agent's units whose names contain `webapp`, with what they are doing.
fn webapp(primary: &Node) -> Vec<[String; 3]> {
    let listed = primary.sh("hirtectl list-units agent | grep webapp").stdout;
    let cells = |line: &str| -> Vec<String> {
        line.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    listed
        .lines()
        .map(|line| cells(line).try_into().expect("three columns"))
        .collect()
}

fn expect_webapp(primary: &Node, state: [&str; 2]) {
    let services = [
        "webapp-app.service",
        "webapp-db.service",
        "webapp-pod.service",
    ];
    let expected = services.map(|service| [service, state[0], state[1]].map(str::to_owned));
    eventually(PATIENCE, &format!("the pod is {state:?}"), || {
        webapp(primary) == expected
    });
}

/// What a client on `from` gets from a port of the agent's node.
fn get(from: &Node, port: u16) -> Output {
    let script = format!(
        "exec 3<>/dev/tcp/agent/{port} && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3"
    );
    from.run(&["timeout", "10", "bash", "-c", &script])
}

/// Asks until the answer contains a text.
fn wait_page(from: &Node, port: u16, text: &str) {
    let mut page = None;
    let found = lab::holds_within(PATIENCE, || {
        page.insert(get(from, port)).stdout.contains(text)
    });
    assert!(found, "no '{text}' from port {port}: {page:?}");
}

fn podman(agent: &Node, arguments: &[&str]) -> String {
    agent.ok(&[&["podman"], arguments].concat())
}

#[test]
fn the_web_server_is_controlled_from_the_primary_node() {
    let Some((_lab, [primary, agent])) = nodes("webserver", &["nginx"]) else {
        return;
    };
    let service = "webserver.service";
    agent.write("/var/www/index.html", "served by a container\n");
    agent.write(
        &format!("{QUADLETS}/webserver.container"),
        quadlet("webserver.container"),
    );
    agent.systemctl(&["daemon-reload"]);
    expect_refused(&primary);

    control(&primary, "start", &[service]);
    let format = "{{.Names}} {{.Image}} {{.Ports}}";
    assert_eq!(
        podman(&agent, &["ps", "--format", format]),
        "systemd-webserver docker.io/library/nginx:latest 0.0.0.0:8080->80/tcp"
    );
    wait_page(&primary, 8080, "\r\n\r\nserved by a container\n");
    let page = get(&primary, 8080).stdout;
    assert!(
        page.starts_with("HTTP/1.1 200 OK\r\nServer: nginx"),
        "{page}"
    );
    agent.write("/var/www/index.html", "the folder is shared\n");
    wait_page(&primary, 8080, "the folder is shared");
    let inside = |command| format!("podman exec systemd-webserver sh -c '{command}'");
    expect(&agent, &inside("echo $NGINX_HOST"), 0, "example.com");
    expect(
        &agent,
        &inside("echo > /usr/share/nginx/html/index.html"),
        2,
        "Read-only file system",
    );

    let status = format!("hirtectl status agent {service}");
    expect(&primary, &status, 0, "Nginx Web Server");
    expect(&primary, &status, 0, "active (running)");
    let request = r#"192.168.1.10 - - "#;
    agent.wait_journal(service, request, PATIENCE);
    expect(&agent, &format!("journalctl -u {service}"), 0, request);
    let logs = format!("hirtectl logs agent {service}");
    expect(&primary, &logs, 0, r#""GET / HTTP/1.0" 200"#);

    restarts(&primary, &agent);
    agent.reboot();
    // WantedBy=default.target, although it cannot be enabled.
    wait_page(&primary, 8080, "the folder is shared");
    expect(&primary, "hirtectl is-online node agent --wait=30s", 0, "");
    expect(&primary, &status, 0, "active (running)");

    control(&primary, "stop", &[service]);
    assert_eq!(podman(&agent, &["ps", "--all", "--quiet"]), "");
    let refused = get(&primary, 8080);
    assert!(refused.stderr.contains("Connection refused"), "{refused}");
    expect(&primary, &status, 0, "inactive (dead)");
}

/// A unit that a generator has made cannot be enabled; `[Install]` in the Quadlet file does it.
fn expect_refused(primary: &Node) {
    expect(
        primary,
        "hirtectl enable agent webserver.service",
        1,
        "transient or generated",
    );
}

/// Each start has a container of its own, whoever asked for it.
fn restarts(primary: &Node, agent: &Node) {
    let container = || podman(agent, &["ps", "--quiet"]);
    let first = container();
    control(primary, "restart", &["webserver.service"]);
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

#[test]
fn the_pod_is_controlled_from_the_primary_node() {
    let Some((_lab, [primary, agent])) = nodes("pod", &["postgres", "myapp"]) else {
        return;
    };
    let units = [
        "webapp-pod.service",
        "webapp-app.service",
        "webapp-db.service",
    ];
    the_guides_own_pod_is_refused(&primary, &agent);
    for file in ["webapp-app.container", "webapp-db.container"] {
        let text = quadlet(file).replace("Pod=webapp\n", "Pod=webapp.pod\n");
        agent.write(&format!("{QUADLETS}/{file}"), &text);
    }
    expect(&primary, "hirtectl daemon-reload agent", 0, "");
    let ignored = "Failed to add dependency on webapp.pod, ignoring: Invalid argument";
    expect(&agent, "journalctl --boot _PID=1", 0, ignored);
    for file in ["webapp-app.container", "webapp-db.container"] {
        let path = format!("{QUADLETS}/{file}");
        let text = agent.read(&path);
        let right = text.replace("After=webapp.pod\n", "After=webapp-pod.service\n");
        assert_ne!(right, text, "{file}");
        agent.write(&path, right);
    }
    expect(&primary, "hirtectl daemon-reload agent", 0, "");

    control(&primary, "start", &units);
    expect_webapp(&primary, ["active", "running"]);
    let shown = format!("hirtectl status agent {}", units.join(" "));
    expect(&primary, &shown, 0, "webapp-db.service");
    expect(
        &primary,
        "hirtectl status agent webapp-pod.service",
        0,
        "Web Application Pod",
    );
    the_containers_share_a_network(&agent);

    wait_page(&primary, 8080, "\nvisit 1 of database webapp from ::1\n");
    wait_page(&primary, 8080, "\nvisit 2 of database webapp from ::1\n");
    wait_page(&primary, 9090, "webapp_up 1\n");
    let closed = get(&primary, 5432);
    assert!(closed.stderr.contains("Connection refused"), "{closed}");
    let logs = "hirtectl logs agent webapp-db.service";
    expect(&primary, logs, 0, "ready to accept connections");

    control(&primary, "restart", &["webapp-db.service"]);
    wait_page(&primary, 8080, "visit 3 of");
    control(&primary, "stop", &["webapp-pod.service"]);
    expect_webapp(&primary, ["inactive", "dead"]);
    assert_eq!(podman(&agent, &["ps", "--all", "--quiet"]), "");
    assert_eq!(podman(&agent, &["pod", "ps", "--quiet"]), "");
    assert_eq!(
        podman(&agent, &["volume", "ls", "--quiet"]),
        "webapp-db-data"
    );

    // The pod's service is enough: it wants those of its containers.
    control(&primary, "start", &["webapp-pod.service"]);
    expect_webapp(&primary, ["active", "running"]);
    wait_page(&primary, 8080, "visit 4 of");
    // And it ends with the last of them.
    control(&primary, "stop", &units[1..]);
    expect_webapp(&primary, ["inactive", "dead"]);
}

/// `Pod=webapp` is no Quadlet file: there are no services of the containers, and none called webapp.
fn the_guides_own_pod_is_refused(primary: &Node, agent: &Node) {
    for file in ["webapp.pod", "webapp-app.container", "webapp-db.container"] {
        agent.write(&format!("{QUADLETS}/{file}"), quadlet(file));
    }
    expect(primary, "hirtectl daemon-reload agent", 0, "");
    let tried = agent.run(&["/usr/libexec/podman/quadlet", "-dryrun"]);
    for message in REFUSED {
        assert!(tried.stderr.contains(message), "{tried}");
    }
    for unit in ["webapp.service", "webapp-app.service", "webapp-db.service"] {
        let start = format!("hirtectl start agent {unit}");
        expect(primary, &start, 5, &format!("Unit {unit} not found"));
    }
}

/// One network namespace, which is not the node's.
fn the_containers_share_a_network(agent: &Node) {
    let containers = ["webapp-infra", "systemd-webapp-app", "systemd-webapp-db"];
    let network_of = |container: &&str| {
        let pid = podman(agent, &["inspect", "--format", "{{.State.Pid}}", container]);
        agent.ok(&["readlink", &format!("/proc/{pid}/ns/net")])
    };
    let [pod, app, database] = containers.each_ref().map(network_of);
    assert_eq!(app, pod);
    assert_eq!(database, pod);
    assert_ne!(pod, agent.ok(&["readlink", "/proc/1/ns/net"]));
}
