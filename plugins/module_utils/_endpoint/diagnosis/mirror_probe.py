"""Says how far a host gets on its way to the mirror, and what it finds there. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import calendar
import email.utils
import json
import re
import time

from ansible_collections.mde.offline.plugins.module_utils._endpoint.errors import FindingError, masked
from ansible_collections.mde.offline.plugins.module_utils._endpoint.findings import health_rules
from ansible_collections.mde.offline.plugins.module_utils._endpoint.findings.host_findings import finding
from ansible_collections.mde.offline.plugins.module_utils._endpoint.mirror import http, manifest
from ansible_collections.mde.offline.plugins.module_utils._endpoint.mirror.http import Unreachable
from ansible_collections.mde.offline.plugins.module_utils._endpoint.text import decode

STEP_TIMEOUT = 5
ANSWER_TIMEOUT = 10
# Seconds by which the clocks of this host and of the mirror may differ.
CLOCKS = 600
_DATE = re.compile(r"^([0-9]{4})-([0-9]{2})-([0-9]{2})[T ]([0-9]{2}):([0-9]{2}):([0-9]{2})")
_FAILED = {"port": "mirror_port_unreachable", "tls": "mirror_tls_failed", "name": "mirror_name_unresolved"}
_STATUS_HINTS = {
    400: "If this port speaks TLS, write https:// in the address.",
    401: "Let the web server serve the mirror without authentication; agents send none.",
    403: "Let the web server read the folder and its files: mode 755 and 644, and on SELinux the type "
    "httpd_sys_content_t (restorecon -R).",
    404: "Check the path of the address, and that no default site of the web server answers in the mirror's place.",
    407: "A proxy answered. Except the mirror from it.",
    500: "Read the error log of the mirror's web server.",
    502: "What stands before the mirror's web server does not reach it; see that it runs.",
    503: "The web server, or what stands before it, is overloaded or has the mirror switched off.",
}


class Way:
    """How far it went: what was seen at each step, what is wrong, and what the mirror publishes."""

    def __init__(self, location, origin, host, max_age_hours, now=None):
        self.host = host
        self.arch = manifest.architecture(host.machine)
        self.address = http.Address(location) if location else None
        self.now = time.time() if now is None else now
        self.max_age_hours = max_age_hours
        self.seen, self.places, self.published = {}, {}, None
        if self.address is None:
            return
        self._note("address", self.address.shown)
        self._note("address", origin)
        if self.address.problem:
            message = "The address {0} cannot work: {1}.".format(self.address.shown, self.address.problem)
            self._fail("address", "mirror_url_malformed", message)
        if self.address.kind == "folder":
            self._folder()
        elif self.address.host:
            self._web()

    @property
    def broken(self):
        """Whether an error was found on the way."""
        return health_rules.has_errors([entry for found in self.places.values() for entry in found])

    def _note(self, step, text):
        self.seen.setdefault(step, []).append(masked(text))

    def _fail(self, step, finding_id, message, severity=None, hint=None, evidence=()):
        self._note(step, message)
        told = [line for name in ("address", "name", "port", "tls", "answer") for line in self.seen.get(name, [])]
        evidence = [line for line in told if line != masked(message)] + list(evidence)
        self.places.setdefault(step, []).append(finding(finding_id, message, severity, evidence, hint))

    # --- Over HTTP ---------------------------------------------------------------------------------------------------

    def _web(self):
        ring = self._ring_path()
        package = "{0}/arch_{1}/updates.zip".format(ring, self.arch)
        step = "name"
        try:
            addresses = http.resolve(self.address.host, self.address.port, STEP_TIMEOUT, self.host.call)
            self._note(step, "{0} is {1}".format(self.address.host, ", ".join(addresses)))
            step = "port"
            connection, address = http.connect(addresses, self.address.port, STEP_TIMEOUT)
            self._note(step, "{0} takes connections on port {1}".format(address, self.address.port))
            try:
                if self.address.kind == "https":
                    step = "tls"
                    connection = http.encrypt(connection, self.address.host)
                    self._note(step, "the certificate is trusted by this system and names the host")
                answer = http.ask(connection, self.address, package, "HEAD", ANSWER_TIMEOUT)
            finally:
                connection.close()
        except Unreachable as failure:
            self._unreachable(failure)
            return
        self._clock(_http_date(answer["headers"].get("date", "")))
        self._package(answer, package)
        self._manifest()
        self._age(ring, self._get, _http_date(answer["headers"].get("last-modified", "")))

    def _unreachable(self, failure):
        where = "The mirror {0}: {1}.".format(self.address.shown, failure.message)
        evidence = []
        if failure.step == "name":
            evidence = self._name_servers()
        elif failure.step == "tls":
            evidence = http.certificate(self.address, STEP_TIMEOUT, self.host.call)
            evidence.append(time.strftime("the clock of this host says %Y-%m-%d %H:%M:%S UTC", time.gmtime()))
        self._fail(failure.step, _FAILED.get(failure.step, "mirror_unreachable"), where, evidence=evidence)

    def _name_servers(self):
        rows = [line.split() for line in self.host.text("etc/resolv.conf").splitlines()]
        servers = [row[1] for row in rows if len(row) > 1 and row[0] == "nameserver"]
        return ["name servers in /etc/resolv.conf: " + (", ".join(servers) or "none")]

    def _clock(self, moment):
        """Both clocks, as the mirror's answer has the time. A cache on the way may have kept an old answer."""
        seconds = time.time() - moment if moment else 0
        if abs(seconds) > CLOCKS:
            message = "The clock of this host is {0} minutes {1} that of the mirror.".format(
                int(abs(seconds) // 60), "ahead of" if seconds > 0 else "behind"
            )
            self._fail("answer", "clock_differs", message)

    def _ring_path(self):
        """The path that holds the arch_* folders, also where the address goes too far."""
        return re.sub(r"(/arch_[^/]*)?(/[^/]*\.(zip|json))?$", "", self.address.path)

    def _package(self, answer, path):
        status, size = answer["status"], answer["headers"].get("content-length", "")
        said = "HEAD {0}: status {1}".format(path, status)
        self._note("answer", said + (", {0} bytes".format(size) if size else ""))
        if 300 <= status < 400:
            target = answer["headers"].get("location", "nowhere")
            message = "The mirror redirects {0} to {1} (status {2}).".format(path, target, status)
            self._fail("answer", "mirror_redirects", message)
        elif status >= 400 and status not in (405, 501):
            message = "The mirror answers status {0} for {1}.".format(status, path)
            self._fail("answer", "mirror_package_missing", message, hint=_STATUS_HINTS.get(status))
        elif status == 200 and size == "0":
            self._fail("answer", "mirror_package_missing", "{0} on the mirror is empty.".format(path))

    def _manifest(self):
        try:
            self.published = manifest.read(self._base(), self.arch, ANSWER_TIMEOUT)
        except FindingError as error:
            status = re.search(r"answered with status ([0-9]{3})", error.message)
            hint = _STATUS_HINTS.get(int(status.group(1))) if status else None
            # Where nothing is there, the missing package is no finding of its own.
            kept = [entry for entry in self.places.get("answer", []) if entry["id"] != "mirror_package_missing"]
            self.places["answer"] = kept
            self._fail("published", error.id, error.message, hint=hint)
            return
        self._note(
            "published",
            "definitions {definitions_version}, engine {engine_version} for {arch}".format(**self.published),
        )

    def _base(self):
        if self.address.kind == "folder":
            return re.sub(r"(/arch_[^/]*)?(/[^/]*\.(zip|json))?$", "", self.address.path) or "/"
        return "{0}://{1}{2}/".format(self.address.kind, self.address.host_header, self._ring_path())

    def _get(self, path):
        try:
            answer = http.fetch(self.address, path, "GET", STEP_TIMEOUT, self.host.call)
        except Unreachable:
            return None
        return answer["body"] if answer["status"] == 200 else None

    # --- In a folder -------------------------------------------------------------------------------------------------

    def _folder(self):
        """Each look in a process of its own: a share that hangs must not hang us."""
        mount = self.host.mount_of(self.address.path)
        if mount:
            self._note("address", "{0} lies on {1} ({2})".format(self.address.path, mount["folder"], mount["type"]))
        base = self._base()
        package = "{0}/arch_{1}/updates.zip".format(base.rstrip("/"), self.arch)
        result = self.host.call(["stat", "-L", "-c", "%s %Y", package], STEP_TIMEOUT)
        words = result["out"].split()
        self._manifest()
        if result["timed_out"]:
            self._note("answer", "{0} gives no answer within {1} seconds".format(package, STEP_TIMEOUT))
        elif len(words) != 2 or words[0] == "0":
            why = "is empty" if words else "is not there: {0}".format(result["err"].strip()[-200:])
            if self.published:
                self._fail("answer", "mirror_package_missing", "{0} {1}.".format(package, why))
        else:
            self._note("answer", "{0}: {1} bytes".format(package, words[0]))
        self._age(base, self._cat, float(words[1]) if len(words) == 2 else None)

    def _cat(self, path):
        result = self.host.call(["head", "-c", "{0}".format(http.MAX_BYTES), path], STEP_TIMEOUT)
        return result["out"] if result["rc"] == 0 else None

    # --- How old it is -----------------------------------------------------------------------------------------------

    def _age(self, ring, read, modified):
        if self.published is None:
            return
        moment, told = None, None
        root, ring_name = ring.rstrip("/").rpartition("/")[0], "/".join(ring.strip("/").split("/")[-2:])
        status = _mapping(read(root.rpartition("/")[0] + "/status.json"))
        path = "{0}/arch_{1}".format(ring_name, self.arch)
        channels = status.get("channels")
        for channel in channels if isinstance(channels, list) else []:
            if isinstance(channel, dict) and channel.get("path") == path:
                moment, told = _seconds(channel.get("definitions_date") or channel.get("stored")), "status.json"
                self._held(channel)
        self._last_sync(status)
        if moment is None:
            card = _mapping(read("{0}/arch_{1}/release.json".format(ring.rstrip("/"), self.arch)))
            moment, told = _seconds(card.get("definitions_date") or card.get("stored")), "release.json"
        if moment is None:
            moment, told = modified, "the time of updates.zip"
        if moment is None:
            self._note("age", "nothing tells how old it is")
            return
        hours = (self.now - moment) / 3600.0
        self.published["age_hours"] = int(hours)
        said = "What the mirror publishes is {0} hours old ({1})".format(int(hours), told)
        if hours > self.max_age_hours:
            evidence = list(self.seen.get("age", []))
            message = "{0}; allowed are {1}.".format(said, self.max_age_hours)
            self._fail("age", "mirror_stale", message, evidence=evidence)
        else:
            self._note("age", said)

    def _held(self, channel):
        held = channel.get("held")
        if held:
            reason = held.get("reason") if isinstance(held, dict) else held
            self._note("age", "the channel is held: {0}".format(reason or "no reason given"))

    def _last_sync(self, status):
        last = status.get("last_sync")
        if not isinstance(last, dict):
            return
        self._note("age", "the last sync ended {0}: {1}".format(last.get("finished"), last.get("result")))
        units = last.get("units")
        parts = [last] + (units if isinstance(units, list) else [])
        for error in [part.get("error") for part in parts if isinstance(part, dict)]:
            if isinstance(error, dict):
                self._note("age", "error of the sync: {0}".format(error.get("message")))


def _mapping(data):
    try:
        found = json.loads(decode(data)) if data else {}
    except (ValueError, RuntimeError):
        return {}
    return found if isinstance(found, dict) else {}


def _seconds(moment):
    """Seconds since 1970 of a time in UTC."""
    match = _DATE.match(moment) if isinstance(moment, type("")) else None
    return calendar.timegm(tuple(int(part) for part in match.groups())) if match else None


def _http_date(text):
    parsed = email.utils.parsedate_tz(text) if text else None
    return email.utils.mktime_tz(parsed) if parsed else None
