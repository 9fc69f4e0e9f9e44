//! Access control and audit as the second guide sets them up, and as `docs/recipes/` recommends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]
#![allow(dead_code, reason = "the lab offers more than one test uses")]

#[path = "audit/guest.rs"]
mod guest;
#[path = "guide/mod.rs"]
mod guide;
#[path = "lab/mod.rs"]
mod lab;
#[path = "support/tree.rs"]
mod tree;

use std::{fs, path::Path};

use guest::Guest;
use lab::{Lab, Node};

const PAGE: &str = "access-control.md";

/// The commands of the second guide between two lines of its text.
fn commands_of_guide(from: &str, to: &str) -> String {
    let text = guide::text::text("second");
    let (_, rest) = text.split_once(from).expect("the guide has this line");
    let (commands, _) = rest.split_once(to).expect("the guide has this line");
    commands.to_owned()
}

/// The blocks of a page below `docs/recipes` under a heading.
fn blocks_of_page(page: &str, heading: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/recipes");
    let text = fs::read_to_string(path.join(page)).expect("a readable page");
    let (_, rest) = text
        .split_once(&format!("\n## {heading}\n"))
        .expect("the page has this heading");
    let section = rest.split("\n## ").next().unwrap_or_default();
    section
        .split("\n```")
        .skip(1)
        .step_by(2)
        .map(|block| {
            let (_info, text) = block.split_once('\n').expect("a block has lines");
            format!("{text}\n")
        })
        .collect()
}

/// Runs commands of an administrator.
fn administer(node: &Node, commands: &str) {
    let output = node.run(&["bash", "-euc", commands]);
    assert!(output.success(), "{commands}\n{output}");
}

/// Runs a command as a user, and tells its exit status and all that it printed.
fn run_as(node: &Node, user: &str, command: &str) -> (Option<i32>, String) {
    let output = node.run(&["runuser", "-u", user, "--", "bash", "-c", command]);
    let text = format!("{}{}", output.stdout, output.stderr);
    (output.status.code(), text)
}

/// What the administrator makes first: the users, and units on the node that is worked on.
fn prepare(primary: &Node, agent: &Node) {
    administer(
        primary,
        "for user in operator1 watcher stranger; do useradd --no-create-home $user; done",
    );
    administer(primary, &blocks_of_page(PAGE, "To look, without sudo")[0]);
    agent.unit("foo.timer", "[Timer]\nOnBootSec=1d\n");
    agent.unit("foo.service", "[Service]\nExecStart=/bin/sleep infinity\n");
    agent.systemctl(&["start", "foo.timer"]);
}

/// Runs each line of a table: user, exit status, command, and a part of what it prints.
fn expect_each(node: &Node, table: &str) {
    for line in table.lines().filter(|line| !line.trim().is_empty()) {
        let cells: Vec<&str> = line.split(" | ").map(str::trim).collect();
        let [user, status, command, needle] = cells[..] else {
            panic!("{line}");
        };
        let (found, text) = run_as(node, user, command);
        assert!(
            found == status.parse().ok() && text.contains(needle),
            "{user}$ {command}\nexpected status {status} and '{needle}', found {found:?}:\n{text}\n{}",
            guide::journals(node)
        );
    }
}

const AT_ALL_TIMES: &str = "
    watcher   |   0 | hirtectl list-units agent                    | hirte-agent.service
    watcher   |   1 | hirtectl start agent httpd.service           | The system bus does not allow
    watcher   |   1 | sudo -n hirtectl start agent httpd.service   | a password is required
    stranger  |   1 | hirtectl list-units agent                    | The system bus does not allow
    stranger  |   1 | sudo -n hirtectl start agent httpd.service   | a password is required
";

