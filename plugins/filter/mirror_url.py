# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter mde.offline.mirror_url; documented in mirror_url.yml."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.mde.offline.plugins.plugin_utils._fleet.mirror_url import AddressError, compose


def mirror_url(base: t.Any, channel: str = "production", platform: str = "linux") -> str:
    if not isinstance(base, str) or not isinstance(channel, str):
        raise AnsibleFilterError("mde.offline.mirror_url takes the mirror's address and the channel as strings.")
    try:
        return compose(base, channel, platform)
    except AddressError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"mirror_url": mirror_url}
