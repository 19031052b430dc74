"""Locks that end with the process that holds them, and that name this process."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Iterator

from .errors import LockedError, MirrorError
from .files import FILE_MODE, advising
from .times import now_iso

_POLL_SECONDS = 0.02


@contextlib.contextmanager
def locked(path: Path, patience: float = 0.0) -> Iterator[None]:
    """Holds the lock file at `path`.

    Raises `LockedError` naming the holder when another process still has it after `patience` seconds.
    """
    with advising("opening the lock", path):
        descriptor = os.open(str(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
    try:
        _take(descriptor, path, time.monotonic() + patience)
        holder = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": now_iso(),
            "command": Path(sys.argv[0]).name,
        }
        # flock(2) is the lock. The content only names the holder in messages, so a full disk does not matter here.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, path: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise _held(descriptor, path) from None
        except OSError as error:
            raise MirrorError(
                "file",
                f"the lock {path} cannot be taken: {error.strerror}",
                "Nothing was done, because without a lock two runs could damage each other's work. The filesystem must "
                "support flock(2): on NFS, check the lock service and the mount option nolock; otherwise use another "
                "filesystem.",
            ) from None
        time.sleep(_POLL_SECONDS)


def _held(descriptor: int, path: Path) -> LockedError:
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
        who = "process {pid} on {host}, since {since}".format(**holder)
    except (ValueError, KeyError, TypeError):
        who = "an unknown process"
    return LockedError(
        f"another run works on this mirror: {who} ({path})",
        "Wait for it to end. The lock ends with that process, so it never has to be removed by hand.",
    )
