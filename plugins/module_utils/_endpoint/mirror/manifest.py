"""Reads which versions a mirror offers, the way an endpoint gets at them. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import json
import os
import re
import signal
import socket

try:
    from urllib.error import HTTPError
    from urllib.request import ProxyHandler, Request, build_opener
except ImportError:  # Python 2.7
    # pylint: disable-next=ansible-bad-import-from  # module_utils.urls is ten times the size of what travels here
    from urllib2 import HTTPError, ProxyHandler, Request, build_opener

try:
    from http.client import HTTPException
except ImportError:  # Python 2.7
    from httplib import HTTPException

from ansible_collections.mde.offline.plugins.module_utils._endpoint import process, versions
from ansible_collections.mde.offline.plugins.module_utils._endpoint.errors import FindingError, masked
from ansible_collections.mde.offline.plugins.module_utils._endpoint.text import decode

MAX_BYTES = 64 * 1024
_ARCHITECTURES = {"amd64": "x86_64", "aarch64": "arm64"}


class _TimeIsUp(Exception):
    """Raised by the alarm."""


def architecture(machine=None):
    """The mirror's word for the machine's architecture."""
    machine = machine or os.uname()[4]
    return _ARCHITECTURES.get(machine, machine)


def read(location, arch, timeout=10):
    """What the mirror at an address or in a directory publishes for an architecture; raises FindingError."""
    location = re.sub(r"^file://", "", decode(location).strip(), flags=re.IGNORECASE)
    if not location.startswith("/") and "://" not in location:
        location = "http://" + location
    address = "{0}/arch_{1}/manifest.json".format(location.rstrip("/"), arch)
    shown = masked(address)
    if re.match(r"^https?://", address, re.IGNORECASE):
        data = _fetch(address, shown, timeout)
    elif address.startswith("/"):
        data = _read_file(address, timeout)
    else:
        raise FindingError(
            "mirror_answer_unusable", "{0} is neither an http(s) address nor an absolute path.".format(shown)
        )
    return dict(_versions(data, shown), location=masked(location), arch=arch)


def _fetch(address, shown, timeout):
    """The bytes of a small file. Without a proxy, as mirrors are reached directly."""
    opener = build_opener(ProxyHandler({}))
    try:
        with _Alarm(timeout):
            answer = opener.open(Request(str(address), headers={"User-Agent": "mde.offline"}), timeout=timeout)
            try:
                return answer.read(MAX_BYTES + 1)
            finally:
                answer.close()
    except HTTPError as failure:
        failure.close()
        raise FindingError("mirror_answer_unusable", "{0} answered with status {1}.".format(shown, failure.code))
    except (_TimeIsUp, socket.timeout):
        raise FindingError(
            "mirror_unreachable", "{0} gave no complete answer within {1} seconds.".format(shown, timeout)
        )
    except (EnvironmentError, HTTPException, ValueError) as failure:  # URLError and TLS errors are EnvironmentErrors
        reason = masked(decode(str(getattr(failure, "reason", None) or failure)))
        raise FindingError("mirror_unreachable", "{0} cannot be fetched: {1}.".format(shown, reason))


class _Alarm:
    """Bounds what runs inside it; a socket's time-out alone lets a server drip for ever."""

    def __init__(self, seconds):
        self._seconds = seconds
        self._previous = None

    def __enter__(self):
        try:
            self._previous = signal.signal(signal.SIGALRM, self._ring)
            signal.setitimer(signal.ITIMER_REAL, self._seconds)
        except ValueError:  # Not in the main thread: the socket's time-out has to do.
            self._previous = None

    def __exit__(self, *exception):
        if self._previous is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._previous)

    @staticmethod
    def _ring(number, frame):
        raise _TimeIsUp()


def _read_file(path, timeout):
    """The bytes of a small file; in a process of its own, as a share that hangs must not hang us."""
    result = process.run(["head", "-c", str(MAX_BYTES + 1), path], timeout)
    if result["timed_out"]:
        raise FindingError("mirror_unreachable", "{0} could not be read within {1} seconds.".format(path, timeout))
    if result["rc"] != 0:
        raise FindingError("mirror_unreachable", "{0} cannot be read: {1}".format(path, result["err"].strip()))
    return result["out"]


def _versions(data, shown):
    text = decode(data).lstrip("\ufeff").strip()
    start = " ".join(text[:120].split())
    if len(data) > MAX_BYTES:
        raise FindingError(
            "mirror_answer_unusable", "{0} is far too long for a manifest; it starts: {1}".format(shown, start)
        )
    try:
        manifest = json.loads(text)
    except (ValueError, RuntimeError):
        kind = "an HTML page" if text.lower().startswith(("<!doctype", "<html")) else "no JSON"
        raise FindingError(
            "mirror_answer_unusable", "{0} is {1}; it starts: {2}".format(shown, kind, start or "(empty)")
        )
    found = manifest if isinstance(manifest, dict) else {}
    definitions, engine = found.get("DefinitionVersion"), found.get("EngineVersion")
    if versions.parse(definitions) is None or versions.parse(engine) is None:
        raise FindingError(
            "mirror_answer_unusable",
            "{0} names no DefinitionVersion and EngineVersion; it starts: {1}".format(shown, start),
        )
    return {"definitions_version": definitions, "engine_version": engine}
