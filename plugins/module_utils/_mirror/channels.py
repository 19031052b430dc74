"""What operators do to channels: promote, roll back, hold, unhold. Syncs respect these decisions."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any, Callable, NamedTuple

from .errors import MirrorError
from .privileges import acting_as_owner
from .records import Channel
from .session import Mirror, MirrorSession
from .settings import Settings
from .state import State
from .times import now_iso
from .units import Unit


class Selection(NamedTuple):
    """Units of a channel: all of them, or only those of one platform or architecture."""

    channel: str
    platform: str | None = None
    arch: str | None = None

    def units(self, state: State) -> list[Unit]:
        found = [
            unit
            for unit in state.units()
            if unit.channel == self.channel
            and self.platform in (None, unit.platform)
            and self.arch in (None, unit.arch)
        ]
        if not found:
            served = sorted({unit.channel for unit in state.units()})
            raise MirrorError(
                "no_such_channel",
                f"the mirror serves no channel {self.channel!r}"
                + (" for that platform and architecture" if self.platform or self.arch else ""),
                f"It serves {', '.join(served)}." if served else "Run a sync first.",
            )
        return found


class _Change(NamedTuple):
    """A unit, and the record of its channel before and after the change."""

    unit: Unit
    before: Channel
    after: Channel

    @property
    def changed(self) -> bool:
        return self.after is not self.before

    def as_dict(self) -> dict[str, Any]:
        return {
            **self.unit.as_dict(),
            "changed": self.changed,
            "before": _as_dict(self.before),
            "after": _as_dict(self.after),
        }


def _as_dict(channel: Channel) -> dict[str, Any]:
    return {"release": channel.current, "previous": channel.previous, "held": channel.hold}


def promote(
    settings: Settings,
    source: Selection,
    target: str,
    *,
    release: str | None = None,
    by: str = "",
    check: bool = False,
) -> dict[str, Any]:
    """Makes `target` serve what the source serves, or a named release of the same platform and architecture."""
    extra = settings.channels

    def plan(state: State) -> list[_Change]:
        if target not in extra:
            raise MirrorError(
                "no_such_channel",
                f"{target!r} is not a channel that is fed by promotion",
                f"Add it to `channels` in the settings (now: {', '.join(extra) or 'none'}). Microsoft's rings "
                "follow the source; hold them or roll them back instead.",
            )
        return [
            _promoted(state, unit, Unit(unit.platform, target, unit.arch), release, by) for unit in source.units(state)
        ]

    return _apply(settings, check, plan)


def rollback(
    settings: Settings,
    selection: Selection,
    *,
    to: str | None = None,
    reason: str = "",
    by: str = "",
    check: bool = False,
) -> dict[str, Any]:
    """Makes a channel serve n-1, or a named stored release, and holds it there."""

    def plan(state: State) -> list[_Change]:
        return [_rolled_back(state, unit, to, reason, by) for unit in selection.units(state)]

    return _apply(settings, check, plan)


def hold(
    settings: Settings, selection: Selection, *, reason: str = "", by: str = "", check: bool = False
) -> dict[str, Any]:
    """Makes a channel keep its release until it is unheld."""

    def plan(state: State) -> list[_Change]:
        return [_held(unit, state.channel(unit), reason, by) for unit in selection.units(state)]

    return _apply(settings, check, plan)


def unhold(settings: Settings, selection: Selection, *, by: str = "", check: bool = False) -> dict[str, Any]:
    """Lets a held channel follow its source again."""

    def plan(state: State) -> list[_Change]:
        return [_unheld(unit, state.channel(unit), by) for unit in selection.units(state)]

    return _apply(settings, check, plan)


def _apply(settings: Settings, check: bool, plan: Callable[[State], list[_Change]]) -> dict[str, Any]:
    """Plans all changes before it makes the first one: if one unit cannot be changed, none is changed."""
    mirror = Mirror(settings)

    def work(session: MirrorSession) -> list[_Change]:
        changes = plan(session.state)
        for change in changes:
            if change.unit in session.broken:
                raise session.broken[change.unit]
        for change in changes:
            if change.changed:
                session.set_channel(change.unit, change.after)
        return changes

    with acting_as_owner(settings.root):
        changes = plan(mirror.state()) if check else mirror.change(work)
    return {
        "changed": any(change.changed for change in changes),
        "units": [change.as_dict() for change in changes],
    }


def _promoted(state: State, source: Unit, target: Unit, release: str | None, by: str) -> _Change:
    wanted = _named(state, source, release) if release else _whole(state, source, state.channel(source).current)
    channel = state.channel(target)
    if channel.current == wanted:
        return _Change(target, channel, channel)
    if channel.hold:
        raise MirrorError(
            "held",
            f"{target} is held by {channel.hold.get('by') or 'somebody'} since {channel.hold.get('since')}: "
            f"{channel.hold.get('reason') or 'no reason given'}",
            f"`mde-mirror unhold {target.channel}` lets the channel change again.",
        )
    whole = state.is_whole(target, channel.current)
    return _Change(target, channel, channel.publish(wanted, "promote", by, current_is_whole=whole))


def _rolled_back(state: State, unit: Unit, to: str | None, reason: str, by: str) -> _Change:
    channel = state.channel(unit)
    if channel.hold and channel.hold.get("kind") == "rollback" and not to:
        return _Change(unit, channel, channel)
    wanted = _named(state, unit, to) if to else _previous(state, unit)
    if channel.hold and channel.current == wanted:
        return _Change(unit, channel, channel)
    previous = state.previous_after(unit, wanted)
    note = _hold("rollback", reason or f"rolled back from {channel.current}", by)
    return _Change(unit, channel, channel.roll_back(wanted, previous, note, by))


def _held(unit: Unit, channel: Channel, reason: str, by: str) -> _Change:
    present = channel.hold
    if present and (present.get("reason") == reason or not reason):
        return _Change(unit, channel, channel)
    # A new reason keeps the kind: a channel that was rolled back stays recorded as rolled back.
    kind = present.get("kind", "hold") if present else "hold"
    return _Change(unit, channel, channel.set_hold(_hold(kind, reason, by), by))


def _unheld(unit: Unit, channel: Channel, by: str) -> _Change:
    return _Change(unit, channel, channel.set_hold(None, by) if channel.hold else channel)


def _hold(kind: str, reason: str, by: str) -> dict[str, str]:
    return {"kind": kind, "reason": reason, "by": by, "since": now_iso()}


def _previous(state: State, unit: Unit) -> str:
    name = state.channel(unit).previous
    if not name:
        raise MirrorError(
            "no_previous",
            f"{unit} has no previous release to go back to",
            f"Name a release that is stored: {', '.join(state.names(unit)) or 'none'}.",
        )
    return _whole(state, unit, name)


def _named(state: State, unit: Unit, wanted: str) -> str:
    """The stored release of that name, or of that definitions version."""
    stored = state.names(unit)
    names = [name for name in stored if name == wanted or name.split("-")[0] == wanted]
    if len(names) > 1:
        # Channels share releases. If several packages have this version, the one that this channel has served is used.
        served = {entry["release"] for entry in state.channel(unit).history}
        names = [name for name in names if name in served] or names
    if len(names) != 1:
        what = "is not stored" if not names else f"is ambiguous: {', '.join(names)}"
        raise MirrorError(
            "no_such_release",
            f"the release {wanted!r} of {unit} {what}",
            f"Stored releases: {', '.join(stored) or 'none'}.",
        )
    return _whole(state, unit, names[0])


def _whole(state: State, unit: Unit, name: str | None) -> str:
    if not name or not state.is_whole(unit, name):
        raise MirrorError(
            "damaged",
            f"the release {name} of {unit} was damaged or deleted",
            "Run a sync, which repairs the release if the source still has it, or name another release.",
        )
    return name
