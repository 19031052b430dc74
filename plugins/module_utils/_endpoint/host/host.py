"""Reads the files, mounts, processes and free space of a machine. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import errno
import os
import re
import socket
import stat

from ansible_collections.mde.offline.plugins.module_utils._endpoint import process
from ansible_collections.mde.offline.plugins.module_utils._endpoint.text import decode

LARGEST = 4 * 1024 * 1024
PROCESS_SECONDS = 3
# Classes of fanotify groups that may deny an access; groups of other classes are only notified.
_BLOCKING_CLASSES = 0x0C
_FANOTIFY = re.compile(r"^fanotify flags:([0-9a-f]+)", re.MULTILINE)
_SPACE = re.compile(r"\\([0-7]{3})")


class Host:
    """This machine, or a machine whose files are in a folder. It is only read."""

    def __init__(
        self,
        root="/",
        machine=None,
        c_library=None,
        environ=None,
        call=process.run,
        space=os.statvfs,
        lookup=socket.getaddrinfo,
    ):
        self.root = process.to_bytes(root)
        self.machine = decode(machine or os.uname()[4])
        self.c_library = _c_library() if c_library is None and self.root == b"/" else c_library
        self.environ = os.environ if environ is None else environ
        self.call = call
        self.lookup = lookup
        self._space = space
        self._mounts = None

    def path(self, *parts):
        """The bytes of a path below the root."""
        inside = b"/".join(process.to_bytes(part).strip(b"/") for part in parts)
        return os.path.join(self.root, inside)

    def exists(self, *parts):
        """Whether a path exists."""
        return os.path.exists(self.path(*parts))

    def is_folder(self, *parts):
        """Whether a path is a folder."""
        return os.path.isdir(self.path(*parts))

    def is_link(self, *parts):
        """Whether a path is a symbolic link."""
        return os.path.islink(self.path(*parts))

    def has_links(self, path):
        """Whether a path, or a folder in it, is a symbolic link."""
        root = os.path.realpath(self.root)
        return os.path.realpath(self.path(path)) != os.path.join(root, process.to_bytes(path).strip(b"/"))

    def kind(self, path):
        """Describes a path: its kind, and its owner and mode or the target of the link."""
        place = self.path(path)
        try:
            if os.path.islink(place):
                return "a link to " + decode(os.readlink(place))
            found = os.stat(place)
        except EnvironmentError as failure:
            return "not accessible: {0}".format(failure.strerror)
        kinds = ((stat.S_ISREG, "a file"), (stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a FIFO"))
        kind = next((name for fits, name in kinds if fits(found.st_mode)), "a device or socket")
        return "{0} of uid {1} with mode {2:04o}".format(kind, found.st_uid, stat.S_IMODE(found.st_mode))

    def mode(self, *parts):
        """Permission bits of a path, None if it does not exist."""
        try:
            return stat.S_IMODE(os.stat(self.path(*parts)).st_mode)
        except EnvironmentError:
            return None

    def names(self, *parts):
        """The names in a folder, sorted; an empty list if it cannot be read."""
        try:
            return sorted(decode(name) for name in os.listdir(self.path(*parts)))
        except EnvironmentError:
            return []

    def data(self, path, largest=LARGEST, tail=False):
        """The first (with `tail`, the last) bytes of a regular file or of a file in /proc.

        Raises EnvironmentError, also for a FIFO or a device.
        """
        handle = os.open(self.path(path), os.O_RDONLY | os.O_NONBLOCK)
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise EnvironmentError(errno.EINVAL, "not a regular file")
            if tail and status.st_size > largest:
                os.lseek(handle, status.st_size - largest, os.SEEK_SET)
            parts, size = [], 0
            while size < largest:
                part = os.read(handle, min(1024 * 1024, largest - size))
                if not part:
                    break
                parts.append(part)
                size += len(part)
            return b"".join(parts)
        finally:
            os.close(handle)

    def text(self, path, largest=LARGEST, tail=False):
        """The text of a file, empty if it cannot be read."""
        try:
            return decode(self.data(path, largest, tail))
        except EnvironmentError:
            return ""

    def contains(self, path, words, largest=64 * LARGEST):
        """Whether a long file contains one of the words (bytes); None if it cannot be read."""
        try:
            with open(self.path(path), "rb") as stream:
                before, size = b"", 0
                while size < largest:
                    part = stream.read(1024 * 1024)
                    if not part:
                        return False if size else None
                    if any(word in before + part for word in words):
                        return True
                    before, size = part[-256:], size + len(part)
        except EnvironmentError:
            return None
        return None

    @property
    def kernel(self):
        """The release of the kernel, empty if it is unknown."""
        found = self.text("proc/sys/kernel/osrelease", 256).strip()
        return found or (decode(os.uname()[2]) if self.root == b"/" else "")

    def mounts(self):
        """The mounted file systems: device, folder, type and options of each."""
        if self._mounts is None:
            table = self.text("proc/self/mounts") or self.text("proc/mounts")
            rows = [line.split() for line in table.splitlines()]
            self._mounts = [
                {"device": _plain(row[0]), "folder": _plain(row[1]), "type": row[2], "options": row[3].split(",")}
                for row in rows
                if len(row) > 3
            ]
        return self._mounts

    def mount_of(self, path):
        """The file system that a path is on, None if the table of mounts cannot be read."""
        path = "/" + path.strip("/") + "/"
        found = None
        for mount in self.mounts():
            folder = mount["folder"].rstrip("/") + "/"
            if path.startswith(folder) and (found is None or len(folder) >= len(found["folder"].rstrip("/") + "/")):
                found = mount
        return found

    def space(self, path):
        """Free bytes and inodes of the file system that a path is, or will be, on; None if they are unknown."""
        place = self.path(path)
        while not os.path.exists(place) and len(place) > len(self.root):
            place = os.path.dirname(place)
        try:
            found = self._space(place)
        except EnvironmentError:
            return None
        return {
            "free": found.f_bavail * found.f_frsize,
            "total": found.f_blocks * found.f_frsize,
            # File systems without a limit report 0 of 0.
            "entries_left": found.f_favail if found.f_files else None,
            "device": self._device(place),
        }

    @staticmethod
    def _device(place):
        try:
            return os.stat(place).st_dev
        except EnvironmentError:
            return None

    def processes(self):
        """Number and name of each process."""
        numbers = [name for name in self.names("proc") if name.isdigit()]
        named = [(number, self.text("proc/{0}/comm".format(number), 256).strip()) for number in numbers]
        return [(number, name) for number, name in named if name]

    def fanotify_groups(self):
        """(number, process, blocking) of each fanotify group, and whether all processes could be examined."""
        deadline = process.now() + PROCESS_SECONDS
        found, complete = [], True
        for number, name in self.processes():
            folder = "proc/{0}/fd".format(number)
            try:
                handles = os.listdir(self.path(folder))
            except EnvironmentError as failure:
                complete = complete and failure.errno in (errno.ENOENT, errno.ESRCH)
                continue
            for handle in handles:
                if process.now() > deadline:
                    return found, False
                try:
                    target = os.readlink(os.path.join(self.path(folder), handle))
                except EnvironmentError:
                    continue
                if target == b"anon_inode:[fanotify]":
                    details = self.text("proc/{0}/fdinfo/{1}".format(number, decode(handle)), 65536)
                    flags = _FANOTIFY.search(details)
                    found.append((number, name, bool(int(flags.group(1), 16) & _BLOCKING_CLASSES) if flags else None))
        return found, complete


def _plain(field):
    """A field of the mount table without its escapes."""
    return _SPACE.sub(lambda octal: chr(int(octal.group(1), 8)), field)


def _c_library():
    try:
        return decode(os.confstr(str("CS_GNU_LIBC_VERSION")) or "")
    except (AttributeError, EnvironmentError, ValueError):
        return ""
