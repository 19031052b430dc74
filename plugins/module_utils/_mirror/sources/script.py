"""Microsoft's own downloader script as a source. Its word is not taken: what it fetched is proven like all else.

Each run of it happens in a new folder of ours with settings of ours, so the operator's clone of it stays untouched and
can be kept up to date, nothing that an earlier run left is believed, and its faults (docs/mirror.md names them) end
there. A failing package ends the script, so it is run again for those that come after.
"""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import threading
from pathlib import Path
from typing import BinaryIO

from ..cancel import Cancel
from ..download import Download, Downloaded
from ..errors import Cancelled, MirrorError
from ..files import advising, make_directory, remove_tree, unique
from ..records import MANIFEST, ZIP
from ..settings import Settings
from ..store import Store
from ..transport import Client
from ..units import ARCHITECTURES, Unit
from ..versions import Versions, from_manifest
from .base import Notice
from .microsoft import Microsoft
from .script_checkout import Copy, Origin
from .script_files import BASH, HOME, POWERSHELL, in_folder, place
from .subprocesses import Watch, run

# How each of the two is run, and what it needs; the first whose needs are there is taken.
_BASH_NEEDS = ("bash", "curl", "jq", "awk", "sed")
_POWERSHELL_PROGRAMS = ("pwsh", "powershell")
_TAIL = 400


