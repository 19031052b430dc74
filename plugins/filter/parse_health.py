"""Filter mde.offline.parse_health: the output of `mdatp health` as one normalised record."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.mde.offline.plugins.module_utils._endpoint.agent import health_parser


def parse_health(output: Any) -> dict[str, Any]:
    """The record of the output, given as text, as a list of lines, or as the mapping of its JSON."""
    if isinstance(output, Mapping):
        output = json.dumps(dict(output))
    elif isinstance(output, Sequence) and not isinstance(output, (str, bytes)):
        output = "\n".join(str(line) for line in output)
    if not isinstance(output, (str, bytes)):
        raise AnsibleFilterError(
            "mde.offline.parse_health takes the text that mdatp health printed (for example result.stdout), "
            f"its list of lines, or its JSON as a mapping; it was given {type(output).__name__}."
        )
    record: dict[str, Any] = health_parser.parse(output)
    return record


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"parse_health": parse_health}
