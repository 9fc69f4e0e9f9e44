"""Drives a fleet with BlueChi's own Python bindings, as they are published.

Runs on the node laptop of a fleet of laptop and rpi4. Ends with an AssertionError where something
is not as a client of BlueChi expects it.
"""

import os
import subprocess
import time

from bluechi.api import Controller, Job, Metrics, Monitor, Node
from bluechi.ext import Unit
from dasbus.connection import AddressedMessageBus, SystemMessageBus
from dasbus.error import DBusError
from dasbus.typing import get_variant
from gi.repository import GLib

ADDRESS = "unix:path=/run/dbus/system_bus_socket"
NODES = {"laptop": "192.168.42.10", "rpi4": "192.168.42.15"}


def wait(what, condition, seconds=20):
    """Takes what the bus brings until something holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        if not GLib.MainContext.default().iteration(False):
            time.sleep(0.005)


def refused(name, call, *arguments):
    """The text of the error of this name that a call must end with."""
    try:
        answer = call(*arguments)
    except DBusError as error:
        assert error.dbus_name == name, f"{error.dbus_name}: {error}"
        return str(error)
    raise AssertionError(f"{call} answered {answer}")


def lists(controller, rpi4):
    nodes = controller.list_nodes()
    expected = [
        (name, f"/org/eclipse/bluechi/node/{name}", "online", address)
        for name, address in NODES.items()
    ]
    # The agent of the manager's own node may come over the loopback device.
    assert [node[:3] for node in nodes] == [node[:3] for node in expected], nodes
    assert nodes[1] == expected[1], nodes
    units = controller.list_units()
    assert list(units) == ["laptop", "rpi4"], list(units)
    for name in units:
        [bus] = [unit for unit in units[name] if unit[0] == "dbus.service"]
        assert len(bus) == 10 and bus[2:5] == ("loaded", "active", "running"), bus
    names = {unit[0] for unit in rpi4.list_units()}
    assert names == {unit[0] for unit in units["rpi4"]}
    files = controller.list_unit_files()
    assert list(files) == ["laptop", "rpi4"], list(files)
    assert ("/etc/systemd/system/httpd.service", "disabled") in files["rpi4"]
    assert set(files["rpi4"]) == set(rpi4.list_unit_files())


def properties(controller, rpi4):
    assert controller.status == "up", controller.status
    assert controller.log_level == "INFO", controller.log_level
    assert controller.log_target == "journald", controller.log_target
    controller.set_log_level("DEBUG")
    assert controller.log_level == "DEBUG"
    controller.set_log_level("INFO")
    assert (rpi4.name, rpi4.status, rpi4.peer_ip) == ("rpi4", "online", NODES["rpi4"])
    age_us = time.time() * 1e6 - rpi4.last_seen_timestamp
    assert 0 <= age_us < 10e6, age_us
    age_us = time.monotonic() * 1e6 - rpi4.last_seen_timestamp_monotonic
    assert 0 <= age_us < 10e6, age_us


def jobs(bus, controller, rpi4):
    unit = Unit("rpi4", bus)
    assert unit.stop_unit("httpd.service") == "done"
    assert unit.start_unit("httpd.service") == "done"
    assert unit.restart_unit("httpd.service") == "done"
    assert unit.reload_unit("httpd.service") == "done"
    assert unit.start_unit("fails.service") == "failed"

    new, removed = [], []
    controller.on_job_new(lambda number, path: new.append((number, path)))
    controller.on_job_removed(lambda *job: removed.append(job))
    path = rpi4.start_unit("slow.service", "replace")
    job = Job(path, bus)
    wait("JobNew", lambda: new)
    assert new == [(job.id, path)], new
    assert (job.node, job.unit, job.job_type) == ("rpi4", "slow.service", "start")
    wait("a job that runs", lambda: job.state == "running")
    job.cancel()
    wait("JobRemoved", lambda: removed)
    assert removed == [(new[0][0], path, "rpi4", "slow.service", "canceled")], removed
    refused("org.freedesktop.DBus.Error.UnknownObject", lambda: Job(path, bus).get_proxy().Cancel())


def units(bus, rpi4):
    kind = "org.freedesktop.systemd1.Unit"
    state = rpi4.get_unit_property("httpd.service", kind, "ActiveState")
    assert state.get_string() == "active", state
    every = rpi4.get_unit_properties("httpd.service", kind)
    assert every["ActiveState"].get_string() == "active"
    rpi4.set_unit_properties("httpd.service", True, [("CPUWeight", get_variant("t", 77))])
    weight = rpi4.get_unit_property("httpd.service", "org.freedesktop.systemd1.Service", "CPUWeight")
    assert weight.get_uint64() == 77, weight

    unit = Unit("rpi4", bus)
    link = "/etc/systemd/system/multi-user.target.wants/httpd.service"
    file = "/etc/systemd/system/httpd.service"
    enabled = unit.enable_unit_files(["httpd.service"])
    assert enabled.carries_install_info, enabled
    assert enabled.changes == [("symlink", link, file)], enabled
    rpi4.reload()
    assert rpi4.get_unit_file_state("httpd.service") == "enabled"
    disabled = unit.disable_unit_files(["httpd.service"])
    assert disabled == [("unlink", link, "")], disabled
    rpi4.reload()
    assert rpi4.get_unit_file_state("httpd.service") == "disabled"

    rpi4.reset_failed_unit("fails.service")
    rpi4.reset_failed()
    rpi4.set_log_level("INFO")
    target = rpi4.get_default_target()
    assert target.endswith(".target"), target
    rpi4.set_default_target(target, True)
    command = ["/bin/sleep", "600"]
    described = [("ExecStart", get_variant("a(sasb)", [("/bin/sleep", command, False)]))]
    job = rpi4.start_transient_unit("passing.service", "replace", described, [])
    assert job.startswith("/org/freedesktop/systemd1/job/"), job
    wait(
        "a transient unit that runs",
        lambda: rpi4.get_unit_property("passing.service", kind, "ActiveState").get_string() == "active",
    )
    rpi4.freeze_unit("passing.service")
    rpi4.thaw_unit("passing.service")
    rpi4.kill_unit("passing.service", "all", 15)


def errors(controller, rpi4):
    text = refused("org.freedesktop.DBus.Error.ServiceUnknown", controller.get_node, "nobody")
    assert text == "Node not found", text
    refused("org.freedesktop.systemd1.NoSuchUnit", rpi4.start_unit, "none.service", "replace")
    refused("org.freedesktop.DBus.Error.InvalidArgs", controller.set_log_level, "LOUD")
    text = refused("org.freedesktop.DBus.Error.UnknownObject", lambda: Job(
        "/org/eclipse/bluechi/job/4000000000", rpi4.bus).cancel())
    assert "/org/eclipse/bluechi/job/4000000000" in text, text


class Hearer:
    """What one connection is told of a unit by a monitor."""

    def __init__(self, path, bus):
        self.told, self.removed = [], []
        monitor = Monitor(path, bus)
        monitor.on_unit_new(lambda *told: self.told.append(("new", *told)))
        monitor.on_unit_state_changed(lambda *told: self.told.append(("state", *told)))
        monitor.on_unit_removed(lambda *told: self.told.append(("removed", *told)))
        monitor.on_peer_removed(self.removed.append)


def monitors(bus, controller, rpi4):
    path = controller.create_monitor()
    assert path.startswith("/org/eclipse/bluechi/monitor/"), path
    monitor = Monitor(path, bus)
    others = [AddressedMessageBus(ADDRESS), AddressedMessageBus(ADDRESS)]
    owner, peer, stranger = [Hearer(path, each) for each in [bus, *others]]
    number = monitor.add_peer(others[0].connection.get_unique_name())
    subscription = monitor.subscribe("rpi4", "httpd.service")
    about = ("rpi4", "httpd.service")
    expected = [
        ("new", *about, "virtual"),
        ("state", *about, "active", "running", "virtual"),
    ]
    wait("what is", lambda: len(owner.told) >= 2 and len(peer.told) >= 2)
    assert owner.told == expected, owner.told
    Unit("rpi4", bus).stop_unit("httpd.service")
    gone = ("state", *about, "inactive", "dead", "real")
    # Each on its own connection, so that one of them may be a signal ahead.
    wait("the end of a unit", lambda: gone in owner.told and owner.told == peer.told)
    assert stranger.told == [], stranger.told

    monitor.remove_peer(number, "no more")
    wait("PeerRemoved", lambda: peer.removed)
    assert peer.removed == ["no more"], peer.removed
    monitor.unsubscribe(subscription)
    text = refused("org.freedesktop.DBus.Error.Failed", monitor.unsubscribe, subscription)
    assert text == f"Subscription '{subscription}' not found", text
    monitor.close()
    refused("org.freedesktop.DBus.Error.UnknownObject", monitor.close)
    for each in others:
        each.disconnect()


def metrics(bus, controller):
    controller.enable_metrics()
    refused("org.freedesktop.DBus.Error.InconsistentMessage", controller.enable_metrics)
    starts, times = [], []
    observed = Metrics(bus)
    observed.on_start_unit_job_metrics(lambda *told: starts.append(told))
    observed.on_agent_job_metrics(lambda *told: times.append(told))
    assert Unit("rpi4", bus).start_unit("httpd.service") == "done"
    wait("metrics", lambda: starts and times)
    assert starts[0][0] == "rpi4" and starts[0][2] == "httpd.service", starts
    assert starts[0][1].startswith("/org/eclipse/bluechi/job/"), starts
    assert times[0][:3] == ("rpi4", "httpd.service", "StartUnit"), times
    controller.disable_metrics()


def a_node_is_lost(bus, controller):
    laptop = Node("laptop", bus)
    of_node, of_fleet = [], []
    laptop.on_status_changed(lambda value: of_node.append(value.get_string()))
    controller.on_status_changed(lambda value: of_fleet.append(value.get_string()))
    subprocess.run(["systemctl", "stop", "hirte-agent"], check=True)
    wait("a node that is offline", lambda: of_node and of_fleet)
    assert (of_node, of_fleet) == (["offline"], ["degraded"]), (of_node, of_fleet)
    assert refused("org.eclipse.bluechi.Offline", laptop.list_units) == "Node is offline"
    assert list(controller.list_units()) == ["rpi4"]
    subprocess.run(["systemctl", "start", "hirte-agent"], check=True)
    wait("a node that is back", lambda: len(of_node) == 2 and len(of_fleet) == 2)
    assert (of_node[1], of_fleet[1]) == ("online", "up"), (of_node, of_fleet)


def main():
    os.environ.setdefault("DBUS_SYSTEM_BUS_ADDRESS", ADDRESS)
    bus = SystemMessageBus()
    controller, rpi4 = Controller(bus), Node("rpi4", bus)
    lists(controller, rpi4)
    properties(controller, rpi4)
    jobs(bus, controller, rpi4)
    units(bus, rpi4)
    errors(controller, rpi4)
    monitors(bus, controller, rpi4)
    metrics(bus, controller)
    a_node_is_lost(bus, controller)
    print("all is as BlueChi's clients expect it")


main()
