# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter mde.offline.mirror_script_programs; documented in mirror_script_programs.yml."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible_collections.mde.offline.plugins.module_utils._mirror.sources import script_checkout


def mirror_script_programs(source: t.Any) -> list[str]:
    # The settings are not validated yet, and the command names what is wrong in them.
    if not isinstance(source, Mapping) or source.get("type") != "script":
        return []
    script = source.get("script")
    address = str(script.get("url") or "") if isinstance(script, Mapping) else ""
    from_zip = script_checkout.is_zip_address(address) or address.lower().endswith(".zip")
    return ["bash", "curl", "jq", *(["git"] if address and not from_zip else [])]


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"mirror_script_programs": mirror_script_programs}
