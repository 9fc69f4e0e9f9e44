//! The live view in a real terminal, tmux's, on real nodes: what it shows is what happens, and what its
//! keys ask for happens.
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

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use lab::{Lab, Node};

const SOON: Duration = Duration::from_secs(20);

/// What the shell in the terminal prints before the view, and what is there again after it.
const BEFORE: &str = "before-the-view";

/// A terminal with a shell.
struct Terminal<'n> {
    node: &'n Node,
    name: &'static str,
    /// The settings that it has for a shell.
    before: String,
}

impl<'n> Terminal<'n> {
    fn open(node: &'n Node, name: &'static str, columns: u16, rows: u16) -> Self {
        let mut terminal = Self {
            node,
            name,
            before: String::new(),
        };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let size = ["-x", &columns, "-y", &rows];
        // The shell says when it has a prompt, and how the last command ended.
        let shell = "env PS1='[$?]$ ' sh";
        terminal.tmux(&[&["new-session", "-d"], &size[..], &[shell]].concat());
        terminal.wait("prompt", |screen| screen.starts_with("[0]$"));
        terminal.enter(&format!("echo {BEFORE}"));
        terminal.wait("the shell's answer", |screen| {
            screen.contains(&format!("\n{BEFORE}"))
        });
        terminal.before = terminal.settings();
        terminal
    }

    /// What the kernel does with keys and output (stty(1)).
    fn settings(&self) -> String {
        let device = self.tmux(&["display-message", "-p", "#{pane_tty}"]);
        self.node.ok(&["stty", "-g", "-F", &device])
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let tmux = [
            "env",
            "LC_ALL=C.UTF-8",
            "tmux",
            "-f/dev/null",
            "-L",
            self.name,
        ];
        self.node.ok(&[&tmux, arguments].concat())
    }

    /// Types keys, by tmux's names.
    fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Types a line.
    fn enter(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line]);
        self.keys(&["Enter"]);
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// With the control sequences of colours and the like.
    fn coloured(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-e"])
    }

    /// Waits until the screen is so.
    fn wait(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let screen = self.screen();
            if is_so(&screen) {
                return screen;
            }
            assert!(
                begun.elapsed() < SOON,
                "no {what}:\n{screen}\n{}",
                guide::journals(self.node)
            );
        }
    }

    /// Waits until a line has all of these parts.
    fn line(&self, parts: &[&str]) -> String {
        let has = |line: &&str| parts.iter().all(|part| line.contains(part));
        let screen = self.wait(&format!("{parts:?}"), |screen| {
            screen.lines().any(|line| has(&line))
        });
        screen.lines().find(has).unwrap().to_owned()
    }

    /// Waits until the shell is back and tells this status of the view.
    fn shell(&self, status: u8) {
        let screen = self.wait("prompt", |screen| {
            screen.trim_end().ends_with(&format!("[{status}]$"))
        });
        assert!(screen.contains(BEFORE), "{screen}");
        assert_eq!(self.settings(), self.before, "the terminal's settings");
        let cursor = self.tmux(&["display-message", "-p", "#{cursor_flag} #{alternate_on}"]);
        assert_eq!(cursor, "1 0", "the cursor is seen on the first screen");
    }
}

/// A unit whose description would change the terminal's title and colour, clear it, and turn the
/// direction of writing.
const HOSTILE: &str = "[Unit]\nDescription=x\u{1b}]0;taken\u{7}\u{1b}[2J\u{1b}[41m\u{202e}y\n\
    [Service]\nExecStart=/bin/sleep infinity\n";

const FAILS: &str = "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo it is broken; exit 1'\n";

/// Its job runs until the file is there.
const HELD: &str = "[Service]\nType=oneshot\n\
    ExecStartPre=/bin/sh -c 'until [ -e /run/go ]; do sleep 0.1; done'\nExecStart=/bin/true\n";

