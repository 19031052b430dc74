"""Examines the service of the agent, with systemd or without. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

from ansible_collections.mde.offline.plugins.module_utils._endpoint.findings.finding import proven

UNIT = "mdatp.service"
TIMEOUT = 10
PROPERTIES = ("LoadState", "ActiveState", "SubState", "UnitFileState", "Result", "NRestarts", "Environment")
_WILL_START = ("enabled", "enabled-runtime", "static", "indirect", "generated", "alias", "")


class Service:
    """The properties of the unit (empty: unknown), the processes of the daemon, and `details` for people."""

    def __init__(self, host):
        self.properties, self.details = {}, []
        self.daemons = [name for _number, name in host.processes() if name.startswith("wdavdaemon")]
        if host.is_folder("run/systemd/system"):
            self._ask_systemd(host)
        else:
            self.details.append("systemd does not run here, so there is no unit")
        running = "running: {0}".format(len(self.daemons)) if self.daemons else "none is running"
        self.details.append("processes wdavdaemon: " + running)

    def _ask_systemd(self, host):
        command = ["systemctl", "show", UNIT, "--no-pager", "--property=" + ",".join(PROPERTIES)]
        result = host.call(command, TIMEOUT)
        pairs = [line.partition("=") for line in result["out"].splitlines()]
        self.properties = {name: value for name, _sign, value in pairs if name in PROPERTIES}
        if not self.properties:
            why = "no answer within {0} seconds".format(TIMEOUT) if result["timed_out"] else result["err"].strip()[:200]
            self.details.append("systemctl show {0} returned no properties: {1}".format(UNIT, why or "no reason given"))
        # Environment is not shown, since it may have the password of a proxy.
        shown = [name for name in PROPERTIES if self.properties.get(name) and name != "Environment"]
        self.details += ["{0}: {1}".format(name, self.properties[name]) for name in shown]

    @property
    def environment(self):
        """The environment of the unit, which may name a proxy."""
        return self.properties.get("Environment", "")

    @property
    def known(self):
        """Whether systemd returned properties of the unit."""
        return bool(self.properties)

    def findings(self):
        """The findings about the service."""
        found = []
        load, active = self.properties.get("LoadState"), self.properties.get("ActiveState")
        enabled = self.properties.get("UnitFileState", "")
        if load == "not-found":
            return [proven("service_missing", "systemd has no unit {0}.".format(UNIT), evidence=self.details)]
        if load == "masked" or enabled.startswith("masked"):
            hint = "Find out why the unit was masked, then run systemctl unmask mdatp and systemctl enable --now mdatp."
            message = "The unit {0} is masked: it cannot be started.".format(UNIT)
            return [proven("service_stopped", message, evidence=self.details, hint=hint)]
        if active is not None and active not in ("active", "activating", "reloading"):
            message = "The service is {0} ({1}, result {2}).".format(
                active, self.properties.get("SubState", "?"), self.properties.get("Result", "?")
            )
            found.append(proven("service_stopped", message, evidence=self.details))
        if self.known and enabled not in _WILL_START:
            message = "The unit {0} is {1}: it is not started at boot.".format(UNIT, enabled)
            found.append(proven("service_disabled", message, evidence=self.details))
        return found