const BY_THE_GUIDE: &str = "
    operator1 |   0 | sudo -n hirtectl start agent httpd.service   | start operation result: done
    operator1 |   0 | sudo -n hirtectl stop agent httpd.service    | stop operation result: done
    operator1 |   0 | sudo -n hirtectl restart agent httpd.service | restart operation result: done
    operator1 |   0 | sudo -n hirtectl status agent httpd.service  | active (running)
    operator1 |   0 | sudo -n hirtectl list-units agent            | hirte-agent.service
    operator1 |   1 | sudo -n hirtectl list-units                  | a password is required
    operator1 |   1 | sudo -n hirtectl status agent                | a password is required
    operator1 |   1 | sudo -n hirtectl start agent httpd           | a password is required
    operator1 |   1 | sudo -n hirtectl stop agent foo.timer        | a password is required
    operator1 |   1 | sudo -n hirtectl enable agent httpd.service  | a password is required
    operator1 |   1 | sudo -n hirtectl exec agent id               | a password is required
    operator1 |   1 | sudo -n hirtectl list-nodes                  | a password is required
    operator1 |   1 | sudo -n systemctl stop hirte                 | a password is required
    operator1 |   0 | hirtectl --version                           | .
    operator1 |   1 | hirtectl list-units agent                    | The system bus does not allow
    operator1 |   1 | hirtectl start agent httpd.service           | The system bus does not allow
    stranger  | 126 | hirtectl --version                           | Permission denied
    watcher   | 126 | hirtectl list-units agent                    | Permission denied
    stranger  |   1 | sudo -n hirtectl start agent httpd.service   | a password is required
";

/// What the mode of the program does not decide, neither way.
const WITHOUT_HIRTECTL: &str = "
    watcher   | 0 | busctl call org.containers.hirte /org/containers/hirte org.containers.hirte.Manager Ping s hello | hello
    stranger  | 1 | busctl call org.containers.hirte /org/containers/hirte org.containers.hirte.Manager Ping s hello | denied
    operator1 | 1 | busctl call org.containers.hirte /org/containers/hirte/node/agent org.containers.hirte.Node StartUnit ss httpd.service replace | denied
";

const BY_UNIT: &str = "
    operator1 | 0 | sudo -n hirtectl list-nodes                    | agent   online
    operator1 | 0 | sudo -n hirtectl list-units                    | hirte-agent.service
    operator1 | 0 | sudo -n hirtectl list-units agent              | hirte-agent.service
    operator1 | 0 | sudo -n hirtectl status agent                  | online
    operator1 | 0 | sudo -n hirtectl status agent foo.timer        | foo.timer
    operator1 | 0 | sudo -n hirtectl start agent httpd.service     | start operation result: done
    operator1 | 0 | sudo -n hirtectl stop agent httpd.service      | stop operation result: done
    operator1 | 0 | sudo -n hirtectl restart agent httpd.service   | restart operation result: done
    operator1 | 5 | sudo -n hirtectl start agent a_b@c-d:e.service | not found
    operator1 | 1 | sudo -n hirtectl stop agent foo.timer          | a password is required
    operator1 | 1 | sudo -n hirtectl stop agent foo.timer httpd.service | a password is required
    operator1 | 1 | sudo -n hirtectl stop agent 'foo.timer httpd.service' | a password is required
    operator1 | 1 | sudo -n hirtectl start --job-mode=isolate agent httpd.service | a password is required
    operator1 | 1 | sudo -n hirtectl start agent --no-block httpd.service | a password is required
    operator1 | 1 | sudo -n hirtectl start agent httpd.service --no-block | a password is required
    operator1 | 1 | sudo -n hirtectl start agent -- httpd.service  | a password is required
    operator1 | 1 | sudo -n hirtectl list-units --json             | a password is required
    operator1 | 1 | sudo -n hirtectl exec agent id                 | a password is required
";

const BY_NODE: &str = "
    operator1 | 0 | hirtectl list-nodes                    | agent   online
    operator1 | 0 | hirtectl list-units                    | hirte-agent.service
    operator1 | 0 | hirtectl list-units agent              | hirte-agent.service
    operator1 | 0 | hirtectl status agent httpd.service    | httpd.service
    operator1 | 0 | hirtectl start agent httpd.service     | start operation result: done
    operator1 | 0 | hirtectl restart agent foo.timer       | restart operation result: done
    operator1 | 0 | hirtectl stop agent foo.timer          | stop operation result: done
    operator1 | 1 | hirtectl start primary httpd.service   | The system bus does not allow
    operator1 | 1 | hirtectl enable agent httpd.service    | The system bus does not allow
    operator1 | 1 | hirtectl kill agent httpd.service      | The system bus does not allow
    operator1 | 1 | hirtectl exec agent id                 | The system bus does not allow
    operator1 | 1 | hirtectl set-loglevel agent DEBUG      | The system bus does not allow
