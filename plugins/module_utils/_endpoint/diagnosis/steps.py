"""The steps of a diagnosis, and the notes on each. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import json

from ansible_collections.mde.offline.plugins.module_utils._endpoint.findings.catalogue import BY_ID, RECORDS
from ansible_collections.mde.offline.plugins.module_utils._endpoint.masking import masked

# Name, title, number of the step in Microsoft's troubleshooting.
STEPS = (
    ("service", "The service of the agent, and whether it starts at boot", None),
    ("agent", "The agent: version, expiry, licence, and its own report", None),
    ("fail_reason", "The reason of the last failure, and the age of the definitions", 1),
    ("offline_settings", "Offline updates and the check of signatures are enabled", 2),
    ("source", "The definitions came from the configured address", 3),
    ("enforcement", "The agent updates by its own timer", None),
    ("managed_file", "The managed configuration: exists, is readable, valid and applied", None),
    ("address", "The form of the address", None),
    ("name", "The host name of the mirror", None),
    ("port", "A connection to the mirror", None),
    ("tls", "TLS with the mirror", None),
    ("answer", "The answer of the mirror", None),
    ("published", "The versions on the mirror", None),
    ("age", "The age of the definitions on the mirror", None),
    ("proxy", "Proxies", None),
    ("connectivity", "The connection test of the agent", 4),
    ("storage", "Space and mount options of the folders of definitions", None),
    ("conflicts", "Other security products", None),
    ("log", "The last lines of the agent's logs", None),
    ("manual_update", "An update by hand", 5),
)
MIRROR_STEPS = ("address", "name", "port", "tls", "answer", "published", "age")


def rows_of(step):
    """The rows of health that prove the findings of a step."""
    return sorted({row for record in RECORDS if record.step == step for row in record.rows})


class Steps:
    """Notes, findings and outcomes by step."""

    def __init__(self):
        self.found = []
        self._notes, self._outcomes, self._findings = {}, {}, {}

    def note(self, step, *lines):
        """Adds lines about what was seen in a step."""
        known = self._notes.setdefault(step, [])
        known.extend(line for line in map(masked, lines) if line not in known)

    def add(self, entries, step=None):
        """Adds findings to the steps of their records, or to another step."""
        self.found.extend(entries)
        for entry in entries:
            self._findings.setdefault(step or BY_ID[entry["id"]].step, []).append(entry)

    def outcome(self, step, word):
        """Sets the outcome of a step that checked nothing: `skipped` or `unknown`."""
        self._outcomes[step] = word

    def result(self):
        """All steps in order, as the module returns them."""
        return [self._step(*step) for step in STEPS]

    def _step(self, name, title, number):
        found = self._findings.get(name, [])
        wrong = any(entry["severity"] in ("error", "warning") for entry in found)
        return {
            "name": name,
            "title": title,
            "microsoft_step": number,
            "outcome": "problem" if wrong else self._outcomes.get(name, "ok"),
            "details": self._notes.get(name, []),
            "findings": sorted({entry["id"] for entry in found}),
        }


def row_lines(record, names):
    """Lines that show the named rows of a record. Rows that the agent did not print are left out."""
    fields = record["fields"]
    return [_line(name, fields[name], name in record["managed"]) for name in names if name in fields]


def _line(name, value, is_managed):
    if value is None:
        value = "unavailable"
    elif value in ("", []):
        value = "(empty)"
    elif not isinstance(value, type("")):
        value = json.dumps(value)
    return "{0}: {1}{2}".format(name, value, " [managed]" if is_managed else "")
