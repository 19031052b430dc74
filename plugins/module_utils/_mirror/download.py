"""Downloads one package into `.incoming`: resumes an interrupted download, hashes what is received, verifies it."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import json
import os
import re
from io import RawIOBase
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional

from .cancel import Cancel
from .errors import Cancelled, MirrorError
from .files import CHUNK, advising, make_directory, remove_tree, write
from .package import LOCAL_HEADER, check_beginning, check_size, prove
from .records import ZIP
from .settings import PackagePolicy
from .transport import BandwidthLimit, Client, Response, truncated
from .units import Unit
from .workspace import Workspace

_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)\Z")

# The type of the objects that hashlib makes has no public name.
Hash = Any
# Called after each chunk with the bytes received so far and the size of the package (None if it is unknown).
Progress = Callable[[int, Optional[int]], None]
# Called with the address that all redirects lead to.
AddressCheck = Callable[[str], None]


class _CannotResume(Exception):
    """The partial file cannot be completed."""


class Downloaded(NamedTuple):
    """A verified package in `.incoming`. `received` counts the bytes that came over the network in all tries."""

    path: Path
    sha256: str
    bytes: int
    received: int


class Download:
    """The download of one unit's package. A partial file stays on disk for the next run unless it is of no use."""

    def __init__(
        self,
        workspace: Workspace,
        unit: Unit,
        policy: PackagePolicy,
        bandwidth: BandwidthLimit,
        cancel: Cancel,
        progress: Progress,
    ) -> None:
        self._workspace = workspace
        self._folder = workspace.download(unit)
        self._part = self._folder / ZIP
        self._about = self._folder / "about.json"
        self._policy = policy
        self._bandwidth = bandwidth
        self._cancel = cancel
        self._progress = progress
        self.received = 0

    def discard(self) -> None:
        with advising("removing", self._folder):
            remove_tree(self._folder)

    def fetch(self, client: Client, url: str, expected: str, check: AddressCheck | None = None) -> Downloaded:
        """Tries once to download the package. Raises `MirrorError`.

        `expected` names what the source offers; a partial download of anything else is not resumed. `check` raises
        where the address is wrong that all redirects lead to.
        """
        at, validator = self._resume_point(expected)
        if at:
            try:
                return self._attempt(client, url, expected, at, validator, check)
            except _CannotResume:
                # The partial file cannot be resumed, or resuming gave a broken package. Starting over uses up no try.
                self.discard()
        return self._attempt(client, url, expected, 0, "", check)

    def _attempt(
        self, client: Client, url: str, expected: str, at: int, validator: str, check: AddressCheck | None
    ) -> Downloaded:
        headers: dict[str, str] = {}
        if at:
            headers["Range"] = f"bytes={at}-"
            if validator:
                headers["If-Range"] = validator
        with self._bandwidth.slot, client.get(url, headers) as response:
            if check:
                check(response.url)
            resumed = at > 0 and response.status in (206, 416)
            if resumed and response.status == 416 and _is_complete(response, at, validator):
                digest, size = self._hash_part(), at
            elif resumed and not _continues(response, at, validator):
                raise _CannotResume
            else:
                response.expect(206 if resumed else 200)
                digest, size = self._receive(response, at if resumed else 0, expected)
        try:
            with advising("reading", self._part):
                prove(self._part, self._policy, response.shown, self._cancel)
        except Cancelled:
            raise
        except MirrorError:
            self.discard()
            if resumed:
                raise _CannotResume from None
            raise
        return Downloaded(self._part, digest, size, self.received)

    def take(self, package: Path, where: str) -> Downloaded:
        """Verifies a package that is already on this disk, and treats it like a downloaded one. No data is copied."""
        with advising("taking", package):
            self.discard()
            make_directory(self._folder)
            if not package.is_file():
                raise MirrorError(
                    "not_a_package",
                    f"{where} is missing",
                    "Sync again. If the package is missing again, check the output of the script.",
                )
            os.link(str(package), str(self._part))
            with self._part.open("rb") as file:
                check_beginning(file.read(16), "", where)
            prove(self._part, self._policy, where, self._cancel)
            return Downloaded(self._part, self._hash_part(), self._part.stat().st_size, 0)

    def _resume_point(self, expected: str) -> tuple[int, str]:
        """The size of the partial file, and the validator that the service gave for it."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            about = json.loads(self._about.read_bytes())
            if about["expected"] == expected:
                return self._part.stat().st_size, str(about.get("validator") or "")
        self.discard()
        return 0, ""

    def _receive(self, response: Response, at: int, expected: str) -> tuple[str, int]:
        left = response.length
        total = None if left is None else at + left
        if total:
            check_size(total, self._policy, response.shown)
        import hashlib

        digest = hashlib.sha256()
        with advising("writing", self._part):
            make_directory(self._folder)
            if at == 0:
                remove_tree(self._part)
                about = {"expected": expected, "validator": _validator(response)}
                write(self._about, json.dumps(about).encode())
            # Unbuffered, so that a full disk shows at the write and not when the file is closed.
            part = self._part.open("ab" if at else "xb", buffering=0)
        with part, self._workspace.reserved(left or 0):
            if at:
                self._hash_part(digest)
            size = self._copy(response, part, at, total, digest)
        if total is not None and size < total:
            raise truncated(response.shown, f"{size} of {total} bytes were received")
        if size == 0:
            check_beginning(b"", response.header("Content-Type"), response.shown)
        return digest.hexdigest(), size

    def _copy(self, response: Response, part: RawIOBase, size: int, total: int | None, digest: Hash) -> int:
        beginning = b"" if size == 0 else LOCAL_HEADER
        while True:
            self._cancel.check()
            data = response.read(self._bandwidth.chunk)
            if not data:
                if beginning and beginning != LOCAL_HEADER:
                    check_beginning(beginning, response.header("Content-Type"), response.shown)
                return size
            if len(beginning) < len(LOCAL_HEADER):
                beginning += bytes(data[:16])
                if len(beginning) >= len(LOCAL_HEADER):
                    self._check_beginning(beginning, response)
                    beginning = LOCAL_HEADER
            digest.update(data)
            try:
                with advising("writing", self._part):
                    _write_all(part, data)
            except MirrorError:
                # A download that cannot be finished because the disk is full must not keep the disk full.
                self.discard()
                raise
            size += len(data)
            self.received += len(data)
            if size > self._policy.max_bytes:
                self.discard()
                check_size(size, self._policy, response.shown)
            self._progress(size, total)
            self._bandwidth.spend(len(data))

    def _hash_part(self, digest: Hash | None = None) -> str:
        import hashlib

        digest = digest or hashlib.sha256()
        with advising("reading", self._part), self._part.open("rb") as file:
            for data in iter(lambda: file.read(CHUNK), b""):
                digest.update(data)
        return digest.hexdigest()

    def _check_beginning(self, beginning: bytes, response: Response) -> None:
        try:
            check_beginning(beginning, response.header("Content-Type"), response.shown)
        except MirrorError:
            self.discard()
            raise


def _continues(response: Response, at: int, validator: str) -> bool:
    """True when a partial response is the rest of the partial file."""
    match = _CONTENT_RANGE.match(response.header("Content-Range").strip())
    offered = _validator(response)
    return (
        response.status == 206
        and match is not None
        and int(match.group(1)) == at
        and not (validator and offered and validator != offered)
    )


def _validator(response: Response) -> str:
    """The value for If-Range: a strong ETag, or else Last-Modified."""
    etag = response.header("ETag").strip()
    return etag if etag.startswith('"') else response.header("Last-Modified").strip()


def _is_complete(response: Response, at: int, validator: str) -> bool:
    """True when the service says that the partial file is complete."""
    offered = _validator(response)
    same = not (validator and offered and validator != offered)
    return same and response.header("Content-Range").strip() == f"bytes */{at}"


def _write_all(file: RawIOBase, data: memoryview) -> None:
    rest = data
    while rest:
        rest = rest[file.write(rest) or 0 :]
