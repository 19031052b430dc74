"""Finds the known word that is nearest to a misspelt one.

Private to the mde.offline collection; it may change without notice.
"""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from collections.abc import Iterable

_LONGEST = 80
# Other words for a value, normalised by bare(). They count only if the right word is allowed.
_SYNONYMS = {
    "enabled": ("true", "yes", "on", "1", "enable", "active"),
    "disabled": ("false", "no", "off", "0", "disable", "inactive"),
    "real_time": ("active", "enabled", "rtp", "realtimeprotection", "on", "normal"),
    "passive": ("passivemode", "disabled", "off"),
    "on_demand": ("manual",),
    "excludedPath": (
        "folder",
        "file",
        "directory",
        "dir",
        "path",
        "excludedfolder",
        "excludedfile",
        "excludeddirectory",
    ),
    "excludedFileName": ("process", "name", "processname", "excludedprocess"),
    "excludedFileExtension": ("extension", "ext", "fileextension", "excludedextension"),
    "potentially_unwanted_application": ("pua", "potentiallyunwantedapplications"),
    "admin_only": ("admin", "adminonly"),
    "high_plus": ("plus",),
    "zero_tolerance": ("tolerance", "zero"),
}


def bare(word: str) -> str:
    """The word in lower case, without underscores, hyphens, dots and spaces."""
    return re.sub(r"[\s._-]", "", word).casefold()


def distance(one: str, other: str) -> int:
    """The number of insertions, deletions, replacements and swaps between two words."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, 1):
        before, last, row = row, before, [i]
        for j, right in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (left != right))
            if i > 1 and j > 1 and left == other[j - 2] and one[i - 2] == right:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1]


def near(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate that `word` probably means."""
    candidates = list(candidates)
    plain = bare(word)
    for candidate in candidates:
        if bare(candidate) == plain:
            return candidate
    if not plain or len(plain) > _LONGEST:
        return None
    allowed = 1 if len(plain) < 6 else 2 if len(plain) < 12 else 3
    close = [bare(candidate) for candidate in candidates]
    rated = [
        (distance(plain, word), index) for index, word in enumerate(close) if abs(len(word) - len(plain)) <= allowed
    ]
    best = min(rated, default=(allowed + 1, 0))
    return candidates[best[1]] if best[0] <= allowed else None


def near_value(word: str, allowed: Iterable[str]) -> str | None:
    """Like near(), but also accepts synonyms of a value."""
    allowed = list(allowed)
    found = near(word, allowed)
    return found or next((right for right in allowed if bare(word) in _SYNONYMS.get(right, ())), None)
