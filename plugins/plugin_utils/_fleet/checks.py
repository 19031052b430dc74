# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks the records of endpoints and mirrors and yields findings. Private to the collection; controller only."""

from __future__ import annotations

from collections.abc import Iterator

from . import findings
from .records import Channel, Endpoint, Mirror
from .times import age, hours_between

# Microsoft publishes several times a day; after seven days its portal reports definitions as out of date.
STALE_HOURS = 168

Found = Iterator[dict[str, str]]


def answer(record: Endpoint | Mirror) -> str:
    """Whether the host has a result: yes, unreachable, failed (the module failed), or none (it never ran there)."""
    if record.answered:
        return "yes"
    if record.failure.unreachable:
        return "unreachable"
    return "none" if record.failure.empty else "failed"


def no_result(record: Endpoint | Mirror) -> Found:
    reason = record.failure.message or "no reason was given"
    if answer(record) == "unreachable":
        yield findings.HOST_UNREACHABLE.found(f"Ansible could not reach the host: {reason}")
    elif answer(record) == "none":
        yield findings.NOT_CHECKED.found("Ansible removed the host from this run before its health was checked.")
    elif record.failure.message or not record.problems:
        yield findings.CHECK_FAILED.found(f"The module returned no result: {reason}")


def malformed(record: Endpoint | Mirror) -> Found:
    if record.problems:
        places = "; ".join(record.problems)
        yield findings.RESULT_MALFORMED.found(f"The host returned values that the module never returns: {places}.")


def mirror(record: Mirror, generated: str, max_age_hours: float) -> Found:
    yield from _sync_errors(record)
    if not record.channels:
        yield findings.MIRROR_EMPTY.found("The mirror serves no release.")
    else:
        yield from _not_synced(record, generated, max_age_hours)
    for channel in record.channels:
        yield from _channel(channel)


def _sync_errors(record: Mirror) -> Found:
    for error in record.sync_errors:
        place = f" for {error.unit}" if error.unit else ""
        yield findings.MIRROR_SYNC_FAILED.found(f"The last sync failed{place}: {error.message}", error.hint)


def _not_synced(record: Mirror, generated: str, max_age_hours: float) -> Found:
    hours = hours_between(record.last_success, generated)
    allowed = f"{max_age_hours:g} hour{'s' if max_age_hours != 1 else ''}"
    if hours is None:
        yield findings.MIRROR_NOT_SYNCED.found(
            f"No sync has succeeded yet ({allowed} are allowed).", severity="warning"
        )
    elif hours > max_age_hours:
        since = f"The last sync without a failure was {age(hours * 60)} ago"
        yield findings.MIRROR_NOT_SYNCED.found(f"{since} ({allowed} are allowed).")


def _channel(channel: Channel) -> Found:
    if channel.definitions_version is None:
        yield findings.RELEASE_GONE.found(f"The release of {channel.name} is missing.")
    hours = (channel.age_seconds or 0) / 3600
    if channel.max_age_hours and hours > channel.max_age_hours:
        allowed = f"{channel.max_age_hours:g} hours are allowed"
        yield findings.MIRROR_DEFINITIONS_OLD.found(
            f"{channel.name} serves definitions that are {age(hours * 60)} old ({allowed}).",
            severity="error" if hours > STALE_HOURS else "warning",
        )
    if channel.held:
        reason = channel.held_reason or "no reason was given"
        yield findings.CHANNEL_HELD.found(f"{channel.name} is held and takes no new release: {reason}")
