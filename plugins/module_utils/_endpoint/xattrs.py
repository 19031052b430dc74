"""Reads and writes extended attributes, also on Python 2.7. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import errno
import os

ACL = b"system.posix_acl_access"
SELINUX = b"security.selinux"
# The kernel computes these for each file, and removes or refuses copies.
OF_THE_KERNEL = (b"security.ima", b"security.evm", b"security.capability")
_NONE = (errno.ENODATA, errno.ENOTSUP)
_LARGEST = 64 * 1024  # The limit of Linux, for values and for lists.


def of_path(path, name):
    """The value of an attribute of a path; None if there is none. A link at the end of the path is not followed."""
    try:
        if hasattr(os, "getxattr"):
            return os.getxattr(path, name, follow_symlinks=False)
        return _read("lgetxattr", path, name)
    except EnvironmentError as error:
        return _nothing(error)


def names(handle):
    """The names of the attributes of an open file, as bytes; empty on a file system without attributes."""
    try:
        if hasattr(os, "listxattr"):
            return [os.fsencode(name) for name in os.listxattr(handle)]
        return [name for name in _read("flistxattr", handle).split(b"\0") if name]
    except EnvironmentError as error:
        return _nothing(error) or []


def value(handle, name):
    """The value of an attribute of an open file; None if there is none."""
    try:
        return os.getxattr(handle, name) if hasattr(os, "getxattr") else _read("fgetxattr", handle, name)
    except EnvironmentError as error:
        return _nothing(error)


def write(handle, name, content):
    """Sets an attribute of an open file."""
    if hasattr(os, "setxattr"):
        os.setxattr(handle, name, content)
    else:
        _call("fsetxattr", handle, name, content, len(content), 0)


def remove(handle, name):
    """Removes an attribute of an open file."""
    if hasattr(os, "removexattr"):
        os.removexattr(handle, name)
    else:
        _call("fremovexattr", handle, name)


def _nothing(error):
    """Returns None if the error says that there is no such attribute; raises all other errors."""
    if error.errno not in _NONE:
        raise error


def _read(function, *arguments):
    import ctypes

    place = ctypes.create_string_buffer(_LARGEST)
    length = _call(function, *(arguments + (place, _LARGEST)))
    return place.raw[:length]


def _call(function, *arguments):
    """Calls a function of the C library, for Python 2.7. Numbers are descriptors, sizes and flags, below 2 ** 31."""
    import ctypes  # Imported late, because the import takes long.

    library = ctypes.CDLL(None, use_errno=True)
    result = getattr(library, str(function))(
        *[ctypes.c_long(entry) if isinstance(entry, int) else entry for entry in arguments]
    )
    if result < 0:
        raise EnvironmentError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
