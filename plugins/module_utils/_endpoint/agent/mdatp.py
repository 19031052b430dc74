"""Finds and asks the agent's command `mdatp`; no call outlasts its limit. Private to the mde.offline collection."""
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
from ansible_collections.mde.offline.plugins.module_utils._endpoint.errors import NO_DAEMON, FindingError, masked
from ansible_collections.mde.offline.plugins.module_utils._endpoint.text import decode

CLIENT = "opt/microsoft/mdatp/sbin/wdavdaemonclient"
CUSTOM_CLIENT = "microsoft_mdatp/sbin/wdavdaemonclient"
INSTALL_LOCATION = "etc/opt/microsoft/mdatp/mde_path.json"
_CRASHES = {
    getattr(signal, name): name
    for name in ("SIGILL", "SIGTRAP", "SIGABRT", "SIGBUS", "SIGFPE", "SIGKILL", "SIGSEGV", "SIGSYS")
}
# What shells and loaders say of a program that does not run here.
_CANNOT_RUN = re.compile(
    r"error while loading shared libraries|symbol lookup error|version .* not found \(required|cannot execute|"
    r"exec format error|segmentation fault|illegal instruction|core dumped|terminating with uncaught exception",
    re.IGNORECASE,
)


class MdatpError(FindingError):
    """The agent could not be asked."""


def find(path=None, root="/"):
    """The command: the one that was named, or the one in PATH, at its usual places or in a custom install location."""
    for place in _places(path, root):
        if _is_command(place):
            return place
    return None


def _places(path=None, root="/"):
    """Where the command may be: at the named place only, or else in PATH and wherever installations put it."""
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
    """A path as this Python's own kind of string, as those of the environment are."""
    return text if isinstance(text, str) else text.encode("utf-8")


def _shown(path):
    return decode(process.to_bytes(path))


def _is_command(path):
    path = process.to_bytes(path)
    return os.path.isfile(path) and os.access(path, os.X_OK)


def _not_found(wanted):
    """Why there is no command: nothing is there, or what is there cannot be executed."""
    for place in _places(wanted):
        path = process.to_bytes(place)
        if os.path.isfile(path):
            mode = os.stat(path).st_mode & 0o7777
            seen = "{0} is there, but this user may not execute it (mode {1:04o})."
            return MdatpError("mdatp_cannot_run", seen.format(_shown(place), mode))
        if os.path.islink(path) and not os.path.exists(path):
            seen = "No command mdatp was found: {0} is a link to {1}, and nothing is there."
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
    """The command of one host. `calls` keeps what each call printed, credentials in addresses masked."""

    def __init__(self, run_command=process.run, path=None, timeout=30):
        self._run_command = run_command
        self._wanted = path
        self._timeout = timeout
        self._path = None
        self.calls = []

    @property
    def path(self):
        """Where the command is; raises a finding if it is nowhere, or cannot be executed."""
        if self._path is None:
            self._path = find(self._wanted)
        if self._path is None:
            raise _not_found(self._wanted)
        return self._path

    @property
    def version(self):
        """The agent's version, None if it does not say."""
        words = re.findall(r"[0-9]+(?:\.[0-9]+)+", self._call(["health", "--field", "app_version"])["out"])
        return words[-1] if words else None

    def health(self):
        """The record of `mdatp health`: from JSON, or from text where the agent does not give usable JSON."""
        result = self._call(["health", "--output", "json"])
        record = self._record(result)
        if result["rc"] == 0 and _is_health(record) and health_parser.ENDS_EARLY not in record["notices"]:
            return record
        if not self._unreachable(result):
            result = self._call(["health"])
            text = self._record(result)
            record = text if _is_health(text) else record
        if not _is_health(record) and result["rc"] != 0 and not self._unreachable(result) and not _broken(result):
            # Agents before 2021 know another command line, and nothing of offline updates.
            old = self._call(["--health"])
            record = self._record(old)
        if _is_health(record):
            return record
        if _broken(result):
            seen = "mdatp health {0}; it said: {1}"
            raise MdatpError("mdatp_cannot_run", seen.format(_how_it_ended(result["rc"]), said(result)))
        if self._unreachable(result) or result["rc"] != 0:
            seen = "mdatp health ended with status {0} and gave no table; it said: {1}"
            raise MdatpError("daemon_unreachable", seen.format(result["rc"], said(result)))
        seen = "mdatp health gave nothing that can be read as a health table: {0}"
        raise MdatpError("health_unreadable", seen.format(said(result)))

    def health_details_definitions(self):
        """The record of `mdatp health --details definitions`, None if the agent does not know it.

        As text: four generations of it are documented, and no public sample shows its JSON.
        """
        record = self._record(self._call(["health", "--details", "definitions"]))
        return record if record["fields"] else None

    def definitions_update(self, timeout=None):
        """Asks for an update; the result of the command, which is not yet the proof."""
        return self._call(["definitions", "update"], timeout)

    def connectivity_test(self, timeout=None):
        """The result of the agent's own test of its connections; it changes nothing and may take a minute."""
        return self._call(["connectivity", "test"], timeout)

    def last_calls(self):
        """What each command printed when it was called last."""
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
                "mdatp_hangs", "{0} gave no answer within {1} seconds and was stopped.".format(command, limit)
            )
        if result["rc"] is None:
            seen = "{0} is there, but cannot be started: {1}"
            raise MdatpError("mdatp_cannot_run", seen.format(_shown(self.path), result["err"]))
        return result

    @staticmethod
    def _record(result):
        record = health_parser.parse(result["out"])
        # On which stream the license warning comes is not documented.
        warnings = [line.strip() for line in result["err"].splitlines() if line.strip().startswith("ATTENTION")]
        record["notices"] += [line for line in warnings if line not in record["notices"]]
        return record

    @staticmethod
    def _unreachable(result):
        return not health_parser.parse(result["out"])["fields"] and bool(
            NO_DAEMON.search(result["out"] + result["err"])
        )


def _is_health(record):
    return any(name in record["fields"] for name in ("healthy", "licensed", "app_version", "definitions_version"))


def _broken(result):
    """Whether the program itself does not run: killed by a signal, or refused by the shell or the loader."""
    refused = result["rc"] in (126, 127) or _CANNOT_RUN.search(result["out"] + result["err"])
    return bool(refused) or _signal(result["rc"]) is not None


def _signal(rc):
    """The signal that ended a program, also where a shell reports it; None if none did."""
    if rc < 0:
        return -rc
    return rc - 128 if rc - 128 in _CRASHES else None


def _how_it_ended(rc):
    """An exit status for people."""
    number = _signal(rc)
    if number is None:
        return "ended with status {0}".format(rc)
    return "was ended by signal {0} ({1})".format(number, _CRASHES.get(number, "not a crash"))


def said(result):
    """The first lines of what a command printed, for a message."""
    lines = [line.strip() for line in (result["err"] + "\n" + result["out"]).splitlines() if line.strip()]
    return " / ".join(lines[:3])[:500] or "nothing"
