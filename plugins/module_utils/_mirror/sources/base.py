"""What every kind of source must be able to do."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Callable, Optional, Protocol

from ..download import Download, Downloaded
from ..errors import MirrorError
from ..units import Unit
from ..versions import Versions

# Told of a failure that is tried again after so many seconds. What it raises ends the tries.
Notice = Optional[Callable[[MirrorError, float], None]]


class Source(Protocol):
    """Where packages come from. One object serves all workers of a run."""

    @property
    def name(self) -> str:
        """What a release keeps as its origin; free of secrets."""

    def client(self) -> AbstractContextManager[Any]:
        """What one worker needs to talk to the source; handed back to the methods below."""

    def versions(self, client: Any, unit: Unit, notice: Notice = None) -> Versions:
        """What the source offers for a unit now. Raises `MirrorError`."""

    def size(self, client: Any, unit: Unit) -> int | None:
        """The size in bytes of the package that is offered now; None where the source does not say."""

    def fetch(
        self, client: Any, unit: Unit, offered: Versions, download: Download, notice: Notice = None
    ) -> tuple[Downloaded, Versions]:
        """The proven package of a unit and the versions that surely belong to it. Raises `MirrorError`."""
