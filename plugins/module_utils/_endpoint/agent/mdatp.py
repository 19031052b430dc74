"""Finds and runs the agent's command `mdatp`, each call with a time limit. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import io
import json
import os
import re
import signal

from ansible_collections.mde.offline.plugins.module_utils._endpoint import process
from ansible_collections.mde.offline.plugins.module_utils._endpoint.agent import health_parser
from ansible_collections.mde.offline.plugins.module_utils._endpoint.errors import FindingError
from ansible_collections.mde.offline.plugins.module_utils._endpoint.masking import masked
from ansible_collections.mde.offline.plugins.module_utils._endpoint.text import decode

CLIENT = "opt/microsoft/mdatp/sbin/wdavdaemonclient"
CUSTOM_CLIENT = "microsoft_mdatp/sbin/wdavdaemonclient"
INSTALL_LOCATION = "etc/opt/microsoft/mdatp/mde_path.json"
_CRASHES = {
    getattr(signal, name): name
    for name in ("SIGILL", "SIGTRAP", "SIGABRT", "SIGBUS", "SIGFPE", "SIGKILL", "SIGSEGV", "SIGSYS")
}
# Messages of shells and loaders about a program that cannot run on this host.
_CANNOT_RUN = re.compile(
    r"error while loading shared libraries|symbol lookup error|version .* not found \(required|cannot execute|"
    r"exec format error|segmentation fault|illegal instruction|core dumped|terminating with uncaught exception",
    re.IGNORECASE,
)


class MdatpError(FindingError):
    """The command mdatp could not be run, or did not answer."""


def find(path=None, root="/"):
    """The path of the command: `path`, or else the first one in PATH and at the installation paths."""
    for place in _places(path, root):
        if _is_command(place):
            return place
    return None


def _places(path=None, root="/"):
    """The paths where the command may be: `path` only, or else PATH and all installation paths."""
    if path:
        return [path]
    places = [
        os.path.join(folder, _native("mdatp")) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder
    ]
    usual = ["usr/bin/mdatp", CLIENT]
    custom = _install_location(os.path.join(_native(root), _native(INSTALL_LOCATION)))
    if custom:
        usual += [os.path.join(custom.lstrip("/"), place) for place in (CLIENT, CUSTOM_CLIENT)]
    return places + [os.path.join(_native(root), _native(place)) for place in usual]


def _native(text):
    """A path as the native string of this Python, like those of the environment."""
    return text if isinstance(text, str) else text.encode("utf-8")


def _shown(path):
    return decode(process.to_bytes(path))


def _is_command(path):
    path = process.to_bytes(path)
    return os.path.isfile(path) and os.access(path, os.X_OK)


def _not_found(wanted):
    """The error for a missing command, or for one that cannot be executed."""
    for place in _places(wanted):
        path = process.to_bytes(place)
        if os.path.isfile(path):
            mode = os.stat(path).st_mode & 0o7777
            seen = "{0} exists, but this user may not execute it (mode {1:04o})."
            return MdatpError("mdatp_cannot_run", seen.format(_shown(place), mode))
        if os.path.islink(path) and not os.path.exists(path):
            seen = "No command mdatp was found: {0} is a link to {1}, which does not exist."
            return MdatpError("not_installed", seen.format(_shown(place), _shown(os.readlink(path))))
    where = wanted or "PATH, /usr/bin/mdatp or /{0}".format(CLIENT)
    return MdatpError("not_installed", "No command mdatp was found at {0}.".format(_shown(where)))


def _install_location(path):
    try:
        with io.open(path, encoding="utf-8") as stream:
            location = json.loads(stream.read(65536))
    except (EnvironmentError, ValueError):
        return None
    location = location if isinstance(location, dict) else {}
    folder = location.get("path") or location.get("install_path")
    return folder if isinstance(folder, type("")) else None


class Mdatp:
    """The command mdatp. `calls` has the output of each call, with credentials in addresses masked."""

    def __init__(self, run_command=process.run, path=None, timeout=30):
        self._run_command = run_command
        self._wanted = path
        self._timeout = timeout
        self._path = None
        self.calls = []

    @property
    def path(self):
        """The path of the command; raises MdatpError if it is missing or cannot be executed."""
        if self._path is None:
            self._path = find(self._wanted)
        if self._path is None:
            raise _not_found(self._wanted)
        return self._path

    @property
    def version(self):
        """The version of the agent, None if the command prints none."""
        words = re.findall(r"[0-9]+(?:\.[0-9]+)+", self._call(["health", "--field", "app_version"])["out"])
        return words[-1] if words else None

    def health(self):
        """The record of `mdatp health`: from JSON, or from text if the agent prints no usable JSON."""
        result = self._call(["health", "--output", "json"])
        record = self._record(result)
        if result["rc"] == 0 and _is_health(record) and health_parser.ENDS_EARLY not in record["notices"]:
            return record
        if not self._unreachable(result):
            result = self._call(["health"])
            text = self._record(result)
            record = text if _is_health(text) else record
        if not _is_health(record) and result["rc"] != 0 and not self._unreachable(result) and not _broken(result):
            # Agents before 2021 have another command line, and no offline updates.
            old = self._call(["--health"])
            record = self._record(old)
        if _is_health(record):
            return record
        if _broken(result):
            seen = "mdatp health {0}; it printed: {1}"
            raise MdatpError("mdatp_cannot_run", seen.format(_how_it_ended(result["rc"]), said(result)))
        if self._unreachable(result) or result["rc"] != 0:
            seen = "mdatp health ended with status {0} and printed no table: {1}"
            raise MdatpError("daemon_unreachable", seen.format(result["rc"], said(result)))
        seen = "mdatp health printed something that is not a health table: {0}"
        raise MdatpError("health_unreadable", seen.format(said(result)))

    def health_details_definitions(self):
        """The record of `mdatp health --details definitions`, None if the agent does not support it.

        The text form is read, since four versions of it are documented, and no public sample shows its JSON.
        """
        record = self._record(self._call(["health", "--details", "definitions"]))
        return record if record["fields"] else None

    def definitions_update(self, timeout=None):
        """The result of `mdatp definitions update`. Only the health shows whether the definitions were updated."""
        return self._call(["definitions", "update"], timeout)

    def connectivity_test(self, timeout=None):
        """The result of `mdatp connectivity test`, which changes nothing and may take a minute."""
        return self._call(["connectivity", "test"], timeout)

    def last_calls(self):
        """The output of the last call of each command."""
        last = {call["command"]: call for call in self.calls}
        return [call for call in self.calls if last[call["command"]] is call]

    def _call(self, arguments, timeout=None):
        limit = timeout or self._timeout
        result = self._run_command([self.path] + arguments, limit)
        result = dict(result, out=masked(result["out"]), err=masked(result["err"]))
        command = "mdatp " + " ".join(arguments)
        printed = {"stdout": result["out"], "stderr": result["err"]}
        self.calls.append(dict(printed, command=command, rc=result["rc"], timed_out=result["timed_out"]))
        if result["timed_out"]:
            raise MdatpError(
                "mdatp_hangs", "{0} did not finish within {1} seconds and was stopped.".format(command, limit)
            )
        if result["rc"] is None:
            seen = "{0} exists, but cannot be started: {1}"
            raise MdatpError("mdatp_cannot_run", seen.format(_shown(self.path), result["err"]))
        return result

    @staticmethod
    def _record(result):
        record = health_parser.parse(result["out"])
        # It is not documented to which stream the licence warning is printed.
        warnings = [line.strip() for line in result["err"].splitlines() if line.strip().startswith("ATTENTION")]
        record["notices"] += [line for line in warnings if line not in record["notices"]]
        return record

    @staticmethod
    def _unreachable(result):
        return not health_parser.parse(result["out"])["fields"] and bool(
            health_parser.NO_DAEMON.search(result["out"] + result["err"])
        )


def _is_health(record):
    return any(name in record["fields"] for name in ("healthy", "licensed", "app_version", "definitions_version"))


def _broken(result):
    """Whether the program cannot run: killed by a signal, or refused by the shell or the loader."""
    refused = result["rc"] in (126, 127) or _CANNOT_RUN.search(result["out"] + result["err"])
    return bool(refused) or _signal(result["rc"]) is not None


def _signal(rc):
    """The signal that ended a program, also as reported by a shell; None if it was not a signal."""
    if rc < 0:
        return -rc
    return rc - 128 if rc - 128 in _CRASHES else None


def _how_it_ended(rc):
    """Describes an exit status."""
    number = _signal(rc)
    if number is None:
        return "ended with status {0}".format(rc)
    return "was ended by signal {0} ({1})".format(number, _CRASHES.get(number, "not a crash"))


def said(result):
    """The first lines of the output of a command, for a message."""
    lines = [line.strip() for line in (result["err"] + "\n" + result["out"]).splitlines() if line.strip()]
    return " / ".join(lines[:3])[:500] or "nothing"