#[test]
fn the_view_shows_the_fleet_and_its_keys_act_on_it() {
    if !lab::require() {
        return;
    }
    let lab = Lab::builder("top").layer(tree::install_tree()).build();
    let [laptop, rpi4] = guide::first(&lab, &guide::Walk { is_shown: false });
    rpi4.unit("fails.service", FAILS);
    rpi4.unit("hostile.service", HOSTILE);
    rpi4.unit("held.service", HELD);
    rpi4.systemctl(&["daemon-reload"]);
    // A lost node is noticed sooner than by default.
    let threshold = "[hirte]\nNodeHeartbeatThreshold=3s\n";
    laptop.write("/etc/hirte/hirte.conf.d/top.conf", threshold);
    laptop.systemctl(&["reload", "hirte"]);
    needs_a_terminal(&laptop);

    let terminal = Terminal::open(&laptop, "top", 140, 30);
    terminal.enter("hirtectl top");
    shows_the_fleet(&terminal);
    acts_on_a_unit(&terminal, &rpi4);
    tells_of_failures(&terminal, &rpi4);
    is_not_taken_over(&terminal, &rpi4);
    shows_a_job(&terminal, &rpi4);
    fits_any_size(&terminal);
    costs_nothing_when_idle(&terminal);
    goes_with_the_node(&terminal, &lab, [&laptop, &rpi4]);
    goes_with_the_manager(&terminal);
    is_not_written_over(&terminal);
    can_be_suspended(&terminal);
    terminal.keys(&["q"]);
    terminal.shell(0);
    ends_by_signals(&terminal);
    waits_for_no_other_node(&terminal);
}

fn needs_a_terminal(laptop: &Node) {
    let found = laptop.run(&["hirtectl", "top"]);
    assert_eq!(found.status.code(), Some(2), "{found}");
    assert!(
        found.stderr.starts_with("The live view needs a terminal"),
        "{found}"
    );
    assert_eq!(found.stdout, "");
    let found = laptop.run(&["hirtectl-top", "--version"]);
    assert_eq!(found.stdout, format!("{}\n", env!("CARGO_PKG_VERSION")));
}

fn shows_the_fleet(terminal: &Terminal<'_>) {
    terminal.line(&["hirte up", "2 of 2 nodes", "0 jobs", "since"]);
    terminal.line(&["all nodes", "up"]);
    terminal.line(&["laptop", "online"]);
    terminal.line(&["rpi4", "online"]);
    terminal.keys(&["?"]);
    terminal.line(&["restart the unit"]);
    terminal.keys(&["Escape"]);
    // The second node below the row of all.
    terminal.keys(&["Down", "j"]);
    terminal.line(&["Units of rpi4"]);
    // The unit is not loaded yet.
    terminal.keys(&["Tab", "a", "a", "/"]);
    terminal.keys(&["-l", "HTTPD"]);
    terminal.keys(&["Enter"]);
    terminal.line(&["Units of rpi4, installed, with 'HTTPD' (1 of 1)"]);
    let row = terminal.line(&["httpd.service", "dead"]);
    assert!(row.contains("inactive"), "{row}");
}

fn is_active(node: &Node, unit: &str) -> String {
    node.run(&["systemctl", "is-active", unit])
        .stdout
        .trim()
        .to_owned()
}

fn acts_on_a_unit(terminal: &Terminal<'_>, rpi4: &Node) {
    terminal.keys(&["s"]);
    terminal.line(&["Start httpd.service on rpi4? y/n"]);
    terminal.keys(&["n"]);
    terminal.wait("end of the question", |screen| !screen.contains("y/n"));
    assert_eq!(is_active(rpi4, "httpd.service"), "inactive");

    terminal.keys(&["s", "y"]);
    terminal.line(&["rpi4 httpd.service start: done"]);
    assert_eq!(is_active(rpi4, "httpd.service"), "active");
    terminal.line(&["rpi4 httpd.service active (running)"]);
    terminal.line(&[
        "httpd.service",
        "loaded",
        "active",
        "running",
        "The web server of the guide",
    ]);
    terminal.keys(&["a"]);
    terminal.line(&["Units of rpi4, with 'HTTPD' (1 of 1)"]);

    let pid = rpi4.pid_of("httpd.service").unwrap();
    terminal.keys(&["r"]);
    terminal.line(&["Restart httpd.service on rpi4? y/n"]);
    terminal.keys(&["y"]);
    terminal.line(&["rpi4 httpd.service restart: done"]);
    assert_ne!(rpi4.pid_of("httpd.service").unwrap(), pid);

    // From the page of the unit, which follows what happens to it.
    terminal.keys(&["Enter"]);
    terminal.line(&["Loaded: loaded"]);
    terminal.line(&["Active: active (running)"]);
    terminal.keys(&["t", "y"]);
    terminal.line(&["Active: inactive (dead)"]);
    assert_eq!(is_active(rpi4, "httpd.service"), "inactive");
    terminal.keys(&["q"]);
    terminal.line(&["rpi4 httpd.service stop: done"]);
    // systemd has unloaded it; it can be started again from here.
    terminal.line(&["httpd.service", "inactive", "dead"]);
    terminal.keys(&["Escape"]);
    terminal.wait("end of the filter", |screen| !screen.contains("HTTPD"));
}

