"""Debian's archive: where it is, what is in it, and getting files out of it."""

import hashlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import scratch

RELEASE = "trixie"
COMPONENTS = "main non-free-firmware"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# Packages of one call of apt-helper: its command line is bounded.
DOWNLOADS_AT_ONCE = 64


class DebianError(Exception):
    """What could not be had, and why."""


class GoneError(DebianError):
    """A locked package is not in the archive any more."""


@dataclass
class Archives:
    """Base addresses of Debian's archive, and of the one with its security updates."""

    main: str
    security: str

    def base(self, path):
        """Where a path of a lock lies; only the archive of security updates has pool/updates."""
        return self.security if path.startswith("pool/updates/") else self.main

    def path(self, address):
        """The path of an address in one of the two."""
        for base in (self.security, self.main):
            if address.startswith(base + "/"):
                return address.removeprefix(base + "/")
        raise DebianError(f"{address} is in no known archive")


def archives(main=None, security=None):
    """The archives with these addresses, or those from which this machine gets Debian."""
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(LABEL)\t$(REPO_URI)", "Created-By: Packages"],
        stdout=subprocess.PIPE, encoding="utf8", check=True).stdout
    machine = dict(line.split("\t") for line in reversed(listed.splitlines()))
    main = main or machine.get("Debian")
    security = security or machine.get("Debian-Security")
    for address, what, option in ((main, "archive of Debian", "--mirror"),
                                  (security, "archive of Debian's security updates", "--security-mirror")):
        if not address:
            raise DebianError(f"apt's configuration names no {what}; give its address with {option}")
    return Archives(main.rstrip("/"), security.rstrip("/"))


class Apt:
    """An apt for one architecture of the release, beside the machine's own."""

    def __init__(self, folder, archives_, architecture):
        self.archives = archives_
        home = Path(folder, architecture)
        for name in ("state/lists/partial", "cache/archives/partial", "etc"):
            (home / name).mkdir(parents=True)
        (home / "status").touch()
        (home / "etc/sources.list").write_text(
            f"deb [signed-by={KEYRING}] {archives_.main} {RELEASE} {COMPONENTS}\n"
            f"deb [signed-by={KEYRING}] {archives_.security} {RELEASE}-security {COMPONENTS}\n")
        settings = {
            "Dir::State": home / "state", "Dir::State::status": home / "status", "Dir::Cache": home / "cache",
            "Dir::Etc::sourcelist": home / "etc/sources.list", "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null", "APT::Architecture": architecture,
            "APT::Architectures": "", "APT::Architectures::": architecture, "APT::Install-Recommends": "false",
            "Acquire::Languages": "none", "APT::Sandbox::User": "root",
        }
        self.options = [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]
        self._run("apt-get", "update", "-qq")
        self.available = self._available()

    def _run(self, program, *arguments):
        return subprocess.run([program, *self.options, *arguments], stdout=subprocess.PIPE,
                              encoding="utf8", check=True).stdout

    def _available(self):
        """Each file of the archive, by its path in the pool."""
        packages = {}
        for text in self._run("apt-cache", "dumpavail").split("\n\n"):
            fields = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line and line[0] != " ")
            if "Filename" in fields:
                packages[fields["Filename"]] = fields
        return packages

    def with_dependencies(self, names):
        """Paths in the pool of packages and of all that they depend on."""
        uris = self._run("apt-get", "install", "-y", "-qq", "--print-uris", *names)
        paths = set()
        for line in uris.splitlines():
            paths.add(self.archives.path(unquote(line.split("'")[1])))
        return paths

    def alone(self, name):
        """The path of a package; of one without files of its own, that of the package it stands for."""
        fields = next((f for f in self.available.values() if f["Package"] == name), None)
        if fields is None:
            raise DebianError(f"{RELEASE} has no package {name}")
        if int(fields["Size"]) > 4096:
            return fields["Filename"]
        meant = fields["Depends"].split(",")[0].split()[0]
        return self.alone(meant)

    def entry(self, path):
        """What the lock holds of a file."""
        fields = self.available[path]
        return {"path": path, "sha256": fields["SHA256"], "size": int(fields["Size"])}


def sha256_of(path):
    """The sum of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_whole(path):
    """Whether a file named `sha256:SUM` is there and has this sum."""
    return path.exists() and f"sha256:{sha256_of(path)}" == path.name


def download(entries, store, archives_):
    """Gets what is not in the folder `store` yet, or not as it should be, each file under the name `sha256:SUM`."""
    store = Path(store)
    store.mkdir(parents=True, exist_ok=True)
    # Options may need the same package.
    wanted = {entry["sha256"]: entry for entry in entries}
    missing = [entry for digest, entry in wanted.items() if not is_whole(store / f"sha256:{digest}")]
    with scratch.folder(store) as partial:
        for start in range(0, len(missing), DOWNLOADS_AT_ONCE):
            group = missing[start:start + DOWNLOADS_AT_ONCE]
            words = [word for entry in group
                     for word in (f"{archives_.base(entry['path'])}/{entry['path']}", f"{partial}/{entry['sha256']}",
                                  f"SHA256:{entry['sha256']}")]
            done = subprocess.run(["/usr/lib/apt/apt-helper", "-q", "-o", "APT::Sandbox::User=root", "download-file", *words],
                                  stdout=subprocess.DEVNULL, check=False)
            for entry in group:
                got = Path(partial, entry["sha256"])
                if not got.exists() or sha256_of(got) != entry["sha256"]:
                    raise GoneError(
                        f"{entry['path']} is not in the archive any more, or could not be had (status "
                        f"{done.returncode}); image/lock makes the lock anew")
                os.rename(got, store / f"sha256:{entry['sha256']}")
