//! docs/recipes/dashboard.md: the guide's web page, seen from the other node.

use std::fs;

use super::*;

/// The content of a file that the recipe's page shows.
fn file(path: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/recipes/dashboard.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, block) = page.split_once(&format!("\n```text {path}\n")).unwrap();
    let (content, _) = block.split_once("\n```\n").unwrap();
    format!("{content}\n")
}

/// The cells of the page's tables, row by row.
fn page(node: &Node) -> Vec<Vec<String>> {
    let get = "from urllib.request import urlopen
print(urlopen('http://192.168.1.10:8080/', timeout=10).read().decode())";
    let page = node.run(&["python3", "-c", get]).stdout;
    let rows = page.split("<tr").skip(1);
    let text = |cell: &str| {
        let (_, text) = cell.split_once('>').unwrap();
        text.split_once("</td>").unwrap().0.to_owned()
    };
    rows.map(|row| row.split("<td").skip(1).map(text).collect())
        .collect()
}

fn starts_with(row: &[String], cells: &[&str]) -> bool {
    row.iter()
        .map(String::as_str)
        .take(cells.len())
        .eq(cells.iter().copied())
}

#[test]
fn the_page_shows_real_states() {
    let Some(fleet) = fleet("page", |lab| lab) else {
        return;
    };
    let (primary, agent) = (&fleet.primary, &fleet.agent);
    agent.unit("httpd.service", SERVICE);
    agent.unit("broken.service", BROKEN);

    // The guide's with its indentation and two lines of it changed; tests/guides.rs compares them.
    for path in [
        "/opt/hirte-dashboard.py",
        "/etc/systemd/system/hirte-dashboard.service",
    ] {
        primary.write(path, file(path));
    }
    published(primary, "sudo chmod +x /opt/hirte-dashboard.py");
    published(
        primary,
        "echo \"nobody ALL=(root) NOPASSWD: /usr/bin/hirtectl list-nodes, /usr/bin/hirtectl list-units *\" | sudo tee -a /etc/sudoers.d/hirte-dashboard",
    );
    published(primary, "sudo systemctl daemon-reload");
    published(primary, "sudo systemctl enable --now hirte-dashboard");

    let has = |cells: &[&str]| page(agent).iter().any(|row| starts_with(row, cells));
    let shows = |cells: &[&str]| {
        lab::eventually(SOON, &format!("the page shows {cells:?}"), || has(cells));
    };
    shows(&["primary", "online"]);
    primary.systemctl(&["start", "firewalld"]);
    // Its rules are in place when it says so.
    run(primary, "firewall-cmd --state");
    assert_eq!(page(agent).len(), 0);
    published(primary, "sudo firewall-cmd --permanent --add-port=8080/tcp");
    published(primary, "sudo firewall-cmd --reload");

    published(primary, "sudo hirtectl start agent httpd.service");
    primary.run(&["hirtectl", "start", "agent", "broken.service"]);
    shows(&["agent", "online"]);
    shows(&["agent", "httpd.service", "active"]);
    shows(&["agent", "broken.service", "failed"]);
    shows(&["primary", "hirte.service", "active"]);
    published(primary, "sudo hirtectl stop agent httpd.service");
    // systemd forgets a unit that is inactive and that nothing needs.
    assert!(!has(&["agent", "httpd.service", "active"]));
    agent.systemctl(&["stop", "hirte-agent"]);
    shows(&["agent", "offline"]);

    // It may look, and nothing else.
    let may = |command| {
        primary.sh(&format!(
            "setpriv --reuid nobody --regid nogroup --clear-groups sudo -n {command}"
        ))
    };
    assert!(may("hirtectl list-nodes").success());
    assert!(!may("hirtectl stop primary hirte-agent.service").success());
    assert_eq!(state_of(primary, "hirte-agent"), "active");
}
