"""Another mirror of ours as a source: its `status.json` says what it serves, its SHA-256 what must arrive."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import re
import ssl
import threading
from typing import Any

from .cancel import Cancel
from .download import Download, Downloaded
from .errors import MirrorError
from .release import FORMAT, ZIP
from .retry import retrying
from .settings import Settings
from .sources import Notice
from .transport import Client, shown, tls_context
from .units import Unit
from .versions import Versions, is_version

MAX_STATUS_BYTES = 4 * 1024 * 1024
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


class Replica:
    """The source of type `mirror`. Its status is read once a run, and again when a package turns out to be another."""

    def __init__(self, settings: Settings, cancel: Cancel) -> None:
        self._settings = settings
        self._cancel = cancel
        self._base = settings.source.url.rstrip("/")
        self._tls: ssl.SSLContext = tls_context(settings.source)
        self._lock = threading.Lock()
        self._offers: dict[str, tuple[Versions, str]] | None = None
        self._failure: MirrorError | None = None

    @property
    def name(self) -> str:
        return shown(self._base)

    def client(self) -> Client:
        return Client(self._settings.source, self._tls, self._cancel)

    def versions(self, client: Client, unit: Unit, notice: Notice = None) -> Versions:
        return self._offer(client, unit, notice)[0]

    def size(self, client: Client, unit: Unit) -> int | None:
        # Only asked of a folder that Microsoft's script left, whose package is another mirror's only by chance.
        return None

    def fetch(
        self, client: Client, unit: Unit, offered: Versions, download: Download, notice: Notice = None
    ) -> tuple[Downloaded, Versions]:
        def attempt() -> tuple[Downloaded, Versions]:
            versions, digest = self._offer(client, unit, None)
            downloaded = download.fetch(client, f"{self._base}/{unit.path}/{ZIP}", digest)
            if downloaded.sha256 != digest:
                download.discard()
                with self._lock:
                    self._offers = None
                raise MirrorError(
                    "versions_moved",
                    f"the package of {unit} on {self.name} is not the one that its status.json names",
                    "A release landed there in that moment, or a cache on the way serves old files. The next try reads "
                    "status.json again.",
                    retriable=True,
                )
            return downloaded, versions

        return retrying(attempt, self._settings.source.retries, self._cancel, notice)

    def _offer(self, client: Client, unit: Unit, notice: Notice) -> tuple[Versions, str]:
        # One worker asks, the others wait for its answer or its failure: the status tells about all units.
        with self._lock:
            if self._failure is not None:
                raise self._failure
            if self._offers is None:
                try:
                    self._offers = retrying(
                        lambda: self._ask(client), self._settings.source.retries, self._cancel, notice
                    )
                except MirrorError as error:
                    error.retriable = False
                    self._failure = error
                    raise
            offer = self._offers.get(unit.path)
        if offer is None:
            raise MirrorError(
                "not_offered",
                f"the mirror {self.name} serves no {unit}",
                "Let that mirror follow it too, or take it out of this mirror's settings.",
            )
        return offer

    def _ask(self, client: Client) -> dict[str, tuple[Versions, str]]:
        with client.get(f"{self._base}/status.json") as answer:
            answer.expect(200)
            data = answer.read_whole(MAX_STATUS_BYTES)
        try:
            if len(data) > MAX_STATUS_BYTES:
                raise ValueError(f"it is larger than {MAX_STATUS_BYTES} bytes")
            return read_offers(json.loads(data))
        except (ValueError, RecursionError) as error:
            raise MirrorError(
                "bad_status",
                f"{shown(self._base)}/status.json is not the status of a mirror: {error}",
                "source.url must be the root of another mirror of this kind. Open that address by hand from this host.",
                retriable=True,
            ) from None


def read_offers(fields: Any) -> dict[str, tuple[Versions, str]]:
    """What a status offers: folder below the root -> versions and SHA-256. Raises `ValueError`."""
    if not isinstance(fields, dict) or fields.get("format") != FORMAT or not isinstance(fields.get("channels"), list):
        raise ValueError(f"format {FORMAT} with a list of channels is expected")
    found = {}
    for entry in fields["channels"]:
        if not isinstance(entry, dict) or not isinstance(entry.get("path"), str):
            raise ValueError("an entry of its channels has no path")
        definitions, engine = entry.get("definitions_version"), entry.get("engine_version")
        digest, date = entry.get("sha256"), entry.get("definitions_date")
        if is_version(definitions) and is_version(engine) and isinstance(digest, str) and _SHA256.match(digest):
            versions = Versions(definitions, engine, date if isinstance(date, str) else None)
            found[entry["path"]] = (versions, digest)
    return found
