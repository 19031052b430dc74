"""Rules about values that are copied from documentation or never filled in.

Private to the mde.offline collection; it may change without notice.
"""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from typing import Any

from .document import Findings, ManagedConfig
from .findings import ERROR, Path, rule, show

PLACEHOLDER_VALUE = rule(
    "placeholder_value",
    ERROR,
    "A placeholder that was never filled in",
    "The value is from a sample of the documentation, or has to be replaced: <EXAMPLE DO NOT USE>, proxy.server:port, "
    "GroupIdExample, Tag, {{ variable }}, $VARIABLE, __TOKEN__, your-proxy. Machines with such a proxy received no "
    "updates.",
    "Write the real value, or remove the key.",
)

_ANYWHERE = re.compile(
    r"<[^<>]{2,80}>|\{\{.*\}\}|\{%.*%\}|#\{[^{}]+\}|\$\{[^{}]+\}|\$\([^()]+\)|%[A-Z_]{3,}%"
    r"|\b(?:CHANGE|REPLACE)[-_ ]?(?:ME|THIS)\b|EXAMPLE DO NOT USE|\byour[-_](?=\w)|\bx{1,3}(?:\.x{1,3}){3}\b"
    r"|//(?:[^/@]*@)?proxy\.server\b|\bwww\.example\.server\b|:port\b|\A/path/to/",
    re.IGNORECASE | re.DOTALL,
)
_SHOUTED = re.compile(r"\$[A-Z][A-Z0-9_]{2,}\b|\b__[A-Z][A-Z0-9_]*__\b|\A(?:TODO|TBD|FIXME)\b")
_EXACTLY = {
    ("edr", "groupIds"): {"GroupIdExample"},
    ("edr", "tags", "value"): {"Tag"},
    ("cloudService", "proxy"): {"proxy.server:port"},
}


def check(managed: ManagedConfig) -> Findings:
    yield from _check(managed.data, ())


def _check(value: Any, path: Path) -> Findings:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _check(item, (*path, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _check(item, (*path, index))
    elif isinstance(value, str) and is_placeholder(value, path):
        yield PLACEHOLDER_VALUE.at(path, f"{show(value)} is a placeholder, not a value.")


def is_placeholder(value: str, path: Path = ()) -> bool:
    names = tuple(part for part in path if isinstance(part, str))
    return bool(_ANYWHERE.search(value) or _SHOUTED.search(value)) or value.strip() in _EXACTLY.get(names, ())