";

const BY_NODE_IN_BOTH_GROUPS: &str = "
    operator1 | 0 | hirtectl start agent httpd.service | done
    operator1 | 0 | hirtectl list-units primary | hirte.service
";

#[test]
fn operators_may_do_what_the_rules_name() {
    if !lab::require() {
        return;
    }
    let lab = Lab::builder("access").layer(tree::install_tree()).build();
    let [primary, agent] = guide::second(&lab, &guide::Walk { is_shown: false });
    prepare(&primary, &agent);
    expect_each(&primary, AT_ALL_TIMES);

    rules_of_the_guide(&primary);
    unwanted_by_the_guide(&primary, &agent);
    rules_by_unit(&primary);
    rules_by_node(&primary);
}

/// The guide's commands as they stand there, which the page repeats.
fn rules_of_the_guide(primary: &Node) {
    let commands = commands_of_guide("Implement basic access control:\n", "Audit Logging\n");
    let on_page = blocks_of_page(PAGE, "The guide's rules");
    let (mut rules, mut shown) = (lines(&commands), lines(&on_page[0]));
    rules.retain(|line| !line.starts_with("# "));
    shown.retain(|line| !line.starts_with("# "));
    assert_eq!(shown, rules);
    administer(primary, &commands);
    expect_each(primary, BY_THE_GUIDE);
    expect_each(primary, WITHOUT_HIRTECTL);

    let checked = primary.run(&["visudo", "-c"]);
    let complaint = "/etc/sudoers.d/hirte: bad permissions, should be mode 0440";
    assert!(
        !checked.success() && checked.stderr.contains(complaint),
        "{checked}"
    );
    administer(primary, &on_page[1]);
    administer(primary, "visudo -c");
    expect_each(primary, BY_THE_GUIDE);
}

/// What the `*` of the guide's rules takes in, too.
fn unwanted_by_the_guide(primary: &Node, agent: &Node) {
    let state = |unit: &str| agent.run(&["systemctl", "is-active", unit]).stdout;
    assert_eq!(state("foo.timer"), "active\n");
    let stop = "sudo -n hirtectl stop agent foo.timer httpd.service";
    let (status, text) = run_as(primary, "operator1", stop);
    assert_eq!(status, Some(0), "{text}");
    assert_eq!(state("foo.timer"), "inactive\n");

    let isolate = "sudo -n hirtectl start --job-mode=isolate agent rescue.target httpd.service";
    let (_, text) = run_as(primary, "operator1", isolate);
    assert!(text.contains("Node 'agent' was lost"), "{text}");
    assert_eq!(state("hirte-agent.service"), "inactive\n");
    agent.systemctl(&["isolate", "multi-user.target"]);
    agent.systemctl(&["start", "hirte-agent"]);
    primary.ok(&["hirtectl", "is-online", "node", "agent", "--wait=30s"]);
}

/// The page's rules for sudo, with hirtectl as it is installed.
fn rules_by_unit(primary: &Node) {
    primary.write(
        "/etc/sudoers.d/hirte",
        &blocks_of_page(PAGE, "By unit, with sudo")[0],
    );
    administer(
        primary,
        "chmod 440 /etc/sudoers.d/hirte\nvisudo -c\n\
         chown root:root /usr/bin/hirtectl\nchmod 755 /usr/bin/hirtectl",
    );
    expect_each(primary, BY_UNIT);
    expect_each(primary, AT_ALL_TIMES);
    // Who it was is in sudo's own line; to hirte it was root.
    let told = primary.ok(&["journalctl", "--no-pager", "--output=cat", "_COMM=sudo"]);
    let line =
        "operator1 : PWD=/ ; USER=root ; COMMAND=/usr/bin/hirtectl start agent httpd.service";
    assert!(told.contains(line), "{told}");
    let log = primary.journal("hirte.service");
    assert!(
        log.contains(
            "StartUnit httpd.service on 'agent', mode replace, asked by private connection"
        ),
        "{log}"
    );
    assert!(log.contains("(uid 0, pid "), "{log}");
}

