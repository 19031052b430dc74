"""The records of releases and of channels. Each change of a channel makes a new record."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from .files import json_bytes
from .times import now_iso, readable
from .versions import Versions

if TYPE_CHECKING:
    from typing import TypeGuard

FORMAT = 1
ADOPTED, RECOVERED = "adopted", "recovered"
# Origins of releases whose versions nobody compared with a source: what Microsoft's script left, and what was found
# without its metadata.
UNVERIFIED_ORIGINS = (ADOPTED, RECOVERED)
ZIP, MANIFEST, METADATA = "updates.zip", "manifest.json", "release.json"
# Long enough to explain why a channel serves its release.
_LONGEST_HISTORY = 200
_LONGEST_CHAIN = 16
# The name of the field in the files of version 0.1.0.
_POOL_FIELD = "shelf"


def release_name(definitions: str, engine: str, sha256: str) -> str:
    return f"{definitions}-{engine}-{sha256[:8]}"


class Release(NamedTuple):
    """A package that was verified and stored. `pool` is its folder below `.releases`; times are ISO 8601 UTC."""

    pool: str
    definitions_version: str
    engine_version: str
    definitions_date: str | None
    sha256: str
    size: int
    stored: str
    origin: str

    @property
    def name(self) -> str:
        return release_name(self.definitions_version, self.engine_version, self.sha256)

    @property
    def key(self) -> str:
        """The folder of the release below `.releases`."""
        return f"{self.pool}/{self.name}"

    @property
    def versions(self) -> Versions:
        return Versions(self.definitions_version, self.engine_version, self.definitions_date)

    def small_files(self) -> dict[str, bytes]:
        """The files beside the package, by name."""
        fields = self._asdict()
        metadata = {"format": FORMAT, _POOL_FIELD: fields.pop("pool"), **fields}
        return {MANIFEST: self.versions.manifest(), METADATA: json_bytes(metadata)}


def read_release(metadata: Any) -> Release:
    """A release from its metadata. Raises `KeyError` or `TypeError` for anything else."""
    names = {name: _POOL_FIELD if name == "pool" else name for name in Release._fields}
    return Release(**{name: metadata[field] for name, field in names.items()})


class Channel(NamedTuple):
    """What one unit serves and served, by names of releases; the newest entry of `history` is the last.

    `own`: a promotion fed the channel, so this mirror decides what it serves; it does not follow another mirror's
    channel of the same name. Each method returns the record as it is after a change.
    """

    current: str | None = None
    previous: str | None = None
    published: str | None = None
    hold: dict[str, str] | None = None
    history: tuple[dict[str, str], ...] = ()
    own: bool = False

    def publish(
        self,
        name: str,
        action: str,
        by: str = "sync",
        current_is_whole: bool = True,
        discard_current: bool = False,
        accepted: tuple[str, ...] = (),
    ) -> Channel:
        """The channel serves release `name`; the release that it served becomes n-1, if that one is whole.

        `accepted` has the codes of refusals that the operator overrode.

        With `discard_current`, the served package was not the one that its manifest names: its release does not become
        n-1 and is removed from the history.
        """
        history = tuple(entry for entry in self.history if not discard_current or entry["release"] != self.current)
        previous = self.previous
        if self.current and self.current != name and current_is_whole and not discard_current:
            previous = self.current
        elif self.current != name and previous == name:
            previous = None
        return self._with(
            name,
            action,
            by,
            previous=previous,
            published=self.published if self.current == name else now_iso(),
            own=self.own or action == "promote",
            history=history,
            accepted=accepted,
        )

    def adopt(self, current: str | None, previous: str | None) -> Channel:
        """The channel serves what Microsoft's script left in its folders."""
        adopted = self._with(current, "adopt", "sync", published=now_iso()) if current else self
        return adopted._replace(previous=previous) if previous and previous != current else adopted

    def roll_back(
        self, name: str, previous: str, hold: dict[str, str] | None, by: str, accepted: tuple[str, ...] = ()
    ) -> Channel:
        """The channel serves an earlier release. An operator's rollback holds it there; that of a source does not."""
        changes = {"previous": previous, "published": now_iso(), "hold": hold, "accepted": accepted}
        return self._with(name, "rollback", by, **changes)

    def set_hold(self, hold: dict[str, str] | None, by: str) -> Channel:
        """The channel is held, or follows its source again; the history calls the latter `release`."""
        return self._with(self.current, "hold" if hold else "release", by, hold=hold)

    def without_previous(self) -> Channel:
        return self._replace(previous=None)

    def _with(self, name: str | None, action: str, by: str, **changes: Any) -> Channel:
        entry = {"release": name or "", "at": now_iso(), "action": action, "by": by}
        accepted = changes.pop("accepted", ())
        if accepted:
            entry["accepted"] = ", ".join(accepted)
        history = (*changes.pop("history", self.history), entry)[-_LONGEST_HISTORY:]
        return self._replace(current=name, history=history, **changes)

    @property
    def state(self) -> str:
        """What an operator did to the channel: `follows`, `held` or `rolled_back`."""
        if not self.hold:
            return "follows"
        return "rolled_back" if self.hold.get("kind") == "rollback" else "held"

    def withdrawn(self) -> dict[str, str]:
        """The releases that a rollback took away and that were not served again since, with the time of the rollback.

        A rollback to n-2 takes away both releases after it. The last one is the newest entry.
        """
        served: list[str] = []
        found: dict[str, str] = {}
        for entry in self.history:
            name = entry["release"]
            if entry["action"] in ("hold", "release"):
                continue
            if entry["action"] == "rollback":
                at = _last(served, name)
                # A release that the channel had not served before replaces only the last one.
                left = served[at + 1 :] if at < len(served) else served[-1:]
                for earlier in left:
                    found.pop(earlier, None)
                    found[earlier] = entry.get("at", "")
                del served[at:]
            found.pop(name, None)
            served.append(name)
        return found

    def earlier_than(self, name: str) -> list[str]:
        """The releases that may become n-1 when the channel is rolled back to `name`: the best first.

        First come the releases that the channel served before `name`, the newest first, and then the present n-1.
        Releases from which the channel was rolled back, now or earlier, are left out: n-1 is what operators use when
        something is wrong.
        """
        served: list[str] = []
        for entry in self.history:
            if entry["action"] in ("hold", "release"):
                continue
            if entry["action"] == "rollback":
                del served[_last(served, entry["release"]) :]
            served.append(entry["release"])
        at = _last(served, name)
        left = {self.current, *served[at:]}
        return [earlier for earlier in [*reversed(served[:at]), self.previous] if earlier and earlier not in left]


