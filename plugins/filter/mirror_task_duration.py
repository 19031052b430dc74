# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter mde.offline.mirror_task_duration; documented in mirror_task_duration.yml."""

from __future__ import annotations

import typing as t

from ansible_collections.mde.offline.plugins.plugin_utils._roles import schedules


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"mirror_task_duration": schedules.iso_duration}
