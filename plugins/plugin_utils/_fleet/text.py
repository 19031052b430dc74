# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wraps text for the output of a task. Private to the collection."""

from __future__ import annotations

import textwrap

# Ansible's YAML output folds lines longer than 80 characters at single spaces.
WIDTH = 74


def wrapped(text: str, indent: str = "", width: int = WIDTH) -> list[str]:
    """The lines of a text; those that continue a line are indented by two more spaces."""
    lines = []
    for line in text.splitlines() or [""]:
        lines += textwrap.wrap(
            line,
            width,
            initial_indent=indent,
            subsequent_indent=indent + "  ",
            break_long_words=False,
            break_on_hyphens=False,
        ) or [indent]
    return lines
