"""Rules about keys and values that an agent of a certain version does not know yet, or ignores.

Private to the mde.offline collection; it may change without notice.
"""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

from . import json_schema
from .document import Findings, ManagedConfig
from .findings import ERROR, INFO, WARNING, Path, rule, show

KEY_TOO_NEW = rule(
    "key_too_new",
    ERROR,
    "A key that is newer than the agent",
    "The agent of this host does not know the key yet, so the key has no effect.",
    "Upgrade the agent, or leave the key out for hosts with this version.",
)
VALUE_TOO_NEW = rule(
    "value_too_new",
    ERROR,
    "A value that is newer than the agent",
    "The agent of this host knows the key, but not this value. A wrong value can make it ignore the whole file.",
    "Upgrade the agent, or write an older value for hosts with this version.",
)
VERIFY_SIG_DEAD = rule(
    "verify_sig_dead",
    INFO,
    "A setting that newer agents ignore",
    "Agents from 101.26062.0005 on always check the engine's signature and ignore offlineDefinitionUpdateVerifySig.",
    "Remove it once no host has an older agent.",
)
EDR_TAGS_BROKEN = rule(
    "edr_tags_broken",
    WARNING,
    "An agent that does not enrol by tag",
    "Enrolment by the tag MDE-Management was broken in 101.24032.0007 and fixed in 101.24042.0002.",
    "Upgrade the agent to 101.24042.0002 or newer.",
)


def check(managed: ManagedConfig) -> Findings:
    yield from _walk(managed, managed.data, json_schema.load(), ())
    where = ("features", "offlineDefinitionUpdateVerifySig")
    since = (json_schema.at(where) or {})["x-deprecated-since"]
    if managed.has(*where) and not managed.older_than(since):
        yield VERIFY_SIG_DEAD.at(where, f"Agents from {since} on ignore this key.")
    if managed.older_than("101.24042.0002") and not managed.older_than("101.24032.0007"):
        for path, tag in managed.objects("edr", "tags"):
            if tag.get("value") == "MDE-Management":
                yield EDR_TAGS_BROKEN.at((*path, "value"), "This agent does not enrol by this tag.")


def _walk(managed: ManagedConfig, value: Any, node: json_schema.Node, path: Path) -> Findings:
    if isinstance(value, dict) and node.get("type") == "object":
        for name, item in value.items():
            below = json_schema.child(node, name)
            if below is not None:
                yield from _gate(managed, item, below, (*path, name))
    elif isinstance(value, list) and node.get("type") == "array":
        for index, item in enumerate(value):
            yield from _gate(managed, item, json_schema.resolve(node["items"]), (*path, index))


def _gate(managed: ManagedConfig, value: Any, node: json_schema.Node, path: Path) -> Findings:
    """Reports the outermost key that is too new, and nothing inside of it."""
    needed = node.get("x-minimum-agent-version")
    if needed and managed.older_than(needed):
        yield KEY_TOO_NEW.at(
            path,
            f"This needs agent {needed}; the agent is {managed.agent_text}.",
            f"Upgrade the agent to {needed} or newer, or leave the key out for these hosts.",
        )
        return
    needed = node.get("x-value-minimum-agent-version", {}).get(value) if isinstance(value, str) else None
    if needed and managed.older_than(needed):
        yield VALUE_TOO_NEW.at(
            path,
            f"{show(value)} needs agent {needed}; the agent is {managed.agent_text}.",
            f"Upgrade the agent to {needed} or newer, or use another value for these hosts.",
        )
    yield from _walk(managed, value, node, path)
