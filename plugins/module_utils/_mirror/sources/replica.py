"""Another mirror of ours as a source: its `status.json` says what it serves, its SHA-256 what must arrive."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import re
import ssl
import threading
from dataclasses import dataclass
from typing import Any

from ..cancel import Cancel
from ..download import Download, Downloaded
from ..errors import MirrorError
from ..records import FORMAT, ZIP
from ..retry import retrying
from ..settings import Settings
from ..transport import Client, shown, tls_context
from ..units import Unit
from ..versions import Versions, is_version
from .base import Notice

MAX_STATUS_BYTES = 4 * 1024 * 1024
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_LONGEST_TEXT = 200


@dataclass(frozen=True)
class Offer(Versions):
    """What another mirror serves in a channel: its package, since when, and whether and why it is held there."""

    sha256: str = ""
    published: str | None = None
    held: tuple[tuple[str, str], ...] = ()

    def standing(self) -> str:
        """Why it serves that, as far as it says so; for people."""
        held = dict(self.held)
        if not held:
            return "it does not say that anybody holds it there"
        what = "was rolled back" if held.get("kind") == "rollback" else "is held"
        who = f" by {held['by']}" if held.get("by") else ""
        when = f" since {held['since']}" if held.get("since") else ""
        return f"it {what} there{who}{when}: {held.get('reason') or 'no reason given'}"


class Replica:
    """The source of type `mirror`. Its status is read once a run, and again when a package turns out to be another."""

    def __init__(self, settings: Settings, cancel: Cancel) -> None:
        self._settings = settings
        self._cancel = cancel
        self._base = settings.source.url.rstrip("/")
        self._tls: ssl.SSLContext = tls_context(settings.source)
        self._lock = threading.Lock()
        self._offers: dict[str, Offer] | None = None
        self._failure: MirrorError | None = None

    @property
    def name(self) -> str:
        return shown(self._base)

    def client(self) -> Client:
        return Client(self._settings.source, self._tls, self._cancel)

    def versions(self, client: Client, unit: Unit, notice: Notice = None) -> Versions:
        return self._offer(client, unit, notice)

    def size(self, client: Client, unit: Unit) -> int | None:
        # Only asked of a folder that Microsoft's script left, whose package is another mirror's only by chance.
        return None

    def fetch(
        self, client: Client, unit: Unit, offered: Versions, download: Download, notice: Notice = None
    ) -> tuple[Downloaded, Versions]:
        def attempt() -> tuple[Downloaded, Versions]:
            offer = self._offer(client, unit, None)
            downloaded = download.fetch(client, f"{self._base}/{unit.path}/{ZIP}", offer.sha256)
            if downloaded.sha256 != offer.sha256:
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
            return downloaded, offer

        return retrying(attempt, self._settings.source.retries, self._cancel, notice)

    def _offer(self, client: Client, unit: Unit, notice: Notice) -> Offer:
        # One worker asks, the others wait for its answer or its failure: the status tells about all units.
        tries = 0

        def ask() -> dict[str, Offer]:
            nonlocal tries
            tries += 1
            return self._ask(client)

        with self._lock:
            if self._failure is not None:
                raise self._failure
            if self._offers is None:
                try:
                    self._offers = retrying(ask, self._settings.source.retries, self._cancel, notice)
                except MirrorError as error:
                    # Whoever gave up before the last try must not spoil the others'.
                    if not error.retriable or tries > self._settings.source.retries:
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

    def _ask(self, client: Client) -> dict[str, Offer]:
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


def read_offers(fields: Any) -> dict[str, Offer]:
    """What a status offers, by folder below the root. Raises `ValueError`."""
    if not isinstance(fields, dict) or fields.get("format") != FORMAT or not isinstance(fields.get("channels"), list):
        raise ValueError(f"format {FORMAT} with a list of channels is expected")
    found = {}
    for entry in fields["channels"]:
        if not isinstance(entry, dict) or not isinstance(entry.get("path"), str):
            raise ValueError("an entry of its channels has no path")
        definitions, engine = entry.get("definitions_version"), entry.get("engine_version")
        digest, date = entry.get("sha256"), entry.get("definitions_date")
        if is_version(definitions) and is_version(engine) and isinstance(digest, str) and _SHA256.match(digest):
            found[entry["path"]] = Offer(
                definitions,
                engine,
                date if isinstance(date, str) else None,
                digest,
                _text(entry.get("published")) or None,
                _held(entry.get("held")),
            )
    return found


def _held(fields: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(fields, dict) or not fields:
        return ()
    return tuple((key, _text(fields.get(key))) for key in ("kind", "reason", "by", "since"))


def _text(value: Any) -> str:
    """What another mirror says, fit for a terminal and a log."""
    return "".join(c for c in value if c.isprintable())[:_LONGEST_TEXT] if isinstance(value, str) else ""
