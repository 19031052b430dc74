"""Our copy of Microsoft's script: got from a git repository or a zip, and kept up to date from there.

The copy lies in `.state/script/`, holds nothing of the operator's, and is replaced whole by one rename. What is got is
judged as a stranger's: only the few small files that the script needs are taken out of it, by their content, never
unpacked. A copy of another commit than the pinned one is never handed out.
"""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import re
import shutil
import stat
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Callable, Iterator
from urllib.parse import unquote, urlsplit, urlunsplit

from .cancel import Cancel
from .errors import Cancelled, MirrorError
from .files import advising, make_directory, point, remove_tree, sha256_of, sync_directory, unique, write
from .retry import retrying
from .script_program import Watch, run
from .settings import MIB, Settings, Source
from .sources import Notice
from .store import Store
from .times import now_iso
from .transport import CHUNK, Answer, Client, shown, tls_context, truncated

BASH, POWERSHELL = "xplat_offline_updates_download.sh", "xplat_offline_updates_download.ps1"
HOME = "linux/definition_downloader"
_SCRIPTS = (BASH, POWERSHELL)
# What the script may call; its settings are the operator's own, never read and never copied.
_BESIDE = (".sh", ".ps1", ".psm1")
_OPERATORS = ("settings.json", "settings.ps1")
_VERSION = "VERSION"

MOST_FETCHED_BYTES = 1024 * MIB
_MOST_FILE_BYTES = MIB
_MOST_FILES = 64
_MOST_LISTED_BYTES = 16 * MIB
_MOST_TOLD_BYTES = 4096
_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_HOSTS_OF = dict.fromkeys(("github.com", "www.github.com", "api.github.com"), ("codeload.github.com",))
_PASSING = re.compile(
    r"could not resolve|failed to connect|couldn't connect|timed out|timeout|reset by peer|hung up|early EOF"
    r"|unexpected disconnect|transfer closed|returned error: (?:429|5\d\d)|operation too slow",
    re.IGNORECASE,
)
_HINT = "Check source.origin: it must be Microsoft's repository mdatp-xplat or a copy of it, by git or as a zip."


@dataclasses.dataclass(frozen=True)
class Member:
    """One file where the script comes from; `regular` is False for links and the like."""

    name: str
    size: int
    regular: bool
    read: Callable[[], bytes]


@dataclasses.dataclass(frozen=True)
class Copy:
    """The files of the script, by their names in Microsoft's repository, and the commit they are of, if known.

    The rest tells whether the origin has something else next time.
    """

    files: dict[str, bytes]
    commit: str | None = None
    sha256: str | None = None
    etag: str = ""
    modified: str = ""
    fetched: str = ""


def gather(members: list[Member], where: str) -> dict[str, bytes]:
    """The script and what lies beside it. Raises `MirrorError` where there is none, or where it is no plain file."""
    folder = _folder_of_the_script(members)
    if folder is None:
        raise MirrorError(
            "script_missing",
            f"{where} holds no {BASH} and no {POWERSHELL}",
            f"It must be Microsoft's repository mdatp-xplat or its folder {HOME}: for source.path a clone or an "
            "unpacked zip, for source.origin the repository or the zip itself.",
        )
    version = folder.parents[1] / _VERSION if len(folder.parts) > 1 else None
    found: dict[str, bytes] = {}
    for member in sorted(members, key=lambda member: PurePosixPath(member.name).name not in _SCRIPTS):
        path = PurePosixPath(member.name)
        beside = path.parent == folder and path.suffix in _BESIDE and path.name not in _OPERATORS
        if not beside and path != version:
            continue
        usable = member.regular and member.size <= _MOST_FILE_BYTES
        if beside and path.name in _SCRIPTS and not usable:
            what = f"has {member.size} bytes" if member.regular else "is a link or no file"
            raise _unusable(f"in {where}, {path.name} {what}, and so is no script")
        if usable and len(found) < _MOST_FILES:
            found[f"{HOME}/{path.name}" if beside else _VERSION] = member.read()
    return found


def _folder_of_the_script(members: list[Member]) -> PurePosixPath | None:
    """Where the script lies: in its place in Microsoft's repository or at the top, and in a zip one folder deeper."""
    home = PurePosixPath(HOME).parts
    places = ((), home[1:], home)
    found = []
    for member in members:
        path = PurePosixPath(member.name)
        parts = path.parent.parts
        if path.name in _SCRIPTS and (parts in places or parts[1:] in places):
            found.append((parts[-len(home) :] != home, len(parts), path.parent))
    return min(found)[2] if found else None


