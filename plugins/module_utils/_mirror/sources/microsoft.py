"""Microsoft's download service as a source: what it offers now, and its packages."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Mapping
from urllib.parse import parse_qs, urlsplit, urlunsplit

from ..errors import Cancelled, MirrorError
from ..retry import retrying
from ..transport import Client, Connections, shown
from ..trust import TLS, UNSIGNED, Proof
from ..units import Unit
from ..versions import MAX_XML_BYTES, Versions, from_xml, is_version, version_key
from .base import OnRetry

if TYPE_CHECKING:
    from ..download import Download, Downloaded

_LINK_IDS = {"linux": "2144709", "mac": "2120136"}


def address(base: str, unit: Unit, info: bool) -> str:
    """The service's address of a unit's package, or of its versions."""
    query = f"linkid={_LINK_IDS[unit.platform]}"
    if unit.arch == "arm64":
        query += "&arch=arm64"
    if unit.channel == "preview":
        query += "&engRing=3&sigRing=1"
    if info:
        query += "&action=info"
    parts = urlsplit(base)
    return urlunsplit(parts._replace(query=parts.query + "&" + query if parts.query else query))


def _agree(final: str, announced: Versions, unit: Unit) -> None:
    """Refuses an address that the service redirected to and that names other versions than the service announced."""
    query = parse_qs(urlsplit(final).query)
    for name, version in (("packageVersion", announced.definitions), ("engineVersion", announced.engine)):
        for named in query.get(name, []):
            if is_version(named) and version_key(named) != version_key(version):
                raise MirrorError(
                    "versions_moved",
                    f"the service announces {announced} for {unit} and redirects to a package with {name}={named}",
                    "A release landed in that moment, or a cache on the way serves an old redirect. If it stays so, "
                    "have the cache bypassed for the addresses of the service.",
                    retriable=True,
                )


class Microsoft:
    """The source of type `microsoft`."""

    fetches_all_at_once = False
    current_at: str | None = None

    def __init__(self, connections: Connections) -> None:
        self.connections = connections
        self.proof: Proof | None = Proof(TLS if connections.source.is_encrypted else UNSIGNED)
        self.chain: list[dict[str, Any]] = []
        self._settings, self._cancel = connections.source, connections.cancel

    @property
    def name(self) -> str:
        return shown(self._settings.url)

    def client(self) -> Client:
        return self.connections.client()

    def versions(self, client: Client, unit: Unit, on_retry: OnRetry = None) -> Versions:
        """What the service offers for a unit now."""
        return retrying(lambda: self._ask(client, unit), self._settings.retries, self._cancel, on_retry)

    def _ask(self, client: Client, unit: Unit) -> Versions:
        with client.get(address(self._settings.url, unit, info=True)) as answer:
            answer.expect(200)
            return from_xml(answer.read_whole(MAX_XML_BYTES), answer.shown)

    def size(self, client: Client, unit: Unit) -> int | None:
        try:
            with client.get(address(self._settings.url, unit, info=False), method="HEAD") as answer:
                return answer.length if answer.status == 200 else None
        except Cancelled:
            raise
        except MirrorError:
            return None

    def prepare(self, wanted: Mapping[Unit, Versions], on_retry: OnRetry = None) -> None:
        return

    def fetch(
        self, client: Client, unit: Unit, offered: Versions, download: Download, on_retry: OnRetry = None
    ) -> tuple[Downloaded, Versions]:
        """The package of a unit, and the versions that the service named both before and after its download.

        The address always serves the newest release, and one may be published between any two requests. A package whose
        versions changed during its download may be the old or the new one, so it is discarded and fetched again.
        """
        url = address(self._settings.url, unit, info=False)
        expected = offered

        def attempt() -> tuple[Downloaded, Versions]:
            nonlocal expected
            announced = expected
            try:
                downloaded = download.fetch(client, url, str(announced), lambda final: _agree(final, announced, unit))
            except MirrorError as error:
                if error.code == "versions_moved":
                    expected = self._ask_again(client, unit, on_retry)
                raise
            after = self._ask_again(client, unit, on_retry)
            if not after.same_as(expected):
                download.discard()
                before, expected = expected, after
                raise MirrorError(
                    "versions_moved",
                    f"{unit} changed from {before} to {after} while its package was downloaded",
                    "Microsoft published a release at that moment. The next try fetches it; if the error persists, "
                    "sync at another hour.",
                    retriable=True,
                )
            return downloaded, after

        return retrying(attempt, self._settings.retries, self._cancel, on_retry)

    def _ask_again(self, client: Client, unit: Unit, on_retry: OnRetry) -> Versions:
        # This small request has its own retries: its failure must not start the download again.
        try:
            return self.versions(client, unit, on_retry)
        except MirrorError as error:
            error.retriable = False
            raise
