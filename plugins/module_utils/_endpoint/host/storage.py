"""Checks mount options of the folders of the agent and of its definitions. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import json

from ansible_collections.mde.offline.plugins.module_utils._endpoint import agent_versions, versions

GIGABYTE = 1000**3
NEEDED = 2 * GIGABYTE
# The least space for an update: the package, the unpacked definitions and those in use exist at the same time.
TIGHT = GIGABYTE // 2
FEWEST_ENTRIES = 1000
AGENT = "/opt/microsoft/mdatp"
DAEMON = AGENT + "/sbin/wdavdaemon"
STATE = "/var/opt/microsoft/mdatp"
DEFINITIONS = (STATE + "/definitions.noindex", AGENT + "/definitions.noindex")
LOGS = "/var/log/microsoft/mdatp"


def definitions_folders(host):
    """The folders of definitions: the one in the agent's state, and those of the usual ones that exist."""
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
    """(path, mount) of each folder with programs of the agent or its engine that is mounted noexec."""
    found = []
    moves = versions.compare(agent_version, agent_versions.COPES_WITH_NOEXEC_VAR) in (0, 1)
    for path in [AGENT] + definitions_folders(host):
        mount = host.mount_of(path)
        moved = moves and path.startswith(STATE + "/")
        if mount and "noexec" in mount["options"] and not moved:
            found.append((path, mount))
    return found


def read_only(host):
    """(path, mount) of each folder of definitions that is mounted read-only."""
    found = []
    for path in definitions_folders(host):
        mount = host.mount_of(path)
        if mount and "ro" in mount["options"]:
            found.append((path, mount))
    return found


def size(count):
    """A number of bytes in GB or MB."""
    return "{0:.1f} GB".format(count / GIGABYTE) if count >= GIGABYTE else "{0} MB".format(count // 1000**2)
