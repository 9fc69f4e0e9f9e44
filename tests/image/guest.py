"""What the tests that boot an image have in common: an image to write to, and what is claimed of a guest."""

import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import qemu

# The guest's name for this machine.
HOST = "10.0.2.2"
# The DHCP client's own; nothing else listens in an image without the manager and without sshd.
DHCP = "udp 68"
# Prints what is claimed of every image, a line each.
CLAIMS = """
echo "machine-id $(cat /etc/machine-id)"
echo "host-name $(cat /proc/sys/kernel/hostname)"
echo "time-zone $(date +%Z)"
echo "root $(findmnt --noheadings --output FSTYPE,OPTIONS / | tr -s ' ' | cut -d , -f 1)"
echo "write $( (echo x >/usr/bin/hirte-agent) 2>&1 | grep -o 'Read-only file system')"
echo "var $(findmnt --noheadings --output FSTYPE /var)"
echo "journal $(ls -d /var/log/journal /run/log/journal 2>/dev/null)"
echo "verity $(dmsetup status --target verity 2>/dev/null | cut -d ' ' -f 4-5)"
echo "failed $(systemctl list-units --failed --plain --no-legend | cut -d ' ' -f 1)"
echo "target $(systemctl get-default) $(systemctl is-active hirte-initial.target)"
ss --no-header --listening --tcp --udp --numeric --oneline | awk '{ n = split($5, a, ":"); print "open " $1 " " a[n] }' | sort -u
"""


class Built:
    """A folder that image/build made, and a copy of its image to write to."""

    def __init__(self, folder, work):
        self.folder = Path(folder)
        (built,) = self.folder.glob("*.img")
        self.is_uefi = "arm64-efi" in built.name
        self.state = self.folder / "initial-state.toml"
        (self.node,) = tomllib.loads(self.state.read_text())["node"]
        self.disk = Path(work) / "disk.img"
        shutil.copyfile(built, self.disk)

    def put(self, name, text):
        """Writes a file to the boot partition, which begins at 1 MiB, as a laptop would."""
        source = self.disk.parent / name.rsplit("/", maxsplit=1)[-1]
        source.write_text(text, newline="")
        folders = name.split("/")[1:-1]
        for depth in range(len(folders)):
            folder = "/".join(["hirte", *folders[:depth + 1]])
            subprocess.run(["mmd", "-D", "s", "-i", f"{self.disk}@@1M", f"::{folder}"], check=False,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=qemu.MTOOLS)
        subprocess.run(["mcopy", "-o", "-i", f"{self.disk}@@1M", source, f"::{name}"], check=True, env=qemu.MTOOLS)

    def partition(self, name):
        """Where a partition begins, in bytes."""
        table = subprocess.run(["sfdisk", "--json", self.disk], check=True, stdout=subprocess.PIPE, encoding="utf8",
                               env=dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin:/sbin")).stdout
        (start,) = [part["start"] for part in json.loads(table)["partitiontable"]["partitions"] if part["name"] == name]
        return start * 512

    def machine_id(self):
        """The machine id that follows from the emulated computer's number."""
        return qemu.machine_id(qemu.MACHINE_NUMBER if self.is_uefi else qemu.BOARD_NUMBER)

    def boot(self, tree, work, log, **options):
        """Switches a computer with this disk on."""
        start = qemu.uefi if self.is_uefi else qemu.raspi4b
        return start(tree, work, self.disk, self.folder / log, **options)

    def check_claims(self, told, open_ports=(DHCP,)):
        """What CLAIMS printed is what is said of the image."""
        found = {}
        for line in told.splitlines():
            name, _, value = line.partition(" ")
            found.setdefault(name, []).append(value)
        expected = {
            "machine-id": [self.machine_id()],
            "host-name": [self.node],
            "time-zone": ["UTC"],
            "root": ["squashfs ro"],
            "write": ["Read-only file system"],
            "var": ["ext4"],
            "journal": ["/run/log/journal"],
            "verity": ["verity V" if self.is_uefi else ""],
            "failed": [""],
            "target": ["hirte-initial.target active"],
            "open": sorted(open_ports),
        }
        differ = [f"{name}: {found.get(name, [])}, expected {value}" for name, value in expected.items()
                  if found.get(name, []) != value]
        assert not differ, "\n".join([*differ, told])


def reached(machine, node, start=0):
    """Waits until the console tells of the initial state; gives what it tells."""
    found = machine.wait_for(qemu.REACHED, start=start)
    assert found[1] == node, found[1]
    return re.sub("^hirte: ", "", found[0])