def in_folder(folder: Path) -> dict[str, bytes]:
    """The script in a folder that the operator keeps: a clone, or the script's own folder."""
    base = next((path for path in (folder / HOME, folder) if any((path / n).is_file() for n in _SCRIPTS)), folder)
    members = []
    with advising("reading", base):
        # The number of the release lies at the top, also where the folder itself is named.
        paths = {f"{HOME}/{path.name}": path for path in (base.iterdir() if base.is_dir() else ())}
        if base.as_posix().endswith(f"/{HOME}"):
            paths[_VERSION] = base.parents[1] / _VERSION
        for name, path in paths.items():
            if path.is_file():
                members.append(Member(name, path.stat().st_size, True, path.read_bytes))
        return gather(members, str(folder))


class Origin:
    """Keeps our copy up to date. Used by the holder of the lock only."""

    def __init__(self, settings: Settings, store: Store, cancel: Cancel) -> None:
        self._source = settings.source
        self._address = settings.source.origin or ""
        self._store = store
        self._cancel = cancel
        self._state = store.state / "script"
        self._copies = self._state / "copies"
        self._link = self._state / "current"
        # What is told to people: no user, no password, no query.
        self._shown = _shown(self._address)

    def refreshed(self, notice: Notice = None) -> tuple[Copy, MirrorError | None]:
        """The copy to run, and why it could not be brought up to date if so. Raises `MirrorError` without a copy."""
        self._tidy()
        pinned, present = self._source.commit, self._present()
        if present and pinned and present.commit == pinned:
            return present, None
        try:
            found = self._found(present, notice)
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
            f"there is no copy of Microsoft's script yet, and none can be got from {self._shown}: {error.message} "
            f"({error.code})",
            error.hint,
        )

    def _not_the_pinned(self, present: Copy | None, pinned: str, error: MirrorError) -> MirrorError:
        has = f"the present copy is of {_named(present.commit)}" if present else "there is no copy yet"
        why = error.message if error.code == "script_commit" else f"{error.message} ({error.code})"
        return MirrorError(
            "script_commit",
            f"Microsoft's script is pinned to commit {pinned}, {has}, and the pinned one cannot be got from "
            f"{self._shown}: {why}",
            error.hint,
        )

    def _stale(self, present: Copy, error: MirrorError) -> MirrorError:
        return MirrorError(
            error.code,
            f"Microsoft's script could not be brought up to date from {self._shown}: {error.message} ({error.code}); "
            f"the copy got {present.fetched} ({_named(present.commit)}) was used",
            error.hint,
        )

    # --- our copy -----------------------------------------------------------------------------------------------------

    def _mark(self) -> str:
        """Tells copies of different origins apart; a password plays no part and is not to be guessed from it."""
        return hashlib.sha256(_without_user(self._address).encode("utf-8", "surrogateescape")).hexdigest()

    def _present(self) -> Copy | None:
        """The copy as it was kept; None where there is none, or it is damaged, or of another origin."""
        try:
            card = json.loads((self._link / "origin.json").read_bytes())
            if card["origin"] != self._mark():
                return None
            files = {}
            for name, digest in card["files"].items():
                data = files[name] = (self._link / "tree" / name).read_bytes()
                if hashlib.sha256(data).hexdigest() != digest:
                    return None
            told = {key: card[key] for key in ("commit", "sha256", "etag", "modified", "fetched")}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
        return Copy(files, **told) if files else None

    def _keep(self, found: Copy) -> Copy:
        name = unique("copy")
        staged = self._store.incoming / unique("script-copy")
        copy = dataclasses.replace(found, fetched=now_iso())
        card = {
            **{field: value for field, value in vars(copy).items() if field != "files"},
            "origin": self._mark(),
            "files": {path: hashlib.sha256(data).hexdigest() for path, data in copy.files.items()},
        }
        with advising("keeping the copy of Microsoft's script in", self._state):
            try:
                place(staged / "tree", copy.files, flush=True)
                write(staged / "origin.json", (json.dumps(card, indent=2, sort_keys=True) + "\n").encode())
                make_directory(self._copies)
                sync_directory(staged)
                staged.rename(self._copies / name)
            finally:
                remove_tree(staged)
            sync_directory(self._copies)
            point(self._link, f"{self._copies.name}/{name}", self._store.incoming)
        self._tidy()
        return copy

    def _tidy(self) -> None:
        """Removes the copies that are not in use, also those that a run that died left."""
        with advising("tidying", self._copies):
            for copy in self._copies.iterdir() if self._copies.is_dir() else ():
                if copy.resolve() != self._link.resolve():
                    remove_tree(copy)

    # --- getting it ---------------------------------------------------------------------------------------------------

    def _found(self, present: Copy | None, notice: Notice) -> Copy:
        """What the origin has; `present` itself where it still has that. Raises `MirrorError`."""
        path = local_path(self._address)
        with advising("reading", path):
            is_zip = path.is_file() if path else is_zip_address(self._address)
            if path and not path.exists():
                raise _unusable(f"there is nothing at {path}")
        with self._private_folder() as folder:
            if path and is_zip:
                return self._local_zip(path, present)
            if is_zip:
                attempt = functools.partial(self._remote_zip, folder, present)
            else:
                git = _Git(self._source, str(path or self._address), self._shown, folder, self._cancel)
                attempt = functools.partial(self._repository, git, present)
            return retrying(attempt, self._source.retries, self._cancel, notice)

    @contextlib.contextmanager
    def _private_folder(self) -> Iterator[Path]:
        folder = self._store.incoming / unique("script-origin")
        with advising("preparing", folder):
            make_directory(folder, 0o700)
        try:
            yield folder
        finally:
            with contextlib.suppress(OSError):
                remove_tree(folder)

    def _repository(self, git: _Git, present: Copy | None) -> Copy:
        pinned = self._source.commit
        commit = pinned or git.head()
        if present and present.commit == commit:
            return present
        git.fetch(commit, pinned is not None)
        return Copy(gather(git.members(commit), f"commit {commit} of {self._shown}"), commit)

    def _local_zip(self, path: Path, present: Copy | None) -> Copy:
        with advising("reading", path):
            if path.stat().st_size > MOST_FETCHED_BYTES:
                raise _too_large(str(path))
            digest = sha256_of(path)
            return self._in_zip(path, digest, present, "", "")

    def _remote_zip(self, folder: Path, present: Copy | None) -> Copy:
        address, headers = _without_user(self._address), {}
        parts = urlsplit(self._address)
        if parts.username:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode("ascii")
        # The present copy may be of a commit that is no longer wanted.
        if present and not self._source.commit:
            headers.update({"If-None-Match": present.etag} if present.etag else {})
            headers.update({"If-Modified-Since": present.modified} if present.modified else {})
        host = (parts.hostname or "").lower()
        # A password goes to its own host only.
        others = () if parts.username else (*_HOSTS_OF.get(host, ()), *self._source.allowed_hosts)
        source = dataclasses.replace(self._source, allowed_hosts=(host, *others))
        path = folder / "origin.zip"
        with Client(source, tls_context(source), self._cancel) as client, client.get(address, headers) as answer:
            if answer.status == 304 and present:
                return present
            answer.expect(200)
            self._receive(answer, path)
            etag, modified = answer.header("ETag"), answer.lasting_date()
        with advising("reading", path):
            return self._in_zip(path, sha256_of(path), present, etag, modified)

    def _receive(self, answer: Answer, path: Path) -> None:
        if (answer.length or 0) > MOST_FETCHED_BYTES:
            raise _too_large(answer.shown)
        with advising("writing", path):
            file = path.open("wb")
        with file:
            while True:
                data = answer.read(CHUNK)
                if not data:
                    break
                if answer.received > MOST_FETCHED_BYTES:
                    raise _too_large(answer.shown)
                with advising("writing", path):
                    file.write(data)
        if answer.length is not None and answer.received < answer.length:
            raise truncated(answer.shown, f"{answer.received} of {answer.length} bytes came")

    def _in_zip(self, path: Path, digest: str, present: Copy | None, etag: str, modified: str) -> Copy:
        if present and present.sha256 == digest and not self._source.commit:
            same = (present.etag, present.modified) == (etag, modified)
            return present if same else dataclasses.replace(present, etag=etag, modified=modified)
        members, commit = read_zip(path, self._shown)
        if self._source.commit and commit != self._source.commit:
            raise MirrorError(
                "script_commit",
                f"the zip {self._shown} is of {_named(commit)}",
                "A zip names its commit when git or GitHub made it. Name a zip of the pinned commit, such as "
                f".../archive/{self._source.commit}.zip, or the repository itself, in source.origin.",
            )
        with _reading_zip(self._shown), zipfile.ZipFile(str(path)) as archive:
            opened = [
                dataclasses.replace(member, read=functools.partial(_read_member, archive, info, self._shown))
                for member, info in members
            ]
            return Copy(gather(opened, self._shown), commit, digest, etag, modified)


