"""Writes docs/findings-fleet.md from the records of the fleet's findings; --check only compares."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

from plugins.plugin_utils._fleet.findings import ENDPOINTS, MIRRORS, RULES, Rule  # noqa: E402

PAGE = CHECKOUT / "docs" / "findings-fleet.md"
INTRO = """# Findings about a fleet

<!-- Made by tools/render_fleet_docs.py from the records of the findings: change those, and run it again. -->

The filter `mde.offline.fleet_summary`, and with it the playbook `mde.offline.health`, adds these findings to the
findings of the hosts. The ids are stable.
"""


def section(rule: Rule) -> Iterator[str]:
    severity = f"{rule.severity}, {rule.note}" if rule.note else rule.severity
    yield f"\n### `{rule.id}` ({severity})\n\n"
    for label, text in (("Means", rule.means), ("Seen", rule.seen), ("Do", rule.remedy)):
        yield f"- **{label}**: {text}\n"


def page() -> str:
    parts = [INTRO]
    for about in (ENDPOINTS, MIRRORS):
        parts.append(f"\n## {about}\n")
        parts += [line for rule in RULES if rule.about == about for line in section(rule)]
    return "".join(parts)


def main(arguments: list[str]) -> int:
    text = page()
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    if "--check" in arguments:
        print(f"stale: docs/{PAGE.name}. Run: python tools/render_fleet_docs.py", file=sys.stderr)
        return 1
    PAGE.write_text(text, encoding="utf-8")
    print(f"written: docs/{PAGE.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
