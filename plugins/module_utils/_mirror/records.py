"""What is kept of a release and of a channel, in memory and in the files beside them."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from .versions import Versions

FORMAT = 1
ZIP, MANIFEST, CARD = "updates.zip", "manifest.json", "release.json"


def release_name(definitions: str, engine: str, sha256: str) -> str:
    return f"{definitions}-{engine}-{sha256[:8]}"


@dataclass(frozen=True)
class Release:
    """A package that was proven and stored. `shelf` is its folder below `.releases`; times are ISO 8601 UTC."""

    shelf: str
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
    def versions(self) -> Versions:
        return Versions(self.definitions_version, self.engine_version, self.definitions_date)

    def card(self) -> bytes:
        return (json.dumps({"format": FORMAT, **asdict(self)}, indent=2, sort_keys=True) + "\n").encode()


@dataclass
class Channel:
    """Where one unit stands: names of releases, newest history entry last.

    `own`: a promotion fed it, so it is this mirror's own from then on and follows no other mirror's of that name.
    """

    current: str | None = None
    previous: str | None = None
    published: str | None = None
    hold: dict[str, str] | None = None
    history: list[dict[str, str]] | None = None
    own: bool = False

    def entries(self) -> list[dict[str, str]]:
        if self.history is None:
            self.history = []
        return self.history


def read_channel(entry: Any) -> Channel:
    """A channel as the state file has it. Raises `TypeError`, `ValueError` or `AttributeError` for anything else."""
    channel = Channel(**entry)
    texts = (channel.current, channel.previous, channel.published)
    if not isinstance(channel.current, str) or any(not isinstance(text, str) for text in texts if text is not None):
        raise ValueError(entry)
    channel.own = channel.own is True
    if channel.hold is not None:
        channel.hold = {str(key): str(value) for key, value in channel.hold.items()}
    channel.history = [
        {str(key): str(value) for key, value in done.items()}
        for done in channel.entries()
        if done.get("release") and done.get("action")
    ]
    return channel
