"""Runs the molecule scenarios on podman: installs what is missing, makes the image, or says loudly why it cannot."""

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
SCENARIO_SECONDS = 660

# Debian's names of what runs the containers and makes their image.
PACKAGES = ("podman", "runc", "netavark", "aardvark-dns", "iptables", "mmdebstrap", "debian-archive-keyring")
SUITE = "bookworm"
IN_IMAGE = (
    *("systemd", "systemd-sysv", "dbus", "python3", "python3-apt"),
    *("iproute2", "ca-certificates", "procps", "cron"),
    # What Microsoft's script runs, and what makes certificates.
    *("curl", "jq", "openssl"),
)
# In the image as packages that wait in apt's cache: the roles install them, and the network of the rig has no way out.
FOR_ROLES = ("nginx-light", "nginx", "nfs-kernel-server", "nfs-common")
# With what they recommend, as Ansible's apt installs it.
DOWNLOAD = f'chroot "$1" apt-get install -y -o APT::Install-Recommends=true --download-only {" ".join(FOR_ROLES)}'
# Holds the connection plugin.
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
    """Has these commands, by installing these packages of Debian where one is missing."""
    if all(shutil.which(command) for command in commands):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Unable(f"{' and '.join(commands)} are needed (Debian: apt-get install {' '.join(packages)})")
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    print(f"installing {' '.join(packages)}", flush=True)
    run("apt-get", "update", quiet=True)
    run("apt-get", "install", "-y", "--no-install-recommends", *packages, quiet=True)


def configure_podman() -> None:
    """Settings that a machine needs which is a container or a small virtual machine itself; the user's own win."""
    if "CONTAINERS_CONF" in os.environ or os.geteuid() != 0:
        return
    lines = ["[containers]", 'default_ulimits = ["nofile=1024:4096", "nproc=4096:4096"]']
    if shutil.which("runc") and not Path("/sys/fs/cgroup/cgroup.controllers").exists():
        # crun refuses machines with both generations of cgroups.
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
    """Address and suite of every source of packages that apt has, in both of its formats."""
    for path in sorted((folder / "sources.list.d").glob("*.sources")):
        for stanza in re.split(r"\n\s*\n", path.read_text(encoding="utf-8")):
            # Without comments, and with continued lines in one.
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
    """Where this machine gets Debian's packages; Debian's own address where it names none."""
    for address, suite in apt_entries(folder):
        # One mirror has all suites; those of security updates and of others than Debian are somewhere else.
        if re.match(r"https?://.*/debian/?$", address) and not re.search(r"security|/$", suite):
            return address
    return "http://deb.debian.org/debian"


def proxy_options() -> list[str]:
    """The proxy that apt uses here, for mmdebstrap, which does not read apt's settings."""
    if not shutil.which("apt-config"):
        return []
    said = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False).stdout
    return [f"--aptopt={line}" for line in said.splitlines() if re.match(r'Acquire::https?::Proxy "[^"]', line, re.I)]


def make_image() -> None:
    if works("podman", "image", "exists", image()):
        return
    print(f"making {image()} (once, some minutes)", flush=True)
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
    install(PACKAGES, "podman", "mmdebstrap")
    configure_podman()
    make_image()
    if not works("podman", "run", "--rm", image(), "true"):
        raise Unable("podman cannot start a container here; `podman run --rm " + image() + " true` says why")
    try:
        provide(PODMAN)
    except NoCollections as exc:
        raise Unable(str(exc)) from exc


def prepare_machine() -> None:
    """What the scenario nfs needs besides."""
    if os.geteuid() != 0:
        raise Unable("only root can make the disk of the machine that serves and mounts NFS")
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
    """The number of commits of the checkout, 0 where git cannot tell; it grows with each change that lands."""
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
    parser.add_argument("scenario", nargs="*", help=f"of {', '.join(SCENARIOS)}; all without one")
    parser.add_argument("--verb", default="test", help="what molecule does, such as converge or destroy")
    parser.add_argument(
        "--within",
        type=float,
        metavar="SECONDS",
        help="start a scenario only while it can end within this time; each change lets another scenario be the first",
    )
    started = time.monotonic()
    chosen = parser.parse_args()
    if unknown := set(chosen.scenario) - set(SCENARIOS):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}; there are: {', '.join(SCENARIOS)}")
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
            skipped(f"molecule scenario {scenario}", f"it may not end within the {chosen.within:.0f} s that are left")
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