def place(folder: Path, files: dict[str, bytes], flush: bool = False) -> None:
    """Writes the files of a copy below a new folder."""
    for name, data in files.items():
        path = folder / name
        make_directory(path.parent)
        write(path, data)
        if flush:
            sync_directory(path.parent)


# --- addresses ------------------------------------------------------------------------------------------------------


def is_zip_address(address: str) -> bool:
    """True for an address of a zip: it ends so, or GitHub makes one there. All others are git's."""
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


def _without_user(address: str) -> str:
    """An address of the web without user and password. Those of ssh name the account on the server, no secret."""
    if not address.startswith(("http:", "https:")):
        return address
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _named(commit: str | None) -> str:
    return f"commit {commit}" if commit else "no commit that it names"


def _unusable(what: str) -> MirrorError:
    return MirrorError("script_origin", what, _HINT)


def _too_large(where: str) -> MirrorError:
    return MirrorError("size_out_of_bounds", f"{where} is larger than {MOST_FETCHED_BYTES >> 20} MiB", _HINT)


# --- zips -----------------------------------------------------------------------------------------------------------

_END = b"PK\x05\x06"
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@contextlib.contextmanager
def _reading_zip(where: str) -> Iterator[None]:
    try:
        yield
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        EOFError,
        KeyError,
        NotImplementedError,
        OverflowError,
        RuntimeError,
        ValueError,
    ) as error:
        raise _unusable(f"{where} is no whole zip: {str(error) or type(error).__name__}") from None


