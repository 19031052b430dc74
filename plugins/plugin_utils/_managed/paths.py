"""Matches the paths of exclusions against folders that should never be excluded.

Private to the mde.offline collection; it may change without notice.
"""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import posixpath
import re

# Microsoft's list for Linux is /, /bin, /sbin and /usr/lib. The others are from the practice of operators.
DANGEROUS_FOLDERS = (
    "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/usr/lib", "/usr/lib32", "/usr/lib64",
    "/usr/bin", "/usr/sbin", "/usr/local/bin", "/etc", "/opt", "/var", "/home", "/root",
    "/tmp", "/var/tmp", "/dev/shm", "/run",
)  # fmt: skip
WORLD_WRITABLE = ("/tmp", "/var/tmp", "/dev/shm")
PSEUDO_FILESYSTEMS = ("/proc", "/sys")
OF_MACOS = (
    "/Users",
    "/Library",
    "/Applications",
    "/System",
    "/Volumes",
    "/private/var",
    "/private/tmp",
    "/opt/homebrew",
)
SYSTEM_BINARIES = ("/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin")
_LINKS = {
    "/bin": "/usr/bin",
    "/sbin": "/usr/sbin",
    "/lib": "/usr/lib",
    "/lib64": "/usr/lib64",
    "/var/run": "/run",
    "/var/lock": "/run/lock",
}


def has_wildcard(text: str) -> bool:
    return "*" in text or "?" in text


def matches(pattern: str, text: str) -> bool:
    """Whether a pattern with * and ? matches the text."""
    parts = (
        "." if mark == "?" else ".*" if mark.startswith("*") else re.escape(mark)
        for mark in re.split(r"(\?|\*+)", pattern)
    )
    return re.fullmatch("".join(parts), text, flags=re.DOTALL) is not None


def normal(path: str) -> str:
    """The path without double and trailing slashes, and without . and .."""
    return "/" + posixpath.normpath(path).lstrip("/") if path.startswith("/") else path


def _segments(path: str) -> list[str]:
    return [part for part in normal(path).split("/") if part and part != "."]


def reach(path: str) -> str | None:
    """The dangerous folder that the pattern covers completely; None if there is none."""
    pattern = _segments(path)
    while pattern and set(pattern[-1]) == {"*"}:
        pattern.pop()
    if not pattern:
        return "/"
    return next((folder for folder in DANGEROUS_FOLDERS if _covers(pattern, folder)), None)


def _covers(pattern: list[str], folder: str) -> bool:
    parts = _segments(folder)
    return len(pattern) <= len(parts) and all(map(matches, pattern, parts))


def inside(path: str, folders: tuple[str, ...]) -> str | None:
    """The folder of `folders` that is the path or contains it."""
    own = normal(path)
    return next((folder for folder in folders if own == folder or own.startswith(folder + "/")), None)


def real(path: str) -> str | None:
    """The real path, if it begins with a symbolic link of current distributions."""
    link = inside(path, tuple(_LINKS))
    return _LINKS[link] + normal(path)[len(link) :] if link else None
