"""Runs the molecule scenarios on podman: installs what is missing and builds the image, or reports why it cannot."""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Iterator, Sequence

import nfs_machine
from collection_tree import CHECKOUT, link_checkout
from community_collections import Unavailable as NoCollections
from community_collections import provide
from skipped import skipped

CACHE = CHECKOUT / ".cache" / "molecule"
BASE = CHECKOUT / "molecule" / "base.yml"
SCENARIOS = sorted(path.parent.name for path in (CHECKOUT / "molecule").glob("*/molecule.yml"))
# The time, in seconds, that one scenario needs at most on a slow machine.
SCENARIO_SECONDS = 780

# Debian packages that run the containers and build their image, and that create keys.
PACKAGES = ("podman", "runc", "netavark", "aardvark-dns", "iptables", "mmdebstrap", "debian-archive-keyring", "gnupg")
SUITE = "bookworm"
IN_IMAGE = (
    *("systemd", "systemd-sysv", "dbus", "python3", "python3-apt"),
    *("iproute2", "ca-certificates", "procps", "cron"),
    # Programs that Microsoft's script runs, and openssl to create certificates.
    *("curl", "jq", "openssl"),
)
# Packages in the apt cache of the image. The roles install them, and the networks of the containers have no internet.
FOR_ROLES = ("nginx-light", "nginx", "nfs-kernel-server", "nfs-common", "gnupg", "gpgv")
# With recommended packages, because Ansible's module apt installs those too.
DOWNLOAD = f'chroot "$1" apt-get install -y -o APT::Install-Recommends=true --download-only {" ".join(FOR_ROLES)}'
# The collection with the connection plugin.
PODMAN = "containers.podman"


class Unable(Exception):
    """This machine cannot run the scenarios; the message says why."""


def run(*command: str, quiet: bool = False) -> None:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if quiet else None,
        stderr=subprocess.STDOUT if quiet else None,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        tail = "\n".join((done.stdout or "").splitlines()[-15:])
        raise Unable(f"`{' '.join(command[:4])} ...` ended with {done.returncode}. {tail}")


def works(*command: str) -> bool:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0


def install(packages: Sequence[str], *commands: str) -> None:
    """Installs these Debian packages if one of the commands is missing."""
    if all(shutil.which(command) for command in commands):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Unable(f"{' and '.join(commands)} are required (Debian: apt-get install {' '.join(packages)})")
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    print(f"installing {' '.join(packages)}", flush=True)
    run("apt-get", "update", quiet=True)
    run("apt-get", "install", "-y", "--no-install-recommends", *packages, quiet=True)


def configure_podman() -> None:
    """Writes settings for machines that are containers or small virtual machines, unless the user has settings."""
    if "CONTAINERS_CONF" in os.environ or os.geteuid() != 0:
        return
    lines = ["[containers]", 'default_ulimits = ["nofile=1024:4096", "nproc=4096:4096"]']
    if shutil.which("runc") and not Path("/sys/fs/cgroup/cgroup.controllers").exists():
        # crun does not work on machines with both versions of cgroups.
        lines += ["[engine]", 'runtime = "runc"']
    if works("dpkg", "--status", "netavark"):
        lines += ["[network]", 'network_backend = "netavark"']
    path = CACHE / "containers.conf"
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    os.environ["CONTAINERS_CONF"] = str(path)


def image() -> str:
    recipe = "\n".join([SUITE, *IN_IMAGE, DOWNLOAD])
    return f"localhost/mde-rig:{SUITE}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def apt_entries(folder: Path) -> Iterator[tuple[str, str]]:
    """URL and suite of every package source in apt's configuration, in both of its formats."""
    for path in sorted((folder / "sources.list.d").glob("*.sources")):
        for stanza in re.split(r"\n\s*\n", path.read_text(encoding="utf-8")):
            # Remove comments, and join continued lines.
            lines = re.sub(r"\n[ \t]+", " ", re.sub(r"^#.*\n?", "", stanza, flags=re.M)).splitlines()
            fields = {
                name.strip().lower(): value.split() for name, _colon, value in (line.partition(":") for line in lines)
            }
            if "deb" in fields.get("types", []) and fields.get("enabled", ["yes"]) != ["no"]:
                yield from ((uri, suite) for uri in fields.get("uris", []) for suite in fields.get("suites", []))
    for path in [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*.list"))]:
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
            if found := re.match(r"\s*deb\s+(?:\[[^]]*\]\s*)?(\S+)\s+(\S+)", line):
                yield found[1], found[2]


def package_mirror(folder: Path = Path("/etc/apt")) -> str:
    """The package mirror of this machine; that of Debian if apt's configuration contains none."""
    for address, suite in apt_entries(folder):
        # A Debian mirror has all suites, except for the security updates.
        if re.match(r"https?://.*/debian/?$", address) and not re.search(r"security|/$", suite):
            return address
    return "http://deb.debian.org/debian"


def proxy_options() -> list[str]:
    """Options that pass apt's proxy to mmdebstrap, which does not read apt's configuration."""
    if not shutil.which("apt-config"):
        return []
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False).stdout
    return [f"--aptopt={line}" for line in dump.splitlines() if re.match(r'Acquire::https?::Proxy "[^"]', line, re.I)]


