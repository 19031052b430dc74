"""Another mirror as a source: its `status.json` names what it serves and the SHA-256 of each package."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any, Mapping

from ..download import Download, Downloaded
from ..errors import MirrorError
from ..public_status import KIND as STATUS_KIND
from ..records import FORMAT, ZIP, read_chain
from ..retry import retrying
from ..times import readable
from ..transport import Client, Connections, shown
from ..trust import STATUS, TLS, UNSIGNED, Proof, Trust, proven
from ..units import Unit
from ..versions import Offer, Versions, is_sha256, is_version
from .base import OnRetry

MAX_STATUS_BYTES = 4 * 1024 * 1024
_LONGEST_TEXT = 200
_MOST_WITHDRAWN = 100


class Replica:
    """The source of type `mirror`. Its status is read once per run, and again if a package does not match it."""

    fetches_all_at_once = False

    def __init__(self, connections: Connections, trust: Trust, accept: frozenset[str]) -> None:
        self._connections, self._trust, self._accept = connections, trust, accept
        self._settings, self._cancel = connections.source, connections.cancel
        self._base = connections.source.url.rstrip("/")
        self._lock = threading.Lock()
        self._offers: dict[str, Versions] | None = None
        self.current_at: str | None = None
        self.proof: Proof | None = None
        self.chain: list[dict[str, Any]] = []
        self._failure: MirrorError | None = None

    @property
    def name(self) -> str:
        return shown(self._base)

    def client(self) -> Client:
        return self._connections.client()

    def versions(self, client: Client, unit: Unit, on_retry: OnRetry = None) -> Versions:
        return self._offer(client, unit, on_retry)

    def size(self, client: Client, unit: Unit) -> int | None:
        # The size is for folders that Microsoft's script left, and another mirror need not have the same package.
        return None

    def prepare(self, wanted: Mapping[Unit, Versions], on_retry: OnRetry = None) -> None:
        return

    def fetch(
        self, client: Client, unit: Unit, offered: Versions, download: Download, on_retry: OnRetry = None
    ) -> tuple[Downloaded, Versions]:
        def attempt() -> tuple[Downloaded, Versions]:
            offer = self._offer(client, unit, None)
            downloaded = self._package(client, unit, offer, download)
            if downloaded.sha256 != offer.sha256:
                download.discard()
                with self._lock:
                    self._offers = None
                raise MirrorError(
                    "versions_moved",
                    f"the package of {unit} on {self.name} is not the one that its status.json names",
                    "The other mirror published a release at that moment, or a cache on the route serves old files. "
                    "The next try reads status.json again.",
                    retriable=True,
                )
            return downloaded, offer

        return retrying(attempt, self._settings.retries, self._cancel, on_retry)

    def _package(self, client: Client, unit: Unit, offer: Versions, download: Download) -> Downloaded:
        """The package, from an address of its own for each release: a cache on the way has no old one under it.

        Servers of files pass over the query. Where one takes it for a part of the name, the plain address is left.
        """
        address = f"{self._base}/{unit.path}/{ZIP}"
        try:
            return download.fetch(client, f"{address}?sha256={offer.sha256}", offer.sha256)
        except MirrorError as error:
            if error.code != "http_status" or error.retriable:
                raise
        return download.fetch(client, address, offer.sha256)

    def _offer(self, client: Client, unit: Unit, on_retry: OnRetry) -> Versions:
        # The status covers all units, so one worker requests it and the others wait for its result.
        tries = 0

        def ask() -> dict[str, Versions]:
            nonlocal tries
            tries += 1
            return self._ask(client)

        with self._lock:
            if self._failure is not None:
                raise self._failure
            if self._offers is None:
                try:
                    self._offers = retrying(ask, self._settings.retries, self._cancel, on_retry)
                except MirrorError as error:
                    # A worker that gave up before the last try leaves the remaining tries to the others.
                    if not error.retriable or tries > self._settings.retries:
                        error.retriable = False
                        self._failure = error
                    raise
            offer = self._offers.get(unit.path)
        if offer is None:
            raise MirrorError(
                "not_offered",
                f"the mirror {self.name} serves no {unit}",
                "Add this channel to the settings of that mirror, or remove it from the settings of this one.",
            )
        return offer

    def _ask(self, client: Client) -> dict[str, Versions]:
        with client.get(f"{self._base}/status.json") as answer:
            answer.expect(200)
            data = answer.read_whole(MAX_STATUS_BYTES)
        where = f"{shown(self._base)}/status.json"
        try:
            if len(data) > MAX_STATUS_BYTES:
                raise ValueError(f"it is larger than {MAX_STATUS_BYTES} bytes")
            fields, proof = self._proven(json.loads(data), where)
            offers = read_offers(fields, proof)
        except (ValueError, RecursionError) as error:
            raise MirrorError(
                "bad_status",
                f"{where} is not the status of a mirror: {error}",
                "source.url must be the root of another mirror of this kind. Open that address by hand from this host.",
                retriable=True,
            ) from None
        self.proof, self.current_at = proof, read_current_at(fields)
        self.chain = _with_itself(fields, self.current_at)
        return offers

    def _proven(self, fields: Any, where: str) -> tuple[Any, Proof]:
        """The status and the proof of its origin. Where keys are trusted, only what they signed is used."""
        if self._settings.trusted_keys and isinstance(fields, dict):
            content, proof = proven(fields, STATUS, where, self._trust, Path(self._settings.trusted_keys), self._accept)
            if content.get("kind") != STATUS_KIND:
                raise ValueError("what is signed is not a status")
            return content, proof
        return fields, Proof(TLS if self._settings.is_encrypted else UNSIGNED)


def read_current_at(fields: Mapping[str, Any]) -> str | None:
    """When the other mirror was last known to be current, by the times inside its status; None where it has none.

    So an old status stays old, for instance one that a cache on the way serves.
    """
    # Version 0.1.0 wrote no `current_as_of`.
    names = ("current_as_of", "last_success", "last_import")
    known = next((moment for moment in (readable(fields.get(name)) for name in names) if moment), None)
    return min((moment for moment in (known, readable(fields.get("generated"))) if moment), default=None)


def _with_itself(fields: Mapping[str, Any], current_at: str | None) -> list[dict[str, Any]]:
    """The chain of another mirror, with that mirror as the nearest. A mirror of version 0.1.0 has no id."""
    own = {"mirror_id": fields.get("mirror_id"), "current_as_of": current_at}
    return read_chain([own, *read_chain(fields.get("chain"))])


def read_offers(fields: Any, proof: Proof | None = None) -> dict[str, Versions]:
    """The versions that a status offers, by folder below the root. Raises `ValueError`."""
    proof = proof or Proof(UNSIGNED)
    if not isinstance(fields, dict) or fields.get("format") != FORMAT or not isinstance(fields.get("channels"), list):
        raise ValueError(f"format {FORMAT} with a list of channels is expected")
    found = {}
    for entry in fields["channels"]:
        if not isinstance(entry, dict) or not isinstance(entry.get("path"), str):
            raise ValueError("an entry of its channels has no path")
        definitions, engine = entry.get("definitions_version"), entry.get("engine_version")
        digest, date = entry.get("sha256"), entry.get("definitions_date")
        if is_version(definitions) and is_version(engine) and is_sha256(digest):
            offer = Offer(
                digest,
                _text(entry.get("published")) or None,
                _held(entry.get("held")),
                _withdrawn(entry.get("withdrawn")),
                proof.is_proven,
                proof.accepted,
            )
            found[entry["path"]] = Versions(definitions, engine, readable(date), offer)
    return found


def _held(fields: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(fields, dict) or not fields:
        return ()
    return tuple((key, _text(fields.get(key))) for key in ("kind", "reason", "by", "since"))


def _withdrawn(fields: Any) -> tuple[tuple[str, str], ...] | None:
    if not isinstance(fields, list):
        return None
    pairs = [
        (entry.get("definitions_version"), entry.get("engine_version"))
        for entry in fields[-_MOST_WITHDRAWN:]
        if isinstance(entry, dict)
    ]
    return tuple(
        (definitions, engine) for definitions, engine in pairs if is_version(definitions) and is_version(engine)
    )


def _text(value: Any) -> str:
    """A text from another mirror, made safe for a terminal and a log."""
    return "".join(c for c in value if c.isprintable())[:_LONGEST_TEXT] if isinstance(value, str) else ""
