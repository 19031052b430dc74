"""Runs all linters on the checkout, even if one fails, and prints one line for each result at the end."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

from collection_tree import CHECKOUT, LINK, checkout_files, link_checkout
from community_collections import Unavailable, provide
from skipped import skipped

BIN = Path(sys.executable).parent

# The code that mypy checks, under the names that Python imports it by. Endpoint code is not included, because it must
# run on Python 2.7, which has no annotations.
TYPED_PLUGINS = ("action", "filter", "lookup", "module_utils/_mirror", "module_utils/_mirror_module.py", "plugin_utils")
TYPED_FOLDERS = ("roles/mirror/files", "simulators", "tools")

# The tasks that use modules of other collections, and these collections. The collection itself does not depend on them.
WINDOWS_TASKS = "roles/mirror/tasks/windows"
WINDOWS_COLLECTIONS = ("ansible.windows", "community.windows", "microsoft.iis")


def typed_files() -> list[str]:
    folders = [LINK / "plugins" / name for name in TYPED_PLUGINS] + [CHECKOUT / name for name in TYPED_FOLDERS]
    files = sorted(path for place in folders for path in ([place] if place.is_file() else place.rglob("*.py")))
    return [str(path.relative_to(CHECKOUT)) for path in files]


def shell_files() -> list[str]:
    found = []
    for name in checkout_files():
        with (CHECKOUT / name).open("rb") as handle:
            first = handle.readline(80)
        if re.match(rb"#!.*[/ ](ba)?sh\b", first):
            found.append(name)
    return found


def linters() -> dict[str, list[str]]:
    return {
        "ruff": ["ruff", "check", "."],
        "mypy": ["mypy", *typed_files()],
        "shellcheck": ["shellcheck", *shell_files()],
        "yamllint": ["yamllint", "--strict", "."],
        "changelog": ["antsibull-changelog", "lint"],
        "wording": ["python", "tools/wording.py"],
        "ansible-lint": ["ansible-lint", "--offline", "--strict"],
    }


def windows_collections() -> tuple[list[str], list[str]]:
    """Folders for the collections path; if they cannot be downloaded, options that exclude the Windows tasks."""
    try:
        return [str(provide(*WINDOWS_COLLECTIONS))], []
    except Unavailable as exc:
        modules = f"they use modules of {', '.join(WINDOWS_COLLECTIONS)}"
        skipped(f"ansible-lint of {WINDOWS_TASKS}", f"{modules}, which cannot be downloaded here. {exc}")
        return [], ["--exclude", WINDOWS_TASKS]


def main() -> int:
    os.chdir(CHECKOUT)
    environment = {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "ANSIBLE_COLLECTIONS_PATH": str(link_checkout()),
    }
    wanted = sys.argv[1:]
    known = linters()
    if unknown := set(wanted) - set(known):
        print(f"unknown linter: {', '.join(sorted(unknown))}; the linters are: {', '.join(known)}", file=sys.stderr)
        return 2
    if not wanted or "ansible-lint" in wanted:
        folders, left_out = windows_collections()
        environment["ANSIBLE_COLLECTIONS_PATH"] = os.pathsep.join([str(link_checkout()), *folders])
        known["ansible-lint"] += left_out
    results = []
    for name in wanted or known:
        print(f"--- {name}", flush=True)
        command = [str(BIN / known[name][0]), *known[name][1:]]
        started = time.monotonic()
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, check=False)
        results.append((name, done.returncode == 0, time.monotonic() - started))
    print("---")
    for name, good, seconds in results:
        print(f"{name:<14} {'ok' if good else 'FAILED':<8} {seconds:5.1f} s")
    return 0 if all(good for name, good, seconds in results) else 1


if __name__ == "__main__":
    sys.exit(main())