def read_zip(path: Path, where: str) -> tuple[list[tuple[Member, zipfile.ZipInfo]], str | None]:
    """The members of a zip, and the commit that it names.

    Nothing of it is unpacked. A member that would lie outside of its folder makes the whole zip a forgery.
    """
    with _reading_zip(where):
        _check_end(path)
        with zipfile.ZipFile(str(path)) as archive:
            infos, comment = archive.infolist(), archive.comment
    seen = set()
    for info in infos:
        parts = info.orig_filename.split("/")
        if "\\" in info.orig_filename or "\0" in info.orig_filename or ".." in parts or parts[0] in ("", "~"):
            raise _unusable(f"{where} would write outside of its folder: {info.orig_filename[:80]!r}")
        if info.filename in seen:
            raise _unusable(f"{where} holds {info.filename[:80]!r} twice")
        seen.add(info.filename)
    links = tuple(info.filename + "/" for info in infos if _is_link(info))
    members = [
        (Member(info.filename, info.file_size, _is_plain(info, links), bytes), info)
        for info in infos
        if not info.filename.endswith("/")
    ]
    return members, _commit_of(comment, infos[0].filename.split("/")[0] if infos else "", where)


def _check_end(path: Path) -> None:
    """Refuses a zip whose directory would not fit into memory; `zipfile` reads all of it at once."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 65557))
        tail = file.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < 22:
        raise zipfile.BadZipFile("its end is missing")
    listed, _start, comment = struct.unpack("<LLH", tail[at + 12 : at + 22])
    if listed > _MOST_LISTED_BYTES:
        raise zipfile.BadZipFile(f"its directory takes {listed} bytes")
    if len(tail) - at != 22 + comment:
        raise zipfile.BadZipFile("it does not end where it says")


def _is_link(info: zipfile.ZipInfo) -> bool:
    return stat.S_ISLNK(info.external_attr >> 16)


def _is_plain(info: zipfile.ZipInfo, links: tuple[str, ...]) -> bool:
    """A file, reached through folders only. Zips made elsewhere than on Unix say nothing of the kind."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    return kind in (0, stat.S_IFREG) and not info.filename.startswith(links)


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str) -> bytes:
    if info.flag_bits & 1 or info.compress_type not in _METHODS:
        raise _unusable(f"{where} holds {info.filename[:80]!r} encrypted or packed in an unusual way")
    with archive.open(info) as stream:
        data = stream.read(_MOST_FILE_BYTES + 1)
    if len(data) != info.file_size:
        raise _unusable(f"{where} says that {info.filename[:80]!r} has {info.file_size} bytes, and it has others")
    return data


