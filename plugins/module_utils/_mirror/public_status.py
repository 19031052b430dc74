"""What `status.json` tells the public: what clients, other mirrors and event sources need, and nothing about operators.

Users, reasons, paths, addresses and messages stay in `.state` and in `mde-mirror status`.
"""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from .files import read_json
from .records import Identity
from .state import State

KIND = "mde-mirror status"
_TOP = ("format", "generated", "last_success", "last_import", "current_as_of", "origin", "chain")
_RELEASE = (
    "release",
    "definitions_version",
    "engine_version",
    "definitions_date",
    "sha256",
    "bytes",
    "stored",
    "age_seconds",
)
_UNIT = ("platform", "channel", "arch", "outcome", "before", "after")
_LAG = ("offered", "behind_since", "behind_seconds")
_CHANNEL = ("platform", "channel", "arch", "path", *_RELEASE, "published", *_LAG, "state", "withdrawn")


def public(found: dict[str, Any], identity: Identity) -> dict[str, Any]:
    """The public part of a status (`status.status`), with the identity of the mirror."""
    return {
        "kind": KIND,
        **{name: found[name] for name in _TOP},
        **identity._asdict(),
        "channels": [_channel(channel) for channel in found["channels"]],
        "last_sync": _last_sync(found["last_sync"]),
    }


def _channel(channel: dict[str, Any]) -> dict[str, Any]:
    back = channel["back"]
    return {
        **{name: channel[name] for name in _CHANNEL},
        "held": _held(channel["held"]),
        "back": {name: back[name] for name in _RELEASE} if back else None,
    }


def _held(hold: dict[str, str] | None) -> dict[str, str] | None:
    return {name: hold[name] for name in ("kind", "since") if name in hold} if hold else None


def _last_sync(last: dict[str, Any] | None) -> dict[str, Any] | None:
    """The result and the time of the last sync, what became of each unit, and the codes of the errors."""
    if not last:
        return None
    return {
        "result": last["result"],
        "finished": last["finished"],
        "units": [
            {**{name: unit.get(name) for name in _UNIT}, "error": _code(unit.get("error"))} for unit in last["units"]
        ],
        "errors": [_code(error) for error in last["errors"]],
    }


def _code(error: dict[str, Any] | None) -> dict[str, Any] | None:
    return {"code": error["code"]} if error else None


def is_current(state: State, root: Path) -> bool:
    """True if `status.json` agrees with the state about each channel, apart from values that change with time."""
    said: list[Any] = []
    with contextlib.suppress(KeyError, TypeError, AttributeError):
        for entry in read_json(root / "status.json")["channels"]:
            said.append((entry["path"], entry["release"], (entry["back"] or {}).get("release"), entry["held"]))
    channels = ((unit.path, state.channel(unit)) for unit in state.units())
    return said == [(path, channel.current, channel.previous, _held(channel.hold)) for path, channel in channels]