class Script:
    """The source of type `script`. The script fetches everything in one go, so it runs once a sync, when needed."""

    def __init__(self, settings: Settings, cancel: Cancel) -> None:
        self._settings = settings
        self._cancel = cancel
        self._service = Microsoft(settings, cancel)
        self._store = Store(settings)
        self._work = self._store.incoming / unique("script")
        self._output = self._store.state / "script" / "output.log"
        self._lock = threading.Lock()
        self._ran = False
        self._copy: Copy | None = None
        # Why a package was not fetched; under None, why none was.
        self._failures: dict[Unit | None, MirrorError] = {}
        # What was offered before the script began.
        self._before: dict[Unit, Versions] = {}

    @property
    def name(self) -> str:
        commit = self._copy.commit if self._copy else None
        return "Microsoft's script" + (f" at commit {commit}" if commit else "")

    def client(self) -> Client:
        return self._service.client()

    def versions(self, client: Client, unit: Unit, notice: Notice = None) -> Versions:
        return self._service.versions(client, unit, notice)

    def size(self, client: Client, unit: Unit) -> int | None:
        return self._service.size(client, unit)

    def fetch(
        self, client: Client, unit: Unit, offered: Versions, download: Download, notice: Notice = None
    ) -> tuple[Downloaded, Versions]:
        """The package that the script left for a unit.

        The script fetches a package first and asks for its versions afterwards. Only where these are the versions that
        were offered before it began is it certain that they belong to the package.
        """
        self._run_once(client, notice)
        folder = self._downloads / unit.path
        try:
            versions = self._proven_versions(unit, folder)
            return download.take(folder / ZIP, f"the package that the script left for {unit}"), versions
        except MirrorError:
            download.discard()
            raise
        finally:
            self._forget(folder)

    @property
    def _downloads(self) -> Path:
        return self._work / "downloads"

    def _proven_versions(self, unit: Unit, folder: Path) -> Versions:
        failure = self._failures.get(unit) or self._failures.get(None)
        if failure is not None:
            raise failure
        before = self._before.get(unit)
        try:
            left = from_manifest((folder / MANIFEST).read_bytes())
        except (OSError, ValueError) as error:
            raise self._nothing(unit, f"no usable {MANIFEST} ({error})") from None
        if before is None or not left.same_as(before):
            raise MirrorError(
                "versions_moved",
                f"the script left {left} for {unit} where {before or 'nothing'} was offered when it began",
                "A release landed while it ran, so its package cannot be told from the one before. The next sync "
                "fetches it again.",
            )
        return before

    def _forget(self, folder: Path) -> None:
        with advising("removing", folder):
            remove_tree(folder)
        # The last one to leave takes the whole folder of the run away.
        with contextlib.suppress(OSError):
            for parent in itertools.takewhile(lambda path: path != self._store.incoming, folder.parents):
                parent.rmdir()

    def _nothing(self, unit: Unit, what: str) -> MirrorError:
        return MirrorError(
            "script_failed",
            f"the script said that it was done but left {what} for {unit}",
            f"See what it said in {self._output}; it also ends without an error when the network or a program that it "
            "needs (curl, jq) is missing.",
        )

    # --- running it -----------------------------------------------------------------------------------------------

    def _run_once(self, client: Client, notice: Notice) -> None:
        with self._lock:
            if self._ran:
                return
            self._ran = True
            try:
                self._copy = self._present_copy(notice)
                self._run_for_all(client, self._copy)
            except MirrorError as error:
                self._failures[None] = error
                with contextlib.suppress(OSError):
                    remove_tree(self._work)

    def _present_copy(self, notice: Notice) -> Copy:
        if self._settings.source.path:
            return Copy(in_folder(Path(self._settings.source.path)))
        copy, stale = Origin(self._settings, self._store, self._cancel).refreshed(notice)
        if stale and notice:
            # A note in the result; there is nothing to wait for.
            notice(stale, 0.0)
        return copy

    def _run_for_all(self, client: Client, copy: Copy) -> None:
        command = self._command(copy)
        with advising("preparing", self._work):
            make_directory(self._downloads)
            place(self._work, copy.files)
            make_directory(self._output.parent)
            output = self._output.open("wb")
        with output:
            wanted = self._leave_out_what_is_not_needed(client)
            for platform in self._settings.platforms:
                # Newer versions end after the first platform when there was a manifest.
                self._run_for([unit for unit in wanted if unit.platform == platform], command, output)
        self._tidy(wanted)

    def _run_for(self, wanted: list[Unit], command: list[str], output: BinaryIO) -> None:
        """Runs the script until it has fetched or failed at each of the units, which are all of one platform."""
        while wanted:
            self._render_settings(wanted[0].platform)
            failure = self._watched(command, output)
            wanted = [unit for unit in wanted if not (self._downloads / unit.path / MANIFEST).is_file()]
            if wanted:
                failed = wanted.pop(0)
                self._failures[failed] = failure or self._nothing(failed, f"no {MANIFEST}")
                # It shall believe next time that this one is there; its package is none of ours any more.
                self._pretend(failed)

    def _render_settings(self, platform: str) -> None:
        fields = {
            "downloadFolder": str(self._downloads),
            "downloadLinuxUpdates": platform == "linux",
            "downloadMacUpdates": platform == "mac",
            "downloadPreviewUpdates": "preview" in self._settings.rings,
            "backupPreviousUpdates": False,
            "logFilePath": str(self._work / "script.log"),
        }
        path = self._work / HOME / "settings.json"
        with advising("writing", path):
            path.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")

    def _pretend(self, unit: Unit) -> None:
        """Makes the script believe that it has what is offered."""
        offered, folder = self._before.get(unit), self._downloads / unit.path
        with advising("preparing", folder):
            remove_tree(folder)
            if offered:
                make_directory(folder)
                (folder / MANIFEST).write_bytes(offered.manifest())

    def _leave_out_what_is_not_needed(self, client: Client) -> list[Unit]:
        """Notes what is offered now, and returns what the script shall fetch.

        It knows no architectures and fetches all that its own manifests do not name. So it is given manifests that say
        that the rest is there already.
        """
        self._store.load()
        wanted = []
        for names in itertools.product(self._settings.platforms, self._settings.rings, ARCHITECTURES):
            unit = Unit(*names)
            try:
                offered = self._before[unit] = self._service.versions(client, unit)
            except Cancelled:
                raise
            except MirrorError as error:
                self._failures[unit] = error
                continue
            if self._needs(client, unit, offered):
                wanted.append(unit)
            else:
                self._pretend(unit)
        return wanted

    def _needs(self, client: Client, unit: Unit, offered: Versions) -> bool:
        if unit not in self._settings.units():
            return False
        release = self._store.current(unit)
        if release is None or not release.versions.same_as(offered) or not self._store.intact(release, mend=False):
            return True
        # The manifest of an adopted package is not proven: the sync judges it by this size too.
        return release.origin == "adopted" and release.size != self.size(client, unit)

    def _tidy(self, wanted: list[Unit]) -> None:
        """Leaves nothing but the folders that are going to be asked for."""
        keep = {unit.path for unit in wanted}
        with advising("tidying", self._work):
            for folder in self._downloads.glob("*/*/*"):
                if folder.relative_to(self._downloads).as_posix() not in keep:
                    remove_tree(folder)
            for path in self._work.iterdir():
                if path != self._downloads:
                    remove_tree(path)

    def _command(self, copy: Copy) -> list[str]:
        """How to run the script with what is installed here."""
        lacking = []
        if f"{HOME}/{BASH}" in copy.files:
            lacking = [program for program in _BASH_NEEDS if not shutil.which(program)]
            if not lacking:
                return [str(shutil.which("bash")), str(self._work / HOME / BASH)]
        if f"{HOME}/{POWERSHELL}" in copy.files:
            program = next((found for found in map(shutil.which, _POWERSHELL_PROGRAMS) if found), None)
            if program:
                script = str(self._work / HOME / POWERSHELL)
                return [program, "-NoLogo", "-NoProfile", "-NonInteractive", "-File", script]
            lacking = lacking or [_POWERSHELL_PROGRAMS[0]]
        needs = " and ".join(lacking)
        raise MirrorError(
            "script_failed",
            f"Microsoft's script cannot run here: it needs {needs}, not installed or not in the PATH of the sync",
            f"Install {needs} with the package manager of this host.",
        )

    def _environment(self) -> dict[str, str]:
        """The script has no settings for the way to the service; the programs that it calls take these."""
        source, work = self._settings.source, str(self._work)
        # A service has no home, and the script ends at once where there is none; a person's holds a .curlrc.
        homes = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"), work)
        found = {**os.environ, **homes, "POWERSHELL_TELEMETRY_OPTOUT": "1", "POWERSHELL_UPDATECHECK": "Off"}
        if source.proxy:
            found.update(dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY"), source.proxy))
        if source.ca_file:
            found.update(CURL_CA_BUNDLE=source.ca_file, SSL_CERT_FILE=source.ca_file)
        return found

    def _watched(self, command: list[str], output: BinaryIO) -> MirrorError | None:
        """Runs the script until it ends, is cancelled, or makes no progress for `source.timeout` (at least 120 s)."""
        watch = Watch(
            name="the script",
            folder=self._work,
            source=self._settings.source,
            most=0,
            code="script_failed",
            hint=f"It has no time limits of its own. Check the network; see {self._output}.",
        )
        begun = output.tell()
        try:
            status = run(command, self._work / HOME, self._environment(), output, output, watch, self._cancel)
        except Cancelled:
            raise
        except MirrorError as error:
            return error
        if status == 0:
            return None
        with self._output.open("rb") as told:
            told.seek(begun)
            said = " ".join(told.read()[-_TAIL:].decode("utf-8", "replace").split())
        return MirrorError(
            "script_failed", f"the script ended with status {status}: {said}", f"Its whole output is in {self._output}."
        )
