"""What all modules of a mirror do around their work. Private to the mde.offline collection."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mde.offline.plugins.module_utils._mirror import doors


def run(
    work: Callable[[dict[str, Any], bool], dict[str, Any]], argument_spec: dict[str, Any], **constraints: Any
) -> None:
    """Runs a module whose result is what `work(parameters, check_mode)` returns: plain data with `failed`."""
    module = AnsibleModule(
        argument_spec={
            "settings": {"type": "path", "default": "/etc/mde-mirror/settings.json"},
            "config": {"type": "dict"},
            **argument_spec,
        },
        supports_check_mode=True,
        # The system log would show the password of a proxy in `config`.
        no_log=True,
        **constraints,
    )
    module.no_log_values.update(doors.secrets(module.params))
    result = work(module.params, module.check_mode)
    if result.pop("failed"):
        module.fail_json(**result)
    module.exit_json(**result)
