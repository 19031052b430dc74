# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter mde.offline.endpoint_settings; documented in endpoint_settings.yml."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible.errors import AnsibleFilterError
from ansible_collections.mde.offline.plugins.plugin_utils._fleet import endpoint_settings as settings

REQUIRED = (
    "state",
    "nfs_source",
    "mirror_nfs_client_path",
    "channel",
    "fallback_to_cloud",
    "verify_signature",
    "enforcement_level",
    "update_interval",
    "config",
)


def endpoint_settings(variables: t.Any, present: t.Any = None) -> dict[str, t.Any]:
    if not isinstance(variables, Mapping) or not isinstance(present or {}, Mapping):
        raise AnsibleFilterError("mde.offline.endpoint_settings takes the variables and the configuration as mappings.")
    missing = [name for name in REQUIRED if name not in variables]
    if missing:
        raise AnsibleFilterError(f"mde.offline.endpoint_settings: the variable {missing[0]} is missing.")
    return settings.endpoint_settings(variables, present)


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"endpoint_settings": endpoint_settings}
