"""Updates the definitions of a host until its health shows the result. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import time

from ansible_collections.mde.offline.plugins.module_utils._endpoint import versions
from ansible_collections.mde.offline.plugins.module_utils._endpoint.agent import health_report, health_rules
from ansible_collections.mde.offline.plugins.module_utils._endpoint.agent.mdatp import said
from ansible_collections.mde.offline.plugins.module_utils._endpoint.errors import FindingError
from ansible_collections.mde.offline.plugins.module_utils._endpoint.findings.finding import finding
from ansible_collections.mde.offline.plugins.module_utils._endpoint.managed import writers
from ansible_collections.mde.offline.plugins.module_utils._endpoint.process import now

# Seconds until the health shows an update. The module waits for them if no mirror shows whether there is a newer
# version.
SETTLING = 15
PAUSE = 1
REFUSED = (
    " The agent may refuse definitions that are older than its own; this is not documented. It should install the next "
    "newer release of its channel."
)


class Update:
    """One run of definitions_update: read the health, decide, update, wait for the result."""

    def __init__(
        self,
        agent,
        timeout=300,
        wait=60,
        version=None,
        exact=False,
        mirror_url=None,
        max_age_hours=health_rules.MAX_AGE_HOURS,
        managed_file=writers.DEFAULT_PATH,
    ):
        self._agent = agent
        self._timeout = timeout
        self._wait = wait
        self._version = version
        self._exact = exact
        self._mirror_url = mirror_url
        self._max_age_hours = max_age_hours
        self._managed_file = managed_file
        self._published = None

    def run(self, check_mode=False):
        """The result of the module, with `failed`."""
        before, trouble = self._look()
        self._published, unread = health_report.read_mirror(before, self._mirror_url)
        trouble = trouble + unread
        if not before["fields"]:
            message = "The definitions cannot be updated: " + trouble[0]["message"]
            if check_mode:
                message = "It is unknown whether an update would change anything: " + trouble[0]["message"]
            return self._result(before, before, trouble, message, failed=not check_mode)
        demanded = self._version
        if demanded == "mirror":
            demanded = (self._published or {}).get("definitions_version")
            if demanded is None:
                why = (
                    unread[0]["message"]
                    if unread
                    else "neither the option mirror_url nor the configuration of the host names a mirror."
                )
                message = "version is mirror, but the version on the mirror is unknown: " + why
                return self._result(before, before, trouble, message, failed=not check_mode)
        have = _definitions(before)
        if demanded and self._reached(before["fields"], demanded):
            return self._result(before, before, trouble, "The host already has definitions {0}.".format(have))
        if check_mode:
            return self._predict(before, trouble, demanded)
        return self._update(before, unread, demanded)

    def _look(self):
        return health_report.read_health(self._agent)

    def _predict(self, before, trouble, demanded):
        have = _definitions(before)
        target = demanded or (self._published or {}).get("definitions_version")
        if target is None:
            return self._result(
                before, before, trouble, "It is unknown whether there are newer definitions than {0}.".format(have)
            )
        if not demanded and versions.compare(have, target) in (0, 1):
            return self._result(
                before,
                before,
                trouble,
                "The host already has the definitions that the mirror publishes, {0}.".format(have),
            )
        after = {"fields": dict(before["fields"], definitions_version=target)}
        if self._published and self._published["definitions_version"] == target:
            after["fields"]["engine_version"] = self._published["engine_version"]
        message = "Definitions {0} would be updated to {1}.".format(have, target)
        if self._goes_down(before, target):
            names = _named(before["fields"], after["fields"])
            message = "Definitions would be rolled back from {0} to {1}.".format(*names)
        return self._result(before, after, trouble, message)

    def _update(self, before, trouble, demanded):
        failure = None
        try:
            answer = self._agent.definitions_update(self._timeout)
            if answer["rc"] != 0:
                failure = "mdatp definitions update ended with status {0}; it printed: {1}".format(
                    answer["rc"], said(answer)
                )
            else:
                self._wait_for(before, demanded)
        except FindingError as error:
            failure = error.message
            trouble = trouble + [finding(error.id, error.message)]
        after, unasked = self._look()
        trouble = trouble + [entry for entry in unasked if entry["id"] not in [known["id"] for known in trouble]]
        have = _definitions(after)
        reason = _reason(after["fields"])
        if failure is None and unasked:
            failure = "The update ran, but its result is unknown: " + unasked[0]["message"]
        moved = versions.compare_releases(after["fields"], before["fields"])
        if failure is None and demanded and not self._reached(after["fields"], demanded):
            failure = "Definitions {0} were requested, but the host has {1} after the update.".format(demanded, have)
            failure += " The agent reports: {0}".format(reason) if reason else ""
        if failure is None and reason and have == _definitions(before):
            failure = "The update failed; the agent reports: {0}".format(reason)
        if failure and moved == 0 and self._exact and self._goes_down(before, demanded):
            failure += REFUSED
        message = "Definitions are {0}.".format(have)
        if moved == -1:
            message = "Definitions were rolled back from {0} to {1}.".format(*_named(before["fields"], after["fields"]))
        elif have != _definitions(before):
            message = "Definitions went from {0} to {1}.".format(_definitions(before), have)
        return self._result(before, after, trouble, failure or message, failed=bool(failure))

    def _wait_for(self, before, demanded):
        """Returns when the health shows a result, or after the time in the option `wait`."""
        old_reason = _reason(before["fields"])
        start = now()
        while True:
            fields = self._rows()
            if fields is not None:
                have, reason = fields.get("definitions_version"), _reason(fields)
                busy = fields.get("definitions_status") == "updating"
                if reason and reason != old_reason and not busy:
                    return
                if (
                    self._shown(before, fields, demanded, start)
                    and not busy
                    and not (reason and have == _definitions(before))
                ):
                    return
            left = start + self._wait - now()
            if left <= 0:
                return
            time.sleep(min(PAUSE, left))

    def _shown(self, before, fields, demanded, start):
        have = fields.get("definitions_version")
        if demanded:
            return self._reached(fields, demanded)
        if have is not None and have != _definitions(before):
            return True
        if self._published:
            return versions.compare(have, self._published["definitions_version"]) in (0, 1)
        return now() - start >= SETTLING

    def _rows(self):
        """The current rows; None while the agent does not answer, as after it loaded a new engine."""
        try:
            record = self._agent.health_details_definitions() or self._agent.health()
        except FindingError:
            return None
        return record["fields"]

    def _reached(self, fields, demanded):
        order = versions.compare(fields.get("definitions_version"), demanded)
        if order == 0 and self._exact and self._version == "mirror":
            # Releases that differ only in their engines are different releases.
            return versions.compare_releases(fields, self._published) != 1
        return order == 0 or (order == 1 and not self._exact)

    def _goes_down(self, before, demanded):
        """Whether the demanded versions are older than those of the host."""
        wanted = {"definitions_version": demanded}
        if self._version == "mirror":
            wanted = self._published
        return versions.compare_releases(before["fields"], wanted) == 1

    def _result(self, before, after, trouble, message, failed=False):
        before_versions, after_versions = _versions(before), _versions(after)
        health = after if "managed" in after else before
        trouble = trouble + health_report.read_writers(self._managed_file)
        return {
            "changed": before_versions != after_versions,
            "failed": failed,
            "msg": message,
            "before": before_versions,
            "after": after_versions,
            "health": health,
            "findings": health_report.judge(health, trouble, self._published, self._mirror_url, self._max_age_hours),
            "mirror": self._published,
        }


def _definitions(record):
    return record["fields"].get("definitions_version")


def _named(before, after):
    """The definitions before and after an update, with their engines if only those differ."""
    pairs = [(fields.get("definitions_version"), fields.get("engine_version")) for fields in (before, after)]
    if pairs[0][0] == pairs[1][0]:
        return ["{0} with engine {1}".format(*pair) for pair in pairs]
    return [pair[0] for pair in pairs]


def _versions(record):
    return {name: record["fields"].get(name) for name in ("definitions_version", "engine_version")}


def _reason(fields):
    return health_rules.fail_reason(fields)