/// The page's policy of the bus, without sudo.
fn rules_by_node(primary: &Node) {
    primary.ok(&["rm", "/etc/sudoers.d/hirte"]);
    let on_page = blocks_of_page(PAGE, "By node, over the bus");
    primary.write("/etc/dbus-1/system.d/hirte-operators.conf", &on_page[0]);
    administer(primary, &on_page[1]);
    expect_each(primary, BY_NODE);
    expect_each(primary, AT_ALL_TIMES);
    let uid = primary.ok(&["id", "-u", "operator1"]);
    let log = primary.journal("hirte.service");
    let of_operator = log.lines().any(|line| {
        line.contains("StartUnit httpd.service on 'agent', mode replace, asked by :1.")
            && line.contains(&format!("(uid {uid}, pid "))
    });
    assert!(of_operator, "{log}");

    administer(
        primary,
        "usermod -a -G hirte operator1\nsystemctl reload dbus",
    );
    expect_each(primary, BY_NODE_IN_BOTH_GROUPS);
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

/// Sets up a manager and its agent in the guest as the guide does on the primary node, and an operator.
fn set_up_guest(guest: &mut Guest) {
    let manager = guide::text::file("second", "/etc/hirte/hirte.conf");
    let agent = &guide::text::files("second", "/etc/hirte/agent.conf")[0];
    let rules = &blocks_of_page(PAGE, "By unit, with sudo")[0];
    let put = |path: &str, text: &str| format!("cat >{path} <<'END OF FILE'\n{text}END OF FILE\n");
    let script = [
        "mkdir -p /etc/hirte\n",
        &put("/etc/hosts", "127.0.0.1 localhost primary\n"),
        &put("/etc/hirte/hirte.conf", &manager),
        &put("/etc/hirte/agent.conf", agent),
        &put("/etc/sudoers.d/hirte", rules),
        &put(
            "/etc/systemd/system/httpd.service",
            "[Service]\nExecStart=/bin/sleep infinity\n",
        ),
        "chmod 440 /etc/sudoers.d/hirte\n\
         groupadd hirte-operators\nuseradd -G hirte-operators operator1\n\
         systemctl daemon-reload\nsystemctl start hirte hirte-agent\n\
         hirtectl is-online node primary --wait=60s\n",
    ];
    guest.ok(&script.concat());
}

/// The only event of `ausearch` that has a text.
fn event<'a>(found: &'a str, needle: &str) -> &'a str {
    let mut events: Vec<&str> = found.split("----\n").collect();
    events.retain(|event| event.contains(needle));
    assert_eq!(events.len(), 1, "events with {needle:?}:\n{found}");
    events[0]
}

fn expect_words(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no {word:?} in:\n{text}");
    }
}

#[test]
fn audit_tells_who_did_what() {
    if !guest::require() {
        return;
    }
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("audit");
    let mut guest = Guest::boot(&cache, &tree::install_tree());
    set_up_guest(&mut guest);
    rules_are_set(&mut guest);
    // A login, as far as audit is concerned: PAM sets who it is.
    let as_operator = "systemd-run --quiet --wait --pipe --uid=operator1 \
                       --property=PAMName=login sudo -n hirtectl";
    guest.ok(&format!(
        "{as_operator} start primary httpd.service\n\
         {as_operator} exec primary id || true\n\
         sed -i 's/LogLevel=.*/LogLevel=debug/' /etc/hirte/hirte.conf\n\
         mkdir /var/log/hirte\ntouch /var/log/hirte/file\n\
         systemctl is-active httpd.service"
    ));
    events_are_found(&mut guest);
    report_tells(&mut guest);
}

