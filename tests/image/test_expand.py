"""The expander, rule by rule, and the committed manifests."""

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "image/lib"))

from expand import ExpandError, expand, text  # noqa: E402

RULES = """
version: '2'
mpp-vars:
  name: one
  copy: $name-$given
  number: 3
  listed: [1, 2]
  computed:
    mpp-eval: number * 2
pipelines:
  - mpp-import-pipelines:
      path: $name.ipp.yml
    build: name:build
  - name: last
    stages:
      - type: s
        inputs:
          file:
            type: org.osbuild.files
            origin: org.osbuild.source
            mpp-embed:
              id: hello
              text: hello
        options:
          joined:
            mpp-join:
              - [0]
              - mpp-eval: listed
          text:
            mpp-format-string: '{copy} {number + 1} {included} {embedded["hello"]}'
          size:
            mpp-format-int: '{computed * 2}'
          chosen:
            mpp-if: number > 2
            then: yes
            else: no
          left-out:
            mpp-if: number > 3
            then: yes
"""
INCLUDED = """
version: '2'
mpp-vars:
  included:
    mpp-eval: "'from ' + name"
pipelines:
  - name: first
    stages: []
"""


class Rules(unittest.TestCase):
    """What each directive does."""

    def setUp(self):
        scratch = tempfile.TemporaryDirectory()  # pylint: disable=consider-using-with
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)

    def expand(self, definition, **overrides):
        """Expands a definition beside the included file."""
        (self.folder / "x.mpp.yml").write_text(definition)
        (self.folder / "one.ipp.yml").write_text(INCLUDED)
        return expand(self.folder / "x.mpp.yml", overrides)

    def test_directives(self):
        digest = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
        self.assertEqual(self.expand(RULES, given="two"), {
            "version": "2",
            "pipelines": [
                {"build": "name:build", "name": "first", "stages": []},
                {"name": "last", "stages": [{
                    "type": "s",
                    "inputs": {"file": {"type": "org.osbuild.files", "origin": "org.osbuild.source",
                                        "references": {digest: {}}}},
                    "options": {"joined": [0, 1, 2], "text": f"one-two 4 from one {digest}", "size": 12,
                                "chosen": True}}]}],
            "sources": {"org.osbuild.inline": {"items": {digest: {"encoding": "base64", "data": "aGVsbG8="}}}}})

    def test_what_is_given_replaces_variables(self):
        options = self.expand(RULES, given="two", number=1)["pipelines"][1]["stages"][0]["options"]
        self.assertEqual((options["chosen"], options["text"].split()[1]), (False, "2"))

    def test_mistakes_name_the_file(self):
        for definition, said in [
            ("version: '1'", "expected version '2'"),
            ("a: [", "x.mpp.yml"),
            ("version: '2'\nx: {mpp-eval: nothing}", "x.mpp.yml: nothing: name 'nothing' is not defined"),
            ("version: '2'\nx: {mpp-depsolve: {}}", "unknown directive mpp-depsolve"),
            ("version: '2'\npipelines: [{mpp-import-pipelines: {path: no.ipp.yml}}]", "no.ipp.yml: No such file"),
        ]:
            with self.subTest(definition), self.assertRaisesRegex(ExpandError, said):
                self.expand(definition)


class Definition(unittest.TestCase):
    """The definition of the images."""

    def manifest(self, **overrides):
        """Expands it."""
        return expand(ROOT / "image/hirte.mpp.yml", overrides)

    def test_the_committed_manifests_are_it(self):
        subprocess.run([sys.executable, "-B", ROOT / "image/expand", "--check"], check=True)

    def test_every_file_of_a_manifest_is_locked_and_used(self):
        lock = json.loads((ROOT / "image/debs.lock.json").read_text())["mpp-vars"]["debs"]
        locked = {"sha256:" + deb["sha256"]: deb["path"] for debs in lock.values() for deb in debs}
        for target in ("rpi4", "arm64-efi"):
            for more in (False, True):
                manifest = self.manifest(target=target, containers=more, ssh=more, mirror="MIRROR",
                                         security="SECURITY")
                items = manifest["sources"]["org.osbuild.curl"]["items"]
                used = set()
                for pipeline in manifest["pipelines"]:
                    for stage in pipeline["stages"]:
                        for entry in stage.get("inputs", {}).values():
                            if entry["origin"] == "org.osbuild.source":
                                used |= set(entry["references"])
                inline = manifest["sources"]["org.osbuild.inline"]["items"]
                self.assertEqual(used, set(items) | set(inline))
                debs = {digest: url for digest, url in items.items() if url.split("/")[0] in ("MIRROR", "SECURITY")}
                self.assertEqual(len(items) - len(debs), 1, "the payload is the only other file")
                for digest, url in debs.items():
                    archive = "SECURITY" if locked[digest].startswith("pool/updates/") else "MIRROR"
                    self.assertEqual(url, f"{archive}/{locked[digest]}")

    def test_the_lock_has_paths_in_the_pool_and_no_host(self):
        text_of_lock = (ROOT / "image/debs.lock.json").read_text()
        self.assertNotIn("://", text_of_lock)
        packages = json.loads((ROOT / "image/packages.json").read_text())
        lock = json.loads(text_of_lock)["mpp-vars"]["debs"]
        self.assertEqual(list(lock), list(packages))
        for name, debs in lock.items():
            for deb in debs:
                self.assertRegex(deb["path"], r"^pool/(updates/)?[a-z-]+/.*_(all|" + packages[name]["architecture"] + r")\.deb$")
                self.assertRegex(deb["sha256"], "^[0-9a-f]{64}$")
                self.assertGreater(deb["size"], 0)
            if not packages[name].get("alone"):
                # What is wanted is there by name.
                names = {deb["path"].split("/")[-1].split("_")[0] for deb in debs}
                self.assertLessEqual(set(packages[name]["packages"]), names)

    def test_every_pipeline_has_one_time_and_all_but_the_tools_are_made_with_them(self):
        for target in ("rpi4", "arm64-efi"):
            pipelines = self.manifest(target=target)["pipelines"]
            self.assertEqual({pipeline["source-epoch"] for pipeline in pipelines}, {1784000000})
            self.assertEqual([p["name"] for p in pipelines if "build" not in p], ["build"])

    @unittest.skipUnless("OSBUILD_DIR" in os.environ, "OSBUILD_DIR names no checkout of osbuild")
    def test_osbuild_mpp_gives_the_same(self):
        with tempfile.TemporaryDirectory() as folder:
            for target in ("rpi4", "arm64-efi"):
                for role in ("agent", "manager", "both"):
                    for more in ("false", "true"):
                        path = Path(folder, "manifest.json")
                        subprocess.run([sys.executable, HERE / "osbuild_mpp", "-D", f'target="{target}"', "-D",
                                        f'role="{role}"', "-D", f"containers={more}", "-D", f"ssh={more}",
                                        ROOT / "image/hirte.mpp.yml", path], check=True)
                        ours = self.manifest(target=target, role=role, containers=more == "true", ssh=more == "true")
                        self.assertEqual(path.read_text(), text(ours))


if __name__ == "__main__":
    unittest.main()
