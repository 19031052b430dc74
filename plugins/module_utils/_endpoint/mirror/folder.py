"""Reads files of a mirror in a folder, and nothing outside of it. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import errno
import os
import re
import select
import signal
import stat

from ansible_collections.mde.offline.plugins.module_utils._endpoint import process
from ansible_collections.mde.offline.plugins.module_utils._endpoint.path_resolution import LinkRefused, ResolvedPath
from ansible_collections.mde.offline.plugins.module_utils._endpoint.text import decode

# The part of a path below the root of a mirror: the platform and what follows.
_BELOW_ROOT = re.compile(b"/(?:linux|mac)/[^/]+/arch_[^/]+/[^/]+\\Z")
_BELOW_CHANNEL = re.compile(b"/arch_[^/]+/[^/]+\\Z")


class Unreadable(Exception):
    """A file of a mirror cannot be read; the message has the reason."""

    def __init__(self, message, timed_out=False):
        super(Unreadable, self).__init__(message)
        self.message = message
        self.timed_out = timed_out


class Found:
    """A file of a mirror: its first bytes, its size, its time, and whether a link led to it."""

    def __init__(self, data, size, modified, linked):
        self.data = data
        self.size = size
        self.modified = modified
        self.linked = linked


def read(path, largest, timeout):
    """The beginning of a file of a mirror. Links are followed only inside the mirror.

    Another process does it, because a share that hangs would block this one.
    """
    path = process.to_bytes(path)
    answer = _in_child(lambda: _read(path, largest), timeout)
    if answer is None:
        raise Unreadable("no answer within {0} seconds".format(timeout), timed_out=True)
    head, _line, data = answer.partition(b"\n")
    words = decode(head).split(" ", 3)
    if words[0] != "ok":
        raise Unreadable(decode(head).partition(" ")[2] or "the reading process ended without an answer")
    return Found(data, int(words[1]), float(words[2]), words[3] == "linked")


def split(path):
    """The root of the mirror that a file is in, and the path below it."""
    below = _BELOW_ROOT.search(path) or _BELOW_CHANNEL.search(path)
    start = below.start() if below else path.rfind(b"/")
    return path[:start] or b"/", path[start:]


def _read(path, largest):
    root, below = split(path)

    def follow(link):
        if not link.target.startswith(b"/"):
            return link.target
        for start in (os.path.join(root, b""), os.path.join(os.path.realpath(root), b"")):
            if link.target.startswith(start):
                return b"/" + link.target[len(start) :]
        raise LinkRefused(link.path)

    try:
        with ResolvedPath(below, follow, root, bounded=True) as resolved:
            if resolved.status is None:
                raise EnvironmentError(errno.ENOENT, os.strerror(errno.ENOENT))
            if not stat.S_ISREG(resolved.status.st_mode):
                return b"error it is not a regular file"
            handle = resolved.open(os.O_RDONLY | os.O_NONBLOCK)
            try:
                data = b""
                while len(data) < largest:
                    part = os.read(handle, largest - len(data))
                    if not part:
                        break
                    data += part
                status = os.fstat(handle)
            finally:
                os.close(handle)
            head = "ok {0} {1} {2}\n".format(status.st_size, status.st_mtime, "linked" if resolved.links else "direct")
            return head.encode("ascii") + data
    except LinkRefused as refused:
        return (
            b"error the link " + refused.path.replace(b"\n", b"?") + b" leads out of the mirror, so it is not followed"
        )
    except EnvironmentError as failure:
        return b"error " + process.to_bytes(decode(failure.strerror or "it cannot be read"))


def _in_child(work, timeout):
    """The bytes that a function returns in a child process; None if the time limit ends first."""
    deadline = process.now() + timeout
    outlet, inlet = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(outlet)
            left = work()
            while left:
                left = left[os.write(inlet, left) :]
        finally:
            os._exit(0)
    os.close(inlet)
    data, complete = b"", False
    try:
        while not complete:
            left = deadline - process.now()
            if left <= 0:
                return None
            if select.select([outlet], [], [], left)[0]:
                part = os.read(outlet, 65536)
                data, complete = data + part, not part
        return data
    finally:
        os.close(outlet)
        if not complete:
            os.kill(child, signal.SIGKILL)
        # A process that hangs in the kernel does not end, so this code does not wait for it.
        os.waitpid(child, 0 if complete else os.WNOHANG)
