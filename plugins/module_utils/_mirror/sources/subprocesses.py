"""Runs another program for a mirror: in a private folder, as the owner of the mirror, and watched until it ends."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import IO, NamedTuple

from ..cancel import Cancel
from ..errors import MirrorError
from ..privileges import for_program
from ..settings import SourceSettings

_LOOK_SECONDS = 0.1
_END_SECONDS = 2.0
# Both programs may be idle for long: the script while it runs sync(1), git while the server counts and compresses.
LEAST_PATIENCE = 120.0


class Watchdog(NamedTuple):
    """The limits of a program, which is killed after `patience` seconds without progress or above `most` bytes.

    Progress means that the size of `folder` changed by `step` bytes or more. Output does not count, because curl keeps
    printing while it is stalled. The value 0 of `most` means no limit.
    """

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
    output: IO[bytes],
    errors: IO[bytes],
    watchdog: Watchdog,
    cancel: Cancel,
) -> int:
    """The exit status of the program, negative if a signal ended it. Raises `MirrorError`."""
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
            preexec_fn=for_program(),
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise MirrorError(
            watchdog.code,
            f"{watchdog.name} could not be started: {getattr(error, 'strerror', None) or error}",
            f"Check {command[0]} on this host, and that the mirror's user may run it.",
        ) from None
    try:
        _wait(process, watchdog, cancel)
    finally:
        # Also when the program ended by itself: processes that it left must not write to files that are verified next.
        _end(process)
    return process.returncode


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kills the process group and waits until it is gone. The wait has a limit, because zombies may stay for ever."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + _END_SECONDS
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(process.pid, 0)
            time.sleep(0.01)


def _wait(process: subprocess.Popen[bytes], watchdog: Watchdog, cancel: Cancel) -> None:
    seen, since = 0, time.monotonic()
    while True:
        cancel.check()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_LOOK_SECONDS)
            return
        size = _size_of(watchdog.folder)
        if watchdog.most and size > watchdog.most:
            raise MirrorError(
                "size_out_of_bounds",
                f"{watchdog.name} wrote more than {watchdog.most >> 20} MiB and was killed",
                watchdog.hint,
            )
        if abs(size - seen) >= watchdog.step:
            seen, since = size, time.monotonic()
        elif time.monotonic() - since > watchdog.patience:
            raise MirrorError(
                "timeout",
                f"{watchdog.name} made no progress for {watchdog.patience:.0f} seconds and was killed",
                watchdog.hint,
            )


def _size_of(folder: Path) -> int:
    size = 0
    for parent, _folders, names in os.walk(str(folder)):
        for name in names:
            with contextlib.suppress(OSError):
                size += Path(parent, name).lstat().st_size
    return size
