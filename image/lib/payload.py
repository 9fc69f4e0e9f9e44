"""What an image has beside Debian's packages: hirte itself, the image's files, and what follows from the
initial state and from the options of `image/build`. One archive, whose bytes follow from these alone."""

import ipaddress
import os
import re
import shutil
import subprocess
import tarfile
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
# From the kernel's start; what emulated computers took is in docs/image.md.
INITIAL_STATE_SECONDS = 300
# Of hirte, for the image.
EXECUTABLES = ("hirte", "hirte-agent", "hirtectl")


class PayloadError(Exception):
    """What is missing or wrong."""


@dataclass
class Settings:
    """What decides on the content of a payload."""

    role: str
    node: str
    target: str
    state: Path
    manager: str = ""
    containers: bool = False
    ssh_key: str = ""
    mounts: dict = field(default_factory=dict)


def host_and_port(address):
    """IP address and port of `ADDRESS`, `ADDRESS:PORT` or `[ADDRESS]:PORT`; the port is "" without one. An
    image has no resolver, so names are refused."""
    found = re.fullmatch(r"\[([^]]+)\](?::(\d+))?", address) or re.fullmatch(r"([^:]+):(\d+)", address)
    host, port = found.groups(default="") if found else (address, "")
    try:
        ipaddress.ip_address(host)
    except ValueError as error:
        raise PayloadError(f"--manager: '{address}' is no address: expected an IP address, or ADDRESS:PORT or "
                           "[ADDRESS]:PORT") from error
    if port and not 1 <= int(port) <= 65535:
        raise PayloadError(f"--manager: {port} is no port: expected 1 to 65535")
    return host, port


def check_public_keys(path, text):
    """Refuses what is no file of public keys, as authorized_keys has them: everybody may read it in an image."""
    if "PRIVATE KEY" in text or text.startswith("PuTTY-User-Key-File"):
        raise PayloadError(f"--ssh-key: {path} is a private key; expected the public one")
    keys = 0
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not re.search(r"(?:^|\s)(?:ssh|ecdsa|sk)-\S+ +AAAA", line):
            raise PayloadError(f"--ssh-key: {path}:{number}: no public key; expected lines such as 'ssh-ed25519 AAAA...'")
        keys += 1
    if keys == 0:
        raise PayloadError(f"--ssh-key: {path} has no public key")


def configuration(settings):
    """Files below /etc/hirte, by their names. Which nodes a manager has is not known here, but for its own."""
    files = {}
    note = "# Made by image/build. Settings on the boot partition replace these.\n"
    if settings.role == "both":
        files["hirte.conf"] = f"{note}[hirte]\nAllowedNodeNames={settings.node}\n"
        files["agent.conf"] = (f"{note}[hirte-agent]\nNodeName={settings.node}\n"
                               "ManagerAddress=unix:path=/run/hirte/hirte-agent.sock\n")
    if settings.role == "agent":
        lines = [f"NodeName={settings.node}"]
        if settings.manager:
            host, port = host_and_port(settings.manager)
            lines += [f"ManagerHost={host}"] + ([f"ManagerPort={port}"] if port else [])
        files["agent.conf"] = note + "[hirte-agent]\n" + "\n".join(lines) + "\n"
    return files


def state_of(settings):
    """The state file with the node's name and the options' units in it, and what it says of the node."""
    text = settings.state.read_text(encoding="utf8")
    (written,) = tomllib.loads(text)["node"]
    text = text.replace(f"[node.{written}]", f"[node.{settings.node}]")
    for option, given in (("containers", settings.containers), ("ssh", settings.ssh_key)):
        if given:
            text += "\n" + (settings.state.parent / f"with-{option}.toml").read_text(encoding="utf8")
    listed = tomllib.loads(text)
    return text, listed["node"][settings.node], listed.get("allow", [])


def state_name(unit):
    """`active` or `inactive` of what the file says of a unit."""
    return unit if isinstance(unit, str) else unit.get("state", "active")


def target_unit(settings, units):
    """The target into which the image boots."""
    wants = "".join(f"Wants={name}\n" for name, unit in units.items()
                    if state_name(unit) == "active" and not name.endswith(".mount"))
    judges = ["hirte-initial-state.service"] + ["hirte-initial-agent.service"] * ("hirte-initial-agent.service" in units)
    return (f"# Made by image/build of the initial state of node {settings.node}.\n"
            f"[Unit]\nDescription=Initial state of node {settings.node}\nDocumentation=man:hirte-state(5)\n"
            f"Requires=multi-user.target {' '.join(judges)}\n"
            f"After=multi-user.target {' '.join(judges)}\n"
            f"{wants}AllowIsolate=yes\n")


def fstab(mounts):
    """The file systems beside the root."""
    return "".join(f"{source} {place} {kind} {options} 0 {check}\n"
                   for place, (source, kind, options, check) in mounts.items())


def write(path, text, mode=0o644):
    """Writes a file, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf8")
    path.chmod(mode)


def fill(root, settings, executables, hirtectl):
    """Puts everything into the folder `root`."""
    for path in [Path(executables, name) for name in EXECUTABLES] + [Path(hirtectl)]:
        if not path.exists():
            raise PayloadError(f"there is no {path}: build it for "
                               f"{'this machine' if path == Path(hirtectl) else '64-bit Arm'} first")
    subprocess.run([HERE.parent / "data/install", "--destdir", root, "--bindir-from", executables], check=True)
    for part in ["files", *(["files-ssh"] if settings.ssh_key else [])]:
        shutil.copytree(HERE / part, root, dirs_exist_ok=True)
    text, units, allowed = state_of(settings)
    state = root / "usr/share/hirte/initial-state.toml"
    write(state, text)
    presets = subprocess.run([hirtectl, "state", "presets", state, "--node", settings.node], check=True,
                             stdout=subprocess.PIPE, encoding="utf8").stdout
    write(root / "usr/lib/systemd/system-preset/00-hirte.preset", presets)
    write(root / "usr/lib/systemd/system/hirte-initial.target", target_unit(settings, units))
    lines = [f"limit {INITIAL_STATE_SECONDS}"] + [f"allow {pattern}" for pattern in allowed]
    lines += [f"{state_name(unit)} {name}" for name, unit in units.items()]
    write(root / "usr/share/hirte/initial-state", "\n".join(lines) + "\n")
    for name, content in configuration(settings).items():
        write(root / "etc/hirte" / name, content)
    write(root / "etc/hostname", settings.node + "\n")
    write(root / "etc/hosts", f"127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {settings.node}\n")
    write(root / "etc/fstab", fstab(settings.mounts))
    if settings.ssh_key:
        write(root / "etc/ssh/authorized_keys", settings.ssh_key.strip() + "\n")


def archive(root, path, epoch):
    """Packs a folder: sorted, of one owner, of one time."""

    def plain(entry):
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        entry.mtime = epoch
        entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
        return entry

    names = []
    for folder, folders, files in os.walk(root):
        names += [os.path.relpath(os.path.join(folder, name), root) for name in folders + files]
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(names):
            tar.add(Path(root, name), arcname=name, recursive=False, filter=plain)
