"""Writes docs/findings-health.md from the catalogue of findings."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import sys
import textwrap

from collection_tree import CHECKOUT, link_checkout

sys.path.insert(0, str(link_checkout()))

from ansible_collections.mde.offline.plugins.module_utils._endpoint.findings import catalogue

PAGE = CHECKOUT / "docs" / "findings-health.md"
INTRODUCTION = """\
# Health findings

<!-- Made by tools/render_endpoint_docs.py from the catalogue of findings: change that, and run it again. -->

`mde.offline.health_info`, `mde.offline.definitions_update`, `mde.offline.diagnosis_info` and
`mde.offline.preflight_info` return these findings about a host. Ids are stable and keep their meaning. A finding has
an `id`, a `severity`, a `message` with what was seen on that host, and a `hint`; those of the last two modules also
have `evidence`. A host counts as healthy, or ready, when it has no finding of severity `error`. A row that the agent
does not print never makes a finding, nor does a requirement that cannot be measured.

[Troubleshooting](troubleshooting.md) lists the findings by symptom.

Rows are those of `mdatp health` and `mdatp health --details definitions`.
"""


def item(name: str, text: str) -> str:
    return textwrap.fill(
        f"- **{name}**: {text}", 120, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def escaped(text: str) -> str:
    """Text without markup, for Markdown: an asterisk or an underscore must not become emphasis."""
    return text.replace("*", "\\*")


def section(record: catalogue.Record) -> str:
    lines = [f"### `{record.id}` ({record.severity})", ""]
    lines += [item("Means", record.means), item("Seen", record.seen), item("Do", escaped(record.remedy))]
    return "\n".join(lines) + "\n"


def render() -> str:
    parts = [INTRODUCTION]
    for title, introduction, records in catalogue.SECTIONS:
        parts.append(f"## {title}\n")
        if introduction:
            parts.append(textwrap.fill(introduction, 120) + "\n")
        parts += [section(record) for record in records]
    return "\n".join(parts)


def main() -> int:
    PAGE.write_text(render(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
