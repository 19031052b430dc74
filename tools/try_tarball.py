"""Installs a built tarball into an empty folder and checks that Ansible finds every module, plugin, role and playbook.

usage: try_tarball.py TARBALL FOLDER
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

COLLECTION = "mde.offline"
BIN = Path(sys.executable).parent

# The types that ansible-doc knows, and playbooks, with the paths of their files in the tarball.
CALLABLE = {
    "module": re.compile(r"plugins/modules/(\w+)\.py"),
    "filter": re.compile(r"plugins/filter/(\w+)\.yml"),
    "test": re.compile(r"plugins/test/(\w+)\.yml"),
    "lookup": re.compile(r"plugins/lookup/(\w+)\.py"),
    "role": re.compile(r"roles/(\w+)/tasks/main\.yml"),
    "playbook": re.compile(r"playbooks/(\w+)\.yml"),
}


def members(tarball: Path) -> list[str]:
    with tarfile.open(tarball) as archive:
        return sorted(member.name for member in archive.getmembers() if not member.isdir())


def callables(tarball: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {kind: [] for kind in CALLABLE}
    for name in members(tarball):
        for kind, pattern in CALLABLE.items():
            if match := pattern.fullmatch(name):
                found[kind].append(f"{COLLECTION}.{match.group(1)}")
    return found


def run(place: Path, command: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs a command of Ansible that finds only the collections in `place`."""
    environment = {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "ANSIBLE_COLLECTIONS_PATH": str(place),
        "ANSIBLE_COLLECTIONS_SCAN_SYS_PATH": "false",
        "ANSIBLE_LOCALHOST_WARNING": "false",
    }
    environment.pop("PYTHONPATH", None)
    return subprocess.run(
        [str(BIN / command), *words],
        cwd=place,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def install(tarball: Path, place: Path) -> None:
    done = run(place, "ansible-galaxy", "collection", "install", "--offline", "-p", str(place), str(tarball))
    if done.returncode:
        raise SystemExit(f"{tarball} cannot be installed:\n{done.stdout}{done.stderr}")


def documentation(place: Path, kind: str, names: list[str]) -> dict[str, Any]:
    """The documentation that ansible-doc finds for these plugins or roles; those that it cannot read are missing."""
    if not names:
        return {}
    done = run(place, "ansible-doc", "--type", kind, "--json", *names)
    if done.returncode and len(names) > 1:  # one page that cannot be read makes the command fail for all
        return {name: found for each in names for name, found in documentation(place, kind, [each]).items()}
    if done.returncode:
        print(done.stderr.strip(), file=sys.stderr)
        return {}
    found: dict[str, Any] = json.loads(done.stdout)
    return {name: described for name, described in found.items() if described and "error" not in described}


def troubles(place: Path, found: dict[str, list[str]]) -> list[str]:
    lines = []
    for kind, names in found.items():
        if kind == "playbook":
            for name in names:
                done = run(place, "ansible-playbook", "--syntax-check", "-i", "localhost,", name)
                if done.returncode:
                    lines.append(f"playbook {name}: {done.stderr.strip()}")
        else:
            known = documentation(place, kind, names)
            lines += [f"{kind} {name}: ansible-doc finds no documentation" for name in names if name not in known]
    return lines


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    tarball, place = (Path(word).resolve() for word in sys.argv[1:])
    install(tarball, place)
    found = callables(tarball)
    for kind, names in found.items():
        print(f"{kind:<10} {len(names):>2}  {' '.join(names)}")
    wrong = troubles(place, found)
    print("\n".join(wrong) or f"{tarball.name}: everything is found and documented")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
