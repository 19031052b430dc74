"""Makes findings from the catalogue, and orders them. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

from ansible_collections.mde.offline.plugins.module_utils._endpoint.masking import masked

_SEVERITIES = ("error", "warning", "info")


def _catalogue():
    # Most hosts have no finding. Compiling the catalogue costs more than all checks, so it is imported when needed.
    from ansible_collections.mde.offline.plugins.module_utils._endpoint.findings import catalogue

    return catalogue


def finding(finding_id, message, severity=None, hint=None):
    """A finding with the severity and the hint of the catalogue, unless others are given."""
    record = _catalogue().BY_ID[finding_id]
    return {
        "id": finding_id,
        "severity": severity or record.severity,
        "message": masked(message),
        "hint": hint or record.remedy,
    }


def proven(finding_id, message, severity=None, evidence=(), hint=None):
    """A finding of preflight or diagnosis; both also return the evidence."""
    return dict(finding(finding_id, message, severity, hint), evidence=[masked(line) for line in evidence])


def issue_advice(issues):
    """Advice for the known ones of the issues that the agent names."""
    return [advice for pattern, advice in _catalogue().ISSUES if any(pattern.search(issue) for issue in issues)]


def ordered(found):
    """The findings sorted by severity, and those of the same severity in the order of the catalogue."""
    if len(found) < 2:
        return list(found)
    positions = {record.id: position for position, record in enumerate(_catalogue().RECORDS)}
    return sorted(found, key=lambda entry: (_SEVERITIES.index(entry["severity"]), positions[entry["id"]]))


def has_errors(found):
    """Whether one of the findings is an error."""
    return any(entry["severity"] == "error" for entry in found)
