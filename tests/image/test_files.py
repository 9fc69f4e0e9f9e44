"""The scripts of the image, run with files and a systemctl of the test's own."""

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPTS = ROOT / "image/files/usr/lib/hirte"


class Scratch(unittest.TestCase):
    """A folder that goes with the test."""

    def setUp(self):
        scratch = tempfile.TemporaryDirectory()  # pylint: disable=consider-using-with
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)

    def write(self, name, text):
        """Writes a file below the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, newline="")
        return path


class Settings(Scratch):
    """files/usr/lib/hirte/settings"""

    def run_script(self):
        """Runs it; gives its list. Programs in the folder bin come first."""
        (self.folder / "run").mkdir(exist_ok=True)
        subprocess.run(["sh", SCRIPTS / "settings", self.folder / "boot", self.folder / "run"], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                       env={"PATH": f"{self.folder}/bin:{os.environ['PATH']}"})
        return (self.folder / "run/hirte/settings").read_text().splitlines()

    def test_files_are_copied_to_where_daemons_read_them(self):
        self.write("boot/hirte/agent.conf", "[hirte-agent]\r\nNodeName=a\r\n")
        self.write("boot/hirte/hirte.conf.d/10-nodes.conf", "[hirte]\n")
        self.write("boot/hirte/network/10-fixed.network", "[Match]\n")
        self.assertEqual(self.run_script(), ["used agent.conf", "used hirte.conf.d/10-nodes.conf",
                                             "used network/10-fixed.network"])
        run = self.folder / "run"
        self.assertEqual((run / "hirte/agent.conf.d/00-boot-partition.conf").read_bytes(),
                         b"[hirte-agent]\nNodeName=a\n")
        self.assertTrue((run / "hirte/hirte.conf.d/10-nodes.conf").exists())
        self.assertTrue((run / "systemd/network/10-fixed.network").exists())

    def test_without_any_nothing_is_listed(self):
        self.assertEqual(self.run_script(), [])

    def test_what_is_not_taken_is_named_with_the_reason(self):
        self.write("boot/hirte/agent.conf.d/my file.conf", "x")
        self.write("boot/hirte/agent.conf.d/large.conf", "x" * 65537)
        (self.folder / "boot/hirte/agent.conf.d/folder.conf").mkdir()
        self.assertEqual(sorted(self.run_script()), [
            "refused agent.conf.d/folder.conf: it is no file",
            "refused agent.conf.d/large.conf: it has more than 65536 bytes",
            "refused agent.conf.d/my file.conf: its name has characters other than A-Z a-z 0-9 . _ -"])
        self.assertEqual(list((self.folder / "run/hirte/agent.conf.d").iterdir()), [])

    def test_names_that_nothing_reads_are_told(self):
        for name in ("agent.conf.txt", "agnet.conf", "agent.conf.d/10.conf.bak", "network/10-fixed.netwrok",
                     "networks/10-fixed.network", "README.txt", "._agent.conf", "agent.conf.d/.DS_Store"):
            self.write(f"boot/hirte/{name}", "x")
        self.write("boot/hirte/hirte.conf.d", "x")
        said = "its name is none of those that README.txt lists"
        self.assertEqual(self.run_script(), [
            f"refused agent.conf.d/10.conf.bak: {said}", f"refused agent.conf.txt: {said}", f"refused agnet.conf: {said}",
            "refused hirte.conf.d: it is no folder",
            f"refused network/10-fixed.netwrok: {said}", f"refused networks: {said}"])

    def test_capitals_make_no_difference(self):
        self.write("boot/hirte/Agent.conf", "[hirte-agent]\n")
        self.write("boot/hirte/NETWORK/A.NETWORK", "[Match]\n")
        self.assertEqual(self.run_script(), ["used Agent.conf", "used NETWORK/A.NETWORK"])
        self.assertTrue((self.folder / "run/hirte/agent.conf.d/00-boot-partition.conf").exists())
        self.assertTrue((self.folder / "run/systemd/network/a.network").exists())

    def test_no_file_takes_the_place_of_another(self):
        self.write("boot/hirte/agent.conf", "[hirte-agent]\n")
        self.write("boot/hirte/agent.conf.d/00-boot-partition.conf", "other")
        self.assertEqual(self.run_script(), ["used agent.conf", "refused agent.conf.d/00-boot-partition.conf: "
                                             "agent.conf.d has this name for another file"])
        self.assertEqual((self.folder / "run/hirte/agent.conf.d/00-boot-partition.conf").read_text(), "[hirte-agent]\n")

    def test_of_a_file_that_cannot_be_read_no_part_is_used(self):
        self.write("boot/hirte/agent.conf", "[hirte-agent]\nManagerHost=192.168.42.10\n")
        self.write("bin/tr", "#!/bin/sh\n[ $1 != -d ] || { head -c 20; exit 1; }\nexec /usr/bin/tr \"$@\"\n").chmod(0o755)
        self.assertEqual(self.run_script(), ["refused agent.conf: it cannot be read"])
        self.assertEqual(list((self.folder / "run/hirte/agent.conf.d").iterdir()), [])


class HostKey(Scratch):
    """files-ssh/usr/lib/hirte/host-key"""

    def made(self):
        """Runs it; gives the key, which is whole and alone."""
        script = ROOT / "image/files-ssh/usr/lib/hirte/host-key"
        subprocess.run(["sh", script, self.folder], check=True, stdin=subprocess.DEVNULL)
        key = self.folder / "ssh_host_ed25519_key"
        subprocess.run(["ssh-keygen", "-y", "-P", "", "-f", key], check=True, stdout=subprocess.DEVNULL)
        self.assertEqual(list(self.folder.iterdir()), [key])
        self.assertEqual(key.stat().st_mode & 0o777, 0o600)
        return key.read_bytes()

    def test_a_key_is_made_once(self):
        first = self.made()
        self.assertEqual(self.made(), first)

    def test_a_part_of_a_key_is_replaced(self):
        whole = self.made()
        for rest in b"", b"\0" * len(whole), whole[:100]:
            with self.subTest(rest):
                self.write("ssh_host_ed25519_key", "").write_bytes(rest)
                self.write("ssh_host_ed25519_key.pub", "")
                self.write("ssh_host_ed25519_key.new", "")
                self.write("ssh_host_ed25519_key.new.pub", "")
                self.assertNotEqual(self.made(), whole)


class InitialState(Scratch):
    """files/usr/lib/hirte/initial-state"""

    LIST = ("allow systemd-fsck@*.service\nactive hirte-initial-state.service\nactive hirte-initial-agent.service\n"
            "active hirte-agent.service\nactive a.service\nactive x\\x2dy.mount\ninactive b.service\n")
    # Of a computer without an agent.
    ALONE = "active hirte-initial-state.service\nactive a.service\ninactive hirte-agent.service\n"
    UNITS = ("a.service loaded active running A\nx\\x2dy.mount loaded active mounted M\n"
             "systemd-fsck@dev\\x2d1.service loaded active exited F\nm.target loaded active active M\n"
             "idle.service loaded inactive dead I\nhirte-initial-state.service loaded activating start S\n")

    def run_script(self, units, limit=0, listed=LIST, part="system", agent="active", jobs=""):
        """Exit status and what it says; the units are those that systemctl is made to list, and `agent` is what
        it says of the agent. After the first call jobs are done."""
        self.write("loaded", units)
        self.write("jobs", jobs)
        self.write("bin/systemctl", f"""#!/bin/sh
            case "$*" in
                list-units*) cat {self.folder}/loaded ;;
                list-jobs*) cat {self.folder}/jobs; echo >>{self.folder}/asked; : >{self.folder}/jobs ;;
                "is-active hirte-agent.service") echo {agent} ;;
                "--quiet is-active hirte-initial-state.service") [ -e {self.folder}/judged ] ;;
            esac""").chmod(0o755)
        self.write("bin/journalctl", "#!/bin/sh\nfor i in 1 2 3 4; do echo hirte-agent: agent.conf:3: no port; done\n"
                   "echo other\n").chmod(0o755)
        path = self.write("list", f"{listed}limit {limit}\n")
        script = self.write("initial-state", (SCRIPTS / "initial-state").read_text().replace(
            "/dev/kmsg", str(self.folder / "kmsg")))
        done = subprocess.run(["sh", script, part, path], check=False, encoding="utf8", stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL,
                              env={"PATH": f"{self.folder}/bin:{os.environ['PATH']}",
                                   "RUNTIME_DIRECTORY": str(self.folder)})
        return done.returncode, done.stdout

    def test_the_system_is_judged_without_the_agent_which_comes_later(self):
        for more in "", "hirte-agent.service loaded activating start A\n":
            self.assertEqual(self.run_script(self.UNITS + more, agent="inactive"), (0, ""))
        self.assertFalse((self.folder / "kmsg").exists(), "the state is reached with the agent")

    def test_without_an_agent_the_system_is_all(self):
        units = "a.service loaded active running A\n"
        status, said = self.run_script(units, listed=self.ALONE)
        self.assertEqual((status, said.split(" of node")[0]), (0, "initial state"))
        status, said = self.run_script(units + "hirte-agent.service loaded active running A\n", listed=self.ALONE)
        self.assertEqual(status, 1)
        self.assertIn("  hirte-agent.service is active, expected inactive\n", said)

    def test_the_agent_is_judged_alone(self):
        self.write("judged", "")
        # By then a manager may have changed what it likes.
        more = "c.service loaded failed failed C\n"
        self.assertEqual(self.run_script(self.UNITS + more, part="agent")[0], 0)
        status, said = self.run_script(self.UNITS, part="agent", agent="activating")
        self.assertEqual(status, 1)
        self.assertIn("NOT reached", said)
        self.assertTrue(said.endswith("\n  hirte-agent.service is activating, expected active\n"
                                      "  hirte-agent: agent.conf:3: no port\n  other\n"), said)

    def test_an_agent_makes_no_state_of_a_system_that_missed_it(self):
        self.assertEqual(self.run_script(self.UNITS, part="agent"), (0, ""))

    def test_units_are_looked_at_when_no_job_runs(self):
        # Only of jobs that wait for this one, or for a device, there is no end to be expected.
        jobs = ("1 hirte-initial-state.service start running\n2 hirte-agent.service start waiting\n"
                "3 multi-user.target start waiting\n4 dev-sda.device start running\n")
        for more, asked in ("", 1), ("5 a.service start running\n", 2):
            self.write("asked", "")
            self.assertEqual(self.run_script(self.UNITS, 10 ** 9, jobs=jobs + more)[0], 0)
            self.assertEqual(len((self.folder / "asked").read_text()), asked)

    def test_reached(self):
        self.write("judged", "")
        status, said = self.run_script(self.UNITS, part="agent")
        self.assertEqual(status, 0)
        self.assertRegex(said, r"^initial state of node \S+ reached after \d+ s, \d+ MiB of memory used, addresses:")
        self.assertEqual((self.folder / "kmsg").read_text().splitlines()[0], "<1>hirte: " + said.splitlines()[0])

    def test_each_difference_is_named(self):
        for more, said in [
            ("c.service loaded active running C\n", "c.service is active, expected nothing of it"),
            ("s.socket loaded active listening S\n", "s.socket is active, expected nothing of it"),
            ("t.target loaded failed failed T\n", "t.target is failed, expected nothing of it"),
            ("b.service loaded active running B\n", "b.service is active, expected inactive"),
        ]:
            status, told = self.run_script(self.UNITS + more, 0)
            self.assertEqual(status, 1)
            self.assertIn("NOT reached", told)
            self.assertIn(f"\n  {said}\n", told)
        status, told = self.run_script(self.UNITS.replace("a.service loaded active", "a.service loaded activating"), 0)
        self.assertIn("  a.service is activating, expected active\n", told)
        self.assertTrue(told.endswith("\n  hirte-agent: agent.conf:3: no port\n  other\n"), told)

    def test_no_answer_is_no_state(self):
        (self.folder / "bin").mkdir()
        status, told = self.run_script("", 0)
        self.assertEqual(status, 1)
        self.assertIn("  a.service is inactive, expected active\n", told)


if __name__ == "__main__":
    unittest.main()
