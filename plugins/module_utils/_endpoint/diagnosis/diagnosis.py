"""Finds out why a host does not update, in Microsoft's order and beyond. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

# Nothing is changed, and every call has its limit. Findings come in the order in which they are likely to be the cause.

import re
import time

from ansible_collections.mde.offline.plugins.module_utils._endpoint import versions
from ansible_collections.mde.offline.plugins.module_utils._endpoint.agent import health_report
from ansible_collections.mde.offline.plugins.module_utils._endpoint.diagnosis.mirror_probe import Way
from ansible_collections.mde.offline.plugins.module_utils._endpoint.diagnosis.ranking import NOT_UPDATING, ordered
from ansible_collections.mde.offline.plugins.module_utils._endpoint.diagnosis.steps import (
    MIRROR_STEPS,
    ROWS,
    STEPS,
    Steps,
    row_lines,
    step_of,
)
from ansible_collections.mde.offline.plugins.module_utils._endpoint.errors import FindingError, masked
from ansible_collections.mde.offline.plugins.module_utils._endpoint.findings import health_rules
from ansible_collections.mde.offline.plugins.module_utils._endpoint.findings.host_findings import finding
from ansible_collections.mde.offline.plugins.module_utils._endpoint.host import logs, proxies, storage
from ansible_collections.mde.offline.plugins.module_utils._endpoint.host.host import Host
from ansible_collections.mde.offline.plugins.module_utils._endpoint.host.service import Service
from ansible_collections.mde.offline.plugins.module_utils._endpoint.managed.inspect import ManagedFile
from ansible_collections.mde.offline.plugins.module_utils._endpoint.managed.merge import DEFAULT_PATH
from ansible_collections.mde.offline.plugins.module_utils._endpoint.text import decode

CONNECTIVITY_TIMEOUT = 75
_TESTED = re.compile(r"^Testing connection with (.+) \.\.\. \[(.+)\]$", re.MULTILINE)
_PINNED = re.compile(r"\b(35|60)\b")
# Faults of releases that keep a host from updating: the first release with it, the one that mends it, what it is.
KNOWN_FAULTS = (
    ("101.24022.0001", "101.24112.0001", "has critical faults in the updates of definitions"),
    (
        "101.25012.0000",
        "101.25032.0000",
        "deletes /etc/systemd/system/mdatp.service.d, and with it a proxy, at each start",
    ),
    ("101.26042.0009", "101.26042.0010", "leaves the service mdatp disabled after its installation"),
)


class Diagnosis:
    """One look at one host; `run` gives its result."""

    def __init__(self, agent, host=None, managed_file=DEFAULT_PATH, mirror_url=None, **options):
        self.agent = agent
        self.host = host or Host()
        # What comes from options is bytes on Python 2.
        self.managed_path = decode(managed_file)
        self.mirror_url = decode(mirror_url).strip()
        self.max_age_hours = options.get("max_age_hours", health_rules.MAX_AGE_HOURS)
        self.log_lines = options.get("log_lines", 20)
        self.test = options.get("connectivity_test", True)
        self.now = options.get("now")
        self.steps = Steps()

    def run(self):
        """Findings, steps, the record of health, what the mirror publishes, and the ends of the logs."""
        record, trouble = health_report.read_health(self.agent)
        self.service = Service(self.host)
        self.file = ManagedFile(self.host, self.managed_path)
        self.log = logs.read(self.host, self.log_lines)
        self._service(trouble)
        self._managed_file(record)
        way = self._way(record)
        self._proxy(record)
        self._health(record, way.published)
        self._connectivity(record, way)
        self._storage(record)
        self._conflicts()
        self._rest(record)
        self._known_faults(record)
        found = ordered(self._with_logs())
        return {
            "findings": found,
            "steps": self.steps.result(),
            "health": record,
            "mirror": way.published,
            "log": self.log,
            "healthy": not health_rules.has_errors(found),
        }

    def _service(self, trouble):
        self.steps.note("service", *self.service.details)
        if not self.service.known and not self.service.daemons:
            self.steps.outcome("service", "unknown")
        stopped = self.service.findings() if not _is(trouble, "not_installed") else []
        mode = self.host.mode(storage.DAEMON)
        if mode is not None and not mode & 0o100:
            message = "{0} may not be executed (mode {1:04o}).".format(storage.DAEMON, mode)
            stopped.append(finding("wdavdaemon_not_executable", message, evidence=self.service.details))
        self.steps.add("service", stopped)
        told = [dict(entry, evidence=list(self.service.details)) for entry in trouble]
        self.steps.add("agent", told)
        self.steps.note("agent", *[entry["message"] for entry in trouble])

    def _managed_file(self, record):
        self.steps.note("managed_file", *self.file.details)
        self.steps.add("managed_file", self.file.judge(record))

    def _way(self, record):
        configured = record["fields"].get("offline_definition_url_configured")
        in_file = self.file.value("antivirusEngine", "offlineDefinitionUpdateUrl")
        named = (
            (self.mirror_url, "the option mirror_url names it"),
            (configured, "the agent has it in offline_definition_url_configured"),
            (in_file, self.managed_path + " names it"),
        )
        locations = [entry for entry in named if isinstance(entry[0], type("")) and entry[0]]
        location, origin = locations[0] if locations else (None, None)
        way = Way(location, origin, self.host, self.max_age_hours, self.now)
        if location is None:
            self.steps.note("address", "no mirror is configured, and none was named")
        for step in MIRROR_STEPS:
            self.steps.note(step, *way.seen.get(step, []))
            self.steps.add(step, way.places.get(step, []))
            if not way.seen.get(step):
                self.steps.outcome(step, "skipped")
        return way

    def _proxy(self, record):
        found = proxies.configured(self.host, self.file.config, self.service.environment, task=False)
        row = record["fields"].get("proxy")
        if isinstance(row, type("")) and row.strip().lower() not in ("", "none"):
            found.append(("health of the agent", "proxy", row.strip()))
        lines = ["{0} in {1}: {2}".format(name, where, proxies.shown(value)) for where, name, value in found]
        self.steps.note(
            "proxy", *(lines or ["none is configured for the agent; this look at the mirror uses none either"])
        )
        for where, name, value in found:
            problem = proxies.problem(value)
            if problem:
                message = "The proxy {0} in {1} cannot be used: {2}.".format(name, where, problem)
                self.steps.add("proxy", [finding("proxy_unsupported", message, evidence=lines)])
        if lines and not _is(self.steps.found, "proxy_unsupported"):
            message = "The agent has a proxy. The mirror was asked without it."
            self.steps.add("proxy", [finding("proxy_configured", message, evidence=lines)])

    def _health(self, record, published):
        fields = record["fields"]
        if not fields:
            return
        version = "{0} {1}, engine {2}, definitions {3} ({4})"
        names = ("app_version", "release_ring", "engine_version", "definitions_version", "definitions_status")
        self.steps.note("agent", version.format(*[fields.get(name) or "unknown" for name in names]))
        for entry in health_report.judge(record, [], published, self.mirror_url, self.max_age_hours):
            evidence = row_lines(record, ROWS.get(entry["id"], ()))
            if entry["id"] in ("managed_config_not_applied", "offline_updates_disabled", "mirror_url_missing"):
                for row in ROWS[entry["id"]]:
                    evidence += self.file.evidence(row)
            evidence += record["notices"] if entry["id"] == "not_licensed" else []
            entry = dict(entry, evidence=[masked(line) for line in evidence])
            self.steps.add(step_of(entry["id"]), [entry])
        for name, _title, _number, ids in STEPS:
            self.steps.note(name, *row_lines(record, sorted({row for known in ids for row in ROWS.get(known, ())})))

    def _connectivity(self, record, way):
        if not self.test or not record["fields"]:
            self.steps.outcome("connectivity", "skipped")
            why = "the agent does not answer" if self.test else "it was not asked for"
            self.steps.note("connectivity", "mdatp connectivity test was not run: " + why)
            return
        try:
            result = self.agent.connectivity_test(CONNECTIVITY_TIMEOUT)
        except FindingError as error:
            self.steps.outcome("connectivity", "unknown")
            self.steps.note("connectivity", error.message)
            return
        tested = _TESTED.findall(result["out"].replace("\r", ""))
        self.steps.note("connectivity", *["{0}: {1}".format(target, said) for target, said in tested])
        if not tested:
            self.steps.outcome("connectivity", "unknown")
            self.steps.note(
                "connectivity", "nothing that can be read: " + (result["out"] + result["err"]).strip()[:200]
            )
        self._judge_connections(tested, way)

    def _judge_connections(self, tested, way):
        address = way.address
        to_mirror = [
            (target, said)
            for target, said in tested
            if address and address.host and _host(target) == address.host.lower()
        ]
        failed = ["{0}: {1}".format(target, said) for target, said in to_mirror if said != "OK"]
        if failed and not way.broken:
            message = "The agent's own test does not reach the mirror, although this host does."
            hint = "Look for a proxy that the agent uses for the mirror, or a firewall that tells programs apart."
            self.steps.add("connectivity", [finding("mirror_unreachable", message, evidence=failed, hint=hint)])
        cloud = [entry for entry in tested if entry not in to_mirror and entry[1] != "OK"]
        if cloud:
            self.steps.note("connectivity", "failures of cloud addresses are expected on a host without internet")
        pinned = ["{0}: {1}".format(target, said) for target, said in cloud if _PINNED.search(said)]
        if pinned:
            message = "{0} cloud connections break where the agent checks certificates.".format(len(pinned))
            self.steps.add("connectivity", [finding("tls_inspected", message, evidence=pinned)])

    def _storage(self, record):
        for path in storage.definitions_folders(self.host):
            space, mount = self.host.space(path), self.host.mount_of(path)
            where = "{0} on {1} ({2})".format(path, mount["folder"], ",".join(mount["options"])) if mount else path
            if space is None:
                self.steps.note("storage", where + ": the file system does not tell its space")
                continue
            line = "{0}: {1} free of {2}".format(where, storage.size(space["free"]), storage.size(space["total"]))
            self.steps.note("storage", line)
            left = space["entries_left"]
            if left is not None and left < storage.FEWEST_ENTRIES:
                message = "{0} has room for {1} more files only.".format(path, left)
                self.steps.add("storage", [finding("disk_space_low", message, evidence=[line])])
            elif space["free"] < storage.NEEDED:
                message = "{0} has {1} free; 2 GB are required.".format(path, storage.size(space["free"]))
                severity = "error" if space["free"] < storage.TIGHT else "warning"
                self.steps.add("storage", [finding("disk_space_low", message, severity, [line])])
        for path, mount in storage.noexec(self.host, record["fields"].get("app_version")):
            message = "{0} lies on {1}, which is mounted noexec: the engine cannot be loaded from there."
            evidence = ["mount options: " + ",".join(mount["options"])]
            self.steps.add(
                "storage", [finding("filesystem_noexec", message.format(path, mount["folder"]), evidence=evidence)]
            )
        for path, mount in storage.read_only(self.host):
            message = "{0} lies on {1}, which is mounted read-only.".format(path, mount["folder"])
            evidence = ["mount options: " + ",".join(mount["options"])]
            self.steps.add("storage", [finding("filesystem_read_only", message, evidence=evidence)])

    def _conflicts(self):
        groups, complete = self.host.fanotify_groups()
        others = sorted({name for _number, name, blocks in groups if blocks and not name.startswith("wdavdaemon")})
        self.steps.note("conflicts", "blocking through fanotify: " + (", ".join(others) or "no other process"))
        if not complete:
            self.steps.note("conflicts", "not all processes could be looked at")
        if others:
            message = "Other processes block through fanotify: {0}.".format(", ".join(others))
            lines = ["process {0} ({1})".format(number, name) for number, name, blocks in groups if blocks]
            self.steps.add("conflicts", [finding("fanotify_conflict", message, "warning", lines)])

    def _rest(self, record):
        if not record["fields"]:
            for step in ("fail_reason", "offline_settings", "source", "enforcement"):
                self.steps.outcome(step, "unknown")
                self.steps.note(step, "the agent does not answer")
        self._log()
        self.steps.outcome("manual_update", "skipped")
        self.steps.note(
            "manual_update",
            "it would change the host: run mdatp definitions update, or the module "
            "definitions_update, when the causes are mended",
        )

    def _log(self):
        if not self.log_lines:
            self.steps.outcome("log", "skipped")
        elif not any(log["lines"] for log in self.log):
            self.steps.outcome("log", "unknown")
            self.steps.note("log", "there are no lines in {0}, or they cannot be read".format(storage.LOGS))
        else:
            quiet = ["no line speaks of trouble with definitions or the configuration"]
            self.steps.note("log", *(logs.troubles(self.log) or quiet))
        denied = logs.denials(self.host, time.time() if self.now is None else self.now) if self.log_lines else []
        if denied:
            message = "SELinux denied the agent something within the last day."
            self.steps.add("log", [finding("selinux_denials", message, evidence=denied)])

    def _known_faults(self, record):
        """Only where something does not work, as most hosts with such a release never notice."""
        version = record["fields"].get("app_version")
        if not any(entry["id"] in NOT_UPDATING for entry in self.steps.found):
            return
        for first, mended, what in KNOWN_FAULTS:
            if versions.compare(version, first) in (0, 1) and versions.older(version, mended):
                message = "Agent {0} {1}; {2} mends that.".format(version, what, mended)
                self.steps.add("agent", [finding("agent_known_fault", message, evidence=["app_version: " + version])])

    def _with_logs(self):
        """What the logs say belongs to every finding of an update that does not work."""
        lines = ["log: " + line for line in logs.troubles(self.log)]
        return [
            dict(entry, evidence=entry["evidence"] + lines) if entry["id"] in NOT_UPDATING else entry
            for entry in self.steps.found
        ]


def _is(found, finding_id):
    return any(entry["id"] == finding_id for entry in found)


def _host(target):
    """The host of a tested address."""
    return re.sub(r"^[a-z]+://", "", target.lower()).split("/")[0].rpartition("@")[2].split(":")[0]
