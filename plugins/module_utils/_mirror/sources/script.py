"""Microsoft's own downloader script as a source. The packages that it fetches are verified like all others.

Each run of the script happens in a new folder with settings made for it. So the operator's clone stays unchanged,
leftovers of an earlier run have no effect, and the faults of the script (docs/mirror.md lists them) affect only that
folder.
The script ends at the first package that fails, so it is run again for the packages after that one.
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
import tempfile
from pathlib import Path
from typing import IO, Mapping

from ..download import Download, Downloaded
from ..errors import Cancelled, MirrorError
from ..files import advising, make_directory, remove_tree, replace, unique
from ..masking import masked
from ..records import MANIFEST, ZIP
from ..settings import MIB
from ..transport import Client
from ..units import ARCHITECTURES, Unit
from ..versions import Versions, from_manifest
from ..workspace import Workspace
from .base import OnRetry
from .microsoft import Microsoft
from .script_checkout import Copy, ScriptCheckout
from .script_files import BASH, HOME, POWERSHELL, in_folder, place
from .subprocesses import Watchdog, run

# The programs that each of the two scripts needs. The first script whose programs are installed is run.
_BASH_NEEDS = ("bash", "curl", "jq", "awk", "sed")
_POWERSHELL_PROGRAMS = ("pwsh", "powershell")
_TAIL = 400
# The output is kept for the operators and the group of the mirror, and its end only if it is longer than this.
_OUTPUT_MODE = 0o640
_MOST_OUTPUT_BYTES = 4 * MIB


class Script:
    """The source of type `script`. The script fetches all packages in one run."""

    fetches_all_at_once = True
    current_at: str | None = None

    def __init__(
        self, service: Microsoft, platforms: tuple[str, ...], rings: tuple[str, ...], workspace: Workspace
    ) -> None:
        self._service = service
        self.proof, self.chain = service.proof, service.chain
        self._settings, self._cancel = service.connections.source, service.connections.cancel
        self._platforms, self._rings = platforms, rings
        self._workspace = workspace
        self._work = workspace.folder / unique("script")
        self._output = workspace.state / "script" / "output.log"
        self._copy: Copy | None = None
        # Why the package of a unit was not fetched; the key None has an error that concerns all units.
        self._failures: dict[Unit | None, MirrorError] = {}

    @property
    def name(self) -> str:
        commit = self._copy.commit if self._copy else None
        return "Microsoft's script" + (f" at commit {commit}" if commit else "")

    def client(self) -> Client:
        return self._service.client()

    def versions(self, client: Client, unit: Unit, on_retry: OnRetry = None) -> Versions:
        return self._service.versions(client, unit, on_retry)

    def size(self, client: Client, unit: Unit) -> int | None:
        return self._service.size(client, unit)

    def fetch(
        self, client: Client, unit: Unit, offered: Versions, download: Download, on_retry: OnRetry = None
    ) -> tuple[Downloaded, Versions]:
        """The package that the script left for a unit.

        The script fetches a package first and asks for its versions afterwards. These versions certainly belong to the
        package only if the service also offered them before the script began.
        """
        folder = self._downloads / unit.path
        try:
            versions = self._versions_left(unit, folder, offered)
            return download.take(folder / ZIP, f"the package that the script left for {unit}"), versions
        except MirrorError:
            download.discard()
            raise
        finally:
            self._forget(folder)

    @property
    def _downloads(self) -> Path:
        return self._work / "downloads"

    def _versions_left(self, unit: Unit, folder: Path, offered: Versions) -> Versions:
        failure = self._failures.get(unit) or self._failures.get(None)
        if failure is not None:
            raise failure
        try:
            left = from_manifest((folder / MANIFEST).read_bytes())
        except (OSError, ValueError) as error:
            raise self._nothing(unit, f"no usable {MANIFEST} ({error})") from None
        if not left.same_as(offered):
            raise MirrorError(
                "versions_moved",
                f"the script left {left} for {unit}, but {offered} was offered when the script began",
                "A release was published while the script ran, so the package may be the old or the new one. The next "
                "sync fetches it again.",
            )
        return offered

    def _forget(self, folder: Path) -> None:
        with advising("removing", folder):
            remove_tree(folder)
        # The worker that comes last removes the folder of the run.
        with contextlib.suppress(OSError):
            for parent in itertools.takewhile(lambda path: path != self._workspace.folder, folder.parents):
                parent.rmdir()

    def _nothing(self, unit: Unit, what: str) -> MirrorError:
        return MirrorError(
            "script_failed",
            f"the script ended without an error but left {what} for {unit}",
            f"Its output is in {self._output}. The script also ends without an error when the network or a program "
            "that it needs (curl, jq) is missing.",
        )

    # --- running it -----------------------------------------------------------------------------------------------

    def prepare(self, wanted: Mapping[Unit, Versions], on_retry: OnRetry = None) -> None:
        """Runs the script for these units. Failures are kept for `fetch`."""
        try:
            self._copy = self._present_copy(on_retry)
            self._run_for_all(wanted, self._copy)
        except MirrorError as error:
            self._failures[None] = error
            with contextlib.suppress(OSError):
                remove_tree(self._work)

    def _present_copy(self, on_retry: OnRetry) -> Copy:
        if self._settings.script.path:
            return Copy(in_folder(Path(self._settings.script.path)))
        copy, stale = ScriptCheckout(self._settings, self._workspace, self._cancel).refreshed(on_retry)
        if stale and on_retry:
            # This makes a note in the result; nothing is retried, so the pause is 0.
            on_retry(stale, 0.0)
        return copy

    def _run_for_all(self, offered: Mapping[Unit, Versions], copy: Copy) -> None:
        command = self._command(copy)
        with contextlib.ExitStack() as cleanup:
            with advising("preparing", self._work):
                make_directory(self._downloads)
                place(self._work, copy.files)
                make_directory(self._output.parent)
                # A file without a name, so that not even a crash leaves a password in the output on the disk.
                output = cleanup.enter_context(tempfile.TemporaryFile(dir=str(self._work)))
            self._leave_out_all_but(offered)
            try:
                for platform in self._platforms:
                    # If there was a manifest, newer versions of the script end after the first platform.
                    units = [unit for unit in _all_units((platform,), self._rings) if unit in offered]
                    self._run_for(units, offered, command, output)
            finally:
                said = self._readable(output, 0)
                with advising("writing", self._output):
                    replace(self._output, said.encode(), self._workspace.folder, _OUTPUT_MODE)
        self._tidy(list(offered))

    def _readable(self, output: IO[bytes], begin: int) -> str:
        """What the script and its programs printed, without passwords."""
        size = output.seek(0, os.SEEK_END)
        output.seek(max(begin, size - _MOST_OUTPUT_BYTES))
        said = masked(output.read().decode("utf-8", "replace"), known=self._settings.addresses)
        output.seek(0, os.SEEK_END)
        return said

    def _run_for(
        self, wanted: list[Unit], offered: Mapping[Unit, Versions], command: list[str], output: IO[bytes]
    ) -> None:
        """Runs the script until each of the units, which are all of one platform, is fetched or has failed."""
        while wanted:
            self._render_settings(wanted[0].platform)
            failure = self._watched(command, output)
            wanted = [unit for unit in wanted if not (self._downloads / unit.path / MANIFEST).is_file()]
            if wanted:
                failed = wanted.pop(0)
                self._failures[failed] = failure or self._nothing(failed, f"no {MANIFEST}")
                # With a current manifest for the failed unit, the next run of the script skips it.
                self._pretend(failed, offered[failed])

    def _render_settings(self, platform: str) -> None:
        fields = {
            "downloadFolder": str(self._downloads),
            "downloadLinuxUpdates": platform == "linux",
            "downloadMacUpdates": platform == "mac",
            "downloadPreviewUpdates": "preview" in self._rings,
            "backupPreviousUpdates": False,
            "logFilePath": str(self._work / "script.log"),
        }
        path = self._work / HOME / "settings.json"
        with advising("writing", path):
            path.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")

    def _pretend(self, unit: Unit, offered: Versions) -> None:
        """Writes a manifest that makes the script skip a unit, as if it was already fetched."""
        folder = self._downloads / unit.path
        with advising("preparing", folder):
            remove_tree(folder)
            make_directory(folder)
            (folder / MANIFEST).write_bytes(offered.manifest())

    def _leave_out_all_but(self, offered: Mapping[Unit, Versions]) -> None:
        """Keeps the script from fetching other units.

        The script has no setting for architectures, and fetches each package whose manifest does not have the offered
        versions. So manifests with these versions are written for the other units.
        """
        with self.client() as client:
            for unit in _all_units(self._platforms, self._rings):
                if unit not in offered:
                    try:
                        self._pretend(unit, self._service.versions(client, unit))
                    except Cancelled:
                        raise
                    except MirrorError:
                        # The script then fetches this package unnecessarily.
                        continue

    def _tidy(self, wanted: list[Unit]) -> None:
        """Removes everything but the folders of the units that were wanted."""
        keep = {unit.path for unit in wanted}
        with advising("tidying", self._work):
            for folder in self._downloads.glob("*/*/*"):
                if folder.relative_to(self._downloads).as_posix() not in keep:
                    remove_tree(folder)
            for path in self._work.iterdir():
                if path != self._downloads:
                    remove_tree(path)

    def _command(self, copy: Copy) -> list[str]:
        """The command that runs the script with the programs of this host."""
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
            f"Microsoft's script cannot run here: it needs {needs}, which is not installed or not in the PATH of the "
            "sync",
            f"Install {needs} with the package manager of this host.",
        )

    def _environment(self) -> dict[str, str]:
        """The script has no settings for proxy and certificates; the programs that it calls take these variables."""
        source, work = self._settings, str(self._work)
        # The script needs a home directory. A service has none, and that of a person may contain a .curlrc.
        homes = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"), work)
        found = {**os.environ, **homes, "POWERSHELL_TELEMETRY_OPTOUT": "1", "POWERSHELL_UPDATECHECK": "Off"}
        if source.proxy:
            found.update(dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY"), source.proxy))
        if source.ca_file:
            found.update(CURL_CA_BUNDLE=source.ca_file, SSL_CERT_FILE=source.ca_file)
        return found

    def _watched(self, command: list[str], output: IO[bytes]) -> MirrorError | None:
        """Runs the script until it ends, is cancelled, or makes no progress for `source.timeout` (at least 120 s)."""
        watchdog = Watchdog(
            name="the script",
            folder=self._work,
            source=self._settings,
            most=0,
            code="script_failed",
            hint=f"The script has no time limits of its own. Check the network, and the output in {self._output}.",
        )
        begun = output.tell()
        try:
            status = run(command, self._work / HOME, self._environment(), output, output, watchdog, self._cancel)
        except Cancelled:
            raise
        except MirrorError as error:
            return error
        if status == 0:
            return None
        said = " ".join(self._readable(output, begun).split())[-_TAIL:]
        return MirrorError(
            "script_failed",
            f"the script ended with status {status}: {said}",
            f"Its complete output is in {self._output}.",
        )


def _all_units(platforms: tuple[str, ...], rings: tuple[str, ...]) -> list[Unit]:
    """The units in the order in which the script fetches them."""
    return [Unit(*names) for names in itertools.product(platforms, rings, ARCHITECTURES)]
