"""A manager of this machine's build outside of the image, reached by hirtectl over its private socket. It
has a /run of its own, so that nothing of it touches the machine."""

import socket
import subprocess
import time
from pathlib import Path

# The heartbeat and TCP limits of both ends: an emulated computer is slow to answer.
PATIENCE = "60s"
# For what an emulated computer does within a second or a minute, by how busy this one is.
WAIT_SECONDS = 900


def free_port():
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Manager:
    """A running `hirte` that awaits one node."""

    def __init__(self, executables, folder, node):
        self.executables = Path(executables)
        self.folder = Path(folder)
        self.node = node
        self.port = free_port()
        configuration = self.folder / "manager.conf"
        configuration.write_text(f"[hirte]\nManagerPort={self.port}\nListenAddress=127.0.0.1\nAllowedNodeNames={node}\n"
                                 f"NodeHeartbeatThreshold={PATIENCE}\nTCPUserTimeout={PATIENCE}\nLogTarget=stderr\n")
        self.log = open(self.folder / "manager.log", "wb")  # pylint: disable=consider-using-with
        script = 'mount -t tmpfs run /run && mkdir -m 755 /run/hirte && exec "$@"'
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            # It ends with the test, however that ends.
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private", "sh", "-c", script, "manager",
             str(self.executables / "hirte"), "-c", str(configuration)],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.wait(lambda: self.ctl("list-nodes", check=False)[0] == 0, "the manager does not answer")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.log.close()

    def settings(self, host):
        """The agent's settings with which a guest finds this manager, which may run commands there. Lines
        end as an editor on a laptop may end them."""
        return (f"[hirte-agent]\r\nManagerHost={host}\r\nManagerPort={self.port}\r\n"
                f"ManagerHeartbeatThreshold={PATIENCE}\r\nAllowExec=yes\r\n")

    def ctl(self, *words, check=True):
        """Exit status and output of hirtectl."""
        done = subprocess.run(["nsenter", "-t", str(self.process.pid), "--mount", str(self.executables / "hirtectl"),
                               *[str(word) for word in words]], check=False, encoding="utf8",
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if check and done.returncode != 0:
            raise AssertionError(f"hirtectl {words}: status {done.returncode}: {done.stdout}")
        return done.returncode, done.stdout

    def wait(self, condition, message, pause=0.5):
        """Waits for something to become true, and looks again after a pause in seconds."""
        end = time.monotonic() + WAIT_SECONDS
        while not condition():
            if time.monotonic() > end or self.process.poll() is not None:
                raise AssertionError(f"{message}:\n{(self.folder / 'manager.log').read_text()}")
            time.sleep(pause)

    def is_online(self):
        """Whether the node is."""
        status, listed = self.ctl("list-nodes", check=False)
        rows = [line.split() for line in listed.splitlines()]
        return status == 0 and any(row[0] == self.node and "online" in row for row in rows if row)

    def run(self, script):
        """What a shell on the node prints."""
        return self.ctl("exec", self.node, "sh", "-c", script)[1]

    def units(self):
        """The lines of an exact state file of what is: every unit that runs or is enabled."""
        shown = self.ctl("state", "show", "--exact")[1]
        return sorted(line for line in shown.splitlines() if line.startswith('"'))
