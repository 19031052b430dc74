"""Holds what the checks of a preflight read, and what they return. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

from ansible_collections.mde.offline.plugins.module_utils._endpoint.errors import FindingError
from ansible_collections.mde.offline.plugins.module_utils._endpoint.host import distributions, storage
from ansible_collections.mde.offline.plugins.module_utils._endpoint.managed import strict_json
from ansible_collections.mde.offline.plugins.module_utils._endpoint.managed.writers import DEFAULT_PATH
from ansible_collections.mde.offline.plugins.module_utils._endpoint.mirror.address import architecture

NOT_INSTALLED = "the agent is not installed"


class CheckResult:
    """What a check measured; `ok` is None if it could not be measured.

    `required`, `finding_id` and `severity` replace those of the table of checks.
    """

    def __init__(self, actual, ok, required=None, finding_id=None, severity=None):
        self.actual = actual
        self.ok = ok
        self.required = required
        self.finding_id = finding_id
        self.severity = severity


class HostContext:
    """What several checks read: the host, its distribution, and the health of the agent if it is installed."""

    def __init__(self, host, agent=None, managed_file=DEFAULT_PATH):
        self.host = host
        self.managed_file = managed_file
        self.distribution = distributions.read(host)
        self.arch = architecture(host.machine)
        self.fields, self.trouble = {}, None
        if agent is not None:
            try:
                self.fields = agent.health()["fields"]
            except FindingError as error:
                self.trouble = error
        answers = agent is not None and (self.trouble is None or self.trouble.id != "not_installed")
        self.installed = answers or host.exists(storage.DAEMON)
        version = self.fields.get("app_version")
        self.version = version if isinstance(version, type("")) else None
        self.passive = self.fields.get("passive_mode_enabled") is True or (
            self.fields.get("antivirus_enforcement_level") == "passive"
        )
        self.managed = _managed(host, managed_file)
        self.processes = host.processes()
        self.fanotify = host.fanotify_groups()


def _managed(host, managed_file):
    try:
        return strict_json.loads(strict_json.decode(host.data(managed_file)))
    except (EnvironmentError, strict_json.NotStrictJson):
        return None
