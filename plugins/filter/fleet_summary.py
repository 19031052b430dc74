# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter mde.offline.fleet_summary; documented in fleet_summary.yml."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone

from ansible.errors import AnsibleFilterError
from ansible_collections.mde.offline.plugins.plugin_utils._fleet.lines import lines
from ansible_collections.mde.offline.plugins.plugin_utils._fleet.summary import MIRROR_MAX_AGE_HOURS, summarise


def fleet_summary(
    hostvars: t.Any,
    endpoints: t.Any = (),
    mirrors: t.Any = (),
    endpoint_result: str = "mde_health",
    mirror_result: str = "mde_mirror",
    mirror_max_age_hours: float = MIRROR_MAX_AGE_HOURS,
) -> dict[str, t.Any]:
    if not isinstance(hostvars, Mapping):
        raise AnsibleFilterError("mde.offline.fleet_summary takes hostvars, or a mapping of hosts to their variables.")
    summed = summarise(
        _results(hostvars, endpoints, endpoint_result),
        _results(hostvars, mirrors, mirror_result),
        datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        mirror_max_age_hours,
    )
    return {**summed, "lines": lines(summed)}


def _results(hostvars: Mapping[str, t.Any], names: t.Any, variable: str) -> dict[str, t.Any]:
    """The registered variable of each host; None for a host without it."""
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise AnsibleFilterError("mde.offline.fleet_summary takes endpoints and mirrors as lists of host names.")
    found = {}
    for name in names:
        try:
            # Not get(): the get() of hostvars returns an undefined value instead of the default.
            variables = hostvars[name] if name in hostvars else {}  # noqa: SIM401
            found[str(name)] = variables.get(variable)
        # ansible-core renders a variable when it is read. A failure there concerns this host only.
        except Exception as error:
            found[str(name)] = error
    return found


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"fleet_summary": fleet_summary}
