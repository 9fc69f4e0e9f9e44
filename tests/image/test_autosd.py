"""The manifest for automotive-image-builder."""

import os
import unittest
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent


class Autosd(unittest.TestCase):
    """image/autosd/hirte.aib.yml"""

    def setUp(self):
        self.manifest = yaml.safe_load((ROOT / "image/autosd/hirte.aib.yml").read_text())

    def test_it_names_what_this_project_has(self):
        content = self.manifest["content"]
        units = {path.name for path in (ROOT / "data/systemd").iterdir()}
        self.assertLessEqual(set(content["systemd"]["enabled_services"]), units)
        self.assertEqual([file["path"] for file in content["add_files"]], ["/etc/hirte/agent.conf"])

    @unittest.skipUnless("AIB_DIR" in os.environ, "AIB_DIR names no checkout of automotive-image-builder")
    def test_it_is_valid(self):
        import jsonschema  # pylint: disable=import-outside-toplevel
        schema = yaml.safe_load(Path(os.environ["AIB_DIR"], "files/manifest_schema.yml").read_text())
        jsonschema.validate(self.manifest, schema)
        with self.assertRaises(jsonschema.ValidationError):
            jsonschema.validate({**self.manifest, "no-such-key": 1}, schema)


if __name__ == "__main__":
    unittest.main()
