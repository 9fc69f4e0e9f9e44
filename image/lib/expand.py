"""Expands a manifest in the automotive convention (`*.mpp.yml` with `*.ipp.yml` and JSON includes).

It knows what this project's definition uses of osbuild-mpp: mpp-vars, mpp-import-pipelines, mpp-eval,
mpp-if, mpp-join, mpp-format-string, mpp-format-int and mpp-embed with path or text, and refuses everything
else whose name begins with mpp-. osbuild-mpp gives the same manifest; a test compares them.
"""

import base64
import hashlib
import json
from pathlib import Path
from string import Template

import yaml


class ExpandError(Exception):
    """What is wrong, with the file where it is known."""


# What stands for a value that is left out.
NOTHING = object()


class Digest(str):
    """The digest of an embedded file."""


def read(path):
    """The content of a file of the definition."""
    try:
        text = Path(path).read_text(encoding="utf8")
    except OSError as error:
        raise ExpandError(f"{path}: {error.strerror}") from error
    try:
        return yaml.safe_load(text) if Path(path).suffix == ".yml" else json.loads(text)
    except (yaml.YAMLError, ValueError) as error:
        raise ExpandError(f"{path}: {error}") from error


class Manifest:
    """A file of the definition with all that it includes."""

    def __init__(self, path, overrides, variables=None):
        self.path = Path(path)
        self.root = read(path)
        if str(self.root.get("version")) != "2":
            raise ExpandError(f"{path}: expected version '2'")
        self.overrides = overrides
        self.variables = dict(variables or {})
        self._take_variables()
        self.sources = self.root.setdefault("sources", {})
        self.pipelines = self.root.setdefault("pipelines", [])
        self._include()

    def known(self):
        """The variables with what was given for them."""
        return {**self.variables, **self.overrides}

    def _take_variables(self):
        for name, value in self._substituted(self.root.pop("mpp-vars", {})).items():
            self.variables[name] = self._value(value)
        self._substituted(self.variables)

    def _substituted(self, node):
        """`$name` in a text, as variables and includes have it."""
        if isinstance(node, dict):
            for key, value in node.items():
                node[key] = self._substituted(value)
        elif isinstance(node, list):
            node[:] = [self._substituted(value) for value in node]
        elif isinstance(node, str):
            return Template(node).safe_substitute(self.known())
        return node

    def _include(self):
        listed = list(self.pipelines)
        self.pipelines.clear()
        for pipeline in listed:
            if "mpp-import-pipelines" not in pipeline:
                self.pipelines.append(pipeline)
                continue
            include = self._substituted(pipeline.pop("mpp-import-pipelines"))
            included = Manifest(self.path.parent / include["path"], self.overrides, self.variables)
            self.variables.update(included.variables)
            for name, source in included.sources.items():
                self.sources.setdefault(name, {"items": {}})["items"].update(source["items"])
            wanted = include.get("ids")
            self.pipelines += [{**pipeline, **part} for part in included.pipelines
                               if not wanted or part["name"] in wanted]

    def expand(self):
        """The manifest as osbuild reads it."""
        self._descend(self.root)
        return self.root

    def _value(self, node):
        """A value whose directives are carried out; NOTHING if it is left out."""
        if not isinstance(node, dict):
            self._descend(node)
            return node
        directives = [key for key in node if key.startswith("mpp-")]
        if not directives:
            self._descend(node)
            return node
        directive = directives[0]
        text = node[directive]
        if directive == "mpp-join":
            self._descend(text)
            return [value for part in text for value in part]
        if directive == "mpp-if":
            branch = "then" if self._evaluate(text) else "else"
            return self._value(node[branch]) if branch in node else NOTHING
        if directive == "mpp-eval":
            return self._evaluate(text)
        if directive == "mpp-format-string":
            return self._evaluate(f"f'''{text}'''")
        if directive == "mpp-format-int":
            return int(self._evaluate(f"f'''{text}'''").removesuffix(".0"))
        raise ExpandError(f"{self.path}: unknown directive {directive}")

    def _evaluate(self, text):
        # The definition is code of this project, as are its stages.
        try:
            return eval(text, self.known())  # pylint: disable=eval-used
        except Exception as error:
            raise ExpandError(f"{self.path}: {text}: {error}") from error

    def _descend(self, node, key=None):
        """Carries out the directives in a folder of values, in the order in which they stand."""
        if isinstance(node, dict):
            if key == "stages":
                self._embed(node)
            for name in list(node):
                value = self._child(node[name], name)
                if value is NOTHING:
                    del node[name]
                else:
                    node[name] = value
        elif isinstance(node, list):
            values = [self._child(value, key) for value in node]
            node[:] = [value for value in values if value is not NOTHING]

    def _child(self, value, key):
        if isinstance(value, dict) and any(name.startswith("mpp-") for name in value):
            return self._value(value)
        self._descend(value, key)
        return value

    def _embed(self, stage):
        """Files that stand in the manifest itself, and `embedded['ID']` for their digests."""
        for entry in stage.get("inputs", {}).values():
            wanted = entry.pop("mpp-embed", None) if isinstance(entry, dict) else None
            if wanted is None:
                continue
            self._descend(wanted)
            data = wanted["text"].encode() if "text" in wanted else (self.path.parent / wanted["path"]).read_bytes()
            digest = Digest("sha256:" + hashlib.sha256(data).hexdigest())
            items = self.sources.setdefault("org.osbuild.inline", {}).setdefault("items", {})
            items[str(digest)] = {"encoding": "base64", "data": base64.b64encode(data).decode()}
            entry.setdefault("references", {})[str(digest)] = {}
            self.variables.setdefault("embedded", {})[wanted["id"]] = digest


def expand(path, overrides):
    """The expanded manifest of a definition; `overrides` replace its variables."""
    return Manifest(path, overrides).expand()


def text(manifest):
    """A manifest as it is written to a file."""
    return json.dumps(manifest, indent=2) + "\n"
