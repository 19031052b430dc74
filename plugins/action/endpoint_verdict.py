"""Action of endpoint_verdict: what a result says about a host, and what the role endpoint does next on the host."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase
from ansible_collections.mde.offline.plugins.plugin_utils._fleet.endpoint_verdict import endpoint_verdict

SPEC = {
    "result": {"type": "dict", "required": True},
    "variables": {"type": "dict", "required": True},
    "changed": {"type": "bool", "default": False},
    "requirements": {"type": "dict", "default": {}},
    "measure": {"type": "bool", "default": False},
}


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: t.Any = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        args = self.validate_argument_spec(SPEC)[1]
        verdict = endpoint_verdict(
            args["result"], args["variables"], args["changed"], args["requirements"], args["measure"]
        )
        result.update(changed=False, verdict=verdict)
        return result