def _commit_of(comment: bytes, top: str, where: str) -> str | None:
    """The commit in the comment of a zip that git made. GitHub's carry it in the name of the folder, too."""
    text = comment.decode("ascii", "replace").strip().lower()
    commit = text if _COMMIT.match(text) else None
    named = re.search(r"-([0-9a-f]{40})\Z", top)
    if commit and named and named[1] != commit:
        raise MirrorError(
            "script_commit",
            f"the zip {where} names two commits: {commit} in its comment, {named[1]} in its folder",
            "It was put together by hand. Take the zip as GitHub or `git archive` makes it.",
        )
    return commit


# --- git ------------------------------------------------------------------------------------------------------------


class _Git:
    """A bare repository of ours in a private folder, filled from an address. No configuration, hook or question of
    anybody else's plays a part."""

    def __init__(self, source: Source, address: str, where: str, folder: Path, cancel: Cancel) -> None:
        self._source = source
        self._address = _without_user(address)
        self._shown = where
        self._folder = folder
        self._cancel = cancel
        self._output, self._errors = folder / "git.out", folder / "git.err"
        self._program = shutil.which("git") or ""
        parts = urlsplit(address) if address.startswith(("http:", "https:")) else None
        self._user = (unquote(parts.username), unquote(parts.password or "")) if parts and parts.username else None
        if not self._program:
            raise MirrorError(
                "script_origin",
                f"{where} is a git repository, and git is not installed here",
                "Install git, or name a zip of the repository in source.origin.",
            )
        with advising("preparing", folder):
            (folder / ".gitconfig").write_text(self._configuration(parts.scheme if parts else ""), encoding="utf-8")

    def _configuration(self, scheme: str) -> str:
        """What git shall know; it takes it for the user's own."""
        lines = [
            "[http]",
            # Not from https to http (see GIT_ALLOW_PROTOCOL), and only before it is asked for anything.
            "followRedirects = " + ("false" if self._user else "initial"),
            # As our own requests do it, and without being told first.
            "proxyAuthMethod = basic",
            "[gc]",
            "auto = 0",
            "[maintenance]",
            "auto = false",
            # The repository of a path may be another user's; git reads from it and runs nothing of it.
            "[safe]",
            "directory = *",
        ]
        if self._user:
            parts = urlsplit(self._address)
            lines += [
                f'[credential "{scheme}://{parts.netloc}"]',
                'helper = "!f() { test \\"$1\\" = get && printf \'username=%s\\\\npassword=%s\\\\n\' '
                '\\"$MDE_MIRROR_USER\\" \\"$MDE_MIRROR_PASSWORD\\"; }; f"',
            ]
        return "\n".join(lines) + "\n"

    def head(self) -> str:
        """The commit that the repository offers by default."""
        lines = self._run("ls-remote", self._address, "HEAD").split()
        if not lines or not _COMMIT.match(lines[0]):
            raise _unusable(f"the repository {self._shown} offers no HEAD")
        return lines[0]

    def fetch(self, commit: str, pinned: bool) -> None:
        """Gets a commit with as little of the history as the other side can do."""
        remove_tree(self._folder / "repository")
        self._run("init", "-q", "--bare", "--template=", "repository")
        ways = [["--depth", "1", self._address, f"+{commit if pinned else 'HEAD'}:refs/script/commit"]]
        # Old servers and clients know commits by branches only, and plain web servers no depth.
        ways.append([self._address, "+HEAD:refs/script/head"])
        if pinned:
            ways.append([self._address, "+refs/heads/*:refs/script/heads/*", "+refs/tags/*:refs/script/tags/*"])
        failure: MirrorError | None = None
        for way in ways:
            try:
                self._run("fetch", "-q", "--no-tags", *way, inside=True)
                failure = None
            except MirrorError as error:
                failure = error
                if error.code != "script_origin" or error.retriable:
                    raise
            if self._has(commit):
                return
        if failure:
            raise failure
        if not pinned:
            raise _unusable(f"the repository {self._shown} was changed while it was read")
        raise MirrorError(
            "script_commit",
            f"the repository {self._shown} has no commit {commit} on any branch or tag",
            "Check source.commit, and that this repository holds it.",
        )

    def _has(self, commit: str) -> bool:
        try:
            return self._run("cat-file", "-t", commit, inside=True).strip() == "commit"
        except MirrorError as error:
            if error.code != "script_origin":
                raise
            return False

    def members(self, commit: str) -> list[Member]:
        members = []
        listed = self._run("ls-tree", "-r", "-l", "-z", "--full-tree", commit, inside=True)
        for entry in listed.split("\0"):
            fields, _tab, name = entry.partition("\t")
            words = fields.split()
            if len(words) == 4 and words[1] == "blob":
                read = functools.partial(self._blob, words[2])
                members.append(Member(name, int(words[3]), words[0].startswith("100"), read))
        return members

    def _blob(self, name: str) -> bytes:
        self._run("cat-file", "blob", name, inside=True)
        return self._output.read_bytes()

    def _run(self, *arguments: str, inside: bool = False) -> str:
        """What git says. Raises `MirrorError` with its own words where it fails."""
        where = ["--git-dir", "repository"] if inside else []
        watch = Watch(
            name=f"git ({arguments[0]} of {self._shown})",
            folder=self._folder,
            source=self._source,
            most=MOST_FETCHED_BYTES,
            code="script_origin",
            hint=f"Check the way to {self._shown}; a zip of the repository in source.origin is smaller.",
        )
        command = [self._program, *where, *arguments]
        with contextlib.ExitStack() as files:
            with advising("writing below", self._folder):
                output, errors = (files.enter_context(path.open("wb")) for path in (self._output, self._errors))
            status = run(command, self._folder, self._environment(), output, errors, watch, self._cancel)
        if self._output.stat().st_size > _MOST_LISTED_BYTES:
            raise _unusable(f"{self._shown} holds too many files")
        if status:
            told = self._readable(self._errors.read_bytes()[-_MOST_TOLD_BYTES:].decode("utf-8", "replace"))
            raise MirrorError(
                "script_origin",
                f"git could not read {self._shown}: {told or f'it ended with status {status}'}",
                "Check source.origin, the way there (source.proxy, source.caFile), and for ssh the key and known_hosts "
                "of the account that runs the sync.",
                retriable=bool(_PASSING.search(told)),
            )
        return self._output.read_bytes().decode("utf-8", "surrogateescape")

    def _readable(self, said: str) -> str:
        """The last words of git, in one line, with the address as it may be shown and no password."""
        text = " ".join(said.split()).replace(self._address, self._shown)
        proxy = urlsplit(self._source.proxy) if self._source.proxy else None
        for secret in (self._user and self._user[1], proxy and proxy.password, proxy and unquote(proxy.password or "")):
            if secret:
                text = text.replace(secret, "***")
        return "".join(c if c.isprintable() else "?" for c in text)[-400:]

    def _environment(self) -> dict[str, str]:
        source, home = self._source, str(self._folder)
        kept = ("PATH", "LD_LIBRARY_PATH", "SSH_AUTH_SOCK", "GIT_SSH", "GIT_SSH_COMMAND")
        found = {name: os.environ[name] for name in kept if name in os.environ}
        found.update(
            HOME=home,
            XDG_CONFIG_HOME=home,
            TMPDIR=home,
            LC_ALL="C",
            GIT_CONFIG_NOSYSTEM="1",
            GIT_TERMINAL_PROMPT="0",
            GIT_ASKPASS="true",
            SSH_ASKPASS="true",
            GIT_ALLOW_PROTOCOL=":".join(self._protocols()),
        )
        found.setdefault(
            "GIT_SSH_COMMAND", f"ssh -o BatchMode=yes -o ConnectTimeout={max(1, int(source.connect_timeout))}"
        )
        if source.proxy:
            found.update(http_proxy=source.proxy, https_proxy=source.proxy)
        for name, value in (
            ("GIT_SSL_CAINFO", source.ca_file),
            ("GIT_SSL_CERT", source.client_cert),
            ("GIT_SSL_KEY", source.client_key or source.client_cert),
        ):
            if value:
                found[name] = value
        if self._user:
            found["MDE_MIRROR_USER"], found["MDE_MIRROR_PASSWORD"] = self._user
        return found

    def _protocols(self) -> tuple[str, ...]:
        scheme = urlsplit(self._address).scheme if "://" in self._address else ""
        if scheme in ("http", "https"):
            return ("https", "http")[: 2 if scheme == "http" else 1]
        return ("file",) if self._address.startswith("/") else ("ssh",)