def read_channel(entry: Any) -> Channel:
    """A channel from a state file. Raises `TypeError`, `ValueError` or `AttributeError` for anything else."""
    fields = {**entry, "history": entry.get("history") or ()}
    channel = Channel(**fields)
    texts = (channel.current, channel.previous, channel.published)
    if not isinstance(channel.current, str) or any(not isinstance(text, str) for text in texts if text is not None):
        raise ValueError(entry)
    hold = channel.hold
    return channel._replace(
        own=channel.own is True,
        hold=None if hold is None else {str(key): str(value) for key, value in hold.items()},
        history=tuple(
            {str(key): str(value) for key, value in change.items()}
            for change in channel.history
            if change.get("release") and change.get("action")
        ),
    )


class Identity(NamedTuple):
    """Which mirror this is, and the number of its last status. The id is made once and has 32 hexadecimal digits."""

    mirror_id: str = ""
    sequence: int = 0


def is_mirror_id(text: object) -> TypeGuard[str]:
    return isinstance(text, str) and re.fullmatch("[0-9a-f]{32}", text) is not None


def read_identity(fields: Any) -> Identity:
    """The identity in a state file or status; empty if it has none."""
    if not isinstance(fields, dict):
        return Identity()
    mirror_id, sequence = fields.get("mirror_id"), fields.get("sequence")
    if not is_mirror_id(mirror_id) or not isinstance(sequence, int) or isinstance(sequence, bool) or sequence < 0:
        return Identity()
    return Identity(mirror_id, sequence)


def read_chain(fields: Any) -> list[dict[str, Any]]:
    """The mirrors on the way from the source, the nearest first, with the time up to which each is current.

    What is not a mirror's id or a time is left out: the entries come from other mirrors.
    """
    entries = [entry for entry in fields if isinstance(entry, dict)] if isinstance(fields, list) else []
    return [
        {"mirror_id": entry["mirror_id"], "current_as_of": readable(entry.get("current_as_of"))}
        for entry in entries[:_LONGEST_CHAIN]
        if is_mirror_id(entry.get("mirror_id"))
    ]


def _last(names: list[str], name: str) -> int:
    """The index of the last `name`; the length of the list if it has none."""
    return next((at for at in reversed(range(len(names))) if names[at] == name), len(names))
