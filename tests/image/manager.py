"""A manager of this machine's build outside of the image, reached by hirtectl over its private socket. It
has a /run of its own, so that nothing of it touches the machine."""

import subprocess
import time
from pathlib import Path


class Manager:
    """A running `hirte` that awaits one node."""

    def __init__(self, executables, folder, port, node):
        self.executables = Path(executables)
        self.folder = Path(folder)
        configuration = self.folder / "manager.conf"
        # An emulated computer is slow to answer.
        configuration.write_text(f"[hirte]\nManagerPort={port}\nListenAddress=127.0.0.1\nAllowedNodeNames={node}\n"
                                 "NodeHeartbeatThreshold=60s\nTCPUserTimeout=60s\nLogTarget=stderr\n")
        self.log = open(self.folder / "manager.log", "wb")  # pylint: disable=consider-using-with
        script = 'mount -t tmpfs run /run && mkdir -m 755 /run/hirte && exec "$@"'
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            # It ends with the test, however that ends.
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private", "sh", "-c", script, "manager",
             str(self.executables / "hirte"), "-c", str(configuration)],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.wait(lambda: self.ctl("list-nodes", check=False)[0] == 0, 30, "the manager does not answer")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.log.close()

    def ctl(self, *words, check=True):
        """Exit status and output of hirtectl."""
        done = subprocess.run(["nsenter", "-t", str(self.process.pid), "--mount", str(self.executables / "hirtectl"),
                               *[str(word) for word in words]], check=False, encoding="utf8",
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if check and done.returncode != 0:
            raise AssertionError(f"hirtectl {words}: status {done.returncode}: {done.stdout}")
        return done.returncode, done.stdout

    def wait(self, condition, limit, message):
        """Waits for something to become true."""
        end = time.monotonic() + limit
        while not condition():
            if time.monotonic() > end or self.process.poll() is not None:
                raise AssertionError(f"{message}:\n{(self.folder / 'manager.log').read_text()}")
            time.sleep(0.5)

    def is_online(self, node):
        """Whether the node is."""
        status, listed = self.ctl("list-nodes", check=False)
        rows = [line.split() for line in listed.splitlines()]
        return status == 0 and any(row[0] == node and "online" in row for row in rows if row)

    def units(self):
        """The lines of an exact state file of what is: every unit that runs or is enabled."""
        shown = self.ctl("state", "show", "--exact")[1]
        return sorted(line for line in shown.splitlines() if line.startswith('"'))
