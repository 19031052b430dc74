"""Probes a mirror, from its address to the age of its definitions. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import email.utils
import json
import time

from ansible_collections.mde.offline.plugins.module_utils._endpoint.errors import FindingError
from ansible_collections.mde.offline.plugins.module_utils._endpoint.findings.finding import has_errors, proven
from ansible_collections.mde.offline.plugins.module_utils._endpoint.masking import masked, quoted
from ansible_collections.mde.offline.plugins.module_utils._endpoint.mirror import address as addresses
from ansible_collections.mde.offline.plugins.module_utils._endpoint.mirror import channel, folder, http, manifest
from ansible_collections.mde.offline.plugins.module_utils._endpoint.text import TEXT, decode

STEP_TIMEOUT = 5
ANSWER_TIMEOUT = 10
# Seconds by which the clocks of this host and of the mirror may differ.
CLOCKS = 600
_FAILED = {
    "name": "mirror_name_unresolved",
    "port": "mirror_port_unreachable",
    "tls": "mirror_tls_failed",
    "answer": "mirror_unreachable",
}
_STATUS_HINTS = {
    400: "If this port speaks TLS, write https:// in the address.",
    401: "Let the web server serve the mirror without authentication; agents send none.",
    403: "Let the web server read the folder and its files: mode 755 and 644, and on SELinux the type "
    "httpd_sys_content_t (restorecon -R).",
    404: "Check the path of the address, and that no default site of the web server answers instead of the mirror.",
    407: "A proxy answered. Bypass it for the mirror (no_proxy).",
    500: "Read the error log of the mirror's web server.",
    502: "A proxy or load balancer does not reach the web server of the mirror; check that the web server runs.",
    503: "The web server, or a load balancer in front of it, is overloaded or has the mirror disabled.",
}


class MirrorProbe:
    """The result of a probe: `notes` and `findings` by step, and what the mirror publishes (None: unknown)."""

    def __init__(self, location, origin, host, max_age_hours, now=None):
        self.host = host
        self.arch = addresses.architecture(host.machine)
        self.address = addresses.Address(location) if location else None
        self.now = time.time() if now is None else now
        self.max_age_hours = max_age_hours
        self.notes, self.findings, self.published = {}, {}, None
        if self.address is None:
            return
        self._note("address", self.address.shown)
        self._note("address", origin)
        if self.address.problem:
            message = "The address {0} cannot work: {1}.".format(self.address.shown, self.address.problem)
            self._fail("address", "mirror_url_malformed", message)
        if self.address.kind == addresses.FOLDER:
            self._probe_folder()
        elif self.address.host:
            self._probe_server()

    @property
    def failed(self):
        """Whether the probe found an error."""
        return has_errors([entry for found in self.findings.values() for entry in found])

    def _note(self, step, text):
        self.notes.setdefault(step, []).append(masked(text))

    def _fail(self, step, finding_id, message, hint=None, evidence=(), severity=None):
        self._note(step, message)
        noted = [line for name in ("address", "name", "port", "tls", "answer") for line in self.notes.get(name, [])]
        evidence = [line for line in noted if line != masked(message)] + list(evidence)
        self.findings.setdefault(step, []).append(proven(finding_id, message, severity, evidence, hint))

    def _path(self, name):
        """The path of a file for the architecture of the host."""
        return addresses.below(self.address.channel, self.arch, name)

    # --- Over HTTP ---------------------------------------------------------------------------------------------------

    def _probe_server(self):
        package = self._path("updates.zip")
        try:
            answer = self._ask_for(package)
        except http.Unreachable as failure:
            self._unreachable(failure)
            return
        self._compare_clocks(_http_date(answer["headers"].get("date", "")))
        size = quoted(answer["headers"].get("content-length", ""))
        note = "HEAD {0}: status {1}".format(package, answer["status"])
        self._note("answer", note + (", {0} bytes".format(size) if size else ""))
        self._read_manifest()
        if 300 <= answer["status"] < 400 and self.published:
            self._fail("answer", "mirror_redirects", http.redirect_message(package, answer), severity="warning")
        # Without a manifest, the missing package is not a finding of its own.
        if self.published:
            self._judge_package(package, answer["status"], size)
        self._judge_age(self._get, _http_date(answer["headers"].get("last-modified", "")))

    def _ask_for(self, path):
        """The answer to a HEAD request, with a note for each step that succeeded."""
        numbers = http.resolve(self.address.host, self.address.port, STEP_TIMEOUT, self.host.lookup)
        self._note("name", "{0} is {1}".format(self.address.host, ", ".join(numbers)))
        connection, used = http.connect(numbers, self.address.port, STEP_TIMEOUT)
        self._note("port", "{0} accepts connections on port {1}".format(used, self.address.port))
        try:
            if self.address.kind == "https":
                connection = http.encrypt(connection, self.address.host)
                self._note("tls", "this system trusts the certificate, and the certificate is for this host name")
            return http.ask(connection, self.address, path, "HEAD", ANSWER_TIMEOUT)
        finally:
            connection.close()

    def _unreachable(self, failure):
        message = "The mirror {0}: {1}.".format(self.address.shown, failure.message)
        evidence = []
        if failure.step == "name":
            evidence = self._name_servers()
        elif failure.step == "tls":
            evidence = http.certificate(self.address, STEP_TIMEOUT, self.host.call)
            evidence.append(time.strftime("the clock of this host shows %Y-%m-%d %H:%M:%S UTC", time.gmtime()))
        self._fail(failure.step, _FAILED[failure.step], message, evidence=evidence)

    def _name_servers(self):
        rows = [line.split() for line in self.host.text("etc/resolv.conf").splitlines()]
        servers = [row[1] for row in rows if len(row) > 1 and row[0] == "nameserver"]
        return ["name servers in /etc/resolv.conf: " + (", ".join(servers) or "none")]

    def _compare_clocks(self, moment):
        """Compares the clock of this host with the time in the answer."""
        seconds = time.time() - moment if moment else 0
        if abs(seconds) > CLOCKS:
            message = "The clock of this host is {0} minutes {1} that of the mirror.".format(
                int(abs(seconds) // 60), "ahead of" if seconds > 0 else "behind"
            )
            self._fail("answer", "clock_differs", message)

    def _judge_package(self, path, status, size):
        # Servers without HEAD answer 405 or 501.
        if status >= 400 and status not in (405, 501):
            message = "The mirror answers status {0} for {1}.".format(status, path)
            self._fail("answer", "mirror_package_missing", message, hint=_STATUS_HINTS.get(status))
        elif status == 200 and size == "0":
            self._fail("answer", "mirror_package_missing", "{0} on the mirror is empty.".format(path))

    def _read_manifest(self):
        try:
            self.published = manifest.read_channel(self.address, self.address.channel, self.arch, ANSWER_TIMEOUT)
        except FindingError as error:
            self._fail("published", error.id, error.message, hint=_STATUS_HINTS.get(error.status))
            return
        self._note(
            "published",
            "definitions {definitions_version}, engine {engine_version} for {arch}".format(**self.published),
        )

    def _get(self, path):
        """The content of a small file, and whether a link led to it."""
        try:
            answer = http.fetch(self.address, path, "GET", STEP_TIMEOUT)
        except http.Unreachable:
            return None, False
        return answer["body"] if answer["status"] == 200 else None, False

    # --- In a folder -------------------------------------------------------------------------------------------------

    def _probe_folder(self):
        mount = self.host.mount_of(self.address.path)
        if mount:
            self._note("address", "{0} is on {1} ({2})".format(self.address.path, mount["folder"], mount["type"]))
        package = self._path("updates.zip")
        found, why = None, "is empty"
        try:
            found = folder.read(package, 0, STEP_TIMEOUT)
        except folder.Unreadable as reason:
            why = None if reason.timed_out else "cannot be read: {0}".format(reason.message)
            self._note("answer", "{0} cannot be examined: {1}".format(package, reason.message))
        self._read_manifest()
        if found is not None and found.size:
            self._note("answer", "{0}: {1} bytes".format(package, found.size))
        elif why and self.published:
            self._fail("answer", "mirror_package_missing", "{0} {1}.".format(package, why))
        self._judge_age(self._read_file, found.modified if found else None)

    @staticmethod
    def _read_file(path):
        try:
            found = folder.read(path, http.MAX_BYTES, STEP_TIMEOUT)
            return found.data, found.linked
        except folder.Unreadable:
            return None, False

    # --- Age ---------------------------------------------------------------------------------------------------------

    def _judge_age(self, read, modified):
        if self.published is None:
            return
        status = channel.read_status(self.address, ANSWER_TIMEOUT)
        entry = channel.entry_of(status, self.address, self.arch)
        facts = channel.facts(status, entry, self.now)
        self._note_operator(entry, facts)
        self._note_last_sync(status)
        moment, origin = channel.seconds(entry.get("definitions_date") or entry.get("stored")), "status.json"
        if moment is None:
            release = _mapping(read(self._path("release.json"))[0])
            moment, origin = channel.seconds(release.get("definitions_date") or release.get("stored")), "release.json"
        if moment is None:
            moment, origin = modified, "the time of updates.zip"
        self.published.update(facts, package_seen=not self.failed, age_hours=channel.hours_since(moment, self.now))
        if moment is None:
            self._note("age", "the age of the definitions is unknown")
            return
        hours = (self.now - moment) / 3600.0
        message = "The definitions on the mirror are {0} hours old ({1})".format(int(hours), origin)
        if hours > self.max_age_hours:
            evidence = list(self.notes.get("age", []))
            self._fail(
                "age", "mirror_stale", "{0}; the limit is {1}.".format(message, self.max_age_hours), None, evidence
            )
        else:
            self._note("age", message)

    def _note_operator(self, entry, facts):
        """Notes what an operator did to the channel. Mirrors of version 0.1.0 publish the reason as well."""
        held = entry.get("held") if isinstance(entry.get("held"), dict) else {}
        if facts["held"]:
            what = "rolled back" if facts["state"] == "rolled_back" else "held"
            since = " since {0}".format(held["since"]) if channel.seconds(held.get("since")) else ""
            reason = _shown(held.get("reason")) or "mde-mirror status on the mirror says why"
            self._note("age", "the channel is {0}{1}: {2}".format(what, since, reason))
        elif facts["state"] == "paused":
            self._note("age", "the channel is paused")
        for release in facts["withdrawn"]:
            self._note("age", "a rollback withdrew definitions {0}".format(release["definitions_version"]))

    def _note_last_sync(self, status):
        for name, what in (("last_success", "the last sync without a failure"), ("current_as_of", "the last success")):
            if channel.seconds(status.get(name)):
                self._note("age", "{0} ended {1}".format(what, status[name]))
                break
        last = status.get("last_sync")
        if not isinstance(last, dict):
            return
        self._note(
            "age", "the last sync ended {0}: {1}".format(_shown(last.get("finished")), _shown(last.get("result")))
        )
        units = last.get("units")
        parts = [last] + (units if isinstance(units, list) else [])
        for error in [part.get("error") for part in parts if isinstance(part, dict)]:
            if isinstance(error, dict):
                self._note("age", "error of the sync: {0}".format(_shown(error.get("message") or error.get("code"))))


def _shown(value):
    return quoted(value if isinstance(value, TEXT) else "{0}".format(value)) if value else ""


def _mapping(data):
    try:
        found = json.loads(decode(data)) if data else {}
    except (ValueError, RuntimeError):
        return {}
    return found if isinstance(found, dict) else {}


def _http_date(text):
    parsed = email.utils.parsedate_tz(text) if text else None
    return email.utils.mktime_tz(parsed) if parsed else None
