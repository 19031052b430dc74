"""The lag of a channel: since when its source has offered something newer, and for how long."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
from typing import Any

from .times import age_seconds, now_iso, readable
from .units import Unit
from .versions import Versions, is_version


def is_behind(served: Versions | None, offered: Versions) -> bool:
    """True when the source offers something newer. Older versions are not a lag."""
    return served is None or not (offered.same_as(served) or offered.lower_than(served))


def since(
    served: Versions | None, offered: Versions | None, published: str | None, before: dict[str, Any] | None, now: str
) -> str | None:
    """Since when the source has offered something newer than is served; None if it has not, or if that is not known.

    `published` is the time at which the source published what it offers, if it gives one. `before` is the result of the
    last sync for this unit: while the unit serves the same versions, its lag counts from the first newer release and
    not from the latest one.
    """
    known = None
    if before is not None and before.get("after") == (served.as_dict() if served else None):
        known = before.get("behind_since")
    if offered is None:
        return known
    if not is_behind(served, offered):
        return None
    began = readable(published)
    return known or (began if began and began <= now else now)


def as_fields(served: Versions | None, offered: Versions | None, moment: str | None) -> dict[str, Any]:
    """The three fields of a result or status; `moment` is what `since` returned."""
    current = offered is not None and not is_behind(served, offered)
    return {
        "offered": offered.as_dict() if offered else None,
        "behind_since": moment,
        "behind_seconds": 0 if current else age_seconds(moment),
    }


def by_unit(last_sync: Any) -> dict[Unit, dict[str, Any]]:
    """The results of a recorded sync, by unit."""
    found = {}
    with contextlib.suppress(KeyError, TypeError):
        for entry in last_sync["units"]:
            found[Unit(entry["platform"], entry["channel"], entry["arch"])] = dict(entry)
    return found


def since_last_asked(asked: dict[str, Any] | None, served: Versions | None, published: str | None) -> dict[str, Any]:
    """The three fields of a channel, from the last sync and from what has been served since `published`."""
    offered = _versions((asked or {}).get("offered"))
    return as_fields(served, offered, since(served, offered, published, asked, now_iso()))


def _versions(fields: Any) -> Versions | None:
    if not isinstance(fields, dict):
        return None
    definitions, engine = fields.get("definitions_version"), fields.get("engine_version")
    return Versions(definitions, engine) if is_version(definitions) and is_version(engine) else None
