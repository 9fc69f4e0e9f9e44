//! The interface of a node.

use super::stream::{EXEC, OPEN_LOG};
use crate::bus::{
    interface::{Argument, Changes, Interface, Method, Property},
    names,
};

/// A method that queues a job.
const fn job_method(name: &'static str, doc: &'static str) -> Method {
    Method {
        name,
        arguments: &[Argument("name", "s"), Argument("mode", "s")],
        results: &[Argument("job", "o")],
        doc,
    }
}

/// `org.containers.hirte.Node`
pub const NODE: Interface = Interface {
    name: names::NODE_INTERFACE,
    doc: "One node, at /org/containers/hirte/node/NAME. Every method fails with \
          org.containers.hirte.Offline while the node is not connected or when it is lost before \
          it answers, with org.freedesktop.DBus.Error.Timeout when it does not answer within 20 \
          s, with org.freedesktop.DBus.Error.NotSupported when its agent or its systemd is too \
          old for the method, and otherwise with the error of the node's systemd.",
    methods: &[
        job_method(
            "StartUnit",
            "Starts a unit. The mode is systemd's job mode (replace, fail, isolate, \
             ignore-dependencies, ignore-requirements). Answers when systemd accepted the job; \
             JobRemoved tells how it ended.",
        ),
        Method {
            name: "StartTransientUnit",
            arguments: &[
                Argument("name", "s"),
                Argument("mode", "s"),
                Argument("properties", "a(sv)"),
                Argument("aux", "a(sa(sv))"),
            ],
            results: &[Argument("job", "o")],
            doc: "Makes and starts a unit that has no file, from properties as systemd's method \
                  of this name takes them, with further units in aux; otherwise as StartUnit, \
                  with a job of hirte. Errors: org.freedesktop.systemd1.UnitExists when the unit \
                  exists. Since 0.6.",
        },
        job_method("StopUnit", "Stops a unit; otherwise as StartUnit."),
        job_method("ReloadUnit", "Reloads a unit; otherwise as StartUnit."),
        job_method("RestartUnit", "Restarts a unit; otherwise as StartUnit."),
        Method {
            name: "GetUnitProperties",
            arguments: &[Argument("name", "s"), Argument("interface", "s")],
            results: &[Argument("props", "a{sv}")],
            doc: "All properties of a unit on one of systemd's interfaces, or on all of them \
                  when the interface is empty. systemd loads a unit that is not loaded.",
        },
        Method {
            name: "GetUnitProperty",
            arguments: &[
                Argument("name", "s"),
                Argument("interface", "s"),
                Argument("property", "s"),
            ],
            results: &[Argument("value", "v")],
            doc: "One property of a unit.",
        },
        Method {
            name: "SetUnitProperties",
            arguments: &[
                Argument("name", "s"),
                Argument("runtime", "b"),
                Argument("properties", "a(sv)"),
            ],
            results: &[],
            doc: "Changes properties of a unit while it runs, such as CPUWeight: until the next \
                  boot when runtime is true, for ever otherwise. Errors: \
                  org.freedesktop.systemd1.NoSuchUnit; \
                  org.freedesktop.DBus.Error.PropertyReadOnly for a property that can not be \
                  changed. Since 0.6.",
        },
        Method {
            name: "FreezeUnit",
            arguments: &[Argument("name", "s")],
            results: &[],
            doc: "Suspends all processes of a unit by the cgroup freezer, and answers when they \
                  stand still. Errors: org.freedesktop.systemd1.NoSuchUnit when the unit is not \
                  loaded, org.freedesktop.systemd1.UnitInactive when it does not run. Since 0.6.",
        },
        Method {
            name: "ThawUnit",
            arguments: &[Argument("name", "s")],
            results: &[],
            doc: "Lets the processes of a frozen unit run again; otherwise as FreezeUnit. Since \
                  0.6.",
        },
        Method {
            name: "KillUnit",
            arguments: &[
                Argument("name", "s"),
                Argument("whom", "s"),
                Argument("signal", "i"),
            ],
            results: &[],
            doc: "Sends a signal, by its number, to the main process (whom is main), the control \
                  process (control) or all processes (all) of a unit. Errors: \
                  org.freedesktop.systemd1.NoSuchProcess when there is none. Since 0.6.",
        },
        Method {
            name: "ResetFailed",
            arguments: &[],
            results: &[],
            doc: "Makes all failed units of the node inactive. Since 0.6.",
        },
        Method {
            name: "ResetFailedUnit",
            arguments: &[Argument("name", "s")],
            results: &[],
            doc: "Makes one failed unit inactive, and forgets how often it was restarted. \
                  Errors: org.freedesktop.systemd1.NoSuchUnit when it is not loaded. Since 0.6.",
        },
        Method {
            name: "ListUnitFiles",
            arguments: &[],
            results: &[Argument("unit_files", "a(ss)")],
            doc: "The installed unit files of the node: path, and state as GetUnitFileState \
                  tells it. Since 0.6.",
        },
        Method {
            name: "GetUnitFileState",
            arguments: &[Argument("file", "s")],
            results: &[Argument("state", "s")],
            doc: "Whether a unit file is enabled: enabled, enabled-runtime, linked, \
                  linked-runtime, alias, masked, masked-runtime, static, indirect, disabled, \
                  generated, transient or bad. Errors: \
                  org.freedesktop.DBus.Error.FileNotFound when there is none. Since 0.6.",
        },
        Method {
            name: "GetDefaultTarget",
            arguments: &[],
            results: &[Argument("name", "s")],
            doc: "The target into which the node boots. Since 0.6.",
        },
        Method {
            name: "SetDefaultTarget",
            arguments: &[Argument("name", "s"), Argument("force", "b")],
            results: &[Argument("changes", "a(sss)")],
            doc: "Sets the target into which the node boots; force replaces an earlier choice. \
                  The changes are those of EnableUnitFiles. Errors: \
                  org.freedesktop.systemd1.NoSuchUnit when there is no such target. Since \
                  0.6.",
        },
        Method {
            name: "SetLogLevel",
            arguments: &[Argument("level", "s")],
            results: &[],
            doc: "What the node's agent logs from here on, until its configuration is read \
                  again; otherwise as the manager's method. Since 0.6.",
        },
        Method {
            name: "EnableUnitFiles",
            arguments: &[
                Argument("files", "as"),
                Argument("runtime", "b"),
                Argument("force", "b"),
            ],
            results: &[
                Argument("carries_install_info", "b"),
                Argument("changes", "a(sss)"),
            ],
            doc: "Enables unit files as systemd's method of this name: whether they had \
                  installation information, and the changes (symlink or unlink, file, \
                  destination). Call Reload afterwards.",
        },
        Method {
            name: "DisableUnitFiles",
            arguments: &[Argument("files", "as"), Argument("runtime", "b")],
            results: &[Argument("changes", "a(sss)")],
            doc: "Disables unit files as systemd's method of this name. Call Reload afterwards.",
        },
        OPEN_LOG,
        EXEC,
        Method {
            name: "ListUnits",
            arguments: &[],
            results: &[Argument("units", "a(ssssssouso)")],
            doc: "The loaded units of this node, as systemd lists them.",
        },
        Method {
            name: "Reload",
            arguments: &[],
            results: &[],
            doc: "Reloads the unit files of this node (systemctl daemon-reload).",
        },
    ],
    signals: &[],
    properties: &[
        Property {
            name: "Name",
            signature: "s",
            changes: Changes::Constant,
            doc: "Name of the node in the configuration.",
        },
        Property {
            name: "Status",
            signature: "s",
            changes: Changes::Emitted,
            doc: "online or offline.",
        },
        Property {
            name: "PeerIp",
            signature: "s",
            changes: Changes::Emitted,
            doc: "IP address from which the agent is connected; empty while offline, and of one on the manager's Unix socket.",
        },
        Property {
            name: "LastSeenTimestamp",
            signature: "t",
            changes: Changes::Silent,
            doc: "When the last message of the node came, seconds since 1970; 0 for never.",
        },
        Property {
            name: "LastSeenTimestampMonotonic",
            signature: "t",
            changes: Changes::Silent,
            doc: "The same on the manager's CLOCK_MONOTONIC, microseconds.",
        },
    ],
};
