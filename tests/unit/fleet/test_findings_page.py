"""The page of the fleet's findings names exactly the ids that the code can produce."""

from __future__ import annotations

import ast
import re
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]


def ids_in_the_code() -> set[str]:
    tree = ast.parse((CHECKOUT / "plugins/plugin_utils/_fleet/summary.py").read_text())
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {
        call.args[0].value
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id == "_finding" and isinstance(call.args[0], ast.Constant)
    }


def test_the_page_names_every_finding_and_no_other():
    page = (CHECKOUT / "docs/findings-fleet.md").read_text()
    assert set(re.findall(r"^### `(\w+)`", page, re.M)) == ids_in_the_code()
