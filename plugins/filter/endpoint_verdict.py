# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter mde.offline.endpoint_verdict; documented in endpoint_verdict.yml."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible.errors import AnsibleFilterError
from ansible_collections.mde.offline.plugins.plugin_utils._fleet import endpoint_verdict as verdict

REQUIRED = ("update", "fail_on", "preflight")


def endpoint_verdict(
    result: t.Any, options: t.Any, changed: bool = False, requirements: t.Any = None, measure: bool = False
) -> dict[str, t.Any]:
    if not all(isinstance(value, Mapping) for value in (result, options, requirements or {})):
        raise AnsibleFilterError(
            "mde.offline.endpoint_verdict takes the results of modules and the options as mappings."
        )
    missing = [name for name in REQUIRED if name not in options]
    if missing:
        raise AnsibleFilterError(f"mde.offline.endpoint_verdict: the option {missing[0]} is missing.")
    return verdict.endpoint_verdict(result, options, changed, requirements, measure)


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"endpoint_verdict": endpoint_verdict}
