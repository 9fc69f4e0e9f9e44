//! docs/recipes/backup.md: what the script keeps brings a node without anything up again.

use super::*;

const FOLDER: &str = "/var/backups/hirte";

#[test]
fn a_backup_brings_back_the_primary_node() {
    let Some(fleet) = fleet("backup", |lab| lab) else {
        return;
    };
    let primary = &fleet.primary;
    primary.unit("httpd.service", SERVICE);
    published(primary, "sudo tee /usr/local/bin/backup-hirte.sh << 'EOF'");
    published(primary, "sudo chmod +x /usr/local/bin/backup-hirte.sh");
    what_is_older_than_a_week_goes(primary);
    published(primary, "sudo mkdir -p /etc/containers/systemd");
    published(
        primary,
        "sudo tee /etc/containers/systemd/webserver.container << EOF",
    );
    cron_makes_a_backup(primary);
    let archive = contents_are_complete(primary);
    let bytes = primary.ok(&["base64", "--wrap=0", &archive]);
    primary.power_off();
    restore_on_another_machine(&fleet, &bytes);
}

/// On a node without containers, which tar remarks.
fn what_is_older_than_a_week_goes(primary: &Node) {
    let old = |days: u32| format!("{FOLDER}/units-{days}-days.txt");
    primary.ok(&["rm", "-rf", "/etc/containers/systemd"]);
    primary.ok(&["mkdir", "-p", FOLDER]);
    for days in [6, 9] {
        primary.ok(&["touch", "-d", &format!("{days} days ago"), &old(days)]);
    }
    let made = try_to(primary, "/usr/local/bin/backup-hirte.sh");
    let is_told = made
        .stdout
        .starts_with("Backup completed: /var/backups/hirte/*-");
    assert!(is_told && made.success(), "{made}");
    assert!(made.stderr.contains("/etc/containers/systemd"), "{made}");
    let kept = run(primary, &format!("tar -tzf {FOLDER}/*.tar.gz"));
    assert!(kept.contains("etc/hirte/hirte.conf\n"), "{kept}");
    primary.ok(&["test", "-e", &old(6)]);
    primary.ok(&["test", "!", "-e", &old(9)]);
    run(primary, &format!("rm {FOLDER}/*"));
}

/// cron is told that it is shortly before the time of its line.
fn cron_makes_a_backup(primary: &Node) {
    primary.sh("rm -f /etc/cron.d/*; echo SHELL=/bin/sh > /etc/crontab");
    published(
        primary,
        "echo \"0 2 * * * root /usr/local/bin/backup-hirte.sh\" | sudo tee -a /etc/crontab",
    );
    let cron = primary.spawn(&["faketime", "2026-01-01 01:59:55", "cron", "-f"]);
    lab::eventually(SOON, "cron makes a backup", || {
        primary
            .sh(&format!("grep -q running {FOLDER}/units-*.txt"))
            .success()
    });
    cron.end("TERM");
}

/// Checks what the backup has; the path of the archive.
fn contents_are_complete(primary: &Node) -> String {
    let nodes = primary.sh(&format!("cat {FOLDER}/nodes-*.txt")).stdout;
    let names: Vec<&str> = nodes
        .lines()
        .skip(1)
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(names, ["primary", "agent"]);
    let units = primary.sh(&format!("cat {FOLDER}/units-*.txt")).stdout;
    for unit in ["hirte.service", "hirte-agent.service"] {
        let row = units
            .lines()
            .find(|line| line.contains(&format!("|{unit} ")));
        assert!(row.is_some_and(|row| row.contains("running")), "{units}");
    }

    let archive = run(primary, &format!("ls {FOLDER}/hirte-config-*.tar.gz"));
    let archive = archive.trim_end().to_owned();
    let listed = primary.ok(&["tar", "-tzf", &archive]);
    for file in [
        "etc/hirte/hirte.conf",
        "etc/hirte/agent.conf",
        "etc/systemd/system/httpd.service",
        "etc/containers/systemd/webserver.container",
    ] {
        assert!(listed.lines().any(|line| line == file), "{file}: {listed}");
        let kept = ["tar", "-xzOf", &archive, file];
        assert_eq!(
            primary.ok(&kept),
            primary.read(&format!("/{file}")).trim_end()
        );
    }
    archive
}

/// A machine that has the packages and nothing else takes the place of the primary node.
fn restore_on_another_machine(fleet: &Fleet, archive: &str) {
    let spare = fleet.lab.node("spare", "192.168.1.10");
    spare.write("/backup.base64", archive);
    spare.boot();
    // Its network card is another: the other node learns that from what it sends.
    run(&spare, "ping -c 1 192.168.1.20");
    run(&spare, "base64 --decode backup.base64 > backup.tar.gz");
    run(&spare, "tar -xzf backup.tar.gz -C /");
    run(&spare, "systemctl daemon-reload");
    run(&spare, "systemctl enable --now hirte hirte-agent");
    wait_states(&spare, "primary online\nagent online\n");
    run(&spare, "hirtectl start primary httpd.service");
    assert_eq!(state_of(&spare, "httpd.service"), "active");
}
