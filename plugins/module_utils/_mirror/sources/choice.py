"""The source that the settings ask for."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ..cancel import Cancel
from ..settings import Settings
from ..transport import Connections
from ..trust import read as read_trust
from ..workspace import Workspace
from .base import Source
from .microsoft import Microsoft


def open_source(settings: Settings, workspace: Workspace, cancel: Cancel, accept: frozenset[str]) -> Source:
    """`accept` holds codes of refusals (`refusals.ACCEPTABLE`) that do not count in this run."""
    connections = Connections(settings.source, cancel)
    # A source is imported only when it is used, because the script source takes long to load.
    if settings.is_replica:
        from .replica import Replica

        return Replica(connections, read_trust(workspace.state), accept)
    service = Microsoft(connections)
    if settings.source.type == "microsoft":
        return service
    from .script import Script

    return Script(service, settings.platforms, settings.rings, workspace)
