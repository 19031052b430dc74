"""Microsoft's own downloader script as a source. Its word is not taken: what it fetched is proven like all else.

It runs in a working folder of ours with settings of ours, so the operator's clone of it stays untouched and can be kept
up to date, and its faults (docs/mirror.md names them) end there.
"""

from __future__ import annotations

import contextlib
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
from .files import advising, make_directory, remove_tree
from .microsoft import Microsoft
from .settings import Settings
from .sources import Notice
from .store import MANIFEST, ZIP, Store
from .transport import Client
from .units import Unit
from .versions import Versions, from_manifest

_BASH, _POWERSHELL = "xplat_offline_updates_download.sh", "xplat_offline_updates_download.ps1"
_TAIL = 400


class Script:
    """The source of type `script`. The script fetches everything in one go, so it runs once a sync, when needed."""

    def __init__(self, settings: Settings, cancel: Cancel) -> None:
        self._settings = settings
        self._cancel = cancel
        self._service = Microsoft(settings, cancel)
        self._work = Store(settings).state / "script"
        self._lock = threading.Lock()
        self._ran = False
        self._failure: MirrorError | None = None

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
        self._run_once()
        folder = self._work / "downloads" / unit.path
        try:
            versions = from_manifest((folder / MANIFEST).read_bytes())
        except (OSError, ValueError) as error:
            self._forget(folder)
            raise self._nothing(unit, f"no usable {MANIFEST} ({error})") from None
        if not versions.same_as(offered):
            self._forget(folder)
            raise MirrorError(
                "versions_moved",
                f"the script left {versions} for {unit} where {offered} was offered when it began",
                "A release landed while it ran, so its package cannot be told from the one before. The next sync "
                "fetches it again.",
            )
        try:
            return download.take(folder / ZIP, f"the package that the script left for {unit}"), offered
        except MirrorError:
            self._forget(folder)
            raise

    def _forget(self, folder: Path) -> None:
        # The script compares manifests only: what it must fetch again has to be gone entirely.
        with advising("removing", folder):
            remove_tree(folder)

    def _nothing(self, unit: Unit, what: str) -> MirrorError:
        if self._failure is not None:
            return self._failure
        return MirrorError(
            "script_failed",
            f"the script said that it was done but left {what} for {unit}",
            f"See what it said in {self._work / 'output.log'}; it also ends without an error when the network or a "
            "program that it needs (curl, jq) is missing.",
        )

    def _run_once(self) -> None:
        with self._lock:
            if not self._ran:
                self._ran = True
                self._failure = self._run()

    def _run(self) -> MirrorError | None:
        settings = self._settings
        downloads = self._work / "downloads"
        with advising("preparing", self._work):
            make_directory(downloads)
            command = self._copy_of_the_script()
            fields = {
                "downloadFolder": str(downloads),
                "downloadLinuxUpdates": "linux" in settings.platforms,
                "downloadMacUpdates": "mac" in settings.platforms,
                "downloadPreviewUpdates": "preview" in settings.rings,
                "backupPreviousUpdates": False,
                "logFilePath": str(self._work / "script.log"),
            }
            (self._work / "settings.json").write_text(json.dumps(fields, indent=2) + "\n")
            output = (self._work / "output.log").open("wb")
        with output:
            return self._watch(command, output)

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

    def _watch(self, command: list[str], output: Any) -> MirrorError | None:
        """Runs the script until it ends, is cancelled, or makes no progress for `source.timeout` (at least 120 s)."""
        patience = max(self._settings.source.timeout, 120.0)
        process = subprocess.Popen(
            command, cwd=str(self._work), stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
        seen, since = -1, time.monotonic()
        try:
            while process.poll() is None:
                self._cancel.sleep(0.1)
                size = sum(path.stat().st_size for path in _files(self._work))
                if size != seen:
                    seen, since = size, time.monotonic()
                elif time.monotonic() - since > patience:
                    return MirrorError(
                        "timeout",
                        f"the script made no progress for {patience:.0f} seconds and was ended",
                        "It has no time limits of its own. Check the network; see " + str(self._work / "output.log"),
                    )
        finally:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.returncode == 0:
            return None
        said = (self._work / "output.log").read_bytes()[-_TAIL:].decode("utf-8", "replace").strip()
        return MirrorError(
            "script_failed",
            f"the script ended with status {process.returncode}: {said}",
            f"Its whole output is in {self._work / 'output.log'}.",
        )


def _files(folder: Path) -> list[Path]:
    found = []
    for parent, _folders, names in os.walk(str(folder)):
        for name in names:
            path = Path(parent, name)
            with contextlib.suppress(OSError):
                path.stat()
                found.append(path)
    return found
