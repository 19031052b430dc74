"""Acts as the owner of a mirror, so that root leaves no files there that the service account cannot write."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import importlib
import os
import pwd
from pathlib import Path
from typing import Callable, Iterator

# Modules that this engine and the standard library import only when they need them. The owner of a mirror may not be
# allowed to read the files of this Python, so root imports these modules before it acts as the owner.
_IMPORTED_LATE = (
    "concurrent.futures.thread",
    "ctypes",
    "encodings.cp437",
    "encodings.idna",
    "hashlib",
    "zipfile",
    "tempfile",
    f"{__package__}.download",
    f"{__package__}.signing",
    f"{__package__}.sources.microsoft",
    f"{__package__}.sources.replica",
    f"{__package__}.sources.script",
)


def for_program() -> Callable[[], None] | None:
    """What a program that is started now must do before it begins, so that it runs as the owner of the mirror.

    Many programs reset the effective user if it differs from the real one, so both are set. None if they are equal.
    """
    equal = os.geteuid() == os.getuid() and os.getegid() == os.getgid()
    return None if equal else _become_the_owner


def _become_the_owner() -> None:
    os.setresgid(*[os.getegid()] * 3)
    os.setresuid(*[os.geteuid()] * 3)


@contextlib.contextmanager
def acting_as_owner(root: Path) -> Iterator[None]:
    """While inside, a process of root has the effective user and groups of the owner of `root`."""
    try:
        owner = root.stat()
    except OSError:
        owner = None
    if os.geteuid() != 0 or owner is None or owner.st_uid == 0:
        yield
        return
    for module in _IMPORTED_LATE:
        # An Ansible module contains only the parts of the engine that it uses.
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(module)
    groups = os.getgroups()
    try:
        os.setgroups(os.getgrouplist(pwd.getpwuid(owner.st_uid).pw_name, owner.st_gid))
    except KeyError:
        os.setgroups([owner.st_gid])
    try:
        os.setegid(owner.st_gid)
        os.seteuid(owner.st_uid)
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
