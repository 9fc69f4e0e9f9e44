"""Carries out an expanded manifest with osbuild itself, from a checkout."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

STAGES = Path(__file__).resolve().parent.parent / "stages"
# Of osbuild's library folder, what is taken from the checkout as it is.
PARTS = ("assemblers", "devices", "inputs", "mounts", "osbuild", "runners", "schemas", "sources", "stages")


def library(checkout, folder):
    """A folder with osbuild's modules and this project's stages beside its own; copies, because the sandbox
    sees nothing outside of it."""
    for part in PARTS:
        shutil.copytree(Path(checkout, part), folder / part, symlinks=True)
    for stage in STAGES.iterdir():
        shutil.copy(stage, folder / "stages" / stage.name)
    return folder


def build(checkout, manifest, files, work):
    """Builds a manifest in the folder `work`, and gives the tree of the last pipeline; `files` has everything
    that it names, so nothing is downloaded."""
    lib = library(checkout, work / "lib")
    store = work / "store"
    sources = store / "sources/org.osbuild.files"
    sources.mkdir(parents=True)
    for digest in manifest["sources"]["org.osbuild.curl"]["items"]:
        os.link(files / digest, sources / digest)
    path = work / "manifest.json"
    path.write_text(json.dumps(manifest))
    exported = work / "exported"
    environment = dict(os.environ, PYTHONPATH=str(Path(checkout).resolve()))
    subprocess.run([sys.executable, "-m", "osbuild", "--libdir", lib, "--store", store, "--export", "image",
                    "--output-directory", exported, path], check=True, env=environment)
    return exported / "image"
