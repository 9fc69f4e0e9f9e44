#!/usr/bin/python3
"""Starts a unit on a node, waits for the end of its job, and tells the states that it goes through.

    plain_client.py NODE UNIT

A client of hirte's D-Bus API needs no library of hirte. This one uses dasbus (Debian packages
python3-dasbus and python3-gi) and runs on the manager's node, as root.
"""

import sys

from dasbus.connection import SystemMessageBus
from dasbus.error import DBusError
from dasbus.loop import EventLoop

HIRTE = "org.containers.hirte"


def main(node_name, unit):
    bus = SystemMessageBus()
    loop = EventLoop()
    manager = bus.get_proxy(HIRTE, "/org/containers/hirte")
    node = bus.get_proxy(HIRTE, manager.GetNode(node_name))

    def on_state(where, what, active, sub, reason):
        # Signals of monitors are sent to everybody: others may watch other units.
        if (where, what) == (node_name, unit):
            print(f"{unit} is {active} ({sub}), {reason}")

    # It ends with this program.
    monitor = bus.get_proxy(HIRTE, manager.CreateMonitor())
    monitor.UnitStateChanged.connect(on_state)
    monitor.Subscribe(node_name, unit)

    # Connected before the job is asked for, so that its end can not be missed: the signal waits
    # until the loop runs.
    results = {}

    def on_job_removed(_number, path, _node, _unit, result):
        results[path] = result
        if path == job:
            loop.quit()

    manager.JobRemoved.connect(on_job_removed)
    job = node.StartUnit(unit, "replace")
    print(f"{job} starts {unit} on {node_name}")
    loop.run()
    print(f"{job} has ended: {results[job]}")
    return 0 if results[job] == "done" else 1


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        sys.exit(main(*sys.argv[1:]))
    except DBusError as error:
        sys.exit(f"{error.dbus_name}: {error}")
