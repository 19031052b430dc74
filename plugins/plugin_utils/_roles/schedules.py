"""Reads fields of crontab(5) and spans of time. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
# The lowest and the highest number of each field, and the names that stand for numbers.
_FIELDS: tuple[tuple[int, int, list[str]], ...] = (
    (0, 59, []),
    (0, 23, []),
    (1, 31, []),
    (1, 12, _MONTHS),
    (0, 7, _WEEKDAYS),
)
_NUMBERS = re.compile(r"(?:[*]|([0-9]+)(?:-([0-9]+))?)(?:/[1-9][0-9]*)?\Z")
_NAMES = re.compile(r"([A-Za-z]{3})(?:-([A-Za-z]{3}))?\Z")

# The units that mde_mirror_job.py reads, and the further ones that systemd.time(7) has.
_UNITS = "s|sec|second|seconds|m|min|minute|minutes|h|hr|hour|hours|d|day|days"
_SYSTEMD_UNITS = "us|usec|ms|msec|w|week|weeks|M|month|months|y|year|years"
_SPAN = re.compile(rf" *([0-9]+(?![0-9])( *({_UNITS})(?![A-Za-z]))? *)+\Z")
_SYSTEMD_SPAN = re.compile(
    rf" *([0-9]+(?![0-9])([.][0-9]+(?![0-9]))?( *({_UNITS}|{_SYSTEMD_UNITS})(?![A-Za-z]))? *)+\Z"
)
_SPAN_OF_ONE_UNIT = re.compile(r"([1-9][0-9]*) *(s|min|h)\Z")


def cron_fault(schedule: str) -> str | None:
    """The first field that cron does not accept, the whole text if it does not have five fields, or None."""
    fields = schedule.split()
    if len(fields) != len(_FIELDS):
        return schedule
    return next((field for field, limits in zip(fields, _FIELDS) if not _is_field(field, *limits)), None)


def _is_field(field: str, lowest: int, highest: int, names: list[str]) -> bool:
    return all(_is_part(part, lowest, highest, names) for part in field.split(","))


def _is_part(part: str, lowest: int, highest: int, names: list[str]) -> bool:
    numbers = _NUMBERS.match(part)
    if numbers:
        return all(lowest <= int(number) <= highest for number in numbers.groups() if number)
    words = _NAMES.match(part)
    return words is not None and all(word.lower() in names for word in words.groups() if word)


def is_span(text: str, systemd: bool) -> bool:
    """Whether a scheduler understands this span of time, such as 6h or 1h 30min."""
    return bool((_SYSTEMD_SPAN if systemd else _SPAN).match(text))


def iso_duration(text: str) -> str:
    """A span of one unit in the form of Task Scheduler (30min is PT30M); empty for any other text."""
    found = _SPAN_OF_ONE_UNIT.match(text)
    return f"PT{found.group(1)}{found.group(2)[0].upper()}" if found else ""
