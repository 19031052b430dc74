"""Writes files so that a crash cannot damage them: under another name, flushed, then moved into place in one step."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import stat
import sys
from pathlib import Path
from typing import IO, Any, Iterator

from .errors import LockedError, MirrorError

CHUNK = 1024 * 1024
FILE_MODE = 0o644
DIRECTORY_MODE = 0o755


def os_error(error: OSError, doing: str, path: object) -> MirrorError:
    """Converts an `OSError` to a `MirrorError` with a hint."""
    where = f"{doing} {path}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return MirrorError(
            "disk_full",
            f"no space left while {where} ({error.strerror})",
            "Free space on that filesystem or raise its quota, then sync again. What is published was not touched.",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return MirrorError(
            "not_writable",
            f"not allowed: {where} ({error.strerror})",
            "Run as the user who owns the folder (or as root), and check that its filesystem is mounted read-write.",
        )
    return MirrorError(
        "file",
        f"{where} failed ({error.strerror or error})",
        "Check the filesystem, its mount and the system log, then sync again. What is published was not touched.",
    )


@contextlib.contextmanager
def advising(doing: str, path: object) -> Iterator[None]:
    """Converts an `OSError` of the enclosed block to a `MirrorError` with a hint."""
    try:
        yield
    except OSError as error:
        raise os_error(error, doing, path) from error


def make_directory(path: Path, mode: int = DIRECTORY_MODE) -> None:
    """Makes a folder and its parents; new ones get `mode`, whatever the umask of the caller."""
    missing: list[Path] = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            folder.chmod(mode)


def target_of(link: Path) -> Path:
    """The final target of a link. Unlike `Path.resolve`, a link that leads to itself is not an error."""
    return Path(os.path.realpath(str(link)))


def sync_directory(path: Path) -> None:
    descriptor = os.open(str(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Some network filesystems refuse to flush a folder; their servers flush it on their own.
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write(path: Path, data: bytes, mode: int = FILE_MODE) -> None:
    """A new file, flushed to disk."""
    descriptor = os.open(str(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace(path: Path, data: bytes, aside: Path, mode: int = FILE_MODE) -> None:
    """Gives `path` the content `data` in one rename(2). `aside` is a folder on the same filesystem for the new file."""
    staged = aside / unique(path.name)
    try:
        write(staged, data, mode)
        staged.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            staged.unlink()
        raise
    sync_directory(path.parent)


@contextlib.contextmanager
def replacing(target: Path, wait: bool = False) -> Iterator[IO[bytes]]:
    """A file to write that replaces `target` in one rename(2) once it is complete and flushed.

    The file is `.<name>.part` beside the target, always under the same name: a killed writer leaves at most one such
    file, and the next writer removes it. If another writer is at work, `wait` makes this one wait; without it,
    `LockedError` is raised.
    Nothing is written through a link, or into a file that somebody else created.
    """
    staged = target.with_name(f".{target.name}.part")
    with _new_and_locked(staged, target, wait) as file:
        try:
            yield file
            file.flush()
            os.fchmod(file.fileno(), FILE_MODE)
            os.fsync(file.fileno())
            staged.replace(target)
        except BaseException:
            with contextlib.suppress(OSError):
                staged.unlink()
            raise
        sync_directory(target.parent)


def _new_and_locked(staged: Path, target: Path, wait: bool) -> IO[bytes]:
    while True:
        _remove_leftover(staged, target, wait)
        try:
            descriptor = os.open(str(staged), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            continue
        file = os.fdopen(descriptor, "wb")
        try:
            _lock(descriptor, target, wait)
            if _is_at(descriptor, staged):
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def _remove_leftover(staged: Path, target: Path, wait: bool) -> None:
    """Removes what a killed writer or somebody else left. A writer that is at work holds the lock of its file."""
    try:
        mode = staged.lstat().st_mode
        if not stat.S_ISREG(mode):
            staged.unlink()
            return
        descriptor = os.open(str(staged), os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        _lock(descriptor, target, wait)
        if _is_at(descriptor, staged):
            staged.unlink()
    finally:
        os.close(descriptor)


def _lock(descriptor: int, target: Path, wait: bool) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise LockedError(
            f"another run is writing {target} at this moment", "Wait for it to end, or name another file."
        ) from None
    except OSError as error:
        # Some network and foreign filesystems have no locks. Then only the rename protects the target.
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
            raise


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def json_bytes(fields: Any) -> bytes:
    """JSON in the format of all files of a mirror."""
    return (json.dumps(fields, indent=2, sort_keys=True) + "\n").encode()


def read_json(path: Path) -> Any:
    """The content of a JSON file; None if it is missing or broken. Missing permissions are an error."""
    try:
        return json.loads(path.read_bytes())
    except PermissionError as error:
        raise os_error(error, "reading", path) from None
    except (OSError, ValueError, RecursionError):
        return None


def read_or_none(path: Path) -> bytes | None:
    """The content of a small file; None if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def unique(name: str) -> str:
    return f"{name}.{os.urandom(6).hex()}"


def sha256_of(path: Path) -> str:
    import hashlib

    digest = hashlib.sha256()
    with path.open("rb") as file:
        while True:
            data = file.read(CHUNK)
            if not data:
                return digest.hexdigest()
            digest.update(data)


def remove_tree(path: Path) -> None:
    """Removes a file, link or folder, if it exists."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        shutil.rmtree(str(path))
    else:
        path.unlink()


def replace_symlink(link: Path, target: str, aside: Path) -> None:
    """Makes `link` lead to `target` in one rename(2).

    Microsoft's script leaves a folder where the link is to be. If the kernel supports it (Linux 3.15 and later), the
    folder and the link are exchanged in one step; otherwise the folder is moved away first. Then the folder is removed.
    """
    staged = aside / unique(link.name)
    staged.symlink_to(target)
    try:
        if link.is_dir() and not link.is_symlink():
            if not _exchange(staged, link):
                away = aside / unique(link.name)
                link.rename(away)
                staged.replace(link)
                staged = away
        else:
            staged.replace(link)
    finally:
        remove_tree(staged)
    sync_directory(link.parent)


def _exchange(first: Path, second: Path) -> bool:
    """Exchanges two names in one step. Returns False if the system has no such call."""
    import ctypes

    renameat2: Any | None = None
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    if renameat2 is None:
        return False
    at_fdcwd, rename_exchange = -100, 2
    return bool(renameat2(at_fdcwd, os.fsencode(first), at_fdcwd, os.fsencode(second), rename_exchange) == 0)
