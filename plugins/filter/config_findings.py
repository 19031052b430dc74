# The filter mde.offline.config_findings: what is wrong with a managed configuration.
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.mde.offline.plugins.plugin_utils._managed import validate


def config_findings(config: t.Any, agent_version: t.Any = None) -> list[validate.FindingDict]:
    try:
        return validate.config_findings(config, agent_version)
    except (validate.AgentVersionError, validate.MissingLibraryError) as error:
        raise AnsibleFilterError(f"mde.offline.config_findings: {error}") from error


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"config_findings": config_findings}
