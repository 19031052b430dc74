"""Validates a managed configuration: the entry point of this package.

Private to the mde.offline collection; it may change without notice.
"""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from . import (
    addresses,
    effects,
    exclusions,
    hardening,
    json_schema,
    keys,
    parsing,
    placeholders,
    structure,
    version_gates,
)
from .document import TOO_DEEP, ManagedConfig, TooDeepError, plain
from .findings import RULES, Finding, FindingDict, kind_of
from .json_schema import MissingLibraryError
from .versions import AgentVersionError, parse

__all__ = ["RULES", "AgentVersionError", "FindingDict", "MissingLibraryError", "config_findings"]

TOPICS = (structure, keys, placeholders, exclusions, addresses, effects, hardening, version_gates)


def config_findings(config: Any, agent_version: Any = None) -> list[FindingDict]:
    """The findings about a managed configuration: errors first, then by path, always in the same order.

    `config` is a mapping, or the text or bytes of a file. For a file, encoding and duplicate names are checked too.
    No value of `config` raises an exception. AgentVersionError means that `agent_version` is invalid,
    MissingLibraryError that jsonschema is not installed.
    """
    json_schema.validator()
    if agent_version is not None:
        parse(agent_version)
    found: list[Finding] = []
    if isinstance(config, (bytes, bytearray)):
        config = bytes(config)
    if isinstance(config, (str, bytes)):
        config, found = parsing.read(config)
        if any(finding.rule in (parsing.NOT_JSON, parsing.EMPTY_FILE, TOO_DEEP) for finding in found):
            return _report(found)
    try:
        found.extend(_data(plain(config), agent_version))
    except TooDeepError as error:
        found.append(error.finding)
    return _report(found)


def _data(data: Any, agent: str | None) -> Iterable[Finding]:
    if not isinstance(data, Mapping):
        twice = isinstance(data, str) and data.lstrip().startswith(("{", '"'))
        advice = "This is JSON that was encoded twice, as a string: remove the outermost quotes and the backslashes."
        message = f"The outermost value is {kind_of(data)}, not an object."
        return [parsing.ROOT_NOT_OBJECT.at((), message, advice if twice else "")]
    managed = ManagedConfig(dict(data), agent)
    return [finding for topic in TOPICS for finding in topic.check(managed)]


def _report(found: Iterable[Finding]) -> list[FindingDict]:
    return [finding.as_dict() for finding in sorted(set(found), key=Finding.order)]
