"""Compares version numbers of the agent, the engine and the definitions. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import re

_VERSION = re.compile(r"\s*[vV]?([0-9]{1,9}(?:\.[0-9]{1,9}){1,7})(?![0-9.])")
_PACKAGE = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9}){1,5}\Z")
TEXT = type("")


def parse(version):
    """The numbers of a version such as `1.407.417.0`; None for any other text."""
    match = _VERSION.match(version) if isinstance(version, (TEXT, str)) else None
    if match is None:
        return None
    numbers = [int(part) for part in match.group(1).split(".")]
    while len(numbers) > 2 and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def is_version(text):
    """Whether the text is the version of a package and nothing else."""
    return isinstance(text, (TEXT, str)) and _PACKAGE.match(text) is not None


def compare(left, right):
    """-1, 0 or 1; None if one of the two is not a version."""
    left, right = parse(left), parse(right)
    if left is None or right is None:
        return None
    return (left > right) - (left < right)


def older(left, right):
    """Whether both are versions and the left one is lower."""
    return compare(left, right) == -1


def compare_releases(host, mirror):
    """Compares definitions, and the engines of equal definitions: -1, 0 or 1; None if the definitions are unknown.

    Both are mappings with definitions_version and engine_version. An unknown engine counts as equal.
    """
    order = compare(host.get("definitions_version"), mirror.get("definitions_version"))
    return order or (order if order is None else compare(host.get("engine_version"), mirror.get("engine_version")) or 0)
