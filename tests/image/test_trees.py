"""Opens the file systems of an image that was built, and compares them with what is claimed of it. HIRTE_IMAGE
names the folder that image/build made."""

import hashlib
import json
import os
import re
import struct
import subprocess
import sys
import tomllib
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "image/lib"))

import scratch  # noqa: E402

IMAGE = Path(os.environ["HIRTE_IMAGE"])
PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"
SECTOR = 512


def output(*command, encoding="utf8"):
    """What a command prints."""
    environment = dict(os.environ, PATH=PATH, MTOOLS_SKIP_CHECK="1")
    return subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, encoding=encoding, env=environment).stdout


class Image(unittest.TestCase):
    """One image."""

    @classmethod
    def setUpClass(cls):
        (cls.disk,) = IMAGE.glob("*.img")
        table = json.loads(output("sfdisk", "--json", cls.disk))["partitiontable"]
        cls.parts = {part["name"]: part for part in table["partitions"]}
        cls.scratch = Path(cls.enterClassContext(scratch.folder(IMAGE)))
        cls.files = {}
        with open(cls.disk, "rb") as disk:
            for name, part in cls.parts.items():
                cls.files[name] = cls.scratch / name
                disk.seek(part["start"] * SECTOR)
                cls.files[name].write_bytes(disk.read(part["size"] * SECTOR))
        cls.root = cls.scratch / "root"
        output("unsquashfs", "-no-progress", "-d", cls.root, cls.files["hirte-root"])
        cls.manifest = json.loads((IMAGE / "manifest.json").read_text())
        cls.epoch = cls.manifest["pipelines"][0]["source-epoch"]
        cls.is_uefi = "arm64-efi" in cls.disk.name

    def boot_file(self, name):
        """A file of the boot partition."""
        return output("mtype", "-i", self.files["hirte-boot"], f"::{name}", encoding=None)

    def test_partitions(self):
        hashes = ["hirte-hashes"] if self.is_uefi else []
        self.assertEqual(list(self.parts), ["hirte-boot", "hirte-root", *hashes, "hirte-var"])
        fstab = (self.root / "etc/fstab").read_text().split()
        for name in "hirte-boot", "hirte-var":
            self.assertIn(f"PARTUUID={self.parts[name]['uuid'].lower()}", fstab)

    def test_file_systems_are_sound(self):
        output("fsck.fat", "-n", self.files["hirte-boot"])
        output("e2fsck", "-fn", self.files["hirte-var"])

    def test_the_root_file_system_is_that_of_the_signed_command_line(self):
        if not self.is_uefi:
            return
        kernel = self.boot_file("EFI/BOOT/BOOTAA64.EFI")
        at = struct.unpack_from("<I", kernel, 0x3C)[0]
        self.assertEqual(struct.unpack_from("<4sH", kernel, at), (b"PE\0\0", 0xAA64))
        found = re.search(rb"hirte\.verity=(\d+),(\d+),([0-9a-f]{64}),([0-9a-f]+)", kernel)
        _, blocks, root_hash, salt = (text.decode() for text in found.groups())
        output("veritysetup", "verify", "--no-superblock", "--hash=sha256", f"--salt={salt}", "--data-block-size=4096",
               "--hash-block-size=4096", f"--data-blocks={blocks}", self.files["hirte-root"],
               self.files["hirte-hashes"], root_hash)

    def test_the_boot_partition_has_what_the_board_reads(self):
        self.assertIn(b"hirte/agent.conf", self.boot_file("hirte/README.txt"))
        if self.is_uefi:
            return
        config = self.boot_file("config.txt").decode()
        for line in "arm_64bit=1", "kernel=vmlinuz", "initramfs initrd.img followkernel", "enable_uart=1":
            self.assertIn(line, config.splitlines())
        listed = output("mdir", "-b", "-i", self.files["hirte-boot"], "::")
        for name in ("start4.elf", "fixup4.dat", "vmlinuz", "initrd.img", "cmdline.txt", "bcm2711-rpi-4-b.dtb",
                     "bcm2711-rpi-400.dtb", "bcm2711-rpi-cm4-io.dtb"):
            self.assertIn(f"::/{name}\n", listed)
        # "ARM\x64" stands at this place of every kernel that the board can start.
        self.assertEqual(self.boot_file("vmlinuz")[56:60], b"ARM\x64")

    def test_the_payload_is_hirte(self):
        for program in "hirte", "hirte-agent", "hirtectl":
            data = (self.root / "usr/bin" / program).read_bytes()
            self.assertEqual((data[:4], struct.unpack_from("<H", data, 18)[0]), (b"\x7fELF", 183))
        self.assertEqual((self.root / "usr/share/hirte/initial-state.toml").read_text(),
                         (IMAGE / "initial-state.toml").read_text())

    def test_programs_of_options_are_there_only_with_them(self):
        ((_, units),) = tomllib.loads((IMAGE / "initial-state.toml").read_text())["node"].items()
        for program, unit in ("usr/bin/podman", "podman.service"), ("usr/sbin/sshd", "ssh.service"):
            self.assertEqual((self.root / program).exists(), unit in units, program)
        self.assertTrue((self.root / "usr/bin/dbus-broker").exists())

    def test_enabled_is_what_the_state_says(self):
        units = tomllib.loads((IMAGE / "initial-state.toml").read_text())["node"]
        ((_, units),) = units.items()
        listed = output("systemctl", f"--root={self.root}", "list-unit-files", "--state=enabled", "--no-legend")
        enabled = {line.split()[0] for line in listed.splitlines()}
        self.assertLessEqual(enabled, {unit for unit, state in units.items() if state != "inactive"})
        self.assertEqual(os.readlink(self.root / "etc/systemd/system/default.target").rsplit("/", maxsplit=1)[-1],
                         "hirte-initial.target")

    def test_nobody_has_a_password(self):
        passwd = (self.root / "etc/passwd").read_text().splitlines()
        shadow = (self.root / "etc/shadow").read_text().splitlines()
        self.assertGreater(len(passwd), 10)
        self.assertEqual({line.split(":")[1] for line in passwd}, {"x"})
        self.assertLessEqual({line.split(":")[1] for line in shadow}, {"*", "!*"})
        self.assertEqual((self.root / "etc/shadow").stat().st_mode & 0o007, 0)

    def test_decisions(self):
        self.assertEqual((self.root / "etc/machine-id").read_bytes(), b"")
        self.assertFalse((self.root / "etc/localtime").exists())
        self.assertIn("Storage=volatile", (self.root / "usr/lib/systemd/journald.conf.d/hirte.conf").read_text())
        self.assertEqual(list((self.root / "var").iterdir()), [], "/var is a file system of its own")
        listed = output("debugfs", "-R", "ls -p /", self.files["hirte-var"])
        for name in "lib", "log", "tmp", ".updated":
            self.assertIn(f"/{name}/", listed)

    def test_nothing_is_younger_than_the_image(self):
        late = [path for path in self.root.rglob("*") if path.lstat().st_mtime > self.epoch]
        self.assertEqual(late, [])

    def test_packages_are_those_of_the_lock(self):
        listed = (self.root / "usr/share/hirte/packages").read_text().splitlines()
        root = next(pipeline for pipeline in self.manifest["pipelines"] if pipeline["name"] == "root")
        self.assertEqual(len(listed), len(root["stages"][0]["inputs"]["packages"]["references"]))
        with open(self.disk, "rb") as file:
            print(f"sha256 {hashlib.file_digest(file, 'sha256').hexdigest()}")


if __name__ == "__main__":
    unittest.main()
