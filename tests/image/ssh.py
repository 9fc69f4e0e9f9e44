"""Logging in to a guest with the key that its image was built with."""

import subprocess
import time

from manager import WAIT_SECONDS


class Ssh:
    """A way into a guest, through a port of this machine."""

    def __init__(self, key, port, folder):
        self.options = ["-p", str(port), "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=60",
                        "-o", "StrictHostKeyChecking=accept-new", "-o", f"UserKnownHostsFile={folder}/known-{port}"]
        self.key = ["-i", str(key)]

    def call(self, command, options, given=""):
        """Exit status and output of a command in the guest."""
        done = subprocess.run(["ssh", "-F", "none", *self.options, *options, "root@127.0.0.1", command], check=False,
                              encoding="utf8", input=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.returncode, done.stdout

    def run(self, command, given=""):
        """What a command in the guest prints."""
        status, told = self.call(command, self.key, given)
        if status != 0:
            raise AssertionError(f"{command}: status {status}: {told}")
        return told

    def wait(self, command, message):
        """Waits until a command in the guest succeeds; gives what it prints."""
        end = time.monotonic() + WAIT_SECONDS
        while True:
            status, told = self.call(command, self.key)
            if status == 0:
                return told
            if time.monotonic() > end:
                raise AssertionError(f"{message}: {told}")
            time.sleep(2)

    def check_that_only_the_key_opens(self, other_key):
        """Neither a password nor another key does."""
        for options in (["-o", "PubkeyAuthentication=no", "-o", "BatchMode=no", "-o", "NumberOfPasswordPrompts=1",
                         "-o", "PreferredAuthentications=password,keyboard-interactive"], ["-i", str(other_key)]):
            status, told = self.call("true", options)
            assert status == 255 and "Permission denied (publickey)" in told, f"{options}: {status}: {told}"
