"""The mirror's own copy of Microsoft's script, kept up to date from a git repository or a zip.

The copy is in `.state/script/`, contains no files of the operator, and is replaced as a whole by one rename(2). What is
fetched is not trusted: only the few small files that the script needs are read from it, and nothing is unpacked. If a
commit is pinned, a copy of another commit is never returned.
"""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import json
import re
import zipfile
from pathlib import Path
from typing import Iterator, NamedTuple
from urllib.parse import unquote, urlsplit

from ..cancel import Cancel
from ..errors import Cancelled, MirrorError
from ..files import (
    advising,
    json_bytes,
    make_directory,
    remove_tree,
    replace_symlink,
    sha256_of,
    sync_directory,
    unique,
    write,
)
from ..retry import retrying
from ..settings import SourceSettings
from ..times import now_iso
from ..transport import CHUNK, Client, Response, Tls, shown, truncated
from ..workspace import Workspace
from .base import OnRetry
from .git import Git, without_user
from .script_files import MOST_FETCHED_BYTES, gather, place, too_large, unusable
from .script_zip import read_member, read_zip, reading_zip

_HOSTS_OF = dict.fromkeys(("github.com", "www.github.com", "api.github.com"), ("codeload.github.com",))


class Copy(NamedTuple):
    """The files of the script, by their names in Microsoft's repository, and their commit, if known. The next run uses
    the other fields to find out whether anything at the address has changed.
    """

    files: dict[str, bytes]
    commit: str | None = None
    sha256: str | None = None
    etag: str = ""
    modified: str = ""
    fetched: str = ""


