"""Fetches one package into `.incoming`: carries on where an earlier try stopped, hashes what comes, proves it."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import Any, Callable, Optional

from .cancel import Cancel
from .errors import Cancelled, MirrorError
from .files import CHUNK, advising, make_directory, remove_tree, write
from .package import LOCAL_HEADER, check_beginning, check_size, prove
from .records import ZIP
from .settings import Proof
from .store import Store
from .transport import Answer, Client, Line, truncated

_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)\Z")

# What hashlib returns; its class has no public name.
Hash = Any
# Told of every chunk: bytes so far, and of how many (None where the service does not say).
Progress = Callable[[int, Optional[int]], None]


class _CannotCarryOn(Exception):
    """An unfinished download is of no use."""


@dataclass(frozen=True)
class Downloaded:
    """A proven package in `.incoming`; `received` counts the bytes that came over the network, all tries together."""

    path: Path
    sha256: str
    bytes: int
    received: int


class Download:
    """The download of one unit's package. What it wrote stays on disk for the next run unless it proved bad."""

    def __init__(self, store: Store, slug: str, proof: Proof, line: Line, cancel: Cancel, progress: Progress) -> None:
        self._store = store
        self._folder = store.incoming / (slug + ".download")
        self._part = self._folder / ZIP
        self._about = self._folder / "about.json"
        self._proof = proof
        self._line = line
        self._cancel = cancel
        self._progress = progress
        self.received = 0

    def discard(self) -> None:
        with advising("removing", self._folder):
            remove_tree(self._folder)

    def fetch(self, client: Client, url: str, expected: str) -> Downloaded:
        """One try. Raises `MirrorError`.

        `expected` names what the source is thought to serve; an unfinished download of anything else is not carried on.
        """
        at, validator = self._resume_point(expected)
        if at:
            try:
                return self._attempt(client, url, expected, at, validator)
            except _CannotCarryOn:
                # What was kept does not fit, or made a broken whole: that must not cost one of the tries.
                self.discard()
        return self._attempt(client, url, expected, 0, "")

    def _attempt(self, client: Client, url: str, expected: str, at: int, validator: str) -> Downloaded:
        headers: dict[str, str] = {}
        if at:
            headers["Range"] = f"bytes={at}-"
            if validator:
                headers["If-Range"] = validator
        with self._line.slot, client.get(url, headers) as answer:
            resumed = at > 0 and answer.status in (206, 416)
            if resumed and answer.status == 416 and _is_all_of(answer, at, validator):
                digest, size = self._hash_part(), at
            elif resumed and not _continues(answer, at, validator):
                raise _CannotCarryOn
            else:
                answer.expect(206 if resumed else 200)
                digest, size = self._receive(answer, at if resumed else 0, expected)
        try:
            with advising("reading", self._part):
                prove(self._part, self._proof, answer.shown, self._cancel)
        except Cancelled:
            raise
        except MirrorError:
            self.discard()
            if resumed:
                raise _CannotCarryOn from None
            raise
        return Downloaded(self._part, digest, size, self.received)

    def take(self, package: Path, where: str) -> Downloaded:
        """A package that lies on disk already, under a second name: proven, and then as good as a downloaded one."""
        with advising("taking", package):
            self.discard()
            make_directory(self._folder)
            if not package.is_file():
                raise MirrorError(
                    "not_a_package", f"{where} is missing", "Sync again; if it stays so, look at what its source says."
                )
            os.link(str(package), str(self._part))
            with self._part.open("rb") as file:
                check_beginning(file.read(16), "", where)
            prove(self._part, self._proof, where, self._cancel)
            return Downloaded(self._part, self._hash_part(), self._part.stat().st_size, 0)

    def _resume_point(self, expected: str) -> tuple[int, str]:
        """Where to carry on, and the validator the service gave for what is there already."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            about = json.loads(self._about.read_bytes())
            if about["expected"] == expected:
                return self._part.stat().st_size, str(about.get("validator") or "")
        self.discard()
        return 0, ""

    def _receive(self, answer: Answer, at: int, expected: str) -> tuple[str, int]:
        left = answer.length
        total = None if left is None else at + left
        if total:
            check_size(total, self._proof, answer.shown)
        digest = hashlib.sha256()
        with advising("writing", self._part):
            make_directory(self._folder)
            if at == 0:
                remove_tree(self._part)
                about = {"expected": expected, "validator": _validator(answer)}
                write(self._about, json.dumps(about).encode())
            # Unbuffered, so that a full disk shows at the write and not when the file is closed.
            part = self._part.open("ab" if at else "xb", buffering=0)
        with part, self._store.reserved(left or 0):
            if at:
                self._hash_part(digest)
            size = self._copy(answer, part, at, total, digest)
        if total is not None and size < total:
            raise truncated(answer.shown, f"{size} of {total} bytes came")
        if size == 0:
            check_beginning(b"", answer.header("Content-Type"), answer.shown)
        return digest.hexdigest(), size

    def _copy(self, answer: Answer, part: RawIOBase, size: int, total: int | None, digest: Hash) -> int:
        beginning = b"" if size == 0 else LOCAL_HEADER
        while True:
            self._cancel.check()
            data = answer.read(self._line.chunk)
            if not data:
                if beginning and beginning != LOCAL_HEADER:
                    check_beginning(beginning, answer.header("Content-Type"), answer.shown)
                return size
            if len(beginning) < len(LOCAL_HEADER):
                beginning += bytes(data[:16])
                if len(beginning) >= len(LOCAL_HEADER):
                    self._check_beginning(beginning, answer)
                    beginning = LOCAL_HEADER
            digest.update(data)
            try:
                with advising("writing", self._part):
                    _write_all(part, data)
            except MirrorError:
                # What cannot be finished for want of room must not take that room from the rest of the host.
                self.discard()
                raise
            size += len(data)
            self.received += len(data)
            if size > self._proof.max_bytes:
                self.discard()
                check_size(size, self._proof, answer.shown)
            self._progress(size, total)
            self._line.spend(len(data))

    def _hash_part(self, digest: Hash | None = None) -> str:
        digest = digest or hashlib.sha256()
        with advising("reading", self._part), self._part.open("rb") as file:
            for data in iter(lambda: file.read(CHUNK), b""):
                digest.update(data)
        return digest.hexdigest()

    def _check_beginning(self, beginning: bytes, answer: Answer) -> None:
        try:
            check_beginning(beginning, answer.header("Content-Type"), answer.shown)
        except MirrorError:
            self.discard()
            raise


def _continues(answer: Answer, at: int, validator: str) -> bool:
    """True when a partial answer is the rest of the file whose beginning was kept."""
    match = _CONTENT_RANGE.match(answer.header("Content-Range").strip())
    offered = _validator(answer)
    return (
        answer.status == 206
        and match is not None
        and int(match.group(1)) == at
        and not (validator and offered and validator != offered)
    )


def _validator(answer: Answer) -> str:
    """What If-Range may name: a strong ETag, else Last-Modified."""
    etag = answer.header("ETag").strip()
    return etag if etag.startswith('"') else answer.header("Last-Modified").strip()


def _is_all_of(answer: Answer, at: int, validator: str) -> bool:
    """True when the service says that nothing follows behind the bytes that were kept."""
    offered = _validator(answer)
    same = not (validator and offered and validator != offered)
    return same and answer.header("Content-Range").strip() == f"bytes */{at}"


def _write_all(file: RawIOBase, data: memoryview) -> None:
    rest = data
    while rest:
        rest = rest[file.write(rest) or 0 :]