fn tells_of_failures(terminal: &Terminal<'_>, rpi4: &Node) {
    assert!(!rpi4.run(&["systemctl", "start", "fails.service"]).success());
    terminal.line(&["rpi4 fails.service failed"]);
    terminal.line(&["hirte up", "1 failed"]);
    terminal.line(&["rpi4", "1 failed"]);
    terminal.keys(&["f"]);
    terminal.line(&["Units of rpi4, failed (1 of 1)"]);
    terminal.keys(&["i"]);
    terminal.line(&["Active: failed (Result: exit-code)"]);
    terminal.line(&["rpi4 sh[", "it is broken"]);
    terminal.keys(&["q", "f"]);
    terminal.line(&["Units of rpi4 ("]);
    rpi4.systemctl(&["reset-failed"]);
    terminal.wait("end of the failure", |screen| !screen.contains("1 failed"));
}

fn is_not_taken_over(terminal: &Terminal<'_>, rpi4: &Node) {
    let title = || terminal.tmux(&["display-message", "-p", "#{pane_title}"]);
    let before = title();
    rpi4.systemctl(&["start", "hostile.service"]);
    terminal.keys(&["/"]);
    terminal.keys(&["-l", "hostile"]);
    terminal.keys(&["Enter"]);
    terminal.line(&["hostile.service", "active", r"x\x1b]0;taken\x07\x1b[2J"]);
    assert_eq!(title(), before);
    assert!(!terminal.coloured().contains("\u{1b}[41m"));
    rpi4.systemctl(&["stop", "hostile.service"]);
    terminal.keys(&["Escape"]);
}

fn shows_a_job(terminal: &Terminal<'_>, rpi4: &Node) {
    terminal.keys(&["a", "a", "/"]);
    terminal.keys(&["-l", "held"]);
    terminal.keys(&["Enter"]);
    terminal.line(&["held.service", "inactive"]);
    terminal.keys(&["s", "y"]);
    terminal.line(&["Jobs (1)"]);
    terminal.line(&["start held.service rpi4 running #"]);
    terminal.line(&["hirte up", "1 job "]);
    rpi4.ok(&["touch", "/run/go"]);
    terminal.line(&["rpi4 held.service start: done"]);
    let screen = terminal.line(&["Jobs (0)"]);
    assert!(!screen.contains("running #"), "{screen}");
    terminal.keys(&["a", "Escape"]);
    terminal.wait("end of the filter", |screen| !screen.contains("'held'"));
}

fn fits_any_size(terminal: &Terminal<'_>) {
    terminal.tmux(&["resize-window", "-x", "40", "-y", "10"]);
    let screen = terminal.wait("one list", |screen| {
        screen.contains("Units of rpi4") && !screen.contains("▶ Nodes") && !screen.contains(" Log ")
    });
    assert!(
        screen.lines().all(|line| line.chars().count() <= 40),
        "{screen}"
    );
    terminal.line(&["h help  q quit"]);
    terminal.keys(&["Tab", "Tab"]);
    terminal.line(&["▶ Log"]);
    terminal.line(&["held.service start: done"]);
    terminal.tmux(&["resize-window", "-x", "80", "-y", "24"]);
    terminal.line(&["Nodes", "Units of rpi4"]);
    terminal.line(&["Jobs (0)", "▶ Log"]);
    terminal.line(&["UNIT", "ACTIVE", "SUB"]);
}

/// CPU time of the view so far, in clock ticks, and how often it was woken.
fn cost(node: &Node) -> (u64, u64) {
    let pid = node.ok(&["pidof", "hirtectl-top"]);
    let stat = node.read(&format!("/proc/{pid}/stat"));
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    let status = node.read(&format!("/proc/{pid}/status"));
    let switches = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))
        .unwrap();
    (ticks, switches.trim().parse().unwrap())
}

