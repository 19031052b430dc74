"""Runs `ansible-test sanity` on a copy of the files that the collection ships, without containers.

ansible-test has three requirements that a checkout does not meet:
- A path that ends in `ansible_collections/mde/offline`: the files of the checkout (committed or not) are copied there.
- Real interpreters on PATH, because it cannot use the shims of pyenv: a folder gets links to those that can be started.
- A script that installs pip into its virtual environments. ansible-test downloads the script if it is not in its cache.
  This program writes a script to the cache that runs the wheel of pip from the package index.

The home directory of ansible-test is in `.cache/sanity`, so it writes nothing to that of the user.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import interpreters
from collection_tree import CHECKOUT, NoGit, checkout_files
from skipped import skipped

SHIPPED = ("changelogs", "docs", "extensions", "galaxy.yml", "meta", "playbooks", "plugins", "README.md", "roles")
VERSIONS = ("2.7", *(f"3.{minor}" for minor in range(6, 17)))
PIP_VERSION = re.compile(r"""\bpip=['"]([0-9.]+)['"]""")

PIP_FROM_WHEEL = """\
# Replaces the script that ansible-test would download: runs pip from its wheel.
import os
import runpy
import sys

if __name__ == "__main__":
    sys.path.insert(0, os.path.join(os.path.dirname(os.environ["GET_PIP"]), "{wheel}"))
    sys.argv = ["pip", "install"] + [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
    runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""


class NoPip(Exception):
    """The version of pip that ansible-test needs cannot be provided; the message says why."""


def workplace() -> Path:
    """The folder for the copy: in the checkout, unless its path has characters that ansible-test does not support."""
    inside = CHECKOUT / ".cache" / "sanity"
    if re.fullmatch(r"[\w./+-]+", str(inside)):
        return inside
    return Path(tempfile.gettempdir()) / f"mde-offline-sanity-{os.getuid()}"


def shipped(name: str) -> bool:
    """True for files that the built collection contains, and for the settings of ansible-test."""
    return name.split("/")[0] in SHIPPED or name == "tests/config.yml"


def copy_checkout(place: Path) -> Path:
    target = place / "ansible_collections" / "mde" / "offline"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in filter(shipped, checkout_files()):
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(CHECKOUT / name, copy, follow_symlinks=False)
    for words in (["init", "--quiet"], ["add", "--all"]):  # ansible-test gets the list of files from git
        subprocess.run(["git", *words], cwd=target, check=True)
    return target


def link_interpreters(place: Path) -> tuple[Path, list[str]]:
    folder = place / "pythons"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    found = []
    for version in VERSIONS:
        executable = interpreters.find(version)
        if executable:
            (folder / f"python{version}").symlink_to(executable)
            found.append(version)
    return folder, found


def path_without_shims(*first: Path) -> str:
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join([*map(str, first), *(folder for folder in folders if "pyenv" not in Path(folder).parts)])


def seed_pip(home: Path) -> None:
    spec = importlib.util.find_spec("ansible_test")
    if spec is None or not spec.submodule_search_locations:
        raise NoPip("the installed ansible-core does not contain ansible-test")
    source = Path(spec.submodule_search_locations[0]) / "_internal" / "python_requirements.py"
    cache = home / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    for version in sorted(set(PIP_VERSION.findall(source.read_text(encoding="utf-8")))):
        wheel = f"pip-{version}-py3-none-any.whl"
        if not (cache / wheel).is_file():
            download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(cache)]
            done = subprocess.run([*download, f"pip=={version}"], capture_output=True, text=True, check=False)
            if done.returncode:
                raise NoPip(f"pip {version}, which ansible-test needs, cannot be downloaded: {done.stderr.strip()}")
        script = cache / f"get_pip_{version.replace('.', '_')}.py"
        script.write_text(PIP_FROM_WHEEL.format(wheel=wheel), encoding="utf-8")


def lend_pip_settings(home: Path) -> None:
    """Links the pip settings of the user, such as a company's package index, into the separate home directory."""
    for name in (".config/pip", ".pip"):
        theirs, ours = Path.home() / name, home / name
        if theirs.is_dir() and not ours.exists():
            ours.parent.mkdir(parents=True, exist_ok=True)
            ours.symlink_to(theirs, target_is_directory=True)


def main() -> int:
    place = workplace()
    home = place / "home"
    try:
        collection = copy_checkout(place)
        seed_pip(home)
    except (NoGit, NoPip) as reason:
        skipped("ansible-test sanity", str(reason))
        return 0
    lend_pip_settings(home)
    pythons, versions = link_interpreters(place)
    print(f"ansible-test sanity in {collection}, with Python {', '.join(versions)}", flush=True)
    environment = {
        **os.environ,
        "HOME": str(home),
        "PATH": path_without_shims(Path(sys.executable).parent, pythons),
        "LC_ALL": "C.UTF-8",
    }
    for name in ("ANSIBLE_COLLECTIONS_PATH", "PYTHONPATH", "PYENV_VERSION"):
        environment.pop(name, None)
    command = [str(Path(sys.executable).with_name("ansible-test")), "sanity", "--local", "--color", "no", *sys.argv[1:]]
    return subprocess.run(command, cwd=collection, env=environment, stdin=subprocess.DEVNULL, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
