"""Decides who besides root can write a file or a folder above it. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import os
import stat

from ansible_collections.mde.offline.plugins.module_utils._endpoint.path_resolution import ResolvedPath, inside
from ansible_collections.mde.offline.plugins.module_utils._endpoint.process import to_bytes
from ansible_collections.mde.offline.plugins.module_utils._endpoint.text import decode

DEFAULT_PATH = "/etc/opt/microsoft/mdatp/managed/mdatp_managed.json"
BY_MODE = stat.S_IWGRP | stat.S_IWOTH
# Tags of the entries of a POSIX ACL.
_USER, _OWNING_GROUP, _GROUP, _MASK = 0x02, 0x04, 0x08, 0x10


class Trusted:
    """Users and a group that may write: root, the user that runs the module, and the group without other members."""

    def __init__(self, users, group=None):
        self.users = users
        self.group = group


def trusted():
    """Root and this user, with the user's private group: many distributions create one for each user."""
    user = os.geteuid()
    if user == 0:
        return Trusted((0,))
    import grp
    import pwd

    try:
        account = pwd.getpwuid(user)
        group = grp.getgrgid(account.pw_gid)
    except KeyError:
        return Trusted((0, user))
    private = group.gr_name == account.pw_name and set(group.gr_mem) <= {account.pw_name}
    return Trusted((0, user), group.gr_gid if private else None)


def others(status, acl, trust):
    """Descriptions of the users who can write a file or a folder and are not trusted; an empty list means a safe file.

    `acl` is the value of the attribute with the ACL, None if there is none. In a sticky folder, only the owner of a
    file and the owner of the folder can replace the file.
    """
    found = []
    if status.st_uid not in trust.users:
        found.append("its owner, uid {0}".format(status.st_uid))
    if stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX:
        return found
    if status.st_mode & stat.S_IWOTH:
        found.append("everybody")
    # With an ACL, the permissions of the group are the mask, which limits the entries.
    if status.st_mode & stat.S_IWGRP:
        for tag, number in _granted(acl) if acl else [(_OWNING_GROUP, None)]:
            if tag == _USER and number not in trust.users:
                found.append("uid {0}, by an ACL".format(number))
            elif tag == _OWNING_GROUP and status.st_gid != trust.group:
                found.append("its group, gid {0}".format(status.st_gid))
            elif tag == _GROUP and number != trust.group:
                found.append("gid {0}, by an ACL".format(number))
    return found


def of_folder(folder, trust):
    """Descriptions of the users who can write a folder of a path and are not trusted."""
    return others(folder.status, _acl(folder, b".", folder.status), trust)


def of_path(resolved, trust):
    """The parts of a path, including the file, that others can write: the path of each, and who can write it."""
    found = [(folder.path, of_folder(folder, trust)) for folder in resolved.left + resolved.folders]
    for link in resolved.links:
        # Nobody but its owner can replace a link in a sticky folder.
        if link.folder.status.st_mode & stat.S_ISVTX and link.status.st_uid not in trust.users:
            found.append((link.path, ["its owner, uid {0}".format(link.status.st_uid)]))
    if resolved.status is not None:
        found.append((resolved.path, of_file(resolved, trust)))
    return [(path, who) for path, who in found if who]


def of_file(resolved, trust):
    """Descriptions of the users who can write the file at the end of a path and are not trusted."""
    return others(resolved.status, _acl(resolved.folder, resolved.name, resolved.status), trust)


def may_follow(link, trust):
    """Whether only trusted users can have created a link."""
    if of_folder(link.folder, trust):
        return False
    return not link.folder.status.st_mode & stat.S_ISVTX or link.status.st_uid in trust.users


def _acl(folder, name, status):
    # If the group must not write, no entry of an ACL grants the permission to write.
    if not status.st_mode & stat.S_IWGRP:
        return None
    # Imported late, because the ACL of a safe file is not read.
    from ansible_collections.mde.offline.plugins.module_utils._endpoint import xattrs

    with inside(folder):
        return xattrs.of_path(name, xattrs.ACL)


def _granted(acl):
    """Tag and number of each entry of an ACL that grants writing to somebody other than the owner."""
    import struct

    entries = [struct.unpack_from(str("<HHI"), acl, place) for place in range(4, len(acl) - 7, 8)]
    mask = next((permissions for tag, permissions, _number in entries if tag == _MASK), 7)
    kinds = (_USER, _OWNING_GROUP, _GROUP)
    return [(tag, number) for tag, permissions, number in entries if tag in kinds and permissions & mask & 2]


def problem(path, root=b"/"):
    """A sentence about what others can write in the path of a file, None if nothing; raises EnvironmentError."""
    trust = trusted()
    with ResolvedPath(to_bytes(path), lambda link: link.target, root) as resolved:
        found = of_path(resolved, trust)
    if not found:
        return None
    listed = "; ".join("{0} ({1})".format(decode(place), ", ".join(who)) for place, who in found)
    return "Users other than root can write the managed configuration or a folder above it: {0}.".format(listed)
