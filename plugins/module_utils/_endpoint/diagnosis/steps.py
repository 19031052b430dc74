"""The steps of a diagnosis, and the notes that are taken at each. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import json

from ansible_collections.mde.offline.plugins.module_utils._endpoint.errors import masked

# Name, what is looked at, the number of Microsoft's step, and the findings of health that belong to it.
STEPS = (
    ("service", "The service and whether it starts with the machine", None, ()),
    (
        "agent",
        "The agent: version, expiry, licence, what it says of itself",
        None,
        (
            "agent_expired",
            "agent_expires_soon",
            "agent_too_old",
            "not_licensed",
            "unhealthy",
            "engine_not_loaded",
            "real_time_protection_unavailable",
        ),
    ),
    ("fail_reason", "The reason of the last failure, and how old the definitions are", 1, ("update_failed",)),
    (
        "offline_settings",
        "Offline updates and the check of signatures are enabled",
        2,
        (
            "managed_config_not_applied",
            "offline_updates_disabled",
            "mirror_url_missing",
            "signature_check_off",
            "engine_not_verified",
            "engine_too_old",
        ),
    ),
    (
        "source",
        "The definitions came from the configured address",
        3,
        ("source_not_mirror", "source_unknown", "mirror_url_differs", "fallback_to_cloud_enabled"),
    ),
    ("enforcement", "The agent updates by its own timer", None, ("passive_mode", "automatic_updates_disabled")),
    ("managed_file", "The managed configuration: there, readable, valid, applied", None, ()),
    ("address", "The shape of the address", None, ("url_contains_arch",)),
    ("name", "The name of the mirror", None, ()),
    ("port", "A connection to the mirror", None, ()),
    ("tls", "TLS with the mirror", None, ()),
    ("answer", "What the mirror answers", None, ()),
    ("published", "What the mirror publishes", None, ("behind_mirror", "ahead_of_mirror")),
    ("age", "How old that is", None, ()),
    ("proxy", "Proxies", None, ()),
    ("connectivity", "The agent's own test of its connections", 4, ()),
    ("storage", "Space and mount options of the folders of definitions", None, ()),
    ("conflicts", "Other security products", None, ("conflicting_applications",)),
    ("log", "The last lines of the agent's logs", None, ()),
    ("manual_update", "An update by hand", 5, ()),
)
_STEP_OF = {finding_id: step[0] for step in STEPS for finding_id in step[3]}
MIRROR_STEPS = ("address", "name", "port", "tls", "answer", "published", "age")
# What in the record speaks for a finding.
ROWS = {
    "agent_expired": ("app_version", "product_expiration", "licensed"),
    "agent_expires_soon": ("app_version", "product_expiration"),
    "agent_too_old": ("app_version",),
    "not_licensed": ("licensed", "org_id", "health_issues"),
    "unhealthy": ("healthy", "health_issues"),
    "engine_not_loaded": ("engine_load_status", "real_time_protection_enabled", "engine_version"),
    "update_failed": ("definitions_update_fail_reason",),
    "managed_config_not_applied": ("offline_definition_update", "offline_definition_url_configured"),
    "offline_updates_disabled": ("offline_definition_update",),
    "mirror_url_missing": ("offline_definition_url_configured",),
    "url_contains_arch": ("offline_definition_url_configured",),
    "mirror_url_differs": ("offline_definition_url_configured",),
    "signature_check_off": ("offline_definition_update_verify_sig", "app_version"),
    "engine_not_verified": ("engine_signature_verification",),
    "source_not_mirror": ("definitions_update_source_uri", "offline_definition_url_configured"),
    "source_unknown": ("definitions_update_source_uri",),
    "fallback_to_cloud_enabled": ("offline_definition_update_fallback_to_cloud",),
    "passive_mode": ("antivirus_enforcement_level", "passive_mode_enabled", "real_time_protection_enabled"),
    "automatic_updates_disabled": ("automatic_definition_update_enabled",),
    "definitions_unavailable": ("definitions_status", "definitions_version"),
    "definitions_stale": ("definitions_status", "definitions_updated", "definitions_updated_minutes_ago"),
    "definitions_status_unusual": ("definitions_status",),
    "behind_mirror": ("definitions_version",),
    "ahead_of_mirror": ("definitions_version", "definitions_update_source_uri"),
    "engine_too_old": ("engine_version", "offline_definition_update_verify_sig"),
    "real_time_protection_unavailable": (
        "real_time_protection_enabled",
        "real_time_protection_available",
        "real_time_protection_subsystem",
    ),
    "conflicting_applications": ("conflicting_applications",),
}


class Steps:
    """Notes, findings and outcomes by step."""

    def __init__(self):
        self.found = []
        self._notes, self._outcomes, self._places = {}, {}, {}

    def note(self, step, *lines):
        """What was seen."""
        known = self._notes.setdefault(step, [])
        known.extend(line for line in map(masked, lines) if line not in known)

    def add(self, step, entries):
        """What is wrong."""
        self.found.extend(entries)
        self._places.setdefault(step, []).extend(entries)

    def outcome(self, step, word):
        """`skipped` or `unknown`, where nothing could be seen."""
        self._outcomes[step] = word

    def result(self):
        """All steps in order."""
        return [self._step(*step[:3]) for step in STEPS]

    def _step(self, name, title, number):
        found = self._places.get(name, [])
        wrong = any(entry["severity"] in ("error", "warning") for entry in found)
        return {
            "name": name,
            "title": title,
            "microsoft_step": number,
            "outcome": "problem" if wrong else self._outcomes.get(name, "ok"),
            "details": self._notes.get(name, []),
            "findings": sorted({entry["id"] for entry in found}),
        }


def step_of(finding_id):
    """The step that a finding of health belongs to."""
    return _STEP_OF.get(finding_id, "fail_reason")


def row_lines(record, names):
    """Rows of a record for people."""
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
