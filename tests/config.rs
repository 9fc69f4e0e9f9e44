//! The configuration of the daemons as an administrator meets it: files on disk, environment and
//! command line in, settings, warnings and errors out.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails where its own set-up fails"
)]

#[path = "guide/text.rs"]
mod guide;

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use hirte::{
    config::{
        AGENT_KEYS, AgentConfig, AgentOptions, ConfigError, Loaded, MANAGER_KEYS, ManagerConfig,
        ManagerOptions, NODE_KEYS, NodeSection, Roots, load_agent, load_manager,
    },
    core::Level,
    limits::{CONFIG_DROP_INS, CONFIG_FILE_BYTES},
    logging::{LogSettings, LogTarget},
    wire::tcp::KeepAlive,
};

/// The folders of one machine; they go with the test.
struct Machine {
    root: PathBuf,
    env: Vec<(&'static str, &'static str)>,
}

impl Machine {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let root = env::temp_dir().join(format!("hirte-config-{}-{count}", process::id()));
        fs::create_dir_all(&root).unwrap();
        let env = Vec::new();
        Self { root, env }
    }

    /// A machine with one file below its root.
    fn with(path: &str, text: impl AsRef<[u8]>) -> Self {
        let machine = Self::new();
        machine.write(path, text);
        machine
    }

    fn write(&self, path: &str, text: impl AsRef<[u8]>) -> &Self {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn env(&self, name: &str) -> Option<String> {
        let found = self.env.iter().find(|(known, _)| *known == name)?;
        Some(found.1.to_owned())
    }

    fn roots(&self) -> Roots {
        Roots {
            data: self.root.join("share"),
            etc: self.root.join("etc"),
            run: self.root.join("run"),
        }
    }

    fn try_manager(
        &self,
        file: Option<&str>,
        options: &ManagerOptions,
    ) -> Result<Loaded<ManagerConfig>, ConfigError> {
        let file = file.map(|file| self.root.join(file));
        load_manager(&self.roots(), file.as_deref(), options, |name| {
            self.env(name)
        })
    }

    fn try_agent(
        &self,
        file: Option<&str>,
        options: &AgentOptions,
    ) -> Result<Loaded<AgentConfig>, ConfigError> {
        let file = file.map(|file| self.root.join(file));
        load_agent(&self.roots(), file.as_deref(), options, |name| {
            self.env(name)
        })
    }

    fn manager(&self) -> ManagerConfig {
        self.try_manager(None, &ManagerOptions::default())
            .unwrap()
            .config
    }

    fn agent(&self) -> AgentConfig {
        self.try_agent(None, &AgentOptions::default())
            .unwrap()
            .config
    }

    /// A text of the loader with the machine's root left out.
    fn plain(&self, text: &impl ToString) -> String {
        let root = format!("{}/", self.root.display());
        text.to_string().replace(&root, "")
    }

    fn manager_notices(&self) -> Vec<String> {
        let loaded = self.try_manager(None, &ManagerOptions::default()).unwrap();
        loaded.notices.iter().map(|n| self.plain(n)).collect()
    }

    fn agent_notices(&self) -> Vec<String> {
        let loaded = self.try_agent(None, &AgentOptions::default()).unwrap();
        loaded.notices.iter().map(|n| self.plain(n)).collect()
    }

    fn manager_error(&self) -> String {
        self.plain(
            &self
                .try_manager(None, &ManagerOptions::default())
                .unwrap_err(),
        )
    }

    fn agent_error(&self) -> String {
        self.plain(&self.try_agent(None, &AgentOptions::default()).unwrap_err())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

const MANAGER: &str = "etc/hirte/hirte.conf";
const AGENT: &str = "etc/hirte/agent.conf";

fn manager_named(names: &[&str]) -> ManagerConfig {
    ManagerConfig {
        port: 2020,
        allowed_node_names: names.iter().map(|&name| name.to_owned()).collect(),
        ..ManagerConfig::default()
    }
}

fn agent_named(name: &str, host: &str) -> AgentConfig {
    AgentConfig {
        manager_host: host.to_owned(),
        manager_port: 2020,
        ..AgentConfig::for_node(name)
    }
}

#[test]
fn files_of_the_first_guide_work_as_printed() {
    let manager = Machine::with(MANAGER, include_str!("data/guides/first/hirte.conf"));
    assert_eq!(manager.manager(), manager_named(&["laptop", "rpi4"]));
    assert_eq!(manager.manager_notices(), [""; 0]);

    for (text, name, host) in [
        (
            include_str!("data/guides/first/agent-laptop.conf"),
            "laptop",
            "127.0.0.1",
        ),
        (
            include_str!("data/guides/first/agent-rpi4.conf"),
            "rpi4",
            "192.168.42.10",
        ),
    ] {
        let agent = Machine::with(AGENT, text);
        assert_eq!(agent.agent(), agent_named(name, host));
        assert_eq!(agent.agent_notices(), [""; 0]);
    }
}

/// What the second guide writes as agent.conf: on the primary node, then on the other one.
fn agent_of_second_guide(number: usize) -> String {
    guide::files("second", "/etc/hirte/agent.conf").remove(number)
}

#[test]
fn files_of_the_second_guide_work_as_printed() {
    let manager = Machine::with(MANAGER, guide::file("second", "/etc/hirte/hirte.conf"));
    assert_eq!(manager.manager(), manager_named(&["primary", "agent"]));
    assert_eq!(manager.manager_notices(), [""; 0]);

    let primary = Machine::with(AGENT, agent_of_second_guide(0));
    assert_eq!(
        primary.agent(),
        AgentConfig {
            heartbeat_interval: Some(Duration::from_secs(5)),
            ..agent_named("primary", "127.0.0.1")
        }
    );
    assert_eq!(
        primary.agent_notices(),
        ["etc/hirte/agent.conf:7: HeartbeatInterval: 5 is understood as 5 seconds, write 5s"]
    );

    let agent = Machine::with(AGENT, agent_of_second_guide(1));
    assert_eq!(
        agent.agent(),
        AgentConfig {
            heartbeat_interval: Some(Duration::from_secs(5)),
            reconnect_interval: Some(Duration::from_secs(10)),
            ..agent_named("agent", "192.168.1.10")
        }
    );
    assert_eq!(
        agent.agent_notices(),
        [
            "etc/hirte/agent.conf:7: HeartbeatInterval: 5 is understood as 5 seconds, write 5s",
            "etc/hirte/agent.conf:8: ReconnectInterval: 10 is understood as 10 seconds, write 10s",
        ]
    );
}

#[test]
fn edits_of_the_second_guide_work_as_printed() {
    let text = guide::file("second", "/etc/hirte/hirte.conf");
    let manager = Machine::with(MANAGER, text.replace("LogLevel=info", "LogLevel=debug"));
    assert_eq!(manager.manager().log.level, Level::Debug);

    let text = agent_of_second_guide(1)
        .replace("LogLevel=info", "LogLevel=debug")
        .replace("ManagerHost=192.168.1.10", "ManagerHost=192.168.1.100");
    let agent = Machine::with(AGENT, text).agent();
    assert_eq!(agent.log.level, Level::Debug);
    assert_eq!(agent.manager_host, "192.168.1.100");
}

#[test]
fn without_any_file_the_built_in_defaults_apply() {
    let machine = Machine::new();
    assert_eq!(machine.manager(), ManagerConfig::default());
    assert_eq!(machine.manager_notices(), [""; 0]);
    let agent = machine.agent();
    let host_name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(agent, AgentConfig::for_node(host_name.trim()));
}

#[test]
fn every_key_is_read() {
    let manager = Machine::with(
        MANAGER,
        "[hirte]\nManagerPort=1\nListenAddress=10.0.0.1, [fe80::1%eth0]\nUseTCP=no\nUseUDS=no\n\
         AllowedNodeNames=a\nNodeHeartbeatThreshold=10s\nHeartbeatInterval=4\nCompatBlueChi=yes\n\
         TCPKeepAliveTime=2\nTCPKeepAliveInterval=3\nTCPKeepAliveCount=5\n\
         TCPUserTimeout=2500ms\nIPReceiveErrors=no\n\
         LogLevel=Warning\nLogTarget=STDERR-full\nLogIsQuiet=Yes\n",
    );
    let tcp_keep_alive = KeepAlive {
        time: Some(Duration::from_secs(2)),
        interval: Some(Duration::from_secs(3)),
        count: Some(5),
        user_timeout: Some(Duration::from_millis(2500)),
    };
    let log = LogSettings {
        level: Level::Warn,
        target: LogTarget::StderrFull,
        quiet: true,
    };
    assert_eq!(
        manager.manager(),
        ManagerConfig {
            port: 1,
            listen_addresses: ["10.0.0.1", "fe80::1%eth0"]
                .map(|address| address.parse().unwrap())
                .to_vec(),
            use_tcp: false,
            use_uds: false,
            allowed_node_names: vec!["a".to_owned()],
            node_sections: Vec::new(),
            node_heartbeat_threshold: Some(Duration::from_secs(10)),
            heartbeat_interval: Some(Duration::from_secs(4)),
            compat_bluechi: true,
            tcp_keep_alive,
            log,
        }
    );

    let agent = Machine::with(
        AGENT,
        "[hirte-agent]\nNodeName=n\nManagerHost=h\nManagerPort=1\nManagerAddress=unix:path=/run/m\n\
         HeartbeatInterval=3s\nReconnectInterval=1min 30s\nManagerHeartbeatThreshold=0\n\
         ConnectionRetryCountUntilQuiet=0\n\
         AllowExec=yes\n\
         TCPKeepAliveTime=2\nTCPKeepAliveInterval=3\nTCPKeepAliveCount=5\n\
         TCPUserTimeout=2500ms\nIPReceiveErrors=no\n\
         LogLevel=Warning\nLogTarget=STDERR-full\nLogIsQuiet=Yes\n",
    );
    assert_eq!(
        agent.agent(),
        AgentConfig {
            node_name: "n".to_owned(),
            manager_host: "h".to_owned(),
            manager_port: 1,
            manager_address: "unix:path=/run/m".parse().ok(),
            heartbeat_interval: Some(Duration::from_secs(3)),
            reconnect_interval: Some(Duration::from_secs(90)),
            manager_heartbeat_threshold: None,
            loud_retries: 0,
            allow_exec: true,
            tcp_keep_alive,
            log,
        }
    );
}

#[test]
fn later_sources_win() {
    let mut machine = Machine::new();
    let level = |machine: &Machine| machine.manager().log.level;

    machine.write("share/hirte/config/hirte.conf", "[hirte]\nLogLevel=error\n");
    assert_eq!(level(&machine), Level::Error);
    machine.write(MANAGER, "[hirte]\nLogLevel=warn\n");
    assert_eq!(level(&machine), Level::Warn);
    machine.write(
        "etc/hirte/hirte.conf.d/20-b.conf",
        "[hirte]\nLogLevel=debug\n",
    );
    machine.write(
        "etc/hirte/hirte.conf.d/10-a.conf",
        "[hirte]\nLogLevel=info\n",
    );
    assert_eq!(level(&machine), Level::Debug);
    // Of a lower name than those of /etc, and yet after them.
    machine.write("run/hirte/hirte.conf.d/00.conf", "[hirte]\nLogLevel=warn\n");
    assert_eq!(level(&machine), Level::Warn);
    machine.write("run/hirte/hirte.conf.d/10.conf", "[hirte]\nLogLevel=info\n");
    assert_eq!(level(&machine), Level::Info);
    // Of /run only drop-ins are read: its hirte folder has the daemons' sockets, too.
    machine.write("run/hirte/hirte.conf", "junk");
    assert_eq!(level(&machine), Level::Info);
    machine.env.push(("HIRTE_LOG_LEVEL", "Error"));
    assert_eq!(level(&machine), Level::Error);

    machine.write("mine", "[hirte]\nLogLevel=WARN\nManagerPort=5\n");
    let options = ManagerOptions::default();
    let config = machine.try_manager(Some("mine"), &options).unwrap().config;
    assert_eq!((config.log.level, config.port), (Level::Warn, 5));
    let port = Some("6".to_owned());
    let options = ManagerOptions { port };
    let config = machine.try_manager(Some("mine"), &options).unwrap().config;
    assert_eq!((config.log.level, config.port), (Level::Warn, 6));
}

#[test]
fn the_agent_has_its_own_files() {
    let machine = Machine::new();
    machine
        .write(MANAGER, "[hirte-agent]\nNodeName=wrong\n")
        .write(
            "share/hirte-agent/config/agent.conf",
            "[hirte-agent]\nManagerHost=one\nNodeName=one\nManagerPort=1\n",
        )
        .write(AGENT, "[hirte-agent]\nManagerHost=two\nNodeName=two\n")
        .write(
            "etc/hirte/agent.conf.d/x.conf",
            "[hirte-agent]\nNodeName=three\n",
        );
    let agent = machine.agent();
    assert_eq!(agent.node_name, "three");
    assert_eq!(agent.manager_host, "two");
    assert_eq!(agent.manager_port, 1);

    machine.write(
        "run/hirte/agent.conf.d/x.conf",
        "[hirte-agent]\nNodeName=four\n",
    );
    assert_eq!(machine.agent().node_name, "four");
}

#[test]
fn a_wrong_value_of_this_boot_is_an_error_like_any_other() {
    let machine = Machine::new();
    machine.write("run/hirte/hirte.conf.d/x.conf", "[hirte]\nManagerPort=0\n");
    assert_eq!(
        machine.manager_error(),
        "run/hirte/hirte.conf.d/x.conf:2: ManagerPort=0: expected a port number from 1 to 65535"
    );
}

#[test]
fn only_visible_files_named_conf_are_drop_ins() {
    let machine = Machine::new();
    for name in [
        "a.conf.bak",
        "b.conf~",
        ".c.conf",
        "conf",
        "d.conf.d/x.conf",
    ] {
        machine.write(&format!("etc/hirte/hirte.conf.d/{name}"), "junk");
    }
    fs::remove_dir_all(machine.root.join("etc/hirte/hirte.conf.d/d.conf.d")).unwrap();
    // What an editor leaves while a file is open, and a drop-in switched off as systemd's are.
    let folder = machine.root.join("etc/hirte/hirte.conf.d");
    symlink("user@host.1", folder.join(".#e.conf")).unwrap();
    symlink("/dev/null", folder.join("f.conf")).unwrap();
    assert_eq!(machine.manager(), ManagerConfig::default());

    machine.write("etc/hirte/hirte.conf.d/g.conf", "junk");
    assert_eq!(
        machine.manager_error(),
        "etc/hirte/hirte.conf.d/g.conf:1: 'junk': expected key=value or [section]"
    );
}

#[test]
fn an_error_in_any_drop_in_is_an_error() {
    let machine = Machine::new();
    machine
        .write("etc/hirte/hirte.conf.d/1.conf", "[hirte]\nLogLevel=loud\n")
        .write("etc/hirte/hirte.conf.d/2.conf", "[hirte]\nLogLevel=info\n");
    assert_eq!(
        machine.manager_error(),
        "etc/hirte/hirte.conf.d/1.conf:2: LogLevel=loud: expected one of DEBUG, INFO, WARN, ERROR"
    );
}

#[test]
fn lists_grow_within_a_file_and_are_replaced_across_files() {
    let machine = Machine::with(
        MANAGER,
        "[hirte]\nAllowedNodeNames=a, b\nAllowedNodeNames=,c\n",
    );
    assert_eq!(machine.manager().allowed_node_names, ["a", "b", "c"]);

    machine.write(
        MANAGER,
        "[hirte]\nAllowedNodeNames =\n  laptop,\n  rpi4 ; pi\n",
    );
    assert_eq!(machine.manager().allowed_node_names, ["laptop", "rpi4"]);

    machine.write(
        MANAGER,
        "[hirte]\nAllowedNodeNames=a\nAllowedNodeNames=\nAllowedNodeNames=b\nManagerPort=1\nManagerPort=2\n",
    );
    assert_eq!(machine.manager().allowed_node_names, ["b"]);
    assert_eq!(machine.manager().port, 2);

    machine.write(
        "etc/hirte/hirte.conf.d/1.conf",
        "[hirte]\nAllowedNodeNames=x,y\n[other]\n[hirte]\nAllowedNodeNames=z\n",
    );
    assert_eq!(machine.manager().allowed_node_names, ["x", "y", "z"]);

    machine.write(
        "etc/hirte/hirte.conf.d/2.conf",
        "[hirte]\nAllowedNodeNames=\n",
    );
    assert_eq!(machine.manager().allowed_node_names, [""; 0]);
}

#[test]
fn an_empty_value_takes_the_default_back() {
    // The C program's own defaults file names its keys without values.
    let machine = Machine::with(
        "share/hirte-agent/config/agent.conf",
        "[hirte-agent]\nNodeName=\nManagerHost=\nManagerPort=\n",
    );
    let agent = machine.agent();
    assert_eq!(agent, AgentConfig::for_node(agent.node_name.clone()));

    machine.write(
        AGENT,
        "[hirte-agent]\nNodeName=n\nHeartbeatInterval=0\nManagerAddress=unix:path=/x\nLogIsQuiet=on\n",
    );
    assert_eq!(machine.agent().heartbeat_interval, None);
    machine.write(
        "etc/hirte/agent.conf.d/1.conf",
        "[hirte-agent]\nHeartbeatInterval=\nManagerAddress=\nLogIsQuiet=\n",
    );
    assert_eq!(machine.agent(), AgentConfig::for_node("n"));
}

#[test]
fn wrong_values_of_the_manager_are_errors() {
    let name = "1 to 255 letters, digits, '-', '_' or '.', the first one a letter, a digit or '_'";
    let time = "0 or a time from 100ms to 7 days, such as 2s, 500ms or 1min 30s";
    let seconds = "0 or a time of whole seconds up to 32767s";
    for (line, expected) in [
        ("ManagerPort=abc", "a port number from 1 to 65535"),
        ("ManagerPort=0", "a port number from 1 to 65535"),
        ("ManagerPort=65536", "a port number from 1 to 65535"),
        (
            "AllowedNodeNames=a b",
            &format!("node names separated by commas, but 'a b' is none: a name has {name}"),
        ),
        ("NodeHeartbeatThreshold=6", time),
        ("NodeHeartbeatThreshold=forever", time),
        ("TCPKeepAliveTime=32768", seconds),
        ("TCPKeepAliveInterval=1500ms", seconds),
        ("TCPKeepAliveCount=128", "a number from 0 to 127"),
        ("TCPUserTimeout=50ms", time),
        ("IPReceiveErrors=2", "a boolean such as true or false"),
        ("UseTCP=tcp", "a boolean such as true or false"),
        ("UseUDS=/run/x", "a boolean such as true or false"),
        (
            "ListenAddress=10.0.0.1, localhost",
            "IP addresses separated by commas, but 'localhost' is none",
        ),
        (
            "ListenAddress=[10.0.0.1]",
            "IP addresses separated by commas, but '[10.0.0.1]' is none",
        ),
        ("HeartbeatInterval=50ms", time),
        ("LogLevel=loud", "one of DEBUG, INFO, WARN, ERROR"),
        ("LogTarget=syslog", "one of journald, stderr, stderr-full"),
        ("LogIsQuiet=maybe", "a boolean such as true or false"),
    ] {
        let machine = Machine::with(MANAGER, format!("# comment\n[hirte]\n{line}\n"));
        assert_eq!(
            machine.manager_error(),
            format!("etc/hirte/hirte.conf:3: {line}: expected {expected}")
        );
    }
}

#[test]
fn wrong_values_of_the_agent_are_errors() {
    let name = "1 to 255 letters, digits, '-', '_' or '.', the first one a letter, a digit or '_'";
    let time = "0 or a time from 100ms to 7 days, such as 2s, 500ms or 1min 30s";
    let address = "a D-Bus address such as tcp:host=192.0.2.1,port=842 or unix:path=/run/manager";
    for (line, expected) in [
        (
            "NodeName=my node",
            format!("a node name of {name}").as_str(),
        ),
        ("NodeName=a/b", &format!("a node name of {name}")),
        ("ManagerHost=192.168.1.256", "an IP address or a host name"),
        ("ManagerHost=a b", "an IP address or a host name"),
        ("ManagerPort=-1", "a port number from 1 to 65535"),
        ("ManagerAddress=192.0.2.1:842", address),
        ("ManagerAddress=tcp:host=a", address),
        ("HeartbeatInterval=abc", time),
        ("HeartbeatInterval=50ms", time),
        ("HeartbeatInterval=-5", time),
        ("ReconnectInterval=30d", time),
        ("ManagerHeartbeatThreshold=5", time),
        (
            "ConnectionRetryCountUntilQuiet=-1",
            "a number from 0 to 4294967295",
        ),
        ("LogLevel=TRACE", "one of DEBUG, INFO, WARN, ERROR"),
    ] {
        let machine = Machine::with(AGENT, format!("[hirte-agent]\n{line}\n"));
        assert_eq!(
            machine.agent_error(),
            format!("etc/hirte/agent.conf:2: {line}: expected {expected}")
        );
    }
}

#[test]
fn a_wrong_value_is_an_error_even_where_it_is_replaced() {
    let machine = Machine::with(MANAGER, "[hirte]\nManagerPort=abc\nManagerPort=1\n");
    let port = Some("2".to_owned());
    let error = machine.try_manager(None, &ManagerOptions { port });
    assert_eq!(
        machine.plain(&error.unwrap_err()),
        "etc/hirte/hirte.conf:2: ManagerPort=abc: expected a port number from 1 to 65535"
    );
}

#[test]
fn environment_counts_where_it_is_not_empty() {
    let mut machine = Machine::with(MANAGER, "[hirte]\nLogLevel=warn\n");
    machine.env = vec![
        ("HIRTE_LOG_LEVEL", ""),
        ("HIRTE_LOG_TARGET", "stderr"),
        ("HIRTE_LOG_IS_QUIET", "1"),
        ("HIRTE_MANAGER_PORT", "7"),
    ];
    let config = machine.manager();
    assert_eq!(
        config.log,
        LogSettings {
            level: Level::Warn,
            target: LogTarget::Stderr,
            quiet: true,
        }
    );
    assert_eq!(config.port, 842);
    assert_eq!(machine.agent().log.target, LogTarget::Stderr);

    machine.env = vec![("HIRTE_LOG_LEVEL", "loud")];
    let error = "HIRTE_LOG_LEVEL=loud: expected one of DEBUG, INFO, WARN, ERROR";
    assert_eq!(machine.manager_error(), error);
    assert_eq!(machine.agent_error(), error);
}

#[test]
fn the_file_of_the_command_line_must_exist() {
    let machine = Machine::new();
    let error = machine
        .try_manager(Some("none.conf"), &ManagerOptions::default())
        .unwrap_err();
    assert_eq!(
        machine.plain(&error),
        "none.conf: can not be read: No such file or directory (os error 2)"
    );
}

#[test]
fn options_of_the_command_line_are_checked() {
    let machine = Machine::new();
    let error = machine
        .try_manager(
            None,
            &ManagerOptions {
                port: Some("abc".to_owned()),
            },
        )
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "--port=abc: expected a port number from 1 to 65535"
    );

    let none = AgentOptions::default;
    let text = |text: &str| Some(text.to_owned());
    for (options, start) in [
        (
            AgentOptions {
                name: text("a b"),
                ..none()
            },
            "--name=a b: expected a node name",
        ),
        (
            AgentOptions {
                host: text(""),
                ..none()
            },
            "--host=: expected an IP address",
        ),
        (
            AgentOptions {
                port: text("0"),
                ..none()
            },
            "--port=0: expected a port",
        ),
        (
            AgentOptions {
                address: text("x"),
                ..none()
            },
            "--address=x: expected a D-Bus",
        ),
        (
            AgentOptions {
                interval: text("x"),
                ..none()
            },
            "--interval=x: expected 0 or a time",
        ),
    ] {
        let error = machine.try_agent(None, &options).unwrap_err().to_string();
        assert!(error.starts_with(start), "{error}");
    }

    let options = AgentOptions {
        name: text("n"),
        host: text("h"),
        port: text("1"),
        address: None,
        interval: text("5"),
    };
    let loaded = machine.try_agent(None, &options).unwrap();
    assert_eq!(
        loaded.config,
        AgentConfig {
            manager_host: "h".to_owned(),
            manager_port: 1,
            heartbeat_interval: Some(Duration::from_secs(5)),
            ..AgentConfig::for_node("n")
        }
    );
    assert_eq!(
        loaded.notices[0].to_string(),
        "--interval: HeartbeatInterval: 5 is understood as 5 seconds, write 5s"
    );
}

#[test]
fn a_host_on_the_command_line_wins_over_an_address_in_a_file() {
    let machine = Machine::with(
        AGENT,
        "[hirte-agent]\nNodeName=n\nManagerHost=filehost\nManagerAddress=tcp:host=a,port=1\n",
    );
    let manager = |options: &AgentOptions| {
        let loaded = machine.try_agent(None, options).unwrap();
        loaded.config.manager().to_string()
    };
    let mut options = AgentOptions::default();
    assert_eq!(manager(&options), "tcp:host=a,port=1");
    options.host = Some("b".to_owned());
    assert_eq!(manager(&options), "tcp:host=b,port=842");
    options.address = Some("unix:path=/c".to_owned());
    assert_eq!(manager(&options), "unix:path=/c");
}

#[test]
fn what_is_unknown_is_a_notice() {
    let machine = Machine::with(
        MANAGER,
        "LogLevel=debug\n[hirte]\nManagerPrt=1\nmanagerport=1\nReconnectInterval=2\n\
         [Hirte]\nManagerPort=1\n[bluechi-controller]\n[hirte]\nAllowedNodeNames=a,b,a\n",
    );
    assert_eq!(
        machine.manager_notices(),
        [
            "etc/hirte/hirte.conf:1: LogLevel stands above any section and is ignored, expected [hirte] before it",
            "etc/hirte/hirte.conf:3: unknown key ManagerPrt in section [hirte] is ignored, did you mean ManagerPort?",
            "etc/hirte/hirte.conf:4: unknown key managerport in section [hirte] is ignored, did you mean ManagerPort?",
            "etc/hirte/hirte.conf:5: unknown key ReconnectInterval in section [hirte] is ignored",
            "etc/hirte/hirte.conf:6: unknown section [Hirte] is ignored, did you mean [hirte]?",
            "etc/hirte/hirte.conf:8: unknown section [bluechi-controller] is ignored, expected [hirte] or [node NAME]",
            "etc/hirte/hirte.conf:10: AllowedNodeNames: named more than once: a",
        ]
    );
    let expected = ManagerConfig {
        port: 842,
        ..manager_named(&["a", "b"])
    };
    assert_eq!(machine.manager(), expected);
}

#[test]
fn sections_of_nodes_add_up_over_files() {
    let machine = Machine::with(
        MANAGER,
        "[node b_1]\nAllowed=yes\nAllowDependenciesOn=a, b_1\nAllowDependenciesOn=c\n\
         [hirte]\nAllowedNodeNames=a,c\n[node  c ]\nAllowed=no\n",
    );
    machine
        .write(
            "etc/hirte/hirte.conf.d/1.conf",
            "[node c]\nAllowed=\n[node b_1]\nAllowDependenciesOn=a\n\
             AllowDependenciesOn=\nAllowDependenciesOn=c,\n    b_1\n",
        )
        .write(
            "etc/hirte/hirte.conf.d/2.conf",
            "[node d]\nAllowed=true\n[node a]\nAllowed=false\n",
        );
    let config = machine.manager();
    let allowed = config.allowed_nodes();
    let allowed: Vec<_> = allowed.iter().map(|(name, _)| *name).collect();
    assert_eq!(allowed, ["c", "b_1", "d"]);
    let names: Vec<_> = config.node_sections.iter().map(|node| &node.name).collect();
    assert_eq!(names, ["b_1", "c", "d", "a"]);
    let [of_b, of_c, ..] = config.node_sections.as_slice() else {
        panic!("{config:?}");
    };
    assert_eq!(of_b.allow_dependencies_on, ["c", "b_1"]);
    assert_eq!(of_c.allowed, None);
    assert!(machine.manager_notices().is_empty());
}

#[test]
fn what_is_odd_about_the_section_of_a_node_is_a_notice() {
    let machine = Machine::with(
        MANAGER,
        "[hirte]\nAllowedNodeNames=a\n[node a]\nAllowDependencysOn=a\nLogLevel=x\n\
         AllowDependenciesOn=b,a,b\n[Node c]\nAllowed=7\n[nodes]\n[node d]\n",
    );
    assert_eq!(
        machine.manager_notices(),
        [
            "etc/hirte/hirte.conf:4: unknown key AllowDependencysOn in section [node a] is ignored, did you mean AllowDependenciesOn?",
            "etc/hirte/hirte.conf:5: unknown key LogLevel in section [node a] is ignored",
            "etc/hirte/hirte.conf:6: AllowDependenciesOn: named more than once: b",
            "etc/hirte/hirte.conf:7: unknown section [Node c] is ignored, did you mean [node c]?",
            "etc/hirte/hirte.conf:9: unknown section [nodes] is ignored, expected [hirte] or [node NAME]",
            "etc/hirte/hirte.conf:3: section [node a]: AllowDependenciesOn names 'b', which is no node of the fleet",
            "etc/hirte/hirte.conf:10: section [node d] has no effect: the node is not in AllowedNodeNames, and Allowed is not set",
        ]
    );
}

#[test]
fn what_is_wrong_in_the_section_of_a_node_is_an_error() {
    let rule = "1 to 255 letters, digits, '-', '_' or '.', the first one a letter, a digit or '_'";
    for (text, expected) in [
        (
            "[node]",
            format!("1: '[node]': expected [node NAME], where a name has {rule}"),
        ),
        (
            "\n[node a b]",
            format!("2: '[node a b]': expected [node NAME], where a name has {rule}"),
        ),
        (
            "[node -a]",
            format!("1: '[node -a]': expected [node NAME], where a name has {rule}"),
        ),
        (
            "[node a]\nAllowed=maybe",
            "2: Allowed=maybe: expected a boolean such as true or false".to_owned(),
        ),
        (
            "[node a]\nAllowDependenciesOn=b/c",
            format!(
                "2: AllowDependenciesOn=b/c: expected node names separated by commas, but 'b/c' \
                 is none: a name has {rule}"
            ),
        ),
    ] {
        let machine = Machine::with(MANAGER, text);
        let expected = format!("etc/hirte/hirte.conf:{expected}");
        assert_eq!(machine.manager_error(), expected);
    }
    let agent = Machine::with(AGENT, "[node a]\nAllowed=maybe\n");
    assert_eq!(
        agent.agent_notices(),
        ["etc/hirte/agent.conf:1: unknown section [node a] is ignored, expected [hirte-agent]"]
    );
}

#[test]
fn what_is_no_configuration_is_refused() {
    let machine = Machine::with(MANAGER, b"[hirte]\nManagerPort=2020\n\x7fELF\n");
    assert_eq!(
        machine.manager_error(),
        "etc/hirte/hirte.conf:3: '\\u{7f}ELF': expected text without control characters"
    );
    machine.write(MANAGER, "#".repeat(CONFIG_FILE_BYTES + 1));
    assert_eq!(
        machine.manager_error(),
        "etc/hirte/hirte.conf: is larger than 1048576 bytes: expected a configuration file"
    );

    let machine = Machine::new();
    fs::create_dir_all(machine.root.join(MANAGER)).unwrap();
    assert_eq!(
        machine.manager_error(),
        "etc/hirte/hirte.conf: can not be read: Is a directory (os error 21)"
    );

    let machine = Machine::new();
    for count in 0..=CONFIG_DROP_INS {
        machine.write(&format!("etc/hirte/hirte.conf.d/{count}.conf"), "");
    }
    assert_eq!(
        machine.manager_error(),
        "etc/hirte/hirte.conf.d: holds more than 256 configuration files"
    );
}

#[test]
fn roots_are_those_of_the_system() {
    let roots = Roots::default();
    assert_eq!(roots.data, Path::new("/usr/share"));
    assert_eq!(roots.etc, Path::new("/etc"));
    assert_eq!(roots.run, Path::new("/run"));
}

/// The files that are installed show every key with its default; uncommented, they change nothing.
#[test]
fn the_shipped_files_show_the_defaults() {
    let shipped = |file: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("data/config")
            .join(file);
        let text = fs::read_to_string(path).unwrap();
        let uncommented = |line: &str| match line.strip_prefix('#') {
            Some(key) if !key.starts_with(' ') => key.to_owned(),
            _ => line.to_owned(),
        };
        text.lines().map(uncommented).collect::<Vec<_>>().join("\n")
    };
    let assert_keys = |text: &str, keys: &[&str]| {
        let set = text.lines().filter(|line| !line.starts_with(['#', '[']));
        let set: Vec<_> = set.filter_map(|line| line.split('=').next()).collect();
        assert_eq!(set, keys);
    };
    let text = shipped("hirte.conf");
    let keys = MANAGER_KEYS.iter().map(|key| key.name);
    let keys = keys.chain(NODE_KEYS.iter().map(|key| key.name));
    assert_keys(&text, &keys.collect::<Vec<_>>());
    let mut manager = Machine::with("etc/hirte/hirte.conf", text).manager();
    let rpi4 = NodeSection {
        name: "rpi4".to_owned(),
        ..NodeSection::default()
    };
    assert_eq!(std::mem::take(&mut manager.node_sections), [rpi4]);
    assert_eq!(manager, Machine::new().manager());
    let text = shipped("agent.conf");
    assert_keys(
        &text,
        &AGENT_KEYS.iter().map(|key| key.name).collect::<Vec<_>>(),
    );
    let agent = Machine::with("etc/hirte/agent.conf", text).agent();
    assert_eq!(agent, Machine::new().agent());
}
