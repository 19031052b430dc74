"""Reads one file of an endpoint whole and replaces it in one step. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import errno
import hashlib
import os
import stat
import tempfile

from ansible.module_utils.common.text.converters import to_bytes, to_text

LARGEST = 2 * 1024 * 1024
NEW_FILE_MODE = 0o644
NEW_FOLDER_MODE = 0o755

_ADVICE = {
    errno.EACCES: "Run the task as root (become: true).",
    errno.EPERM: "Run the task as root (become: true). As root, check whether the file is immutable (lsattr).",
    errno.EROFS: "The file system is mounted read-only; mount it read-write first.",
    errno.ENOSPC: "The file system is full; free space first.",
    errno.EDQUOT: "The disk quota is exceeded; free space first.",
    errno.EBUSY: "The file is a mount point (as in some containers); mount its folder instead.",
    errno.ENOTDIR: "A part of the path is a file and not a folder; correct the path.",
}


class FileProblem(Exception):
    """A file cannot be read or written; the message has the reason and the remedy."""


def native(path):
    """A path for functions of os, in every locale: Python 3.6 in the C locale cannot encode non-ASCII text."""
    raw = to_bytes(path, errors="surrogate_or_strict")
    return os.fsdecode(raw) if hasattr(os, "fsdecode") else raw


def shown(path):
    """A path as text, for messages and results."""
    return to_text(os.fsencode(path) if hasattr(os, "fsencode") else path, errors="replace")


def digest(data):
    """The digest of a file's content; None is a missing file."""
    return "absent" if data is None else hashlib.sha256(data).hexdigest()


def resolve(path):
    """The native path of the file, symbolic links followed, so that a write never replaces a link."""
    path = native(path)
    if not os.path.isabs(path):
        raise FileProblem("%s is not an absolute path. Give the absolute path of the file." % shown(path))
    real = os.path.realpath(path)
    if os.path.islink(path) and not os.path.exists(real):
        raise FileProblem(
            "%s is a symbolic link to %s, which does not exist. Remove the link, or create its target."
            % (shown(path), shown(real))
        )
    return real


def read(path):
    """The bytes of a regular file, or None if it does not exist. `path` is a result of resolve."""
    try:
        # Without O_NONBLOCK, opening a FIFO would block.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except EnvironmentError as error:
        if error.errno == errno.ENOENT:
            return None
        raise _problem("read", path, error)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise FileProblem("%s is not a regular file. Move it away, or give another path." % shown(path))
        if status.st_size > LARGEST:
            raise FileProblem(
                "%s is larger than %d MiB, so it is not a managed configuration. Give another path."
                % (shown(path), LARGEST // 1024 // 1024)
            )
        data = b""
        while len(data) <= LARGEST:
            more = os.read(handle, 1024 * 1024)
            if not more:
                break
            data += more
        return data
    except EnvironmentError as error:
        raise _problem("read", path, error)
    finally:
        os.close(handle)


def replace(module, path, data, set_attributes):
    """Replaces a file atomically: a reader sees the old content or the new one, never a part.

    The new file gets owner, mode and SELinux context of the old one; set_attributes(path) may change them before the
    file is renamed into place.
    """
    folder = os.path.dirname(path)
    staged = None
    try:
        _make_folders(module, folder)
        handle, staged = tempfile.mkstemp(prefix=native(".mde-offline-"), dir=folder)
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            _copy_attributes(module, path, staged)
            set_attributes(staged)
            os.fsync(stream.fileno())
        os.rename(staged, path)
        staged = None
        _sync(folder)
    except EnvironmentError as error:
        raise _problem("write", path, error)
    finally:
        if staged is not None:
            try:
                os.unlink(staged)
            except EnvironmentError:
                pass  # Report the first error, not this one.


def _make_folders(module, folder):
    if os.path.isdir(folder):
        return
    _make_folders(module, os.path.dirname(folder))
    os.mkdir(folder)
    os.chmod(folder, NEW_FOLDER_MODE)
    if module.selinux_enabled():
        module.set_context_if_different(folder, module.selinux_default_context(folder), False)


def _copy_attributes(module, path, staged):
    try:
        old = os.stat(path)
    except EnvironmentError as error:
        if error.errno != errno.ENOENT:
            raise
        os.chmod(staged, NEW_FILE_MODE)
        context = module.selinux_default_context
    else:
        new = os.stat(staged)
        if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
            os.chown(staged, old.st_uid, old.st_gid)
        os.chmod(staged, stat.S_IMODE(old.st_mode))
        context = module.selinux_context
    if module.selinux_enabled():
        module.set_context_if_different(staged, context(path), False)


def _sync(folder):
    """Writes the folder to disk, without which a rename may be lost at a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except EnvironmentError:
        pass  # Some network file systems do not support fsync of a folder.
    finally:
        os.close(handle)


def _problem(verb, path, error):
    advice = _ADVICE.get(error.errno, "Fix that, then run the task again.")
    return FileProblem("Cannot %s %s: %s. %s" % (verb, shown(path), to_text(error.strerror), advice))
