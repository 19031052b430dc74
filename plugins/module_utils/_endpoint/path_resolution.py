"""Resolves a path with file descriptors, so that it cannot be redirected. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import errno
import os
import stat
from contextlib import contextmanager

O_CLOEXEC = getattr(os, "O_CLOEXEC", 0o2000000)
# Python has O_PATH since 3.10. Opening a folder with O_PATH needs no permission to read it.
_O_PATH = getattr(os, "O_PATH", 0o10000000) | O_CLOEXEC
_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW
_MOST_LINKS = 40


class LinkRefused(Exception):
    """A symbolic link in the path is not followed; `path` is the link."""

    def __init__(self, path):
        super(LinkRefused, self).__init__(path)
        self.path = path


class Folder:
    """A folder of the path: its path, a file descriptor that cannot be read (O_PATH), and its status."""

    def __init__(self, path, handle):
        self.path = path
        self.handle = handle
        self.status = os.fstat(handle)


class Link:
    """A symbolic link in the path: the folder that it is in, its path, its status, its target.

    `last` says whether the path that was given ends with it, or with a link that leads to it.
    """

    def __init__(self, folder, path, status, target, last):
        self.folder = folder
        self.path = path
        self.status = status
        self.target = target
        self.last = last


class ResolvedPath:
    """A path from a root folder to a file, with a file descriptor of each folder. All paths and names are bytes.

    `folders` are the folders that exist, from the root on; `missing` are the names of those that do not. `name` is the
    name of the file in the last folder (None: the path is the root), `status` its status (None: it does not exist).
    `links` are the links that were followed, `left` the folders that the path left again through a link or `..`.

    `follow(link)` returns the target with which the path continues, from the root if it is absolute. It may return None
    for the last link, which then is the file itself; or it raises an exception. With `bounded`, a path that leaves the
    root raises LinkRefused.
    """

    def __init__(self, path, follow, root=b"/", bounded=False):
        self.folders, self.missing, self.links, self.left = [], [], [], []
        self.name, self.status = None, None
        self._bounded = bounded
        try:
            self._enter(root, root, follow_link=True)
            self._walk(path, follow)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_failure):
        self.close()

    @property
    def folder(self):
        """The last folder that exists."""
        return self.folders[-1]

    @property
    def path(self):
        """The path of the file, without links."""
        return os.path.join(self.folder.path, *(self.missing + ([self.name] if self.name else [])))

    def close(self):
        """Closes the file descriptors."""
        for folder in self.folders + self.left:
            os.close(folder.handle)
        self.folders, self.left = [], []

    def open(self, flags, mode=0):
        """Opens the file; returns its file descriptor."""
        with inside(self.folder):
            return os.open(self.name, flags | os.O_NOFOLLOW | O_CLOEXEC, mode)

    def create_folder(self, mode):
        """Creates the first missing folder, and returns a file descriptor that can be read."""
        name = self.missing[0]
        with inside(self.folder):
            os.mkdir(name, mode)
            self._enter(os.path.join(self.folder.path, name), name)
        del self.missing[0]
        handle = readable(self.folder)
        os.fchmod(handle, mode)  # os.mkdir applied the umask.
        return handle

    def _enter(self, path, name, follow_link=False):
        handle = os.open(name, _O_PATH | (os.O_DIRECTORY if follow_link else _FOLDER))
        self.folders.append(Folder(path, handle))

    def _leave(self, count):
        for _number in range(count):
            self.left.append(self.folders.pop())

    def _walk(self, path, follow):
        parts = _parts(path)[::-1]
        while parts:
            part = parts.pop()
            here = os.path.join(self.folder.path, part)
            if part == b"..":
                if self._bounded and len(self.folders) == 1:
                    raise LinkRefused(self.links[-1].path if self.links else here)
                self._leave(min(1, len(self.folders) - 1))
                continue
            with inside(self.folder):
                status = _status(part)
                if status is None:
                    self.missing, self.name = [part] + parts[:0:-1], parts[0] if parts else None
                    break
                if not stat.S_ISLNK(status.st_mode):
                    if not parts:
                        self.name, self.status = part, status
                        return
                    self._enter(here, part)
                    continue
                link = Link(self.folder, here, status, os.readlink(part), not parts)
            if len(self.links) == _MOST_LINKS:
                raise EnvironmentError(errno.ELOOP, os.strerror(errno.ELOOP))
            target = follow(link)
            if target is None:
                self.name, self.status = part, status
                return
            self.links.append(link)
            if target.startswith(b"/"):
                self._leave(len(self.folders) - 1)
            parts.extend(_parts(target)[::-1])
        if self.missing and self.name is None:
            self.name = self.missing.pop()
        if b".." in self.missing + [self.name]:
            raise EnvironmentError(errno.ENOENT, os.strerror(errno.ENOENT))


@contextmanager
def inside(folder):
    """Makes a folder the working folder, so that names are relative to it: Python 2.7 has no dir_fd."""
    try:
        before = os.open(".", _O_PATH)
    except EnvironmentError:  # The folder may belong to another user, for example after become.
        before = os.open("/", _O_PATH)
    try:
        os.fchdir(folder.handle)
        yield
    finally:
        os.fchdir(before)
        os.close(before)


def readable(folder):
    """A file descriptor of the folder that can be read, and through which its attributes can be changed."""
    with inside(folder):
        return os.open(".", os.O_RDONLY | O_CLOEXEC | _FOLDER)


def _parts(path):
    return [part for part in path.split(b"/") if part not in (b"", b".")]


def _status(name):
    try:
        return os.lstat(name)
    except EnvironmentError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