/// The most memory that the view has taken, in kB.
const MEMORY_KB: u64 = 8_000;

/// Only what other units of the nodes do wakes it, and it is small.
fn costs_nothing_when_idle(terminal: &Terminal<'_>) {
    let pid = terminal.node.ok(&["pidof", "hirtectl-top"]);
    let status = terminal.node.read(&format!("/proc/{pid}/status"));
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let most = most.unwrap().trim().trim_end_matches(" kB");
    assert!(most.parse::<u64>().unwrap() < MEMORY_KB, "{status}");
    let is_idle = || {
        let before = cost(terminal.node);
        std::thread::sleep(Duration::from_secs(1));
        let after = cost(terminal.node);
        after.0 == before.0 && after.1 - before.1 <= 1
    };
    assert!((0..5).any(|_| is_idle()), "it is never idle for a second");
}

fn goes_with_the_node(terminal: &Terminal<'_>, lab: &Lab, [laptop, rpi4]: [&Node; 2]) {
    lab.cut(laptop, rpi4);
    terminal.line(&["rpi4 offline"]);
    terminal.line(&["hirte degraded", "1 of 2 nodes"]);
    terminal.keys(&["BTab", "BTab"]);
    terminal.line(&["▶ Units of rpi4"]);
    // What was there is still shown, faint.
    let screen = terminal.coloured();
    let row = screen.lines().find(|line| line.contains("init.scope"));
    assert!(row.is_some_and(|row| row.contains("\u{1b}[2m")), "{screen}");
    terminal.keys(&["s"]);
    terminal.line(&["Node 'rpi4' is offline"]);
    lab.heal(laptop, rpi4);
    terminal.line(&["rpi4 online"]);
    terminal.line(&["hirte up", "2 of 2 nodes"]);
    terminal.wait("plain row", |_| {
        let screen = terminal.coloured();
        let row = screen.lines().find(|line| line.contains("init.scope"));
        row.is_some_and(|row| row.contains("\u{1b}[32m"))
    });
}

fn goes_with_the_manager(terminal: &Terminal<'_>) {
    let laptop = terminal.node;
    laptop.systemctl(&["stop", "hirte"]);
    terminal.line(&["hirte manager lost"]);
    laptop.systemctl(&["start", "hirte"]);
    terminal.line(&["the manager is back"]);
    terminal.line(&["hirte up", "2 of 2 nodes"]);
}

/// In the place of the manager's private socket: connections are accepted, and no call is answered.
const MUTE: [(&str, &str); 3] = [
    (
        "/etc/systemd/system/mute.socket",
        "[Socket]\nListenStream=/run/hirte/private\nAccept=yes\nRemoveOnStop=yes\n",
    ),
    (
        "/etc/systemd/system/mute@.service",
        "[Service]\nStandardInput=socket\nStandardOutput=socket\nExecStart=/bin/sh /etc/mute\n",
    ),
    (
        "/etc/mute",
        "printf 'DATA\\r\\nOK 0123456789abcdef0123456789abcdef\\r\\n'; timeout 3 cat >/run/mute.$$ || true",
    ),
];

/// A manager that does not answer is waited for without a word over the picture.
fn is_not_written_over(terminal: &Terminal<'_>) {
    let laptop = terminal.node;
    for (path, content) in MUTE {
        laptop.write(path, content);
    }
    laptop.systemctl(&["daemon-reload"]);
    laptop.systemctl(&["stop", "hirte"]);
    terminal.line(&["hirte manager lost"]);
    laptop.systemctl(&["start", "mute.socket"]);
    // The first attempt has been waited for when there is another.
    let attempts = || laptop.sh("cat /run/mute.* | grep -ac CreateMonitor").stdout;
    terminal.wait("second attempt", |screen| {
        assert!(!screen.contains("Waiting for"), "{screen}");
        attempts().trim().parse::<u32>().unwrap() >= 2
    });
    laptop.systemctl(&["stop", "mute.socket"]);
    laptop.systemctl(&["start", "hirte"]);
    terminal.line(&["hirte up", "2 of 2 nodes"]);
}

