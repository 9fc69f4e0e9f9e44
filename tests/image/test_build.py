"""What image/build makes of its options, and the options that it refuses."""

import subprocess
import sys
import tempfile
import tomllib
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "image/lib"))

import debian  # noqa: E402
import payload  # noqa: E402
import run  # noqa: E402
import scratch  # noqa: E402


def settings(role="agent", **more):
    """Settings of a node called car."""
    return payload.Settings(role=role, node="car", target="rpi4", state=ROOT / f"image/states/{role}.toml", **more)


class Options(unittest.TestCase):
    """The content that follows from options."""

    def test_addresses_of_managers(self):
        for address, expected in [
            ("192.168.42.10", ("192.168.42.10", "")),
            ("192.168.42.10:2020", ("192.168.42.10", "2020")),
            ("fd00::1", ("fd00::1", "")),
            ("[fd00::1]:2020", ("fd00::1", "2020")),
            ("[fd00::1]", ("fd00::1", "")),
        ]:
            self.assertEqual(payload.host_and_port(address), expected)

    def test_what_is_no_address_of_a_manager(self):
        for address, said in [
            ("laptop", "'laptop' is no address"),
            ("laptop:2020", "'laptop:2020' is no address"),
            ("1.2.3.4:abc", "'1.2.3.4:abc' is no address"),
            ("1.2.3.4:", "'1.2.3.4:' is no address"),
            ("1.2.3.400", "'1.2.3.400' is no address"),
            ("[fd00::1]x", r"'\[fd00::1\]x' is no address"),
            ("1.2.3.4:99999", "99999 is no port: expected 1 to 65535"),
            ("[fd00::1]:0", "0 is no port: expected 1 to 65535"),
        ]:
            with self.subTest(address), self.assertRaisesRegex(payload.PayloadError, f"^--manager: {said}"):
                payload.host_and_port(address)

    def test_public_keys(self):
        payload.check_public_keys("keys", "# mine\n\nssh-ed25519 AAAAC3Nz me@laptop\n"
                                  'from="192.168.42.0/24" ecdsa-sha2-nistp256 AAAAE2Vj\n'
                                  "sk-ssh-ed25519@openssh.com AAAAGnNr token\n")
        for text, said in [
            ("", "keys has no public key"),
            ("# none yet\n", "keys has no public key"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----\n", "keys is a private key; expected the public one"),
            ("PuTTY-User-Key-File-3: ssh-ed25519\nPublic-Lines: 2\nAAAAC3Nz\n", "keys is a private key"),
            ("ssh-ed25519 AAAAC3Nz me\nnonsense\n", "keys:2: no public key"),
            ("---- BEGIN SSH2 PUBLIC KEY ----\nAAAAC3Nz\n", "keys:1: no public key"),
        ]:
            with self.subTest(text), self.assertRaisesRegex(payload.PayloadError, f"^--ssh-key: {said}"):
                payload.check_public_keys("keys", text)

    def test_configuration_of_each_role(self):
        agent = payload.configuration(settings(manager="192.168.42.10:2020"))
        self.assertEqual(list(agent), ["agent.conf"])
        self.assertIn("NodeName=car\nManagerHost=192.168.42.10\nManagerPort=2020\n", agent["agent.conf"])
        self.assertNotIn("ManagerHost", payload.configuration(settings())["agent.conf"])
        # No agent runs there, and an allowed node without one is offline for ever.
        self.assertEqual(payload.configuration(settings("manager")), {})
        both = payload.configuration(settings("both"))
        self.assertIn("AllowedNodeNames=car\n", both["hirte.conf"])
        self.assertIn("ManagerAddress=unix:path=/run/hirte/hirte-agent.sock\n", both["agent.conf"])

    def test_options_bring_their_units(self):
        for more, unit in ({"containers": True}, "podman.service"), ({"ssh_key": "key"}, "ssh.service"):
            for role in ("agent", "manager", "both"):
                text, units, _ = payload.state_of(settings(role, **more))
                self.assertIn(unit, units)
                self.assertNotIn(unit, payload.state_of(settings(role))[1])
                self.assertEqual(list(tomllib.loads(text)["node"]), ["car"])

    def test_the_target_wants_what_is_to_be_active(self):
        agent = settings()
        lines = payload.target_unit(agent, payload.state_of(agent)[1]).splitlines()
        self.assertIn("Wants=hirte-agent.service", lines)
        self.assertIn("Wants=systemd-tmpfiles-clean.timer", lines)
        judges = "multi-user.target hirte-initial-state.service hirte-initial-agent.service"
        self.assertIn(f"Requires={judges}", lines)
        self.assertIn(f"After={judges}", lines)
        self.assertNotIn("Wants=boot.mount", lines)
        manager = settings("manager")
        lines = payload.target_unit(manager, payload.state_of(manager)[1]).splitlines()
        self.assertIn("Requires=multi-user.target hirte-initial-state.service", lines)
        self.assertNotIn("Wants=hirte-agent.service", lines)
        self.assertNotIn("Wants=hirte-initial-agent.service", lines)


class Archives(unittest.TestCase):
    """Where packages come from."""

    def test_security_updates_have_an_archive_of_their_own(self):
        archives = debian.archives("http://one.invalid/debian/", "http://two.invalid/debian-security")
        self.assertEqual(archives.base("pool/main/a/a_1_all.deb"), "http://one.invalid/debian")
        self.assertEqual(archives.base("pool/updates/main/a/a_2_all.deb"), "http://two.invalid/debian-security")
        for path in "pool/main/a/a_1_all.deb", "pool/updates/main/a/a_2_all.deb":
            self.assertEqual(archives.path(f"{archives.base(path)}/{path}"), path)
        with self.assertRaisesRegex(debian.DebianError, "http://three.invalid/x is in no known archive"):
            archives.path("http://three.invalid/x")

    def test_a_package_that_has_left_the_archive_is_named(self):
        gone = {"path": "pool/main/h/hirte/hirte_0_none.deb", "sha256": "0" * 64, "size": 1}
        with tempfile.TemporaryDirectory() as store, \
                self.assertRaisesRegex(debian.GoneError, "hirte_0_none.deb is not in the archive any more"):
            debian.download([gone], store, debian.archives())


    def test_what_is_in_the_store_is_verified(self):
        with tempfile.TemporaryDirectory() as folder:
            archive, store = Path(folder, "archive"), Path(folder, "store")
            deb = archive / "pool/main/a/a_1_all.deb"
            deb.parent.mkdir(parents=True)
            deb.write_bytes(b"a package")
            entry = {"path": "pool/main/a/a_1_all.deb", "sha256": debian.sha256_of(deb), "size": 9}
            archives = debian.Archives(f"copy:{archive}", f"copy:{archive}")
            stored = store / f"sha256:{entry['sha256']}"
            for before in (None, b"", b"another one", b"a package"):
                if before is not None:
                    stored.write_bytes(before)
                debian.download([entry], store, archives)
                self.assertEqual(stored.read_bytes(), b"a package")
            # What is as it should be is not asked for.
            debian.download([entry], store, debian.Archives("copy:/nowhere", "copy:/nowhere"))
            self.assertEqual(list(store.iterdir()), [stored])


class Folders(unittest.TestCase):
    """What is written where."""

    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def test_the_result_leaves_other_files_alone(self):
        tree, output = self.folder / "tree", self.folder / "output"
        for content in "first", "second":
            tree.mkdir(exist_ok=True)
            for name in "hirte-rpi4.img", "manifest.json":
                (tree / name).write_text(content)
            run.put(tree, output)
            (output / "mine.img").write_text("mine")
        self.assertEqual({path.name: path.read_text() for path in output.iterdir()},
                         {"hirte-rpi4.img": "second", "manifest.json": "second", "mine.img": "mine"})

    def test_what_a_killed_build_left_goes_with_the_next(self):
        code = "import scratch, sys\nwith scratch.folder(sys.argv[1]) as path: print(path, flush=True); sys.stdin.read()"
        with subprocess.Popen([sys.executable, "-c", code, self.folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              encoding="utf8", env={"PYTHONPATH": str(ROOT / "image/lib")}) as other:
            left = Path(other.stdout.readline().strip(), "file")
            left.write_text("large")
            with scratch.folder(self.folder):
                self.assertTrue(left.exists(), "it is in use")
            other.kill()
        (self.folder / "mine").mkdir()
        with scratch.folder(self.folder) as path:
            self.assertEqual(sorted(self.folder.iterdir()), sorted([Path(path), self.folder / "mine"]))
        self.assertEqual(list(self.folder.iterdir()), [self.folder / "mine"])


class Refused(unittest.TestCase):
    """Options that make no sense."""

    def refused(self, *words):
        """What image/build says of them."""
        done = subprocess.run([sys.executable, "-B", ROOT / "image/build", *words], check=False, encoding="utf8",
                              env={"CARGO_TARGET_DIR": self.folder, "PATH": "/usr/bin:/bin"}, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        self.assertNotEqual(done.returncode, 0)
        return done.stdout

    def setUp(self):
        scratch = tempfile.TemporaryDirectory()  # pylint: disable=consider-using-with
        self.addCleanup(scratch.cleanup)
        self.folder = scratch.name

    def test_each_names_the_option(self):
        key = Path(self.folder, "key")
        key.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
        for words, said in [
            (["toaster"], "invalid choice: 'toaster'"),
            (["rpi4", "--role", "driver"], "invalid choice: 'driver'"),
            (["rpi4", "--node", "my node"], "--node: 'my node' is no host name"),
            (["rpi4", "--node", "my_node"], "--node: 'my_node' is no host name"),
            (["rpi4", "--node", "car-"], "--node: 'car-' is no host name"),
            (["rpi4", "--node", "c" * 64], "is no host name: expected at most 63 letters"),
            (["rpi4", "--manager", "laptop"], "--manager: 'laptop' is no address"),
            (["rpi4", "--ssh-key", "/dev/null"], "--ssh-key: /dev/null has no public key"),
            (["rpi4", "--role", "both", "--manager", "1.2.3.4"], "--manager is for --role agent"),
            (["rpi4", "--ssh-key", str(key)], f"{key} is a private key; expected the public one"),
            (["rpi4", "--ssh-key", f"{key}.pub"], f"No such file or directory: '{key}.pub'"),
            (["rpi4", "--lock", f"{key}.lock"], f"{key}.lock: No such file or directory"),
            (["rpi4", "--bindir-from", "/nowhere"], "there is no /nowhere/hirte: build it for 64-bit Arm first"),
        ]:
            with self.subTest(words):
                told = self.refused(*words)
                self.assertIn(said, told)
                self.assertNotIn("Traceback", told)


if __name__ == "__main__":
    unittest.main()
