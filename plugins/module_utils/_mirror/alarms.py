"""What needs attention on a mirror: it stands still, its definitions are old, or something published is missing."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator, NamedTuple

from .times import age_seconds, is_beyond_tomorrow, is_future
from .units import unit_name


class Alarm(NamedTuple):
    """`code` and `path` (a channel's folder, or none) stay the same as long as the trouble does."""

    code: str
    path: str | None
    message: str


def alarms(found: dict[str, Any], root: Path, missing: list[str], max_age_hours: float | None) -> list[Alarm]:
    """The alarms of a status with its limits (`read_status`); without `max_age_hours`, a standstill raises none."""
    return [
        *(_standstill(found["current_as_of"], root, max_age_hours) if max_age_hours else ()),
        *(alarm for channel in found["channels"] for alarm in _definitions(channel, found["generated"])),
        *(
            Alarm("missing", path, f"{root / path} is published, but missing. Run `mde-mirror sync`.")
            for path in missing
        ),
    ]


def _standstill(current_as_of: str | None, root: Path, hours: float) -> Iterator[Alarm]:
    age = age_seconds(current_as_of)
    if age is None:
        yield Alarm(
            "never_filled",
            None,
            f"{root} was never filled: no sync and no import has succeeded. Run `mde-mirror sync`.",
        )
    elif is_future(current_as_of):
        yield Alarm(
            "filled_in_future",
            None,
            f"{root} was last filled at {current_as_of}, which is in the future, so its age is not known. Set the "
            "clock of this host, then run `mde-mirror sync`.",
        )
    elif age > hours * 3600:
        yield Alarm(
            "standstill",
            None,
            f"{root} was last filled at {current_as_of}, {age / 3600:.1f} hours ago; the limit is {hours:g}. Check "
            "the last sync, its timer and its log. For a copy of another mirror, check that mirror too.",
        )


def _definitions(channel: dict[str, Any], now: str) -> Iterator[Alarm]:
    hours, age = channel["max_definitions_age_hours"], channel["age_seconds"]
    if not hours or age is None:
        return
    name, version, date = unit_name(channel), channel["definitions_version"], channel["definitions_date"]
    if is_beyond_tomorrow(date, now):
        yield Alarm(
            "definitions_in_future",
            channel["path"],
            f"{name} serves definitions {version} of {date}, which is in the future, so their age is not known. Set "
            "the clock of this host if it is wrong; otherwise roll the channel back.",
        )
    elif age > hours * 3600:
        held = "The channel is held. " if channel["held"] else ""
        yield Alarm(
            "definitions_old",
            channel["path"],
            f"{name} serves definitions {version} that are {age / 3600:.1f} hours old; the limit is {hours:g} "
            f"(maxDefinitionsAge in the settings). {held}Check what the source or the promotions of the channel bring.",
        )
