//! docs/recipes/deploying.md: services that need each other, and a stack that is started in order,
//! with `PostgreSQL` as Debian has it.

use std::thread;

use super::*;

/// What the guide leaves to the reader: the application, its user, and the rest of the stack. The
/// backend starts only with a database that answers.
fn install_application(agent: &Node) {
    agent.ok(&["useradd", "--system", "--user-group", "appuser"]);
    agent.ok(&["groupadd", "--system", "appgroup"]);
    program(
        agent,
        "/usr/bin/app-backend",
        "pg_isready -q || exit 1\nexec sleep infinity",
    );
    program(agent, "/usr/bin/app-frontend", "exec sleep infinity");
    for unit in ["cache.service", "nginx.service"] {
        agent.unit(unit, SERVICE);
    }
}

/// An empty database of the node's own, stopped.
fn make_database(node: &Node) {
    let script = "cd /usr/lib/postgresql
        rm -rf /etc/postgresql/* /var/lib/postgresql/*
        for version in *; do pg_createcluster \"$version\" main -- --no-sync; done
        systemctl daemon-reload";
    run(node, script);
}

/// When a unit became active, in microseconds.
fn active_since(node: &Node, unit: &str) -> u64 {
    let property = "--property=ActiveEnterTimestampMonotonic";
    node.systemctl(&["show", "--value", property, unit])
        .parse()
        .unwrap()
}

#[test]
fn services_start_in_order() {
    let Some(fleet) = fleet("deploying", |lab| lab) else {
        return;
    };
    let (primary, agent) = (&fleet.primary, &fleet.agent);
    thread::scope(|scope| {
        scope.spawn(|| make_database(primary));
        scope.spawn(|| make_database(agent));
    });
    install_application(agent);

    dependent_services(primary, agent);
    the_stack_is_deployed(primary, agent);
}

fn dependent_services(primary: &Node, agent: &Node) {
    for unit in [
        "sudo tee /etc/systemd/system/app-backend.service << EOF",
        "sudo tee /etc/systemd/system/app-frontend.service << EOF",
    ] {
        published(agent, unit);
    }
    published(agent, "sudo systemctl daemon-reload");
    published(primary, "sudo hirtectl start agent app-frontend.service");
    let chain = ["postgresql", "app-backend", "app-frontend"];
    assert!(chain.map(|unit| active_since(agent, unit)).is_sorted());
    for unit in chain {
        assert_eq!(state_of(agent, unit), "active", "{unit}");
        let restarts = ["show", "--value", "--property=NRestarts", unit];
        assert_eq!(agent.systemctl(&restarts), "0", "{unit}");
    }
    run(agent, "pg_isready");

    // What is required takes along what requires it.
    run(primary, "hirtectl stop agent postgresql.service");
    for unit in chain {
        assert_eq!(state_of(agent, unit), "inactive", "{unit}");
    }
}

fn the_stack_is_deployed(primary: &Node, agent: &Node) {
    published(primary, "sudo tee /usr/local/bin/deploy-stack.sh << 'EOF'");
    published(primary, "sudo chmod +x /usr/local/bin/deploy-stack.sh");

    // Commands have to be allowed on the node where they run.
    let is_ready = "hirtectl exec primary \"pg_isready -U postgres\"";
    let refused = try_to(primary, is_ready);
    assert_eq!(refused.status.code(), Some(1), "{refused}");
    assert!(refused.stderr.contains("AllowExec=yes"), "{refused}");
    primary.write(
        "/etc/hirte/agent.conf.d/exec.conf",
        "[hirte-agent]\nAllowExec=yes\n",
    );
    run(primary, "systemctl reload hirte-agent");
    // 2 is the status of pg_isready when nothing answers; the script waits while it is.
    lab::eventually(SOON, "the agent has read its configuration", || {
        try_to(primary, is_ready).status.code() == Some(2)
    });

    let printed = run(primary, "/usr/local/bin/deploy-stack.sh");
    let mut lines = printed.lines();
    for expected in [
        "Deploying application stack...",
        "Starting database...",
        "Unit postgresql.service start operation result: done",
        "/var/run/postgresql:5432 - accepting connections",
        "Starting backend services...",
        "Unit app-backend.service start operation result: done",
        "Unit cache.service start operation result: done",
        "Starting frontend services...",
        "Unit nginx.service start operation result: done",
        "Unit app-frontend.service start operation result: done",
        "Stack deployment complete!",
    ] {
        assert!(lines.any(|line| line == expected), "{expected}: {printed}");
    }
    let shown: Vec<Vec<&str>> = lines
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    for (unit, sub) in [
        ("postgresql.service", "exited"),
        ("app-backend.service", "running"),
        ("cache.service", "running"),
        ("nginx.service", "running"),
        ("app-frontend.service", "running"),
    ] {
        assert!(
            shown.contains(&vec![unit, "active", sub]),
            "{unit}: {printed}"
        );
    }
    for unit in ["app-backend", "cache", "nginx", "app-frontend"] {
        assert_eq!(state_of(agent, unit), "active", "{unit}");
    }
}