fn can_be_suspended(terminal: &Terminal<'_>) {
    terminal.keys(&["C-z"]);
    let screen = terminal.wait("stopped job", |screen| screen.contains("Stopped"));
    assert!(screen.contains(BEFORE), "{screen}");
    terminal.enter("fg");
    terminal.line(&["hirte up", "2 of 2 nodes"]);
    terminal.keys(&["C-l"]);
    terminal.line(&["▶ Units of rpi4"]);
}

fn ends_by_signals(terminal: &Terminal<'_>) {
    for (signal, status) in [("TERM", 143), ("INT", 130), ("HUP", 129)] {
        terminal.enter("NO_COLOR=1 hirtectl top rpi4");
        terminal.line(&["▶ Units of rpi4"]);
        terminal.line(&["hirte up"]);
        let screen = terminal.coloured();
        assert!(
            !screen.contains("[32m") && !screen.contains("[31m"),
            "{screen}"
        );
        let signal = format!("-{signal}");
        terminal.node.ok(&["pkill", &signal, "-x", "hirtectl-top"]);
        terminal.shell(status);
    }
    terminal.enter("hirtectl top nowhere");
    terminal.line(&["Node 'nowhere' is not known to the manager"]);
    terminal.shell(5);
}

/// What a node has is shown while another, which is asked first, does not answer.
fn waits_for_no_other_node(terminal: &Terminal<'_>) {
    let laptop = terminal.node;
    // Meanwhile nobody gives it up, neither the manager nor systemd.
    let threshold = "[hirte]\nNodeHeartbeatThreshold=10min\n";
    laptop.write("/etc/hirte/hirte.conf.d/top.conf", threshold);
    laptop.systemctl(&["reload", "hirte"]);
    laptop.systemctl(&["service-watchdogs", "no"]);
    laptop.freeze("hirte-agent.service");
    terminal.tmux(&["resize-window", "-x", "140", "-y", "30"]);
    terminal.enter("hirtectl top rpi4");
    terminal.line(&["▶ Units of rpi4"]);
    terminal.keys(&["/"]);
    terminal.keys(&["-l", "hirte-agent"]);
    terminal.keys(&["Enter"]);
    terminal.line(&["hirte-agent.service", "Hirte systemd"]);
    let screen = terminal.screen();
    assert!(!screen.contains("did not answer"), "{screen}");
    laptop.thaw("hirte-agent.service");
    laptop.systemctl(&["service-watchdogs", "yes"]);
    terminal.keys(&["q"]);
    terminal.shell(0);
}

/// Has a shell write a program. This process must not write what it runs: a child that another test
/// has forked and not yet executed would have the file open for writing, too, and then it does not run
/// (execve(2), ETXTBSY).
fn sh(script: &str, arguments: &[&Path]) {
    let mut command = Command::new("sh");
    command.args(["-euc", script, "sh"]).args(arguments);
    assert!(command.status().unwrap().success(), "{script}");
}

/// `hirtectl top` is nothing but the program beside it, or else in `PATH`.
#[test]
fn hirtectl_runs_the_view_or_says_where_it_is() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("top-{}", std::process::id()));
    let elsewhere = folder.join("elsewhere");
    fs::create_dir_all(&elsewhere).unwrap();
    let hirtectl = folder.join("hirtectl");
    sh(r#"cp "$1" "$2""#, &[&tree::program("hirtectl"), &hirtectl]);
    let run = || {
        let mut command = Command::new(&hirtectl);
        command.args(["top", "rpi4"]).env("PATH", &elsewhere);
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let missing =
        "The live view is not installed: it is the package hirtectl-top (cargo feature 'top')\n";
    assert_eq!(run(), (Some(1), missing.to_owned()));
    for (place, name) in [(&elsewhere, "found"), (&folder, "beside")] {
        let program = place.join("hirtectl-top");
        let write = r#"printf '#!/bin/sh\necho %s "$@"\nexit 7\n' "$1" > "$2"; chmod 755 "$2""#;
        sh(write, &[Path::new(name), &program]);
        assert_eq!(run(), (Some(7), format!("{name} -- rpi4\n")));
    }
    fs::set_permissions(folder.join("hirtectl-top"), Permissions::from_mode(0o644)).unwrap();
    let (status, text) = run();
    assert!(
        status == Some(1) && text.contains("hirtectl-top: Permission denied"),
        "{text}"
    );
    fs::remove_dir_all(&folder).unwrap();
}
