"""Simulated results of statvfs, for hosts that are folders.

It supports the Pythons that old_python_host_driver.py supports, including 2.7.
"""

GIB = 1024**3


class Space:
    """A result of statvfs."""

    def __init__(self, free=40 * GIB, files_left=100000):
        self.f_frsize, self.f_bavail, self.f_blocks = 1, free, 100 * GIB
        self.f_files, self.f_favail = 1000000, files_left
