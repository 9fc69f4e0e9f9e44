"""Boots images in QEMU, which comes out of the locked packages like the image itself."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "image/lib"))

import debian  # noqa: E402
import expand  # noqa: E402

# What the console shows at the end of a boot.
REACHED = re.compile(r"hirte: initial state of node (\S+) reached after (\d+) s, (\d+) MiB of memory used")
MISSED = re.compile(r"hirte: initial state of node \S+ NOT reached after \d+ s:")
# Of the firmware, kernel and systemd on a computer that is emulated, and busy with other work.
BOOT_SECONDS = 1800
# The numbers of the emulated computers, from which the image makes machine ids.
MACHINE_NUMBER = "68697274-6520-4500-9d3c-3f6d1c7a0009"
BOARD_NUMBER = "10000000a1b2c3d4"
# mtools take the sizes of cards for those of disks.
MTOOLS = {"MTOOLS_SKIP_CHECK": "1", "PATH": "/usr/bin:/bin"}


def tools(cache):
    """A tree with QEMU, firmware for it, and dtc."""
    return unpacked(cache, "tools", locked()["tools"])


def locked():
    """The packages of each group."""
    return expand.read(os.environ.get("HIRTE_IMAGE_LOCK", ROOT / "image/debs.lock.json"))["mpp-vars"]["debs"]


def unpacked(cache, name, debs):
    """A tree of packages; made at the first call, for which tests that run side by side wait."""
    tree = Path(cache) / name
    with open(Path(cache) / f"{name}.lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = tree / "made-of"
        wanted = "".join(deb["sha256"] + "\n" for deb in debs)
        if not stamp.exists() or stamp.read_text() != wanted:
            unpack(debs, tree, Path(cache) / "files")
            stamp.write_text(wanted)
    return tree


def unpack(debs, tree, files):
    """Makes the tree anew, of packages that are downloaded to the folder `files`."""
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    debian.download(debs, files, debian.archives())
    for deb in debs:
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", files / f"sha256:{deb['sha256']}"],
                              stdout=subprocess.PIPE) as archive:
            subprocess.run(["tar", "-x", "-C", tree, "--keep-directory-symlink"], stdin=archive.stdout, check=True)


def inside(tree, *folders):
    """The beginning of a command that runs in the tree, with folders of this machine at their own places."""
    words = ["bwrap", "--die-with-parent", "--ro-bind", tree / "usr", "/usr", "--symlink", "usr/lib", "/lib",
             "--symlink", "usr/lib64", "/lib64", "--symlink", "usr/bin", "/bin", "--dir", "/etc", "--proc", "/proc",
             "--dev", "/dev", "--tmpfs", "/tmp"]
    for folder in folders:
        words += ["--bind", folder, folder]
    return [str(word) for word in [*words, "--"]]


class Machine:
    """A running QEMU with what its console has shown."""

    def __init__(self, command, log):
        self.console = ""
        self.begun = time.monotonic()
        self.log = open(log, "wb")  # pylint: disable=consider-using-with
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE,  # pylint: disable=consider-using-with
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        # A guest stands still when nobody reads its console, and a test may have two guests.
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.reader.join()
        self.log.close()

    def _read(self):
        """Takes what the console shows until the machine is off."""
        while data := self.process.stdout.read1():
            self.log.write(data)
            self.log.flush()
            self.console += data.decode(errors="replace")

    def seconds(self):
        """Since it was switched on."""
        return time.monotonic() - self.begun

    def wait_for(self, pattern, limit=BOOT_SECONDS, start=0):
        """Reads the console until a line matches."""
        end = time.monotonic() + limit
        while True:
            is_on = self.reader.is_alive()
            found = re.compile(pattern).search(self.console, start)
            if found and "\n" in self.console[found.end():]:
                return found
            if MISSED.search(self.console, start):
                end = min(end, time.monotonic() + 120)
            if time.monotonic() > end or not is_on:
                tail = self.console[-6000:]
                raise AssertionError(f"{pattern!r} did not come within {limit} s; the console ends with:\n{tail}")
            time.sleep(0.2)

    def off(self, limit=BOOT_SECONDS):
        """Waits until the machine is off; one that is to restart goes off, too."""
        self.reader.join(limit)
        if self.reader.is_alive():
            raise AssertionError(f"the machine is still on; the console ends with:\n{self.console[-6000:]}")
        self.process.wait()


# Seconds that a boot may take: an emulated computer, on a busy one, takes longer than the image allows for.
STATE_SECONDS = 1700
# What the kernel is told besides.
EXTRA = (f"systemd.default_timeout_start_sec={STATE_SECONDS} systemd.default_device_timeout_sec={STATE_SECONDS} "
         "systemd.journald.forward_to_console=1 systemd.journald.max_level_console=info")


def network(device, ports=()):
    """Arguments for a network card: the guest calls this machine 10.0.2.2. `ports` are pairs of a port of
    this machine and the port of the guest that is reached through it."""
    forwards = "".join(f",hostfwd=tcp:127.0.0.1:{outside}-:{inside}" for outside, inside in ports)
    return ["-netdev", f"user,id=net{forwards}", "-device", f"{device},netdev=net"]


def machine_id(number):
    """What image/initramfs/init makes of the number of a board or machine."""
    digits = hashlib.sha256(f"hirte machine-id {number}".encode()).hexdigest()
    return f"{digits[:12]}4{digits[12:15]}a{digits[16:31]}"


# How a disk is plugged in.
DISKS = {
    "nvme": ["-device", "nvme,drive=disk,serial=hirte"],
    "sata": ["-device", "ich9-ahci,id=sata", "-device", "ide-hd,drive=disk,bus=sata.0"],
    "usb": ["-device", "qemu-xhci", "-device", "usb-storage,drive=disk"],
}


def uefi(tree, work, image, log, ports=(), extra="", limit=STATE_SECONDS, restarts=True, disk="nvme"):
    """Boots a disk on QEMU's `virt` through Debian's build of the UEFI firmware. That has no driver for SATA, so
    QEMU hands it the kernel of such a disk."""
    variables = Path(work) / "uefi-variables.fd"
    if not variables.exists():
        shutil.copyfile(tree / "usr/share/AAVMF/AAVMF_VARS.fd", variables)
    given = []
    if disk == "sata":
        given = ["-kernel", str(Path(work) / "kernel.efi")]
        subprocess.run(["mcopy", "-o", "-i", f"{image}@@1M", "::EFI/BOOT/BOOTAA64.EFI", given[1]], check=True, env=MTOOLS)
    command = inside(tree, work) + [
        "/usr/bin/qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72", "-smp", "2", "-m", "1024", "-display",
        "none", "-monitor", "none", "-serial", "stdio", "-no-user-config", "-nodefaults",
        "-drive", "if=pflash,unit=0,format=raw,readonly=on,file=/usr/share/AAVMF/AAVMF_CODE.no-secboot.fd",
        "-drive", f"if=pflash,unit=1,format=raw,file={variables}",
        "-uuid", MACHINE_NUMBER,
        "-smbios", "type=11,value=io.systemd.stub.kernel-cmdline-extra="
        f"hirte.initial-state-limit={limit} {EXTRA} {extra}",
        "-drive", f"if=none,id=disk,format=raw,file={image}", *DISKS[disk], *given,
        *network("virtio-net-pci,romfile=", ports), *([] if restarts else ["-no-reboot"])]
    return Machine(command, log)


def fdt(tree, work, *words, check=True):
    """Calls a tool for device trees, and gives what it prints."""
    done = subprocess.run(inside(tree, work) + [str(word) for word in words], check=check, encoding="utf8",
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return done.stdout.split()


def change_device_tree(tree, work, dtb):
    """Changes the board's device tree to what QEMU emulates of the board. Without this the kernel of no
    image starts there, so what is shown is the board's processor, timers, interrupts and serial port, and
    another SD controller than the board's."""
    def disable(node):
        fdt(tree, work, "fdtput", "-t", "s", dtb, node, "status", "disabled")

    for node in fdt(tree, work, "fdtget", "-l", dtb, "/soc"):
        # The HDMI block is not there: touching it is an external abort.
        if "@7ef" in node or "@7ec" in node:
            disable(f"/soc/{node}")
        if node.startswith("usb@7e98"):
            fdt(tree, work, "fdtput", "-t", "s", dtb, f"/soc/{node}", "dr_mode", "host")
    # QEMU plugs the card into the controller that has Wi-Fi on the board.
    card = "/soc/mmc@7e300000"
    fdt(tree, work, "fdtput", "-d", dtb, card, "mmc-pwrseq", check=False)
    # Looking for the card each second loses an interrupt of the emulated controller sooner or later.
    fdt(tree, work, "fdtput", dtb, card, "non-removable")
    for node in fdt(tree, work, "fdtget", "-l", dtb, card):
        fdt(tree, work, "fdtput", "-r", dtb, f"{card}/{node}")
    disable("/emmc2bus/mmc@7e340000")
    # The board's firmware puts it there.
    fdt(tree, work, "fdtput", "-t", "s", dtb, "/", "serial-number", BOARD_NUMBER)


