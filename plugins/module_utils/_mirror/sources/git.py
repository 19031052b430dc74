"""A bare git repository in a private folder, fetched without using the git configuration of the user."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from ..cancel import Cancel
from ..errors import MirrorError
from ..files import advising, remove_tree
from ..masking import masked
from ..settings import MIB, SourceSettings
from .script_files import MOST_FETCHED_BYTES, Member, unusable
from .subprocesses import Watchdog, run

_MOST_LISTED_BYTES = 16 * MIB
_MOST_READ_BYTES = MIB
_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_PASSING = re.compile(
    r"could not resolve|failed to connect|couldn't connect|timed out|timeout|reset by peer|hung up|early EOF"
    r"|unexpected disconnect|transfer closed|returned error: (?:429|5\d\d)|operation too slow",
    re.IGNORECASE,
)


def without_user(address: str) -> str:
    """An http(s) address without user and password. In an ssh address, the user is not a secret."""
    if not address.startswith(("http:", "https:")):
        return address
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


class Git:
    """A bare repository in a private folder, filled from an address.

    The configuration of the user and of the system, hooks, and prompts on the terminal are disabled.
    """

    def __init__(self, source: SourceSettings, address: str, where: str, folder: Path, cancel: Cancel) -> None:
        self._source = source
        self._address = without_user(address)
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
                "Install git, or name a zip of the repository in source.script.url.",
            )
        with advising("preparing", folder):
            (folder / ".gitconfig").write_text(self._configuration(parts.scheme if parts else ""), encoding="utf-8")

    def _configuration(self, scheme: str) -> str:
        """The configuration of git, in place of the user's own."""
        lines = [
            "[http]",
            # Redirects are followed only for the first request. GIT_ALLOW_PROTOCOL forbids one from https to http.
            "followRedirects = " + ("false" if self._user else "initial"),
            # Requests by this engine itself use the same method, without waiting for status 407.
            "proxyAuthMethod = basic",
            "[gc]",
            "auto = 0",
            "[maintenance]",
            "auto = false",
            # A repository at a path may belong to another user. git reads it and runs nothing from it.
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
            raise unusable(f"the repository {self._shown} offers no HEAD")
        return lines[0]

    def fetch(self, commit: str, pinned: bool) -> None:
        """Fetches a commit with as little history as the server allows."""
        remove_tree(self._folder / "repository")
        self._run("init", "-q", "--bare", "--template=", "repository")
        attempts = [["--depth", "1", self._address, f"+{commit if pinned else 'HEAD'}:refs/script/commit"]]
        # Old servers and clients can fetch only branches, and plain web servers ignore the depth.
        attempts.append([self._address, "+HEAD:refs/script/head"])
        if pinned:
            attempts.append([self._address, "+refs/heads/*:refs/script/heads/*", "+refs/tags/*:refs/script/tags/*"])
        failure: MirrorError | None = None
        for refs in attempts:
            try:
                self._run("fetch", "-q", "--no-tags", *refs, inside=True)
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
            raise unusable(f"the repository {self._shown} changed while it was read")
        raise MirrorError(
            "script_commit",
            f"the repository {self._shown} has no commit {commit} on any branch or tag",
            "Check source.script.commit, and that this repository contains that commit.",
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
        """The output of git. Raises `MirrorError` with its error messages if it fails."""
        where = ["--git-dir", "repository"] if inside else []
        watchdog = Watchdog(
            name=f"git ({arguments[0]} of {self._shown})",
            folder=self._folder,
            source=self._source,
            most=MOST_FETCHED_BYTES,
            code="script_origin",
            hint=f"Check the route to {self._shown}; a zip of the repository in source.script.url is smaller.",
        )
        command = [self._program, *where, *arguments]
        with contextlib.ExitStack() as files:
            with advising("writing below", self._folder):
                output, errors = (files.enter_context(path.open("wb")) for path in (self._output, self._errors))
            status = run(command, self._folder, self._environment(), output, errors, watchdog, self._cancel)
        if self._output.stat().st_size > _MOST_LISTED_BYTES:
            raise unusable(f"{self._shown} contains too many files")
        if status:
            printed = self._errors.read_bytes()[-_MOST_READ_BYTES:].decode("utf-8", "replace")
            said = self._readable(printed)
            raise MirrorError(
                "script_origin",
                f"git could not read {self._shown}: {said or f'it ended with status {status}'}",
                "Check source.script.url, the route there (source.proxy, source.caFile), and for ssh the key and "
                "known_hosts of the account that runs the sync.",
                retriable=bool(_PASSING.search(printed)),
            )
        return self._output.read_bytes().decode("utf-8", "surrogateescape")

    def _readable(self, said: str) -> str:
        """The end of the error messages of git, in one line, without passwords."""
        text = masked(" ".join(said.split()).replace(self._address, self._shown), known=self._source.addresses)
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
