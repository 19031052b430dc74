"""Puts findings into the order in which they are likely to be the cause. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

from ansible_collections.mde.offline.plugins.module_utils._endpoint.findings.catalogue import BY_ID, RECORDS, SYMPTOM

_UNRANKED = 1 + max(record.rank for record in RECORDS if record.rank)


def is_symptom(entry):
    """Whether a finding shows that the host does not update."""
    return BY_ID[entry["id"]].role == SYMPTOM


def ordered(found):
    """The findings by likelihood: causes that are errors, warnings that explain a symptom, symptoms, other warnings,
    information."""
    found = list(found)
    symptoms = any(map(is_symptom, found))

    def rank(entry):
        record = BY_ID[entry["id"]]
        if entry["severity"] == "error":
            group = 2 if record.role == SYMPTOM else 0
        elif entry["severity"] == "warning":
            group = 1 if symptoms and record.explains else 3
        else:
            group = 4
        return group, record.rank or _UNRANKED

    return sorted(found, key=rank)
