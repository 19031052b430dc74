"""Examines the managed configuration, and whether the agent applies it. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import difflib
import errno
import json

from ansible_collections.mde.offline.plugins.module_utils._endpoint.findings.finding import proven
from ansible_collections.mde.offline.plugins.module_utils._endpoint.managed import merge, strict_json
from ansible_collections.mde.offline.plugins.module_utils._endpoint.mirror import address

WRONG_PLACE = "/etc/opt/microsoft/mdatp/mdatp_managed.json"
# Section, key, the row of health that shows it, and whether offline updates need it.
KEYS = (
    ("antivirusEngine", "offlineDefinitionUpdate", "offline_definition_update", True),
    ("antivirusEngine", "offlineDefinitionUpdateUrl", "offline_definition_url_configured", True),
    (
        "antivirusEngine",
        "offlineDefinitionUpdateFallbackToCloud",
        "offline_definition_update_fallback_to_cloud",
        False,
    ),
    ("cloudService", "automaticDefinitionUpdateEnabled", "automatic_definition_update_enabled", False),
)
_SWITCH = {"enabled": True, "true": True, "disabled": False, "false": False}


class ManagedFile:
    """The file on the host; `config` is None if it is not one strict JSON object."""

    def __init__(self, host, path=merge.DEFAULT_PATH):
        self.path = path
        self.config, self.details, self._found = None, [], []
        try:
            data = host.data(path)
        except EnvironmentError as failure:
            self._not_read(host, failure)
            return
        try:
            self.config = strict_json.loads(strict_json.decode(data))
        except strict_json.NotStrictJson as reason:
            message = "The file {0} {1}.".format(path, reason.unquoted if host.has_links(path) else reason.message)
            self._add("managed_file_invalid", message, ["kind: {0}".format(reason.kind)])
            return
        self.details.append("{0} is valid JSON with {1} sections".format(path, len(self.config)))

    def _add(self, finding_id, message, evidence=(), severity=None):
        self.details.append(message)
        self._found.append(proven(finding_id, message, severity, evidence))

    def _not_read(self, host, failure):
        missing = failure.errno in (errno.ENOENT, errno.ENOTDIR) and not host.is_link(self.path)
        if missing:
            folder = self.path.rpartition("/")[0]
            names = ", ".join(host.names(folder)) or ("nothing" if host.is_folder(folder) else "no such folder")
            evidence = ["{0} contains: {1}".format(folder, names)]
            if host.exists(WRONG_PLACE):
                evidence.insert(0, "{0} exists, but the agent does not read it".format(WRONG_PLACE))
            self._add("managed_file_missing", "There is no file {0}.".format(self.path), evidence)
        else:
            reason = "dangling link" if failure.errno == errno.ENOENT else failure.strerror
            evidence = ["{0} is {1}".format(self.path, host.kind(self.path))]
            self._add("managed_file_unreadable", "{0} cannot be read: {1}.".format(self.path, reason), evidence)

    def value(self, section, key):
        """The value of a key, None if the file does not have it."""
        inside = self.config.get(section) if self.config else None
        return inside.get(key) if isinstance(inside, dict) else None

    def judge(self, record):
        """The findings about the file, compared with the health of the agent."""
        by_policy = all(row in record["managed"] for _section, _key, row, needed in KEYS if needed)
        if self.config is None:
            if by_policy:  # A portal policy manages the host; no file is needed.
                return [dict(entry, severity="warning") for entry in self._found if "missing" not in entry["id"]]
            if not record["fields"]:
                return [dict(entry, severity="warning") if "missing" in entry["id"] else entry for entry in self._found]
            return self._found
        found = list(self._found)
        names = _names(self.config)
        for section, key, row, needed in KEYS:
            value = self.value(section, key)
            if value is None:
                found += self._missing(section, key, needed and not by_policy, names)
            elif key == "offlineDefinitionUpdate" and not isinstance(value, type("")):
                message = '{0}.{1} is {2}, but it must be "enabled".'.format(section, key, _shown(value))
                found.append(proven("managed_file_incomplete", message, evidence=[self.path]))
            elif row in record["managed"] and not _same(value, record["fields"].get(row, value)):
                message = "{0} sets {1}.{2} to {3}, but the agent is managed with {4}.".format(
                    self.path, section, key, _shown(value), _shown(record["fields"].get(row))
                )
                evidence = ["row " + row + " is managed"]
                found.append(proven("managed_file_overruled", message, None if needed else "warning", evidence))
        return found

    def _missing(self, section, key, needed, names):
        near = [path for path in names if _alike(path.rpartition(".")[2], key)]
        if not needed and not near:
            return []
        message = "{0} has no {1}.{2}.".format(self.path, section, key)
        inside = self.config.get(section)
        names = ", ".join(sorted(inside)) if isinstance(inside, dict) else "missing, or not an object"
        evidence = ["the file has {0}, which is another name".format(path) for path in near]
        evidence.append("{0}: {1}".format(section, names or "empty"))
        return [proven("managed_file_incomplete", message, None if needed else "warning", evidence)]

    def evidence(self, row):
        """The value in the file that belongs to a row of health, as evidence."""
        for section, key, name, _needed in KEYS:
            value = self.value(section, key)
            if name == row and value is not None:
                return ["{0} sets {1}.{2} to {3}".format(self.path, section, key, _shown(value))]
        return []


def _names(value, path=""):
    """The paths of all keys."""
    if not isinstance(value, dict):
        return []
    found = []
    for name, below in value.items():
        inner = path + "." + name if path else name
        found += [inner] + _names(below, inner)
    return found


def _alike(name, key):
    known = [entry[1].lower() for entry in KEYS if entry[1] != key]
    close = difflib.SequenceMatcher(None, name.lower(), key.lower()).ratio()
    return close > 0.93 and name.lower() not in known


def _same(value, row):
    if isinstance(value, type("")) and isinstance(row, type("")):
        return value == row or address.same(value, row)
    return _SWITCH.get(_shown(value)) == _SWITCH.get(_shown(row))


def _shown(value):
    value = merge.redact(value)
    if value in (None, ""):
        return "nothing"
    return value.strip() if isinstance(value, type("")) else json.dumps(value)
