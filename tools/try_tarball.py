"""Installs a built tarball in an empty place and looks there for everything callable that it holds.

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

# Path in the tarball -> kind of thing, in ansible-doc's words; playbooks are none of ansible-doc's kinds.
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
    """One of Ansible's commands that sees the collections in `place` and no others."""
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
    """What ansible-doc knows of these plugins or roles; one that it cannot read is missing from it."""
    if not names:
        return {}
    done = run(place, "ansible-doc", "--type", kind, "--json", *names)
    if done.returncode and len(names) > 1:  # one that cannot be read must not hide the others
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
            lines += [f"{kind} {name}: ansible-doc knows nothing of it" for name in names if name not in known]
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
    print("\n".join(wrong) or f"{tarball.name}: all of it is found and described")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
