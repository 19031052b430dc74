"""Microsoft's own downloader script as a source. Its word is not taken: what it fetched is proven like all else.

Each run of it happens in a new folder of ours with settings of ours, so the operator's clone of it stays untouched and
can be kept up to date, nothing that an earlier run left is believed, and its faults (docs/mirror.md names them) end
there.
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
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from .cancel import Cancel
from .download import Download, Downloaded
from .errors import MirrorError
from .files import advising, make_directory, remove_tree, unique
from .microsoft import Microsoft
from .release import MANIFEST, ZIP
from .settings import Settings
from .sources import Notice
from .store import Store
from .transport import Client
from .units import ARCHITECTURES, Unit
from .versions import Versions, from_manifest

_BASH, _POWERSHELL = "xplat_offline_updates_download.sh", "xplat_offline_updates_download.ps1"
_TAIL = 400
# The script is silent while it writes all file systems of the host to their disks.
LEAST_PATIENCE = 120.0


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
        self._failure: MirrorError | None = None
        # What was offered before the script began.
        self._before: dict[Unit, Versions | MirrorError] = {}

    @property
    def name(self) -> str:
        return "Microsoft's script"

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
        self._run_once(client)
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
        before = self._before.get(unit)
        if isinstance(before, MirrorError):
            raise before
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
        if self._failure is not None:
            return self._failure
        return MirrorError(
            "script_failed",
            f"the script said that it was done but left {what} for {unit}",
            f"See what it said in {self._output}; it also ends without an error when the network or a program that it "
            "needs (curl, jq) is missing.",
        )

    # --- running it -----------------------------------------------------------------------------------------------

    def _run_once(self, client: Client) -> None:
        with self._lock:
            if self._ran:
                return
            self._ran = True
            try:
                self._failure = self._run(client)
            except MirrorError as error:
                self._failure = error

    def _run(self, client: Client) -> MirrorError | None:
        settings = self._settings
        with advising("preparing", self._work):
            make_directory(self._downloads)
            command = self._copy_of_the_script()
            wanted = self._leave_out_what_is_not_needed(client)
            fields = {
                "downloadFolder": str(self._downloads),
                "downloadLinuxUpdates": "linux" in settings.platforms,
                "downloadMacUpdates": "mac" in settings.platforms,
                "downloadPreviewUpdates": "preview" in settings.rings,
                "backupPreviousUpdates": False,
                "logFilePath": str(self._work / "script.log"),
            }
            (self._work / "settings.json").write_text(json.dumps(fields, indent=2) + "\n")
            make_directory(self._output.parent)
            output = self._output.open("wb")
        with output:
            failure = self._watch(command, output)
        self._tidy(wanted)
        return failure

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
            except MirrorError as error:
                if error.code == "cancelled":
                    raise
                self._before[unit] = error
                continue
            if self._needs(client, unit, offered):
                wanted.append(unit)
            else:
                make_directory(self._downloads / unit.path)
                (self._downloads / unit.path / MANIFEST).write_bytes(offered.manifest())
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

    def _copy_of_the_script(self) -> list[str]:
        folder = Path(self._settings.source.path or "")
        for name, programs in ((_BASH, ("bash",)), (_POWERSHELL, ("pwsh", "powershell"))):
            program = next((found for found in map(shutil.which, programs) if found), None)
            script = next(
                (path for path in (folder / name, folder / "linux/definition_downloader" / name) if path.is_file()),
                None,
            )
            if program and script:
                shutil.copy(str(script), str(self._work / name))
                return [program, str(self._work / name)]
        raise MirrorError(
            "script_missing",
            f"{folder} holds no {_BASH} (or {_POWERSHELL} with PowerShell installed)",
            "source.path must name the folder of a clone or unpacked zip of Microsoft's mdatp-xplat repository.",
        )

    def _environment(self) -> dict[str, str]:
        """The script has no settings for the way to the service; the programs that it calls take these."""
        source = self._settings.source
        # A service has no home, and the script ends at once where there is none.
        found = {"HOME": str(self._work), **os.environ, "TMPDIR": str(self._work)}
        if source.proxy:
            found.update(dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY"), source.proxy))
        if source.ca_file:
            found.update(CURL_CA_BUNDLE=source.ca_file, SSL_CERT_FILE=source.ca_file)
        return found

    def _watch(self, command: list[str], output: Any) -> MirrorError | None:
        """Runs the script until it ends, is cancelled, or makes no progress for `source.timeout` (at least 120 s)."""
        patience = max(self._settings.source.timeout, LEAST_PATIENCE)
        # A trickle is no progress. What it says is none either: curl goes on telling that nothing comes.
        step = max(self._settings.source.min_speed, 1)
        process = subprocess.Popen(
            command,
            cwd=str(self._work),
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        seen, since = 0, time.monotonic()
        try:
            while process.poll() is None:
                self._cancel.sleep(0.1)
                size = _size_of(self._work)
                if abs(size - seen) >= step:
                    seen, since = size, time.monotonic()
                elif time.monotonic() - since > patience:
                    return MirrorError(
                        "timeout",
                        f"the script made no progress for {patience:.0f} seconds and was ended",
                        f"It has no time limits of its own. Check the network; see {self._output}.",
                    )
        finally:
            # Also when it ended by itself: nothing that it began may write to what is about to be proven.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.returncode == 0:
            return None
        said = self._output.read_bytes()[-_TAIL:].decode("utf-8", "replace").strip()
        return MirrorError(
            "script_failed",
            f"the script ended with status {process.returncode}: {said}",
            f"Its whole output is in {self._output}.",
        )


def _size_of(folder: Path) -> int:
    size = 0
    for parent, _folders, names in os.walk(str(folder)):
        for name in names:
            with contextlib.suppress(OSError):
                size += Path(parent, name).lstat().st_size
    return size
