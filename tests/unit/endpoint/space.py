"""Simulated results of statvfs, for hosts that are folders."""

from __future__ import annotations

GIB = 1024**3


class Space:
    """A result of statvfs."""

    def __init__(self, free: int = 40 * GIB, files_left: int = 100_000) -> None:
        self.f_frsize, self.f_bavail, self.f_blocks = 1, free, 100 * GIB
        self.f_files, self.f_favail = 1_000_000, files_left
