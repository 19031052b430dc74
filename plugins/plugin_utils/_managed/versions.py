"""Parses versions of the agent, in both formats: 101.98.89 and 101.24022.0001.

Private to the mde.offline collection; it may change without notice.
"""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

from .findings import show

AgentVersion = tuple[int, ...]


class AgentVersionError(ValueError):
    """The value is not a version of the agent."""


def parse(text: object) -> AgentVersion:
    """The numbers of a version, for comparison. Raises AgentVersionError with advice."""
    if isinstance(text, str) and re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9}){2}", text.strip(), flags=re.ASCII):
        return tuple(int(number) for number in text.strip().split("."))
    raise AgentVersionError(
        "agent_version must be a string of three numbers such as '101.24022.0001', as `mdatp health --field "
        f"app_version` prints it, but it is {show(text)}. Do not set it if the version is unknown."
    )
