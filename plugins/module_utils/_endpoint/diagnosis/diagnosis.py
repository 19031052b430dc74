"""Diagnoses why a host does not update, in Microsoft's steps and others. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

# A diagnosis changes nothing, and every command and request has a time limit.

import re
import time

from ansible_collections.mde.offline.plugins.module_utils._endpoint import agent_versions, versions
from ansible_collections.mde.offline.plugins.module_utils._endpoint.agent import health_report
from ansible_collections.mde.offline.plugins.module_utils._endpoint.agent.health_rules import MAX_AGE_HOURS
from ansible_collections.mde.offline.plugins.module_utils._endpoint.diagnosis.mirror_probe import MirrorProbe
from ansible_collections.mde.offline.plugins.module_utils._endpoint.diagnosis.ranking import is_symptom, ordered
from ansible_collections.mde.offline.plugins.module_utils._endpoint.diagnosis.steps import (
    MIRROR_STEPS,
    STEPS,
    Steps,
    row_lines,
    rows_of,
)
from ansible_collections.mde.offline.plugins.module_utils._endpoint.errors import FindingError
from ansible_collections.mde.offline.plugins.module_utils._endpoint.findings.catalogue import BY_ID
from ansible_collections.mde.offline.plugins.module_utils._endpoint.findings.finding import has_errors, proven
from ansible_collections.mde.offline.plugins.module_utils._endpoint.host import logs, proxies, storage
from ansible_collections.mde.offline.plugins.module_utils._endpoint.host.host import Host
from ansible_collections.mde.offline.plugins.module_utils._endpoint.host.service import Service
from ansible_collections.mde.offline.plugins.module_utils._endpoint.managed import writers
from ansible_collections.mde.offline.plugins.module_utils._endpoint.managed.inspect import ManagedFile
from ansible_collections.mde.offline.plugins.module_utils._endpoint.masking import masked
from ansible_collections.mde.offline.plugins.module_utils._endpoint.mirror.address import architecture, lenient
from ansible_collections.mde.offline.plugins.module_utils._endpoint.text import TEXT, decode

CONNECTIVITY_TIMEOUT = 75
_TESTED = re.compile(r"^Testing connection with (.+) \.\.\. \[(.+)\]$", re.MULTILINE)
_PINNED = re.compile(r"\b(35|60)\b")


class Diagnosis:
    """One diagnosis of one host; `run` returns its result."""

    def __init__(
        self,
        agent,
        host=None,
        managed_file=writers.DEFAULT_PATH,
        mirror_url=None,
        max_age_hours=MAX_AGE_HOURS,
        log_lines=20,
        connectivity_test=True,
        now=None,
    ):
        self.agent = agent
        self.host = host or Host()
        # Options of a module are bytes on Python 2.
        self.managed_path = decode(managed_file)
        self.mirror_url = decode(mirror_url).strip()
        self.max_age_hours = max_age_hours
        self.log_lines = log_lines
        self.connectivity_test = connectivity_test
        self.now = time.time() if now is None else now
        self.steps = Steps()

    def run(self):
        """Findings, steps, the health record, what the mirror publishes, and the last lines of the logs."""
        record, trouble = health_report.read_health(self.agent)
        self.service = Service(self.host)
        self.file = ManagedFile(self.host, self.managed_path)
        self.log = logs.read(self.host, self.log_lines)
        self._service(trouble)
        self._managed_file(record)
        probe = self._mirror(record)
        self._proxy(record)
        self._health(record, probe.published)
        self._connectivity(record, probe)
        self._storage(record)
        self._conflicts()
        self._unknown_steps(record)
        self._log()
        self._manual_update()
        self._known_faults(record)
        found = ordered(self._with_logs())
        return {
            "findings": found,
            "steps": self.steps.result(),
            "health": record,
            "mirror": probe.published,
            "log": self.log,
            "healthy": not has_errors(found),
        }

    def _service(self, trouble):
        self.steps.note("service", *self.service.details)
        if not self.service.known and not self.service.daemons:
            self.steps.outcome("service", "unknown")
        stopped = self.service.findings() if not _is(trouble, "not_installed") else []
        mode = self.host.mode(storage.DAEMON)
        if mode is not None and not mode & 0o100:
            message = "{0} may not be executed (mode {1:04o}).".format(storage.DAEMON, mode)
            stopped.append(proven("wdavdaemon_not_executable", message, evidence=self.service.details))
        self.steps.add(stopped)
        self.steps.add([dict(entry, evidence=list(self.service.details)) for entry in trouble])
        self.steps.note("agent", *[entry["message"] for entry in trouble])

    def _managed_file(self, record):
        self.steps.note("managed_file", *self.file.details)
        self.steps.add(self.file.judge(record))
        self._writers()

    def _writers(self):
        try:
            message = writers.problem(self.managed_path, self.host.root)
        except EnvironmentError as failure:
            self.steps.note(
                "managed_file", "it is unknown which users can write the file: {0}".format(failure.strerror)
            )
            return
        if message:
            evidence = ["{0} is {1}".format(self.managed_path, self.host.kind(self.managed_path))]
            self.steps.add([proven("managed_file_writable", message, evidence=evidence)])

    def _mirror(self, record):
        configured = record["fields"].get("offline_definition_url_configured")
        in_file = self.file.value("antivirusEngine", "offlineDefinitionUpdateUrl")
        candidates = (
            (self.mirror_url, "from the option mirror_url"),
            (configured, "from the agent's row offline_definition_url_configured"),
            (in_file, "from " + self.managed_path),
        )
        known = [entry for entry in candidates if isinstance(entry[0], TEXT) and entry[0]]
        location, origin = known[0] if known else (None, None)
        probe = MirrorProbe(location, origin, self.host, self.max_age_hours, self.now)
        if location is None:
            self.steps.note("address", "no mirror is configured, and the option mirror_url is not set")
        for step in MIRROR_STEPS:
            self.steps.note(step, *probe.notes.get(step, []))
            self.steps.add(probe.findings.get(step, []), step)
            if not probe.notes.get(step):
                self.steps.outcome(step, "skipped")
        return probe

    def _proxy(self, record):
        found = proxies.configured(self.host, self.file.config, self.service.environment, task=False)
        row = record["fields"].get("proxy")
        if isinstance(row, TEXT) and row.strip().lower() not in ("", "none"):
            found.append(("health of the agent", "proxy", row.strip()))
        lines = ["{0} in {1}: {2}".format(name, where, masked(value, address=True)) for where, name, value in found]
        none = "the agent has no proxy; this diagnosis used none for its requests to the mirror either"
        self.steps.note("proxy", *(lines or [none]))
        for where, name, value in found:
            problem = proxies.problem(value)
            if problem:
                message = "The proxy {0} in {1} cannot be used: {2}.".format(name, where, problem)
                self.steps.add([proven("proxy_unsupported", message, evidence=lines)])
        if lines and not _is(self.steps.found, "proxy_unsupported"):
            message = "The agent has a proxy. This diagnosis did not use it for its requests to the mirror."
            self.steps.add([proven("proxy_configured", message, evidence=lines)])

    def _health(self, record, published):
        fields = record["fields"]
        if not fields:
            return
        version = "{0} {1}, engine {2}, definitions {3} ({4})"
        names = ("app_version", "release_ring", "engine_version", "definitions_version", "definitions_status")
        self.steps.note("agent", version.format(*[fields.get(name) or "unknown" for name in names]))
        arch = architecture(self.host.machine)
        for entry in health_report.judge(record, [], published, self.mirror_url, self.max_age_hours, arch):
            rows = BY_ID[entry["id"]].rows
            evidence = row_lines(record, rows)
            if entry["id"] in ("managed_config_not_applied", "offline_updates_disabled", "mirror_url_missing"):
                for row in rows:
                    evidence += self.file.evidence(row)
            evidence += record["notices"] if entry["id"] == "not_licensed" else []
            self.steps.add([dict(entry, evidence=[masked(line) for line in evidence])])
        for step, _title, _number in STEPS:
            self.steps.note(step, *row_lines(record, rows_of(step)))

    def _connectivity(self, record, probe):
        if not self.connectivity_test or not record["fields"]:
            self.steps.outcome("connectivity", "skipped")
            why = "the agent does not answer" if self.connectivity_test else "the option connectivity_test is false"
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
                "connectivity", "the output cannot be read: " + (result["out"] + result["err"]).strip()[:200]
            )
        self._judge_connections(tested, probe)

    def _judge_connections(self, tested, probe):
        address = probe.address
        to_mirror = [
            (target, said)
            for target, said in tested
            if address and address.host and _host_of(target) == address.host.lower()
        ]
        failed = ["{0}: {1}".format(target, said) for target, said in to_mirror if said != "OK"]
        if failed and not probe.failed:
            message = "The connection test of the agent does not reach the mirror, although this host does."
            hint = "Look for a proxy that the agent uses for the mirror, or a firewall with rules for single programs."
            self.steps.add([proven("mirror_unreachable", message, evidence=failed, hint=hint)], "connectivity")
        cloud = [entry for entry in tested if entry not in to_mirror and entry[1] != "OK"]
        if cloud:
            self.steps.note("connectivity", "failures of cloud addresses are expected on a host without internet")
        pinned = ["{0}: {1}".format(target, said) for target, said in cloud if _PINNED.search(said)]
        if pinned:
            message = "{0} connections to the cloud fail at the check of certificates.".format(len(pinned))
            self.steps.add([proven("tls_inspected", message, evidence=pinned)])

    def _storage(self, record):
        for path in storage.definitions_folders(self.host):
            space, mount = self.host.space(path), self.host.mount_of(path)
            where = "{0} on {1} ({2})".format(path, mount["folder"], ",".join(mount["options"])) if mount else path
            if space is None:
                self.steps.note("storage", where + ": the file system does not report its space")
                continue
            line = "{0}: {1} free of {2}".format(where, storage.size(space["free"]), storage.size(space["total"]))
            self.steps.note("storage", line)
            left = space["entries_left"]
            if left is not None and left < storage.FEWEST_ENTRIES:
                message = "{0} has inodes for only {1} more files.".format(path, left)
                self.steps.add([proven("disk_space_low", message, evidence=[line])])
            elif space["free"] < storage.NEEDED:
                message = "{0} has {1} free; 2 GB are required.".format(path, storage.size(space["free"]))
                severity = "error" if space["free"] < storage.TIGHT else "warning"
                self.steps.add([proven("disk_space_low", message, severity, [line])])
        for path, mount in storage.noexec(self.host, record["fields"].get("app_version")):
            message = "{0} is on {1}, which is mounted noexec: the engine cannot be loaded from it."
            evidence = ["mount options: " + ",".join(mount["options"])]
            self.steps.add([proven("filesystem_noexec", message.format(path, mount["folder"]), evidence=evidence)])
        for path, mount in storage.read_only(self.host):
            message = "{0} is on {1}, which is mounted read-only.".format(path, mount["folder"])
            evidence = ["mount options: " + ",".join(mount["options"])]
            self.steps.add([proven("filesystem_read_only", message, evidence=evidence)])

    def _conflicts(self):
        groups, complete = self.host.fanotify_groups()
        others = sorted({name for _number, name, blocks in groups if blocks and not name.startswith("wdavdaemon")})
        self.steps.note("conflicts", "blocking through fanotify: " + (", ".join(others) or "no other process"))
        if not complete:
            self.steps.note("conflicts", "not all processes could be examined")
        if others:
            message = "Other processes block through fanotify: {0}.".format(", ".join(others))
            lines = ["process {0} ({1})".format(number, name) for number, name, blocks in groups if blocks]
            self.steps.add([proven("fanotify_conflict", message, "warning", lines)])

    def _unknown_steps(self, record):
        if record["fields"]:
            return
        for step in ("fail_reason", "offline_settings", "source", "enforcement"):
            self.steps.outcome(step, "unknown")
            self.steps.note(step, "the agent does not answer")

    def _manual_update(self):
        self.steps.outcome("manual_update", "skipped")
        self.steps.note(
            "manual_update",
            "not run, since it would change the host: when the causes are fixed, run mdatp definitions update or the "
            "module definitions_update",
        )

    def _log(self):
        if not self.log_lines:
            self.steps.outcome("log", "skipped")
        elif not any(log["lines"] for log in self.log):
            self.steps.outcome("log", "unknown")
            self.steps.note("log", "{0} has no lines, or cannot be read".format(storage.LOGS))
        else:
            quiet = ["no line reports an error about definitions or the configuration"]
            self.steps.note("log", *(logs.troubles(self.log) or quiet))
        denied = logs.denials(self.host, self.now) if self.log_lines else []
        if denied:
            message = "SELinux denied an access by the agent within the last day."
            self.steps.add([proven("selinux_denials", message, evidence=denied)])

    def _known_faults(self, record):
        """Reports faults only if updates do not work, since most hosts with such a release are not affected."""
        version = record["fields"].get("app_version")
        if not any(map(is_symptom, self.steps.found)):
            return
        for first, fixed, fault in agent_versions.KNOWN_FAULTS:
            if versions.compare(version, first) in (0, 1) and versions.older(version, fixed):
                message = "Agent {0} {1}; {2} fixes that.".format(version, fault, fixed)
                self.steps.add([proven("agent_known_fault", message, evidence=["app_version: " + version])])

    def _with_logs(self):
        """The findings; symptoms have the errors of the logs as evidence, too."""
        lines = ["log: " + line for line in logs.troubles(self.log)]
        return [
            dict(entry, evidence=entry["evidence"] + lines) if is_symptom(entry) else entry
            for entry in self.steps.found
        ]


def _is(found, finding_id):
    return any(entry["id"] == finding_id for entry in found)


def _host_of(target):
    """The host of an address that the agent tested."""
    return (lenient(target).host or "").lower()
