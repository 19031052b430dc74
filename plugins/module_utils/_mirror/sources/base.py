"""What every type of source offers to a sync."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Callable, Mapping, Optional, Protocol

from ..errors import MirrorError
from ..trust import Proof
from ..units import Unit
from ..versions import Versions

if TYPE_CHECKING:
    from ..download import Download, Downloaded

# Called before a retry, with the failure and the pause in seconds. If it raises an exception, there is no retry.
OnRetry = Optional[Callable[[MirrorError, float], None]]


class Source(Protocol):
    """Where packages come from. One object serves all workers of a run."""

    # True if one program fetches the packages of all units: `prepare` runs it before the first `fetch`.
    fetches_all_at_once: bool
    # Up to which time the source says that it is current; None if each answer is of the moment, or before it was asked.
    current_at: str | None
    # How the origin of the answers is proven; None before the source was asked, or if that is not known.
    proof: Proof | None
    # The mirrors on the way from the source of the source, the nearest first.
    chain: list[dict[str, Any]]

    @property
    def name(self) -> str:
        """The origin that is recorded with a release. It contains no secrets."""

    def client(self) -> AbstractContextManager[Any]:
        """The connections of one worker to the source, which it passes to the methods below."""

    def versions(self, client: Any, unit: Unit, on_retry: OnRetry = None) -> Versions:
        """What the source offers for a unit now. Raises `MirrorError`."""

    def size(self, client: Any, unit: Unit) -> int | None:
        """The size in bytes of the package that is offered now; None if the source does not say."""

    def prepare(self, wanted: Mapping[Unit, Versions], on_retry: OnRetry = None) -> None:
        """Fetches the packages of these units in the offered versions. `fetch` raises the errors."""

    def fetch(
        self, client: Any, unit: Unit, offered: Versions, download: Download, on_retry: OnRetry = None
    ) -> tuple[Downloaded, Versions]:
        """The verified package of a unit and the versions that belong to it. Raises `MirrorError`."""
