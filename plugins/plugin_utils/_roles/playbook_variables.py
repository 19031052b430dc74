# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks the variables of the playbooks beyond their types. Private to the collection; runs on the controller only."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping
from difflib import get_close_matches

PREFIX = "mde_"
# The playbooks register their results under these names, so they are already set if a playbook runs after another one.
RESULTS = frozenset(("mde_diagnosis", "mde_health", "mde_mirror", "mde_preflight", "mde_summary"))
_BATCH = re.compile(r"[1-9][0-9]{0,8}|(?:[1-9][0-9]?|100)%")


def problems(taken: Mapping[str, t.Any], given: Mapping[str, t.Any]) -> list[str]:
    """What is wrong, one sentence each: `taken` are the converted variables, `given` is everything that is set."""
    return [*_misspelled(taken, given), *_out_of_range(taken)]


def _misspelled(known: Mapping[str, t.Any], given: Mapping[str, t.Any]) -> list[str]:
    """Names that are close to the name of a variable; other names belong to the user."""
    found = []
    for name in sorted(given):
        result = name in RESULTS and isinstance(given[name], Mapping)
        if not name.startswith(PREFIX) or name in known or result:
            continue
        near = get_close_matches(name, known, 1, 0.75) or [other for other in known if other.startswith(name)]
        if near and name != PREFIX:
            found.append(f"No playbook has the variable {name}. Set {near[0]} instead, or choose another name.")
    return found


def _out_of_range(taken: Mapping[str, t.Any]) -> list[str]:
    found = []
    wrong = [size for size in taken.get("mde_serial", ()) if not _BATCH.fullmatch(size)]
    if wrong:
        found.append(
            "mde_serial has to be a number of endpoints from 1, a percentage from 1% to 100%, or a list of these. "
            f"The value is {wrong[0]!r:.60}."
        )
    share = taken.get("mde_max_fail_percentage", 100)
    if not 0 <= share <= 100:
        found.append(f"mde_max_fail_percentage has to be from 0 to 100. The value is {share:g}.")
    return found
