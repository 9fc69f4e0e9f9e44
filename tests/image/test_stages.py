"""Runs each stage of the project for real, on small input, and looks at what it made; tests/image/stages
starts it with the tools that stages have when an image is made."""

import gzip
import hashlib
import json
import os
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
STAGES = ROOT / "image/stages"
EPOCH = 1784000000
PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"

# Takes the arguments from a file, where osbuild and the runner have them in the sandbox.
LAUNCHER = """
import json, runpy, sys, types
api = types.ModuleType("osbuild.api")
api.arguments = lambda: json.load(open(sys.argv[2], encoding="utf8"))
osbuild = types.ModuleType("osbuild")
osbuild.api = api
sys.modules.update({"osbuild": osbuild, "osbuild.api": api})
runpy.run_path(sys.argv[1], run_name="__main__")
"""


def output(*command):
    """What a command prints."""
    words = [str(word) for word in command]
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, encoding="utf8", env=dict(os.environ, PATH=PATH)).stdout


class StageTest(unittest.TestCase):
    """Folders for one stage, and the ways to run it."""

    def setUp(self):
        scratch = tempfile.TemporaryDirectory()  # pylint: disable=consider-using-with
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        self.source = self.folder / "source"
        self.source.mkdir()

    def write(self, name, data="", mode=0o644):
        """Writes a file of the input."""
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        path.chmod(mode)
        return path

    def run_stage(self, name, options, inputs=None, tree="out"):
        """Runs a stage whose options its own schema allows, and gives its tree."""
        self.check_schema(name, options, inputs or {})
        out = self.folder / tree
        out.mkdir(exist_ok=True)
        arguments = self.folder / "arguments"
        arguments.write_text(json.dumps({"tree": str(out), "inputs": inputs or {}, "options": options}))
        done = subprocess.run([sys.executable, "-B", "-c", LAUNCHER, STAGES / name, arguments], check=False,
                              env={"PATH": PATH, "SOURCE_DATE_EPOCH": str(EPOCH)}, encoding="utf8",
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            raise RuntimeError(done.stdout)
        return out

    def check_schema(self, name, options, inputs):
        """Options and inputs are those that the stage's description names."""
        schema = json.loads((STAGES / f"{name}.meta.json").read_text())["schema_2"]
        self.assertLessEqual(set(options), set(schema["options"]["properties"]))
        self.assertLessEqual(set(schema["options"].get("required", [])), set(options))
        if not schema.get("inputs", {}).get("additionalProperties"):
            self.assertLessEqual(set(inputs), set(schema.get("inputs", {}).get("properties", {})))

    def tree_input(self):
        """The files of this test as an input."""
        return {"tree": {"path": str(self.source), "data": {}}}

    def twice(self, name, options, inputs, made):
        """Runs a stage twice, the second time with all files touched; the bytes are the same."""
        first = (self.run_stage(name, options, inputs, "first") / made).read_bytes()
        for path in [self.source, *self.source.rglob("*")]:
            os.utime(path, (1, 1), follow_symlinks=False)
        again = (self.run_stage(name, options, inputs, "again") / made).read_bytes()
        self.assertEqual(hashlib.sha256(first).digest(), hashlib.sha256(again).digest())
        return self.folder / "first" / made


class Deb(StageTest):
    """org.hirte.deb"""

    def package(self, name, files):
        """Makes a package and gives its name as an input has it."""
        root = self.folder / name
        control = root / "DEBIAN/control"
        control.parent.mkdir(parents=True)
        control.write_text(f"Package: {name}\nVersion: 1.0-1\nArchitecture: arm64\nMaintainer: nobody\nDescription: x\n")
        script = root / "DEBIAN/postinst"
        script.write_text("#!/bin/sh\ntouch /run/a-script-ran\n")
        script.chmod(0o755)
        for path, content in files.items():
            place = root / path
            place.parent.mkdir(parents=True, exist_ok=True)
            if content.startswith("-> "):
                place.symlink_to(content[3:])
            else:
                place.write_text(content)
        deb = self.folder / f"{name}.deb"
        output("dpkg-deb", "--build", "--root-owner-group", root, deb)
        digest = "sha256:" + hashlib.sha256(deb.read_bytes()).hexdigest()
        deb.rename(self.source / digest)
        return digest

    def packages(self, *digests):
        """An input of packages."""
        return {"packages": {"path": str(self.source), "data": {"files": {digest: {} for digest in digests}}}}

    def test_unpacks_without_running_anything(self):
        digest = self.package("one", {"usr/bin/one": "1", "usr/share/doc/one/copyright": "c"})
        out = self.run_stage("org.hirte.deb", {"exclude": ["/usr/share/doc"], "list": "/usr/share/made-of"},
                             self.packages(digest))
        self.assertEqual((out / "usr/bin/one").read_text(), "1")
        self.assertFalse((out / "usr/share/doc").exists())
        self.assertFalse(Path("/run/a-script-ran").exists())
        self.assertEqual((out / "usr/share/made-of").read_text(), "one\t1.0-1\tarm64\n")

    def test_links_for_folders_stay(self):
        base = self.package("base-files", {"bin": "-> usr/bin", "usr/bin/.keep": ""})
        other = self.package("aaa", {"bin/tool": "t"})
        out = self.run_stage("org.hirte.deb", {}, self.packages(other, base))
        self.assertTrue((out / "bin").is_symlink())
        self.assertEqual((out / "usr/bin/tool").read_text(), "t")

    def test_a_broken_package_is_an_error(self):
        (self.source / "sha256:00").write_text("no package")
        with self.assertRaises(RuntimeError):
            self.run_stage("org.hirte.deb", {}, self.packages("sha256:00"))


class Fat(StageTest):
    """org.hirte.fat"""

    OPTIONS = {"filename": "x.fat", "size": 34 << 20, "volume-id": "48495254", "label": "HIRTE-BOOT"}

    def test_has_the_files_and_the_same_bytes_each_time(self):
        self.write("config.txt", "a=b\n")
        self.write("hirte/agent.conf.d/long name.conf", "[hirte-agent]\n")
        self.write("empty/nothing", "")
        image = self.twice("org.hirte.fat", self.OPTIONS, self.tree_input(), "x.fat")
        self.assertEqual(output("mtype", "-i", image, "::hirte/agent.conf.d/long name.conf"), "[hirte-agent]\n")
        self.assertIn("48495254", output("minfo", "-i", image, "::").lower().replace("serial number: ", ""))
        self.assertIn("HIRTE-BOOT", output("mlabel", "-s", "-i", image, "::"))
        output("fsck.fat", "-n", image)

    def test_what_does_not_fit_is_an_error(self):
        self.write("large", b"x" * (35 << 20))
        with self.assertRaises(RuntimeError):
            self.run_stage("org.hirte.fat", self.OPTIONS, self.tree_input())


class Ext4(StageTest):
    """org.hirte.ext4"""

    UUID = "48495254-4500-4a4a-9d3c-3f6d1c7a0004"

    def test_has_the_files_and_the_same_bytes_each_time(self):
        self.write("var/lib/secret", "s", 0o600)
        (self.source / "var/run").symlink_to("/run")
        options = {"filename": "x.ext4", "source": "/var", "size": 8 << 20, "uuid": self.UUID, "label": "hirte-var"}
        image = self.twice("org.hirte.ext4", options, self.tree_input(), "x.ext4")
        output("e2fsck", "-fn", image)
        self.assertEqual(output("debugfs", "-R", "cat /lib/secret", image), "s")
        self.assertIn("Mode:  0600", output("debugfs", "-R", "stat /lib/secret", image))
        self.assertIn('Fast link dest: "/run"', output("debugfs", "-R", "stat /run", image))
        header = output("dumpe2fs", "-h", image)
        self.assertIn(self.UUID, header.split("Directory Hash Seed:")[1])


class Initrd(StageTest):
    """org.hirte.initrd"""

    def entries(self, image):
        """Names and modes in the order of the archive."""
        data, at, found = gzip.decompress(image.read_bytes()), 0, []
        while True:
            self.assertEqual(data[at:at + 6], b"070701")
            fields = [int(data[at + 6 + 8 * i:at + 14 + 8 * i], 16) for i in range(13)]
            name = data[at + 110:at + 109 + fields[11]].decode()
            if name == "TRAILER!!!":
                return found
            start = (at + 110 + fields[11] + 3) & ~3
            found.append((name, fields[1], data[start:start + fields[6]], fields[2], fields[5]))
            at = (start + fields[6] + 3) & ~3

    def test_modules_come_after_what_they_need(self):
        self.write("tree/init", "#!/bin/sh\n", 0o755)
        self.write("tree/bin/busybox", "b", 0o755)
        (self.source / "tree/lib").symlink_to("usr/lib")
        modules = "kernel/usr/lib/modules/6.1/"
        self.write(modules + "modules.dep", "k/a-b.ko.xz: k/c.ko.xz\nk/c.ko.xz: k/d.ko.xz\nk/d.ko.xz:\nk/e.ko.xz:\n")
        self.write(modules + "modules.builtin", "k/built-in.ko\n")
        for name in "a-b", "c", "d", "e":
            self.write(f"{modules}k/{name}.ko.xz", name)
        self.write("root/lib/real", "r", 0o755)
        (self.source / "root/lib/link").symlink_to("real")
        options = {"filename": "x", "kernel": "6.1", "modules": ["a_b", "built-in"], "files": {"/lib2": "/lib/link"}}
        inputs = {name: {"path": str(self.source / name), "data": {}} for name in ("tree", "kernel", "root")}
        found = self.entries(self.twice("org.hirte.initrd", options, inputs, "x"))
        names = [entry[0] for entry in found]
        self.assertEqual(names, ["bin", "bin/busybox", "init", "lib", "lib2", "modules", "modules/a-b.ko.xz",
                                 "modules/c.ko.xz", "modules/d.ko.xz", "modules/order"])
        content = {entry[0]: entry for entry in found}
        self.assertEqual(content["modules/order"][2], b"d.ko.xz\nc.ko.xz\na-b.ko.xz\n")
        self.assertEqual(content["lib2"][2], b"r")
        self.assertTrue(stat.S_ISLNK(content["lib"][1]))
        self.assertTrue(all(entry[3:] == (0, EPOCH) for entry in found))
        options["modules"] = ["missing"]
        with self.assertRaisesRegex(RuntimeError, "no module missing"):
            self.run_stage("org.hirte.initrd", options, inputs)


class Verity(StageTest):
    """org.hirte.verity"""

    def test_the_command_line_verifies_the_file_system(self):
        self.write("fs", os.urandom(10000))
        salt = "5a" * 32
        options = {"source": "fs", "filename": "data", "hashes": "hashes", "salt": salt, "cmdline": "cmdline",
                   "before": "quiet"}
        out = self.run_stage("org.hirte.verity", options, self.tree_input())
        words = (out / "cmdline").read_text().split()
        self.assertEqual(words[0], "quiet")
        sectors, blocks, root_hash, told = words[1].removeprefix("hirte.verity=").split(",")
        self.assertEqual((sectors, blocks, told), ("24", "3", salt))
        verify = ["veritysetup", "verify", "--no-superblock", "--hash=sha256", f"--salt={salt}",
                  "--data-block-size=4096", "--hash-block-size=4096", "--data-blocks=3", out / "data", out / "hashes",
                  root_hash]
        output(*verify)
        with open(out / "data", "r+b") as file:
            file.seek(5000)
            file.write(b"!")
        with self.assertRaises(subprocess.CalledProcessError):
            output(*verify)


class Uki(StageTest):
    """org.hirte.uki"""

    def sections(self, path):
        """What each section of a UEFI executable holds."""
        data = path.read_bytes()
        at, = struct.unpack_from("<I", data, 0x3C)
        signature, machine, count, optional = struct.unpack_from("<4sHH12xH", data, at)
        self.assertEqual((signature, machine), (b"PE\0\0", 0xAA64))
        found = {}
        for number in range(count):
            name, size, _, _, place = struct.unpack_from("<8sIIII", data, at + 24 + optional + 40 * number)
            found[name.rstrip(b"\0").decode()] = data[place:place + size]
        return found

    def test_one_executable_has_all_that_is_to_be_signed(self):
        content = {"vmlinuz": b"kernel", "initrd": os.urandom(5000), "cmdline": b"quiet hirte.verity=1,2,3,4",
                   "os-release": b"ID=debian\n"}
        for name, data in content.items():
            self.write(name, data)
        shutil.copy("/usr/lib/systemd/boot/efi/linuxaa64.efi.stub", self.source / "stub")
        inputs = self.tree_input()
        options = {"linux": "input://tree/vmlinuz", "initrd": "input://tree/initrd", "cmdline": "input://tree/cmdline",
                   "stub": "input://tree/stub", "os-release": "input://tree/os-release", "kernel": "6.12",
                   "filename": "x.efi"}
        found = self.sections(self.twice("org.hirte.uki", options, inputs, "x.efi"))
        self.assertEqual(found[".linux"], content["vmlinuz"])
        self.assertEqual(found[".initrd"], content["initrd"])
        self.assertEqual(found[".cmdline"].rstrip(b"\0\n"), content["cmdline"])
        self.assertEqual(found[".osrel"].rstrip(b"\0"), content["os-release"])
        self.assertEqual(found[".uname"].rstrip(b"\0"), b"6.12")
        (self.source / "stub").write_text("no executable")
        with self.assertRaises(RuntimeError):
            self.run_stage("org.hirte.uki", options, inputs)


class Disk(StageTest):
    """org.hirte.disk"""

    def options(self, **more):
        """A disk of two partitions."""
        part = {"type": "4D21B016-B534-45C2-A9FB-5C16E091FD2D", "size": 2048, "input": "tree", "start": 2048,
                "name": "hirte-one", "uuid": "48495254-4500-4A4A-9D3C-3F6D1C7A0001", "file": "one"}
        two = dict(part, start=4096, name="hirte-two", uuid="48495254-4500-4A4A-9D3C-3F6D1C7A0002", file="two")
        return {"filename": "disk", "size": 4 << 20, "label": "gpt", "uuid": "48495254-4500-4A4A-9D3C-3F6D1C7A0000",
                "partitions": [part, two], **more}

    def test_file_systems_lie_where_the_table_says(self):
        self.write("one", b"1" * 700)
        self.write("two", b"\0" * (1 << 20))
        image = self.twice("org.hirte.disk", self.options(), self.tree_input(), "disk")
        self.assertEqual(image.stat().st_size, 4 << 20)
        table = json.loads(output("sfdisk", "--json", image))["partitiontable"]
        self.assertEqual(table["id"], "48495254-4500-4A4A-9D3C-3F6D1C7A0000")
        self.assertEqual([(p["name"], p["start"], p["size"]) for p in table["partitions"]],
                         [("hirte-one", 2048, 2048), ("hirte-two", 4096, 2048)])
        data = image.read_bytes()
        self.assertEqual(data[1 << 20:(1 << 20) + 701], b"1" * 700 + b"\0")
        self.assertLess(image.stat().st_blocks * 512, 1 << 20)

    def test_a_file_system_larger_than_its_partition_is_an_error(self):
        self.write("one", b"1" * ((1 << 20) + 1))
        self.write("two", b"2")
        with self.assertRaisesRegex(RuntimeError, "more than the 1048576 of its partition"):
            self.run_stage("org.hirte.disk", self.options(), self.tree_input())


class System(StageTest):
    """org.hirte.system"""

    def system(self):
        """A tree with users, three services and presets."""
        tree = self.folder / "out"
        for path, text in {
            "usr/share/base-passwd/passwd.master": "root::0:0:root:/root:/bin/bash\n",
            "usr/share/base-passwd/group.master": "root:*:0:\n",
            "usr/share/libc-bin/nsswitch.conf": "passwd: files\n",
            "usr/lib/sysusers.d/x.conf": "u someone - - -\n",
            "usr/lib/tmpfiles.d/x.conf": "d /var/lib/x 0700 root root -\n",
            "usr/lib/systemd/system-preset/00-x.preset": "enable a.service\ndisable *\n",
            "usr/lib/systemd/system/a.service":
                "[Service]\nExecStart=true\n[Install]\nWantedBy=x.target\nAlso=b.service\n",
            "usr/lib/systemd/system/b.service": "[Service]\nExecStart=true\n[Install]\nWantedBy=x.target\n",
            "usr/lib/systemd/system/c.service": "[Service]\nExecStart=true\n[Install]\nWantedBy=x.target\n",
            "usr/lib/systemd/system/x.target": "[Unit]\nAllowIsolate=yes\n",
            "etc/machine-id": "",
            "var/.keep": "",
            "usr/bin/.keep": "",
        }.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_text(text)
        return tree

    def test_presets_alone_decide_and_nobody_has_a_password(self):
        tree = self.system()
        self.run_stage("org.hirte.system", {
            "enabled": ["a.service"], "default-target": "x.target", "mask": {"system": ["m.service"]},
            "links": {"/usr/bin/awk": "mawk"}})
        wants = tree / "etc/systemd/system/x.target.wants"
        self.assertEqual([path.name for path in wants.iterdir()], ["a.service"])
        self.assertEqual(os.readlink(tree / "etc/systemd/system/m.service"), "/dev/null")
        self.assertEqual(os.readlink(tree / "usr/bin/awk"), "mawk")
        self.assertIn("x.target", os.readlink(tree / "etc/systemd/system/default.target"))
        self.assertIn("root:x:0:0:", (tree / "etc/passwd").read_text())
        self.assertIn("someone:", (tree / "etc/passwd").read_text())
        passwords = {line.split(":")[1] for line in (tree / "etc/shadow").read_text().splitlines()}
        self.assertLessEqual(passwords, {"*", "!*"})
        self.assertTrue((tree / "var/lib/x").is_dir())
        self.assertEqual((tree / "usr/lib/clock-epoch").stat().st_mtime, EPOCH)
        self.assertIn(f"TIMESTAMP_NSEC={EPOCH}000000000", (tree / "var/.updated").read_text())

    def test_a_unit_that_the_presets_forget_is_an_error(self):
        self.system()
        with self.assertRaisesRegex(RuntimeError, "the presets do not enable c.service"):
            self.run_stage("org.hirte.system", {"enabled": ["a.service", "c.service"]})


class Descriptions(unittest.TestCase):
    """What osbuild reads of each stage."""

    def test_every_stage_has_one(self):
        stages = sorted(path.name for path in STAGES.iterdir() if path.suffix != ".json")
        described = sorted(path.name.removesuffix(".meta.json") for path in STAGES.glob("*.meta.json"))
        self.assertEqual(stages, described)
        tested = Path(__file__).read_text(encoding="utf8")
        for name in stages:
            self.assertTrue(os.access(STAGES / name, os.X_OK), name)
            self.assertIn(f'run_stage("{name}"', tested.replace("self.twice(", "self.run_stage("))


if __name__ == "__main__":
    unittest.main()
