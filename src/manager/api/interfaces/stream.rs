//! The interface of a stream, and the methods of a node that open one.

use crate::bus::{
    interface::{Argument, Interface, Method, Signal},
    names,
};

/// `org.containers.hirte.Node.OpenLog`
pub(super) const OPEN_LOG: Method = Method {
    name: "OpenLog",
    arguments: &[Argument("unit", "s"), Argument("options", "a{sv}")],
    results: &[Argument("stream", "o")],
    doc: "Reads what the node's journal has of a unit, as lines of journalctl's JSON \
          (journalctl(1), -o json). Options: lines (u), the latest entries only; follow (b), \
          go on with what comes; since and until (s), times as journalctl takes them; priority \
          (s), the least severe entries, or a range, as journalctl takes it. For root only. \
          Errors: org.freedesktop.DBus.Error.AccessDenied; \
          org.freedesktop.DBus.Error.InvalidArgs when no unit can have this name or there is no \
          such option; org.freedesktop.DBus.Error.LimitsExceeded when the caller has 16 streams, \
          the node 32, or there are 64 in all. Since 0.6.",
};

/// `org.containers.hirte.Node.Exec`
pub(super) const EXEC: Method = Method {
    name: "Exec",
    arguments: &[Argument("command", "as")],
    results: &[Argument("stream", "o")],
    doc: "Runs a command on the node, as a transient service of its systemd, and carries its \
          output. A single word is given to /bin/sh -c; several are a program, looked for in PATH, \
          and its arguments. Its standard input is /dev/null. It is stopped when the stream is \
          closed, the caller leaves, or the node loses its manager. For root only, and only where \
          the agent's configuration has AllowExec=yes. Errors: \
          org.freedesktop.DBus.Error.AccessDenied; org.freedesktop.DBus.Error.InvalidArgs when the \
          command is empty; org.freedesktop.DBus.Error.LimitsExceeded when it has more than 1024 \
          words or 64 KiB, or as of OpenLog. Since 0.6.",
};

/// `org.containers.hirte.Stream`
pub const STREAM: Interface = Interface {
    name: names::STREAM_INTERFACE,
    doc: "A stream of bytes from a node, at /org/containers/hirte/stream/ID. It belongs to the \
          caller of Node.OpenLog or Node.Exec, who alone may use it and alone gets its signals, and \
          ends when the caller leaves the bus, or its private connection ends. Nothing is read on \
          the node, and whoever writes there waits, unless the reader has granted bytes. Since 0.6.",
    methods: &[
        Method {
            name: "Grant",
            arguments: &[Argument("bytes", "u")],
            results: &[],
            doc: "Lets so many bytes more be sent. Errors: \
                  org.freedesktop.DBus.Error.AccessDenied for anybody but the owner; \
                  org.freedesktop.DBus.Error.LimitsExceeded when more than 262144 bytes were \
                  granted and not sent.",
        },
        Method {
            name: "Close",
            arguments: &[],
            results: &[],
            doc: "Ends the stream, and stops the command. There is no End. Errors: \
                  org.freedesktop.DBus.Error.AccessDenied for anybody but the owner.",
        },
    ],
    signals: &[
        Signal {
            name: "Data",
            arguments: &[Argument("channel", "u"), Argument("data", "ay")],
            doc: "What was read, in order for each channel: 1 for standard output and the journal, \
                  2 for standard error.",
        },
        Signal {
            name: "End",
            arguments: &[Argument("status", "i"), Argument("result", "s")],
            doc: "All was sent and the stream is gone. The status is what a shell would tell: the \
                  exit status, or 128 and the number of the signal that ended the command, or -1 \
                  when it is not known. The result is systemd's word for that of a service \
                  (success, exit-code, signal, core-dump, oom-kill, resources, timeout, and others), \
                  node-lost when the node was lost, limit when it sent more than was granted, or \
                  unknown when the node's systemd could not be asked.",
        },
    ],
    properties: &[],
};
