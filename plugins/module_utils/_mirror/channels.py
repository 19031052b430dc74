"""What an operator says about channels: promote, roll back, hold, release. Syncs respect all of it."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any, Callable

from .errors import MirrorError
from .lock import locked
from .privileges import acting_as_owner
from .records import Release
from .settings import Settings
from .status import keep_status_true, status
from .store import Store
from .times import now_iso
from .units import Unit


class Selection:
    """Which units of a channel are meant: all it has, or those of one platform or architecture."""

    def __init__(self, channel: str, platform: str | None = None, arch: str | None = None) -> None:
        self.channel, self.platform, self.arch = channel, platform, arch

    def units(self, store: Store) -> list[Unit]:
        found = [
            unit
            for unit in store.units()
            if unit.channel == self.channel
            and self.platform in (None, unit.platform)
            and self.arch in (None, unit.arch)
        ]
        if not found:
            served = sorted({unit.channel for unit in store.units()})
            raise MirrorError(
                "no_such_channel",
                f"{store.root} serves no channel {self.channel!r}"
                + (" for that platform and architecture" if self.platform or self.arch else ""),
                f"It serves {', '.join(served)}." if served else "Run a sync first.",
            )
        return found


def promote(
    settings: Settings, source: Selection, target: str, release: str | None = None, by: str = "", check: bool = False
) -> dict[str, Any]:
    """Makes `target` serve exactly what the source serves, or a named release of the source's shelves."""

    def plan(store: Store) -> list[_Step]:
        if target not in settings.channels:
            raise MirrorError(
                "no_such_channel",
                f"{target!r} is no channel that is fed by promotion",
                f"Add it to `channels` in the settings (there now: {', '.join(settings.channels) or 'none'}). "
                "Microsoft's rings follow the source; hold them or roll them back instead.",
            )
        steps = []
        for unit in source.units(store):
            goal = Unit(unit.platform, target, unit.arch)
            wanted = _named(store, unit, release) if release else _served(store, unit)
            _refuse_held(store, goal, wanted)
            if store.channel(goal).current != wanted.name:
                act = partial(store.publish, goal, wanted, "promote", by)
                previous = store.channel(goal).current or store.channel(goal).previous
                steps.append(_Step(goal, act, wanted, previous))
            else:
                steps.append(_Step(goal))
        return steps

    return _change(settings, check, plan)


def rollback(
    settings: Settings,
    selection: Selection,
    to: str | None = None,
    reason: str = "",
    by: str = "",
    check: bool = False,
) -> dict[str, Any]:
    """Makes a channel serve n-1, or a named retained release, and holds it there."""

    def plan(store: Store) -> list[_Step]:
        steps = []
        for unit in selection.units(store):
            hold = store.channel(unit).hold
            if hold and hold.get("kind") == "rollback" and not to:
                steps.append(_Step(unit))
                continue
            wanted = _named(store, unit, to) if to else _previous(store, unit)
            if hold and store.channel(unit).current == wanted.name:
                steps.append(_Step(unit))
                continue
            note = _hold("rollback", reason or f"rolled back from {store.channel(unit).current}", by)
            act = partial(store.roll_back, unit, wanted, note, by)
            steps.append(_Step(unit, act, wanted, store.back_behind(unit, wanted), note))
        return steps

    return _change(settings, check, plan)


def hold(settings: Settings, selection: Selection, reason: str, by: str = "", check: bool = False) -> dict[str, Any]:
    """Makes a channel stay where it is until it is released."""

    def plan(store: Store) -> list[_Step]:
        steps = []
        for unit in selection.units(store):
            present = store.channel(unit).hold
            if present and (present.get("reason") == reason or not reason):
                steps.append(_Step(unit))
                continue
            # A new reason does not undo that the channel was rolled back.
            note = _hold(present.get("kind", "hold") if present else "hold", reason, by)
            steps.append(_Step(unit, partial(store.set_hold, unit, note, by), hold=note))
        return steps

    return _change(settings, check, plan)


def release(settings: Settings, selection: Selection, by: str = "", check: bool = False) -> dict[str, Any]:
    """Lets a held channel follow its source again."""

    def plan(store: Store) -> list[_Step]:
        return [
            _Step(unit, partial(store.set_hold, unit, None, by), hold={}) if store.channel(unit).hold else _Step(unit)
            for unit in selection.units(store)
        ]

    return _change(settings, check, plan)