def make_image() -> None:
    if works("podman", "image", "exists", image()):
        return
    print(f"building {image()} (only once, takes some minutes)", flush=True)
    rootfs = CACHE / "rootfs.tar"
    try:
        run(
            *("mmdebstrap", "--variant=apt", f"--include={','.join(IN_IMAGE)}", "--skip=cleanup/apt"),
            *proxy_options(),
            *(f"--customize-hook={DOWNLOAD}", SUITE, str(rootfs), package_mirror()),
            quiet=True,
        )
        commands = ("--change", 'CMD ["/sbin/init"]', "--change", "STOPSIGNAL=SIGRTMIN+3")
        run("podman", "import", "--quiet", *commands, str(rootfs), image(), quiet=True)
    finally:
        rootfs.unlink(missing_ok=True)


def prepare() -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    install(PACKAGES, "podman", "mmdebstrap", "gpg")
    configure_podman()
    make_image()
    if not works("podman", "run", "--rm", image(), "true"):
        raise Unable("podman cannot start a container; run `podman run --rm " + image() + " true` to see why")
    try:
        provide(PODMAN)
    except NoCollections as exc:
        raise Unable(str(exc)) from exc


def prepare_machine() -> None:
    """Prepares the virtual machine of the scenario nfs."""
    if os.geteuid() != 0:
        raise Unable("only root can create the disk of the virtual machine that serves and mounts NFS")
    install(nfs_machine.PACKAGES, "qemu-system-x86_64", "mmdebstrap")
    try:
        nfs_machine.make(SUITE, package_mirror(), proxy_options())
    except subprocess.CalledProcessError as exc:
        raise Unable(f"{exc} {(exc.stderr or b'').decode(errors='replace')[-1000:]}") from exc


def rotated(scenarios: Sequence[str], turn: int) -> list[str]:
    """The scenarios in their order, beginning with number `turn` modulo their count."""
    start = turn % len(scenarios)
    return [*scenarios[start:], *scenarios[:start]]


def commits() -> int:
    """The number of commits of the checkout, or 0 if git cannot count them."""
    command = ["git", "rev-list", "--count", "HEAD"]
    counted = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False).stdout.strip()
    return int(counted) if counted.isdigit() else 0


def molecule(verb: str, scenario: str) -> bool:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "ANSIBLE_COLLECTIONS_PATH": f"{link_checkout()}{os.pathsep}{provide(PODMAN)}",
        "MDE_CHECKOUT": str(CHECKOUT),
        "MDE_RIG_IMAGE": image(),
    }
    command = [sys.executable, "-m", "molecule", "--base-config", str(BASE), verb, "--scenario-name", scenario]
    return subprocess.run(command, cwd=CHECKOUT, env=environment, stdin=subprocess.DEVNULL, check=False).returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", nargs="*", help=f"one of: {', '.join(SCENARIOS)} (default: all)")
    parser.add_argument("--verb", default="test", help="the command for molecule, such as converge or destroy")
    parser.add_argument(
        "--within",
        type=float,
        metavar="SECONDS",
        help="start a scenario only if it can end within this time; begin with another scenario after each commit",
    )
    started = time.monotonic()
    chosen = parser.parse_args()
    if unknown := set(chosen.scenario) - set(SCENARIOS):
        parser.error(f"unknown scenario: {', '.join(sorted(unknown))}; the scenarios are: {', '.join(SCENARIOS)}")
    try:
        prepare()
    except Unable as exc:
        skipped("molecule", str(exc))
        return 0
    scenarios = chosen.scenario or SCENARIOS
    results = []
    for scenario in rotated(scenarios, commits()) if chosen.within else scenarios:
        began = time.monotonic()
        if chosen.within and began - started + SCENARIO_SECONDS > chosen.within:
            skipped(f"molecule scenario {scenario}", f"it may not end within the limit of {chosen.within:.0f} s")
            continue
        try:
            if scenario == "nfs":
                prepare_machine()
        except Unable as exc:
            skipped(f"molecule scenario {scenario}", str(exc))
            continue
        good = molecule(chosen.verb, scenario)
        results.append((scenario, good, time.monotonic() - began))
    print("---")
    for scenario, good, seconds in results:
        print(f"{scenario:<20} {'ok' if good else 'FAILED':<8} {seconds:5.0f} s")
    return 0 if all(good for _scenario, good, _seconds in results) else 1


if __name__ == "__main__":
    sys.exit(main())
