"""Reads what a mirror says about a channel, and asks for its package. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import calendar
import json
import re

from ansible_collections.mde.offline.plugins.module_utils._endpoint import versions
from ansible_collections.mde.offline.plugins.module_utils._endpoint.errors import FindingError
from ansible_collections.mde.offline.plugins.module_utils._endpoint.mirror import address as addresses
from ansible_collections.mde.offline.plugins.module_utils._endpoint.mirror import folder as folders
from ansible_collections.mde.offline.plugins.module_utils._endpoint.mirror import http
from ansible_collections.mde.offline.plugins.module_utils._endpoint.text import TEXT, decode

STATES = ("follows", "held", "rolled_back", "paused")
# The status of a mirror with many channels is larger than other small files.
MAX_STATUS = 1024 * 1024
MOST_WITHDRAWN = 20
_BACK = "_back"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_ZIP = "PK\x03\x04"
_DATE = re.compile(r"^([0-9]{4})-([0-9]{2})-([0-9]{2})[T ]([0-9]{2}):([0-9]{2}):([0-9]{2})")


def read_status(address, timeout):
    """The content of status.json at the root of the mirror; empty if there is none that can be used."""
    root = _root_and_parts(address)[0]
    try:
        data = _read(address, root + "/status.json", timeout)
        found = json.loads(decode(data)) if data else {}
    except (ValueError, RuntimeError):
        return {}
    return found if isinstance(found, dict) else {}


def entry_of(status, address, arch):
    """What the status says about a channel; empty if it does not name the channel.

    A channel `NAME_back` has no entry of its own: its release is part of the entry of the channel NAME.
    """
    _root, platform, name = _root_and_parts(address)
    entry = _entry(status, "{0}/{1}/arch_{2}".format(platform, name, arch))
    if not entry and name.endswith(_BACK):
        back = _entry(status, "{0}/{1}/arch_{2}".format(platform, name[: -len(_BACK)], arch)).get("back")
        return back if isinstance(back, dict) else {}
    return entry


def names(status, address, arch):
    """The channels that the mirror has for the platform of the address and an architecture."""
    platform = _root_and_parts(address)[1]
    paths = [entry.get("path") for entry in _entries(status)]
    parts = [path.split("/") for path in paths if isinstance(path, TEXT)]
    end = "arch_" + arch
    found = {part[1] for part in parts if len(part) == 3 and part[0] == platform and part[2] == end}
    return sorted(name for name in found if _NAME.match(name))


def facts(status, entry, now):
    """The facts that decide about the versions of a host: typed and bounded, None for each that the status lacks.

    `held` says whether an operator keeps the channel where it is, `withdrawn` has the versions that a rollback took
    away, `age_hours` is the age of the definitions.
    """
    state = entry.get("state")
    state = state if isinstance(state, TEXT) and state in STATES else None
    return {
        "state": state,
        "held": bool(entry.get("held")) or state in ("held", "rolled_back"),
        "withdrawn": _withdrawn(entry),
        "age_hours": _age_hours(status, entry, now),
    }


def look(address, arch, timeout, now):
    """The facts about a channel."""
    status = read_status(address, timeout)
    return facts(status, entry_of(status, address, arch), now)


def fetch_package(address, arch, timeout):
    """Requests the beginning of the package, in the same way as the agent requests the package; raises FindingError.

    Returns the time of the package in seconds since 1970, or None.
    """
    path = addresses.below(address.path, arch, "updates.zip")
    shown = address.shown_at(path)
    if address.kind == addresses.FOLDER:
        return _fetch_file(path, timeout)
    try:
        # Servers that do not know Range send the whole package; then the connection is closed after the beginning.
        answer = http.fetch(address, path, "GET", timeout, ["Range: bytes=0-3"], most=4)
    except http.Unreachable as failure:
        raise FindingError("mirror_unreachable", "{0} cannot be fetched: {1}.".format(shown, failure.message))
    if 300 <= answer["status"] < 400:
        raise FindingError("mirror_redirects", http.redirect_message(shown, answer), answer["status"])
    if answer["status"] not in (200, 206):
        raise FindingError(
            "mirror_package_missing",
            "{0} answered with status {1}.".format(shown, answer["status"]),
            answer["status"],
        )
    if decode(answer["body"][:4]) != _ZIP:
        raise FindingError("mirror_package_missing", "{0} is not a package: it is not a zip file.".format(shown))
    return _http_date(answer["headers"].get("last-modified", ""))


def _fetch_file(path, timeout):
    try:
        found = folders.read(path, 4, timeout)
    except folders.Unreadable as reason:
        kind = "mirror_unreachable" if reason.timed_out else "mirror_package_missing"
        raise FindingError(kind, "{0} cannot be read: {1}.".format(path, reason.message))
    if decode(found.data) != _ZIP:
        raise FindingError("mirror_package_missing", "{0} is not a package: it is not a zip file.".format(path))
    return int(found.modified)


def _root_and_parts(address):
    """The path of the mirror's root, the platform and the name of the channel."""
    above, _slash, name = address.channel.rstrip("/").rpartition("/")
    root, _slash, platform = above.rpartition("/")
    return root, platform, name


def _read(address, path, timeout):
    if address.kind == addresses.FOLDER:
        try:
            found = folders.read(path, MAX_STATUS, timeout)
        except folders.Unreadable:
            return b""
        # A link may lead to a file that is not part of the mirror.
        return b"" if found.linked else found.data
    if address.kind not in addresses.PORTS or address.problem:
        return b""
    try:
        answer = http.fetch(address, path, "GET", timeout, most=MAX_STATUS)
    except http.Unreachable:
        return b""
    return answer["body"] if answer["status"] == 200 else b""


def _entries(status):
    channels = status.get("channels")
    return [entry for entry in channels if isinstance(entry, dict)] if isinstance(channels, list) else []


def _entry(status, path):
    found = [entry for entry in _entries(status) if entry.get("path") == path]
    return found[0] if found else {}


def _withdrawn(entry):
    listed = entry.get("withdrawn")
    names_of_versions = ("definitions_version", "engine_version")
    return [
        {name: release[name] if versions.is_version(release.get(name)) else None for name in names_of_versions}
        for release in (listed[-MOST_WITHDRAWN:] if isinstance(listed, list) else [])
        if isinstance(release, dict) and versions.is_version(release.get("definitions_version"))
    ]


def _age_hours(status, entry, now):
    moment = seconds(entry.get("definitions_date"))
    if moment is None:
        age, generated = entry.get("age_seconds"), seconds(status.get("generated"))
        if generated is None or isinstance(age, bool) or not isinstance(age, (int, float)) or not abs(age) < 1e11:
            return None
        moment = generated - age
    return hours_since(moment, now)


def hours_since(moment, now):
    """Whole hours since a time, None if the time is unknown."""
    return None if moment is None else int((now - moment) // 3600)


def seconds(moment):
    """Seconds since 1970 of a time in UTC, None for anything else."""
    match = _DATE.match(moment) if isinstance(moment, TEXT) else None
    try:
        return calendar.timegm(tuple(int(part) for part in match.groups())) if match else None
    except ValueError:
        return None


def _http_date(text):
    import email.utils  # Imported late: few calls need it.

    parsed = email.utils.parsedate_tz(text) if text else None
    return email.utils.mktime_tz(parsed) if parsed else None