/// The guide's commands as they stand there, which the page repeats in part.
fn rules_are_set(guest: &mut Guest) {
    let commands = commands_of_guide("comprehensive audit logging:\n", "Troubleshooting\nCommon");
    let on_page = blocks_of_page("audit.md", "Rules");
    for line in on_page[0].lines() {
        assert!(commands.lines().any(|other| other == line), "{line}");
    }
    guest.ok(&commands);
    assert_eq!(guest.ok("auditctl -l"), on_page[1]);
}

/// The page's searches have what was done.
fn events_are_found(guest: &mut Guest) {
    let searches = &blocks_of_page("audit.md", "Who did what")[0];
    let mut search = searches.lines().map(|line| guest.ok(line));
    let commands = search.next().unwrap();
    let start = [
        "argc=4 a0=hirtectl a1=start a2=primary a3=httpd.service",
        " syscall=execve success=yes ",
        " auid=operator1 uid=root ",
        " exe=/usr/bin/hirtectl ",
        " key=hirte_commands",
    ];
    expect_words(event(&commands, "a1=start"), &start);
    assert!(!commands.contains("a1=exec"), "{commands}");

    let changes = search.next().unwrap();
    let edit = [
        "proctitle=sed -i s/LogLevel=.*/LogLevel=debug/ /etc/hirte/hirte.conf",
        " uid=root ",
        " key=hirte_config",
    ];
    expect_words(event(&changes, "syscall=rename"), &edit);

    let by_sudo = search.next().unwrap();
    let refused = [" uid=operator1 auid=operator1 ", " res=failed"];
    expect_words(event(&by_sudo, "cmd=hirtectl exec primary id"), &refused);
    let allowed = [" uid=operator1 auid=operator1 ", " res=success"];
    expect_words(
        event(&by_sudo, "cmd=hirtectl start primary httpd.service"),
        &allowed,
    );

    let log = guest.ok("journalctl --no-pager --output=cat --unit=hirte");
    let pid = event(&commands, "a1=start")
        .split(" pid=")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .expect("the record has the pid");
    let asked = format!("(uid 0, pid {pid})");
    expect_words(&log, &["StartUnit httpd.service on 'primary'", &asked]);

    // The folder was made after the rule, and the start ran no systemctl.
    let logs = guest.ok("ausearch -i -k hirte_logs");
    expect_words(event(&logs, "comm=touch"), &["name=/var/log/hirte/file"]);
    let systemctl = guest.ok("ausearch -i -k systemd_hirte");
    let by_hand = event(&systemctl, "a0=systemctl");
    expect_words(by_hand, &["a1=is-active a2=httpd.service"]);
}

/// The guide's report, as it stands there and with the page's changes.
fn report_tells(guest: &mut Guest) {
    let section = |report: &str, from: &str, to: &str| {
        let rest = report.split_once(from).expect("a section").1;
        rest.split_once(to).expect("the next").0.to_owned()
    };
    let report = guest.ok("hirte-audit-report.sh || true; echo END");
    let commands = section(&report, "Recent Hirte Commands:", "Configuration Changes:");
    let uid = guest.ok("id -u operator1");
    let row = format!(" /usr/bin/hirtectl (none) ? {} ", uid.trim());
    expect_words(&commands, &["Executable Report", &row]);
    let changes = section(&report, "Configuration Changes:", "Service Operations:");
    expect_words(&changes, &["File Report", " /etc/hirte", " /usr/bin/sed "]);
    let operations = section(&report, "Service Operations:", "END");
    assert!(!operations.contains("StartUnit"), "{report}");
    let (_, none) = guest.sh("true | ausearch -k hirte_commands");
    assert_eq!(none, "<no matches>\n");

    guest.ok(&blocks_of_page("audit.md", "Report")[0]);
    let report = guest.ok("true | hirte-audit-report.sh; echo END");
    let commands = section(&report, "Recent Hirte Commands:", "Configuration Changes:");
    expect_words(&commands, &[&row]);
    let operations = section(&report, "Service Operations:", "END");
    expect_words(&operations, &["StartUnit httpd.service on 'primary'"]);
}
