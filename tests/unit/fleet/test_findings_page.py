"""docs/findings-fleet.md is made from the records, and the report produces no finding without a record."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from ansible_collections.mde.offline.plugins.plugin_utils._fleet import findings

CHECKOUT = Path(__file__).resolve().parents[3]


def test_the_page_is_fresh() -> None:
    command = [sys.executable, str(CHECKOUT / "tools/render_fleet_docs.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_record_is_registered_and_used() -> None:
    records = {name: value for name, value in vars(findings).items() if isinstance(value, findings.Rule)}
    assert set(records.values()) == set(findings.RULES)
    assert len({rule.id for rule in findings.RULES}) == len(findings.RULES)
    checks = (CHECKOUT / "plugins/plugin_utils/_fleet/checks.py").read_text(encoding="utf-8")
    assert set(re.findall(r"findings\.([A-Z_]+)\.found", checks)) == set(records)


def test_no_finding_is_made_beside_the_records() -> None:
    for path in sorted((CHECKOUT / "plugins/plugin_utils/_fleet").glob("*.py")):
        if path.name != "findings.py":
            made = re.findall(r'"severity": "(?:error|warning|info)"', path.read_text(encoding="utf-8"))
            assert made == [], path.name