class _Step:
    """What is to be done to one unit, and how it will stand then; nothing to do without `act`."""

    def __init__(
        self,
        unit: Unit,
        act: Callable[[], None] | None = None,
        release: Release | None = None,
        previous: str | None = None,
        hold: dict[str, str] | None = None,
    ) -> None:
        self.unit, self.act, self.release, self.previous, self.hold = unit, act, release, previous, hold


def _change(settings: Settings, check: bool, plan: Callable[[Store], list[_Step]]) -> dict[str, Any]:
    """Plans everything before it does anything: where one unit cannot be served, none is touched."""
    store = Store(settings)
    with acting_as_owner(settings.root), contextlib.ExitStack() as held:
        if not check:
            store.prepare()
            held.enter_context(locked(store.lock_file))
        store.load()
        broken: dict[Unit, MirrorError] = {}
        if not check:
            broken = store.recover()
            keep_status_true(store)
        steps = plan(store)
        for step in steps:
            if step.unit in broken:
                raise broken[step.unit]
        befores = {step.unit: _stand(store, step.unit) for step in steps}
        if not check:
            for step in steps:
                if step.act:
                    step.act()
            store.save_seen()
            store.save_status(status(store))
        units = []
        for step in steps:
            after = _stand(store, step.unit) if not check else _foreseen(befores[step.unit], step)
            units.append(
                {
                    "platform": step.unit.platform,
                    "channel": step.unit.channel,
                    "arch": step.unit.arch,
                    "changed": step.act is not None,
                    "before": befores[step.unit],
                    "after": after,
                }
            )
    return {"changed": any(unit["changed"] for unit in units), "units": units}


def _stand(store: Store, unit: Unit) -> dict[str, Any]:
    channel = store.channel(unit)
    return {"release": channel.current, "previous": channel.previous, "held": channel.hold}


def _foreseen(before: dict[str, Any], step: _Step) -> dict[str, Any]:
    after = dict(before)
    if step.release:
        after.update(release=step.release.name, previous=step.previous)
    if step.hold is not None:
        after["held"] = step.hold or None
    return after


def _hold(kind: str, reason: str, by: str) -> dict[str, str]:
    return {"kind": kind, "reason": reason, "by": by, "since": now_iso()}


def _served(store: Store, unit: Unit) -> Release:
    return _whole(store, unit, store.channel(unit).current)


def _previous(store: Store, unit: Unit) -> Release:
    name = store.channel(unit).previous
    if not name:
        kept = ", ".join(store.kept(unit)) or "none"
        raise MirrorError(
            "no_previous",
            f"{unit} has no previous release to go back to",
            f"Name a release that is kept: {kept}.",
        )
    return _whole(store, unit, name)


def _named(store: Store, unit: Unit, wanted: str) -> Release:
    """The kept release of that name, or of that definitions version."""
    names = [name for name in store.kept(unit) if name == wanted or name.split("-")[0] == wanted]
    if len(names) > 1:
        # Rings share a shelf; of two packages of one version, the one that this channel has served is meant.
        served = {entry["release"] for entry in store.channel(unit).entries()}
        names = [name for name in names if name in served] or names
    if len(names) != 1:
        what = "is not kept" if not names else f"is not clear: {', '.join(names)}"
        raise MirrorError(
            "no_such_release",
            f"the release {wanted!r} of {unit} {what}",
            f"Kept are: {', '.join(store.kept(unit)) or 'none'}.",
        )
    return _whole(store, unit, names[0])


def _whole(store: Store, unit: Unit, name: str | None) -> Release:
    found = store.release(unit, name)
    if found is None or not store.intact(found, mend=False):
        raise MirrorError(
            "damaged",
            f"the release {name} of {unit} was damaged or deleted",
            "Run a sync, which mends what the source still has, or name another release.",
        )
    return found


def _refuse_held(store: Store, unit: Unit, wanted: Release) -> None:
    held = store.channel(unit).hold
    if held and store.channel(unit).current != wanted.name:
        raise MirrorError(
            "held",
            f"{unit} is held by {held.get('by') or 'somebody'} since {held.get('since')}: "
            f"{held.get('reason') or 'no reason given'}",
            f"`mde-mirror release {unit.channel}` lets it move again.",
        )