def raspi4b(tree, work, image, log, extra="", restarts=True):
    """Boots a card on QEMU's `raspi4b`, without the board's firmware: QEMU starts the kernel, with the
    initramfs and command line of the card, and a changed device tree."""
    names = ("vmlinuz", "initrd.img", "cmdline.txt", "bcm2711-rpi-4-b.dtb")
    for name in names:
        subprocess.run(["mcopy", "-o", "-i", f"{image}@@1M", f"::{name}", Path(work) / name], check=True,
                       env=MTOOLS)
    kernel, initrd, cmdline, dtb = (Path(work) / name for name in names)
    change_device_tree(tree, work, dtb)
    # The serial port that the test reads has another name in QEMU.
    line = f"{cmdline.read_text().strip()} console=ttyAMA1,115200 console=ttyAMA0,115200 "
    # Four emulated processors on a busy computer mostly wait for each other.
    line += f"maxcpus=2 hirte.initial-state-limit={STATE_SECONDS} {EXTRA} {extra}"
    # QEMU wants a card whose size is a power of two.
    size = 1 << (image.stat().st_size - 1).bit_length()
    os.truncate(image, size)
    command = inside(tree, work) + [
        "/usr/bin/qemu-system-aarch64", "-M", "raspi4b", "-m", "2048", "-display", "none", "-monitor", "none", "-serial",
        "stdio", "-kernel", str(kernel), "-initrd", str(initrd), "-dtb", str(dtb), "-append", line,
        "-drive", f"if=sd,format=raw,file={image}", *([] if restarts else ["-no-reboot"])]
    return Machine(command, log)
