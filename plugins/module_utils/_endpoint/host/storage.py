"""Checks space and mount options where the agent keeps what it updates. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import json

from ansible_collections.mde.offline.plugins.module_utils._endpoint import versions

GIGABYTE = 1000**3
NEEDED = 2 * GIGABYTE
# Below this an update has no room: package, unpacked set and the set in use lie side by side.
TIGHT = GIGABYTE // 2
FEWEST_ENTRIES = 1000
AGENT = "/opt/microsoft/mdatp"
DAEMON = AGENT + "/sbin/wdavdaemon"
STATE = "/var/opt/microsoft/mdatp"
DEFINITIONS = (STATE + "/definitions.noindex", AGENT + "/definitions.noindex")
LOGS = "/var/log/microsoft/mdatp"
# From this agent on definitions lie below /opt where /var is noexec.
MOVES_AWAY = "101.24092.0002"


def definitions_folders(host):
    """Where definitions lie: the folder that the agent's state names, and those that exist of the usual ones."""
    named = None
    try:
        state = json.loads(host.text(STATE + "/wdavstate"))
        for part in ("engineCore", "v2EngineCore"):
            section = state.get(part) if isinstance(state, dict) else None
            folder = section.get("databaseRootPath") if isinstance(section, dict) else None
            if named is None and isinstance(folder, type("")) and folder.startswith("/"):
                named = folder
    except (ValueError, RuntimeError):
        pass
    usual = [folder for folder in DEFINITIONS if host.is_folder(folder)] or [DEFINITIONS[0]]
    return [named] + [folder for folder in usual if folder != named] if named else usual


def noexec(host, agent_version=None):
    """(path, mount) of what is mounted noexec although the agent loads its engine, or itself, from there."""
    found = []
    moves = versions.compare(agent_version, MOVES_AWAY) in (0, 1)
    for path in [AGENT] + definitions_folders(host):
        mount = host.mount_of(path)
        moved = moves and path.startswith(STATE + "/")
        if mount and "noexec" in mount["options"] and not moved:
            found.append((path, mount))
    return found


def read_only(host):
    """(path, mount) of what is mounted read-only although definitions are written there."""
    found = []
    for path in definitions_folders(host):
        mount = host.mount_of(path)
        if mount and "ro" in mount["options"]:
            found.append((path, mount))
    return found


def size(count):
    """A number of bytes for people."""
    return "{0:.1f} GB".format(count / GIGABYTE) if count >= GIGABYTE else "{0} MB".format(count // 1000**2)
