"""The log file of syncs, which is rotated by its size."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import sys
from pathlib import Path
from typing import Callable, Iterator

_BYTES, _FILES = 5 * 1024 * 1024, 3


@contextlib.contextmanager
def log_file(path: str) -> Iterator[Callable[[str], None] | None]:
    """Appends to the file at `path`. A log that cannot be written is reported and does not stop the run."""
    log = logging.getLogger("mde-mirror")
    log.propagate = False
    log.setLevel(logging.INFO)
    try:
        if Path(path).is_symlink():
            # The default of Microsoft's script is in /tmp, where another user can plant a link to any file.
            raise OSError(0, "it is a symbolic link")
        handler = _LogFile(path, maxBytes=_BYTES, backupCount=_FILES, encoding="utf-8")
    except OSError as error:
        _report_no_log(path, error)
        yield None
        return
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.addHandler(handler)
    try:
        yield log.info
    finally:
        log.removeHandler(handler)
        with contextlib.suppress(OSError):
            handler.close()


class _LogFile(logging.handlers.RotatingFileHandler):
    """A log file that reports once, in one line, that it cannot be written."""

    reported = False

    def handleError(self, record: logging.LogRecord) -> None:
        if not self.reported:
            self.reported = True
            _report_no_log(self.baseFilename, sys.exc_info()[1])


def _report_no_log(path: str, error: BaseException | None) -> None:
    sys.stderr.write(f"mde-mirror: no log in {path}: {getattr(error, 'strerror', None) or error}" + "\n")
