"""Carries out an expanded manifest without osbuild: the same stages in the same order, each in a
sandbox that has the tree of the manifest's own `build` pipeline for /usr.

The project's stages are run as they are. Of osbuild's own stages those that the definition uses are
carried out here, in the way that osbuild does it.
"""

import base64
import json
import os
import subprocess
import time
from pathlib import Path
from urllib.parse import urlparse

HERE = Path(__file__).resolve().parent
STAGES = HERE.parent / "stages"
# What stages get when they import osbuild.
SHIM = HERE / "shim"


class RunError(Exception):
    """Which stage failed."""


class Runner:
    """Builds the pipelines of one manifest below a folder."""

    def __init__(self, manifest, files, work, say=print):
        self.manifest = manifest
        self.files = Path(files)
        self.trees = Path(work) / "trees"
        self.work = Path(work)
        self.say = say
        self.trees.mkdir(parents=True)
        for digest, item in manifest["sources"].get("org.osbuild.inline", {}).get("items", {}).items():
            # Another build may be reading it.
            if not (self.files / digest).exists():
                made = self.work / "inline"
                made.write_bytes(base64.b64decode(item["data"]))
                os.replace(made, self.files / digest)

    def run(self):
        """Builds all pipelines and gives the tree of the last one."""
        for pipeline in self.manifest["pipelines"]:
            begun = time.monotonic()
            tree = self.trees / pipeline["name"]
            tree.mkdir(mode=0o755)
            for stage in pipeline["stages"]:
                self._stage(pipeline, stage, tree)
            self.say(f"{pipeline['name']}: {time.monotonic() - begun:.1f} s")
        return tree

    def _inputs(self, stage, sandboxed):
        """Where each input lies, and the folders that have to be seen there."""
        inputs, binds = {}, []
        for name, entry in stage.get("inputs", {}).items():
            references = list(entry["references"])
            place = f"/run/osbuild/inputs/{name}"
            if entry["type"] == "org.osbuild.tree":
                source = self.trees / references[0].removeprefix("name:")
                binds.append((source, place))
                inputs[name] = {"path": place if sandboxed else str(source), "data": {}}
            else:
                for digest in references:
                    binds.append((self.files / digest, f"{place}/{digest}"))
                path = place if sandboxed else str(self.files)
                inputs[name] = {"path": path, "data": {"files": {digest: {} for digest in references}}}
        return inputs, binds

    def _stage(self, pipeline, stage, tree):
        kind = stage["type"]
        build = self.trees / "build" if "build" in pipeline else None
        inputs, binds = self._inputs(stage, True)
        environment = {"SOURCE_DATE_EPOCH": str(pipeline["source-epoch"])}
        options = stage.get("options", {})
        if kind.startswith("org.hirte."):
            arguments = self.work / "arguments"
            arguments.write_text(json.dumps({"tree": "/run/osbuild/tree", "inputs": inputs, "options": options}))
            binds += [(STAGES / kind, f"/run/osbuild/bin/{kind}"), (SHIM, "/run/osbuild/lib"),
                      (arguments, "/run/osbuild/api/arguments")]
            commands = [["python3", "-B", f"/run/osbuild/bin/{kind}"]]
        else:
            commands = COMMANDS[kind](options, inputs)
        for command in commands:
            done = subprocess.run(self._sandbox(build, tree, binds, environment) + command, check=False,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            if done.returncode != 0:
                output = done.stdout.decode(errors="replace")
                raise RunError(f"{pipeline['name']}: {kind}: status {done.returncode}\n{output}")

    def _sandbox(self, build, tree, binds, environment):
        words = ["bwrap", "--die-with-parent", "--new-session", "--unshare-ipc", "--unshare-pid", "--unshare-net",
                 "--clearenv", "--setenv", "PATH", "/usr/sbin:/usr/bin", "--setenv", "LC_CTYPE", "C.UTF-8",
                 "--setenv", "PYTHONPATH", "/run/osbuild/lib"]
        for name, value in environment.items():
            words += ["--setenv", name, value]
        # The first pipeline makes the tools, with those of this machine.
        root = build or Path("/")
        words += ["--ro-bind", str(root / "usr"), "/usr", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64",
                  "/lib64", "--symlink", "usr/bin", "/bin", "--symlink", "usr/sbin", "/sbin", "--dir", "/etc",
                  "--ro-bind-try", str(root / "etc/mke2fs.conf"), "/etc/mke2fs.conf"]
        if build is None:
            words += ["--ro-bind-try", "/etc/alternatives", "/etc/alternatives"]
        scratch = self.work / "scratch"
        (scratch / "tmp").mkdir(parents=True, exist_ok=True)
        words += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/run", "--tmpfs", "/tmp", "--bind", str(scratch),
                  "/var"]
        for source, place in binds:
            words += ["--ro-bind", str(source), place]
        return words + ["--bind", str(tree), "/run/osbuild/tree", "--chdir", "/", "--"]


def location(text, inputs):
    """The path that `tree:///path` or `input://name/path` stands for."""
    place = urlparse(text)
    base = "/run/osbuild/tree" if place.scheme == "tree" else inputs[place.netloc]["path"]
    path = os.path.normpath(os.path.join(base, os.path.relpath(place.path, "/")))
    # What is in the folder, not the folder.
    return path + "/." if place.path.endswith("/") else path


def copy(options, inputs):
    """org.osbuild.copy"""
    return [["cp", "-a", "--reflink=auto", location(path["from"], inputs), location(path["to"], inputs)]
            for path in options["paths"]]


def mkdir(options, _inputs):
    """org.osbuild.mkdir"""
    return [["mkdir", f"/run/osbuild/tree{path['path']}"] for path in options["paths"]]


def chmod(options, _inputs):
    """org.osbuild.chmod"""
    return [["chmod", item["mode"], f"/run/osbuild/tree{path}"] for path, item in options["items"].items()]


def untar(_options, inputs):
    """org.osbuild.untar"""
    entry = inputs["file"]
    (digest,) = entry["data"]["files"]
    return [["tar", "--auto-compress", "-x", "-f", f"{entry['path']}/{digest}", "-C", "/run/osbuild/tree/"]]


def squashfs(options, inputs):
    """org.osbuild.squashfs"""
    words = ["mksquashfs", inputs["tree"]["path"], f"/run/osbuild/tree/{options['filename']}"]
    if "compression" in options:
        words += ["-comp", options["compression"]["method"]]
    if "exclude_paths" in options:
        words += ["-regex", "-e", *options["exclude_paths"]]
    return [words]


COMMANDS = {
    "org.osbuild.copy": copy,
    "org.osbuild.mkdir": mkdir,
    "org.osbuild.chmod": chmod,
    "org.osbuild.untar": untar,
    "org.osbuild.squashfs": squashfs,
}


def put(tree, output):
    """Moves the files of a tree into the folder `output`, where files of other names stay."""
    output.mkdir(parents=True, exist_ok=True)
    # mv keeps the holes of an image also on the way to another file system.
    subprocess.run(["mv", "-f", "--", *sorted(tree.iterdir()), output], check=True)
