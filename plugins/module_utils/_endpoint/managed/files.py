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

from ansible.module_utils.common.text.converters import to_bytes, to_text
from ansible_collections.mde.offline.plugins.module_utils._endpoint.managed import writers
from ansible_collections.mde.offline.plugins.module_utils._endpoint.path_resolution import (
    LinkRefused,
    ResolvedPath,
    inside,
)

LARGEST = 2 * 1024 * 1024
AGENT_FOLDERS = b"/etc/opt/microsoft/"

ADVICE = {
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


class Attributes:
    """The wanted owner, group and permissions of a file; None keeps the present one.

    `mode` may be a number, an octal string, or a symbolic mode. With `protect`, only trusted users may write the file:
    other users lose the permission, and the ownership. An explicit owner or mode has precedence.
    """

    def __init__(self, module, owner=None, group=None, mode=None, protect=False):
        self._module = module
        self._owner, self._group = _number("user", owner), _number("group", group)
        self._mode = None if mode == "" else mode
        self.protect = protect

    def of(self, status, who=()):
        """The wanted uid, gid and permissions. `who` are the users who can write the file now and are not trusted."""
        uid, gid, mode = numbers(status)
        if self.protect and who:
            uid, mode = _protected(status, who)
        uid = uid if self._owner is None else self._owner
        gid = gid if self._group is None else self._group
        return uid, gid, mode if self._mode is None else self._permissions(status)

    def _permissions(self, status):
        if isinstance(self._mode, int):
            return self._mode
        try:
            return int(self._mode, 8)
        except ValueError:
            pass
        try:
            return self._module._symbolic_mode_to_octal(status, self._mode)
        except Exception as error:  # pylint: disable=broad-except  # The function raises several types.
            raise FileProblem("mode is not valid: %s" % to_text(error))


class Target:
    """A file that is read and replaced through a file descriptor of its folder, so that its path cannot be redirected.

    Without `follow`, a symbolic link at the path is not followed, cannot be read, and is replaced.
    """

    def __init__(self, module, path, follow=True):
        self._module = module
        self._follow_last = follow
        self._old = None
        self._trust = writers.trusted()
        path = to_bytes(path, errors="surrogate_or_strict")
        if not path.startswith(b"/"):
            raise FileProblem("%s is not an absolute path. Give the absolute path of the file." % shown(path))
        try:
            self._resolved = ResolvedPath(path, self._follow)
        except LinkRefused as refused:
            raise FileProblem(
                "%s is a symbolic link that users other than root can create or replace, so it is not followed. "
                "Remove the link, or make its folder writable for root only, then run the task again."
                % shown(refused.path)
            )
        except EnvironmentError as error:
            raise problem("read", path, error)
        self.path = self._resolved.path
        self.shown = shown(self.path)
        if self._resolved.status is None and self._resolved.links and self._resolved.links[-1].last:
            self.close()
            raise FileProblem(
                "%s is a symbolic link to %s, which does not exist. Remove the link, or create its target."
                % (shown(path), self.shown)
            )

    def __enter__(self):
        return self

    def __exit__(self, *_failure):
        self.close()

    def close(self):
        """Closes the file descriptors."""
        if self._old is not None:
            os.close(self._old)
            self._old = None
        self._resolved.close()

    @property
    def status(self):
        """The status of the file, None if it does not exist."""
        return self._resolved.status

    @property
    def linked(self):
        """Whether the path has symbolic links."""
        return bool(self._resolved.links)

    @property
    def writers(self):
        """The parts of the path, including the file, that others can write: the path of each, and who can write it."""
        return writers.of_path(self._resolved, self._trust)

    def is_writable(self):
        """Whether this user can probably create the file or replace it."""
        with inside(self._resolved.folder):
            return os.access(".", os.W_OK | os.X_OK)

    def read(self):
        """The bytes of a regular file, or None if it does not exist."""
        resolved = self._resolved
        try:
            if resolved.name is not None and resolved.status is None:
                return None
            if resolved.name is None or not stat.S_ISREG(resolved.status.st_mode):
                raise FileProblem("%s is not a regular file. Move it away, or give another path." % self.shown)
            # Without O_NONBLOCK, opening a FIFO would block.
            self._old = resolved.open(os.O_RDONLY | os.O_NONBLOCK)
            resolved.status = os.fstat(self._old)
            if not stat.S_ISREG(resolved.status.st_mode):
                raise FileProblem("%s is not a regular file. Move it away, or give another path." % self.shown)
            if resolved.status.st_size > LARGEST:
                raise FileProblem(
                    "%s is larger than %d MiB, so it is not a managed configuration. Give another path."
                    % (self.shown, LARGEST // 1024 // 1024)
                )
            data = b""
            while len(data) <= LARGEST:
                more = os.read(self._old, 1024 * 1024)
                if not more:
                    break
                data += more
            return data
        except EnvironmentError as error:
            raise problem("read", self.path, error)

    def changes(self, wanted):
        """The folders and files of the path to change, each with owner, group and permissions before and after."""
        found = [] if self.status is None else [(self.shown,) + self._attributes(wanted)]
        if wanted.protect:
            found += [(shown(folder.path), numbers(folder.status), after) for folder, after in self._repairs()]
        return [(path, before, after) for path, before, after in found if before != after]

    def _attributes(self, wanted):
        """Owner, group and permissions of the file before and after."""
        who = writers.of_file(self._resolved, self._trust) if wanted.protect else ()
        return numbers(self.status), wanted.of(self.status, who)

    def _repairs(self):
        """The folders that protect_folders has to change, each with its new owner, group and permissions."""
        found = []
        for folder in self._resolved.left + self._resolved.folders:
            who = writers.of_folder(folder, self._trust)
            of_agent = folder is self._resolved.folder or AGENT_FOLDERS in folder.path + b"/"
            if who and (of_agent or folder.status.st_uid == os.geteuid() == 0):
                uid, mode = _protected(folder.status, who)
                if (uid, folder.status.st_gid, mode) != numbers(folder.status):
                    found.append((folder, (uid, folder.status.st_gid, mode)))
        return found

    def _follow(self, link):
        if link.last and not self._follow_last:
            return None
        if not writers.may_follow(link, self._trust):
            raise LinkRefused(link.path)
        return link.target


def _protected(status, who):
    """Owner and permissions that let no other user write, as far as this user can change them."""
    user = os.geteuid()
    uid, mode = status.st_uid, stat.S_IMODE(status.st_mode)
    foreign = "its owner, uid %d" % uid in who
    if foreign and user == 0:
        uid = 0
    if who[1 if foreign else 0 :] and user in (0, status.st_uid):
        mode &= ~writers.BY_MODE
    return uid, mode


def _number(kind, name):
    """The uid or gid of a user or group; None for None."""
    if name is None or name == "":
        return None
    try:
        return int(name)
    except ValueError:
        import grp
        import pwd
    try:
        return pwd.getpwnam(native(name)).pw_uid if kind == "user" else grp.getgrnam(native(name)).gr_gid
    except KeyError:
        raise FileProblem("There is no %s %s on this host. Create it, or name another one." % (kind, to_text(name)))


def numbers(status):
    """The uid, gid and permissions of a file."""
    return status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)


def problem(verb, path, error):
    """A message with advice about an error of the system."""
    advice = ADVICE.get(error.errno, "Fix that, then run the task again.")
    return FileProblem("Cannot %s %s: %s. %s" % (verb, shown(path), to_text(error.strerror), advice))
