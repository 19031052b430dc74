"""Runs another program for a mirror: in a folder of ours, as the mirror's owner, and under watch until it ends."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..cancel import Cancel
from ..errors import MirrorError
from ..settings import SourceSettings

_LOOK_SECONDS = 0.1
_END_SECONDS = 2.0
# They are silent for long: the script while it writes all file systems of the host to their disks, git while the server
# counts and packs.
LEAST_PATIENCE = 120.0


@dataclass(frozen=True)
class Watch:
    """When a program is ended: after `patience` seconds in which `folder` did not move by `step` bytes, or above `most`
    bytes (0: never). What it says is no progress: curl goes on telling that nothing comes. Nor is a trickle."""

    name: str
    folder: Path
    source: SourceSettings
    most: int
    code: str
    hint: str

    @property
    def patience(self) -> float:
        return max(self.source.timeout, LEAST_PATIENCE)

    @property
    def step(self) -> int:
        return max(self.source.min_speed, 1)


def run(
    command: list[str],
    folder: Path,
    environment: dict[str, str],
    output: BinaryIO,
    errors: BinaryIO,
    watch: Watch,
    cancel: Cancel,
) -> int:
    """The exit status of the program, negative where a signal ended it. Raises `MirrorError`."""
    # It shall not see that root started us: a shell gives up an effective user that is not the real one.
    changed = os.geteuid() != os.getuid() or os.getegid() != os.getgid()
    try:
        # pylint: disable-next=subprocess-popen-preexec-fn
        process = subprocess.Popen(
            command,
            cwd=str(folder),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
            preexec_fn=_become_the_owner if changed else None,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise MirrorError(
            watch.code,
            f"{watch.name} could not be started: {getattr(error, 'strerror', None) or error}",
            f"Check {command[0]} on this host, and that the mirror's user may run it.",
        ) from None
    try:
        _wait(process, watch, cancel)
    finally:
        # Also when it ended by itself: nothing that it began may write to what is about to be proven.
        _end(process)
    return process.returncode


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kills the whole group, and waits until it is gone; not for long, as nobody may collect what died."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + _END_SECONDS
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(process.pid, 0)
            time.sleep(0.01)


def _become_the_owner() -> None:
    os.setresgid(*[os.getegid()] * 3)
    os.setresuid(*[os.geteuid()] * 3)


def _wait(process: subprocess.Popen[bytes], watch: Watch, cancel: Cancel) -> None:
    seen, since = 0, time.monotonic()
    while True:
        cancel.check()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_LOOK_SECONDS)
            return
        size = _size_of(watch.folder)
        if watch.most and size > watch.most:
            raise MirrorError(
                "size_out_of_bounds",
                f"{watch.name} brought more than {watch.most >> 20} MiB and was ended",
                watch.hint,
            )
        if abs(size - seen) >= watch.step:
            seen, since = size, time.monotonic()
        elif time.monotonic() - since > watch.patience:
            raise MirrorError(
                "timeout", f"{watch.name} made no progress for {watch.patience:.0f} seconds and was ended", watch.hint
            )


def _size_of(folder: Path) -> int:
    size = 0
    for parent, _folders, names in os.walk(str(folder)):
        for name in names:
            with contextlib.suppress(OSError):
                size += Path(parent, name).lstat().st_size
    return size
