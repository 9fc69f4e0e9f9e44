//! docs/recipes/monitoring.md: the script with its timer, and the health check with its cron line.

use super::*;

/// The timer as published begins after five minutes; here it begins at once, and goes on.
const AT_ONCE: &str = "[Timer]\nOnBootSec=\nOnBootSec=1s\nOnUnitActiveSec=1s\nAccuracySec=1us\n";

#[test]
fn nodes_are_watched() {
    let Some(fleet) = fleet("monitoring", |lab| lab.unmask("timers.target")) else {
        return;
    };
    let (primary, agent) = (&fleet.primary, &fleet.agent);
    agent.unit("broken.service", BROKEN);
    failed_units_are_reported(primary);
    the_timer_runs_the_script(primary);
    the_health_check_finds_faults(primary, agent);
    cron_logs_that_the_check_has_failed(primary);
}

/// What the script reports of a node.
fn report(primary: &Node, node: &str) -> String {
    let printed = run(primary, "/usr/local/bin/hirte-monitor.sh");
    let (_, report) = printed
        .split_once(&format!("=== Node: {node} ===\n"))
        .unwrap_or_else(|| panic!("{printed}"));
    report.split("\n\n").next().unwrap().to_owned()
}

fn failed_units_are_reported(primary: &Node) {
    published(primary, "sudo tee /usr/local/bin/hirte-monitor.sh << 'EOF'");
    published(primary, "sudo chmod +x /usr/local/bin/hirte-monitor.sh");
    for node in ["primary", "agent"] {
        let report = report(primary, node);
        let seen = report.strip_prefix("Last seen: ");
        assert!(
            seen.is_some_and(|it| it.starts_with("now") || it.ends_with(" ago")),
            "{report}"
        );
    }
    let started = primary.run(&["hirtectl", "start", "agent", "broken.service"]);
    assert_eq!(started.status.code(), Some(1), "{started}");
    let report = report(primary, "agent");
    let mut lines = report.lines();
    assert_eq!(lines.next(), Some("WARNING: 1 failed units on agent"));
    let unit = lines.next().unwrap().split('|').map(str::trim);
    assert!(unit.eq(["broken.service", "failed", "failed"]), "{report}");
    assert!(lines.next().unwrap().starts_with("Last seen: "));
}

fn the_timer_runs_the_script(primary: &Node) {
    for unit in [
        "sudo tee /etc/systemd/system/hirte-monitor.service << EOF",
        "sudo tee /etc/systemd/system/hirte-monitor.timer << EOF",
    ] {
        published(primary, unit);
    }
    published(primary, "sudo systemctl daemon-reload");
    published(primary, "sudo systemctl enable --now hirte-monitor.timer");
    let timers = "--property=TimersMonotonic";
    let timers = primary.systemctl(&["show", timers, "hirte-monitor.timer"]);
    for timer in ["OnBootUSec=5min", "OnUnitActiveUSec=5min"] {
        assert!(timers.contains(timer), "{timers}");
    }

    primary.unit("hirte-monitor.timer.d/at-once.conf", AT_ONCE);
    // Each second is more often than systemd lets a unit start.
    let often = "[Unit]\nStartLimitIntervalSec=0\n";
    primary.unit("hirte-monitor.service.d/at-once.conf", often);
    primary.systemctl(&["restart", "hirte-monitor.timer"]);
    let reports = |wanted| {
        lab::eventually(SOON, "the timer runs the script", || {
            let journal = primary.journal("hirte-monitor.service");
            journal.matches("WARNING: 1 failed units on agent").count() >= wanted
        });
    };
    reports(2);
    primary.reboot();
    reports(1);
    primary.systemctl(&["disable", "--now", "hirte-monitor.timer"]);
}

fn the_health_check_finds_faults(primary: &Node, agent: &Node) {
    published(
        primary,
        "sudo tee /usr/local/bin/check-hirte-health.sh << 'EOF'",
    );
    published(
        primary,
        "sudo chmod +x /usr/local/bin/check-hirte-health.sh",
    );
    wait_states(primary, "primary online\nagent online\n");
    let check = |expected: &[&str]| {
        let found = primary.run(&["/usr/local/bin/check-hirte-health.sh"]);
        let lines: Vec<&str> = found.stdout.lines().collect();
        assert_eq!(lines, expected, "{found}");
        let errors = i32::try_from(expected.len()).unwrap();
        assert_eq!(found.status.code(), Some(errors), "{found}");
    };
    check(&["ERROR: 1 failed units detected"]);
    agent.systemctl(&["reset-failed", "broken.service"]);
    check(&[]);
    primary.systemctl(&["stop", "hirte"]);
    check(&[
        "ERROR: hirte is not running",
        "ERROR: Expected at least 2 nodes, found 0",
    ]);
    primary.systemctl(&["start", "hirte"]);
    wait_states(primary, "primary online\nagent online\n");
    primary.systemctl(&["stop", "hirte-agent"]);
    check(&["ERROR: hirte-agent is not running"]);
    primary.systemctl(&["start", "hirte-agent"]);
    // A node that is offline is a node.
    run(primary, "hirtectl is-online node agent");
    agent.systemctl(&["stop", "hirte-agent"]);
    wait_states(primary, "primary online\nagent offline\n");
    check(&[]);
    assert!(!try_to(primary, "hirtectl is-online node agent").success());
    agent.unit("broken.service", BROKEN);
    agent.systemctl(&["start", "hirte-agent"]);
    wait_states(primary, "primary online\nagent online\n");
    primary.run(&["hirtectl", "start", "agent", "broken.service"]);
}

/// cron is told that it is shortly before the next time that divides by five minutes.
fn cron_logs_that_the_check_has_failed(primary: &Node) {
    primary.sh("rm -f /etc/cron.d/*; echo SHELL=/bin/sh > /etc/crontab");
    published(
        primary,
        "echo \"*/5 * * * * root /usr/local/bin/check-hirte-health.sh || logger -t hirte-health 'Health check failed'\" | sudo tee -a /etc/crontab",
    );
    let cron = primary.spawn(&["faketime", "2026-01-01 00:04:55", "cron", "-f"]);
    lab::eventually(SOON, "cron runs the check", || {
        let log = run(primary, "journalctl --identifier=hirte-health");
        log.contains("Health check failed")
    });
    cron.end("TERM");
}