class ScriptCheckout:
    """Keeps this mirror's copy of the script up to date. Only the run that holds the workspace may use it."""

    def __init__(self, settings: SourceSettings, workspace: Workspace, cancel: Cancel) -> None:
        self._source = settings
        self._address = settings.script.url or ""
        self._workspace = workspace
        self._cancel = cancel
        self._state = workspace.state / "script"
        self._copies = self._state / "copies"
        self._link = self._state / "current"
        # For messages: without user, password and query.
        self._shown = _shown(self._address)

    def refreshed(self, on_retry: OnRetry = None) -> tuple[Copy, MirrorError | None]:
        """The copy to run, and the error if it could not be updated. Raises `MirrorError` if there is no copy."""
        self._tidy()
        pinned, present = self._source.script.commit, self._present()
        if present and pinned and present.commit == pinned:
            return present, None
        try:
            found = self._found(present, on_retry)
            return (found if found is present else self._keep(found)), None
        except Cancelled:
            raise
        except MirrorError as error:
            if pinned:
                raise self._not_the_pinned(present, pinned, error) from None
            if present is None:
                raise self._nothing(error) from None
            return present, self._stale(present, error)

    def _nothing(self, error: MirrorError) -> MirrorError:
        return MirrorError(
            "script_missing",
            f"there is no copy of Microsoft's script yet, and none can be fetched from {self._shown}: {error.message} "
            f"({error.code})",
            error.hint,
        )

    def _not_the_pinned(self, present: Copy | None, pinned: str, error: MirrorError) -> MirrorError:
        has = f"the present copy is of {_named(present.commit)}" if present else "there is no copy yet"
        why = error.message if error.code == "script_commit" else f"{error.message} ({error.code})"
        return MirrorError(
            "script_commit",
            f"Microsoft's script is pinned to commit {pinned}, {has}, and the pinned one cannot be fetched from "
            f"{self._shown}: {why}",
            error.hint,
        )

    def _stale(self, present: Copy, error: MirrorError) -> MirrorError:
        return MirrorError(
            error.code,
            f"Microsoft's script could not be updated from {self._shown}: {error.message} ({error.code}); "
            f"the copy of {present.fetched} ({_named(present.commit)}) was used",
            error.hint,
        )

    # --- the copy -----------------------------------------------------------------------------------------------------

    def _mark(self) -> str:
        """Identifies the address of a copy. The password is left out, so that it cannot be guessed from the digest."""
        return hashlib.sha256(without_user(self._address).encode("utf-8", "surrogateescape")).hexdigest()

    def _present(self) -> Copy | None:
        """The stored copy; None if there is none, or if it is damaged or from another address."""
        try:
            metadata = json.loads((self._link / "origin.json").read_bytes())
            if metadata["origin"] != self._mark():
                return None
            files = {}
            for name, digest in metadata["files"].items():
                data = files[name] = (self._link / "tree" / name).read_bytes()
                if hashlib.sha256(data).hexdigest() != digest:
                    return None
            fields = {key: metadata[key] for key in ("commit", "sha256", "etag", "modified", "fetched")}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
        return Copy(files, **fields) if files else None

    def _keep(self, found: Copy) -> Copy:
        name = unique("copy")
        staged = self._workspace.folder / unique("script-copy")
        copy = found._replace(fetched=now_iso())
        metadata = {
            **{field: value for field, value in copy._asdict().items() if field != "files"},
            "origin": self._mark(),
            "files": {path: hashlib.sha256(data).hexdigest() for path, data in copy.files.items()},
        }
        with advising("storing the copy of Microsoft's script in", self._state):
            try:
                place(staged / "tree", copy.files, flush=True)
                write(staged / "origin.json", json_bytes(metadata))
                make_directory(self._copies)
                sync_directory(staged)
                staged.rename(self._copies / name)
            finally:
                remove_tree(staged)
            sync_directory(self._copies)
            replace_symlink(self._link, f"{self._copies.name}/{name}", self._workspace.folder)
        self._tidy()
        return copy

    def _tidy(self) -> None:
        """Removes the copies that are not in use, also those that a killed run left."""
        with advising("tidying", self._copies):
            for copy in self._copies.iterdir() if self._copies.is_dir() else ():
                if copy.resolve() != self._link.resolve():
                    remove_tree(copy)

    # --- fetching it ------------------------------------------------------------------------------------------------

    def _found(self, present: Copy | None, on_retry: OnRetry) -> Copy:
        """The copy of what is at the address now; `present` itself if that is unchanged. Raises `MirrorError`."""
        path = local_path(self._address)
        with advising("reading", path):
            is_zip = path.is_file() if path else is_zip_address(self._address)
            if path and not path.exists():
                raise unusable(f"{path} does not exist")
        with self._private_folder() as folder:
            if path and is_zip:
                return self._local_zip(path, present)
            if is_zip:
                attempt = functools.partial(self._remote_zip, folder, present)
            else:
                git = Git(self._source, str(path or self._address), self._shown, folder, self._cancel)
                attempt = functools.partial(self._repository, git, present)
            return retrying(attempt, self._source.retries, self._cancel, on_retry)

    @contextlib.contextmanager
    def _private_folder(self) -> Iterator[Path]:
        folder = self._workspace.folder / unique("script-origin")
        with advising("preparing", folder):
            make_directory(folder, 0o700)
        try:
            yield folder
        finally:
            with contextlib.suppress(OSError):
                remove_tree(folder)

    def _repository(self, git: Git, present: Copy | None) -> Copy:
        pinned = self._source.script.commit
        commit = pinned or git.head()
        if present and present.commit == commit:
            return present
        git.fetch(commit, pinned is not None)
        return Copy(gather(git.members(commit), f"commit {commit} of {self._shown}"), commit)

    def _local_zip(self, path: Path, present: Copy | None) -> Copy:
        with advising("reading", path):
            if path.stat().st_size > MOST_FETCHED_BYTES:
                raise too_large(str(path))
            digest = sha256_of(path)
            return self._in_zip(path, digest, present, "", "")

    def _remote_zip(self, folder: Path, present: Copy | None) -> Copy:
        address, headers = without_user(self._address), {}
        parts = urlsplit(self._address)
        if parts.username:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode("ascii")
        # If a commit is pinned, the present copy may be of another one, so the zip is always fetched.
        if present and not self._source.script.commit:
            headers.update({"If-None-Match": present.etag} if present.etag else {})
            headers.update({"If-Modified-Since": present.modified} if present.modified else {})
        host = (parts.hostname or "").lower()
        # A password is sent to the host of the address only.
        others = () if parts.username else (*_HOSTS_OF.get(host, ()), *self._source.allowed_hosts)
        source = self._source._replace(allowed_hosts=(host, *others))
        path = folder / "origin.zip"
        with Client(source, Tls(source), self._cancel) as client, client.get(address, headers) as answer:
            if answer.status == 304 and present:
                return present
            answer.expect(200)
            self._receive(answer, path)
            etag, modified = answer.header("ETag"), answer.lasting_date()
        with advising("reading", path):
            return self._in_zip(path, sha256_of(path), present, etag, modified)

    def _receive(self, answer: Response, path: Path) -> None:
        if (answer.length or 0) > MOST_FETCHED_BYTES:
            raise too_large(answer.shown)
        with advising("writing", path):
            file = path.open("wb")
        with file:
            while True:
                data = answer.read(CHUNK)
                if not data:
                    break
                if answer.received > MOST_FETCHED_BYTES:
                    raise too_large(answer.shown)
                with advising("writing", path):
                    file.write(data)
        if answer.length is not None and answer.received < answer.length:
            raise truncated(answer.shown, f"{answer.received} of {answer.length} bytes were received")

    def _in_zip(self, path: Path, digest: str, present: Copy | None, etag: str, modified: str) -> Copy:
        if present and present.sha256 == digest and not self._source.script.commit:
            same = (present.etag, present.modified) == (etag, modified)
            return present if same else present._replace(etag=etag, modified=modified)
        members, commit = read_zip(path, self._shown)
        if self._source.script.commit and commit != self._source.script.commit:
            raise MirrorError(
                "script_commit",
                f"the zip {self._shown} contains {_named(commit)}",
                "Only a zip that git or GitHub made names its commit. Set source.script.url to a zip of the pinned "
                f"commit, such as .../archive/{self._source.script.commit}.zip, or to the repository itself.",
            )
        with reading_zip(self._shown), zipfile.ZipFile(str(path)) as archive:
            opened = [
                member._replace(read=functools.partial(read_member, archive, info, self._shown))
                for member, info in members
            ]
            return Copy(gather(opened, self._shown), commit, digest, etag, modified)


def is_zip_address(address: str) -> bool:
    """True if the address ends like that of a zip, or is a zip address of GitHub. All others are git repositories."""
    parts = urlsplit(address) if "://" in address else None
    if parts is None or parts.scheme not in ("http", "https"):
        return False
    return parts.path.lower().endswith(".zip") or bool(re.search(r"/(zip|zipball)(/|\Z)", parts.path))


def local_path(address: str) -> Path | None:
    if address.startswith("/"):
        return Path(address)
    return Path(unquote(urlsplit(address).path)) if address.startswith("file:") else None


def _shown(address: str) -> str:
    return shown(address) if "://" in address and not address.startswith("file:") else address


def _named(commit: str | None) -> str:
    return f"commit {commit}" if commit else "an unknown commit"
