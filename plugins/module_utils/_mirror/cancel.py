"""Stops a run from another thread: ends pauses and shuts down the sockets that are being read."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Iterator

from .errors import Cancelled


class Cancel:
    """Shared by all workers of a run."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()

    def set(self) -> None:
        self._event.set()
        with self._lock:
            for sock in self._sockets:
                with contextlib.suppress(OSError):
                    # The plain socket is shut down: shutdown() of the TLS layer would race with the reading worker.
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def check(self) -> None:
        if self._event.is_set():
            raise Cancelled

    def sleep(self, seconds: float) -> None:
        if self._event.wait(seconds):
            raise Cancelled

    @contextlib.contextmanager
    def closing(self, sock: socket.socket) -> Iterator[None]:
        """While inside, `set()` shuts `sock` down, so that a blocked read returns at once."""
        with self._lock:
            self._sockets.add(sock)
        try:
            self.check()
            yield
        finally:
            with self._lock:
                self._sockets.discard(sock)
