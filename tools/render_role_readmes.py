"""Writes the tables of variables in roles/*/README.md from the argument specs of the roles."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml

ROLES = Path(__file__).resolve().parent.parent / "roles"
BEGIN = "<!-- variables: written by tools/render_role_readmes.py -->"
END = "<!-- end of variables -->"
MARKUP = re.compile(r"\b[OCVEMPR]V?\(([^)]*)\)")


def plain(text: str) -> str:
    """Converts Ansible's markup to Markdown."""
    return MARKUP.sub(r"`\1`", text).replace("|", "\\|")


def shown(option: dict[str, Any]) -> str:
    if "default" not in option:
        return "required" if option.get("required") else "not set"
    return f"`{json.dumps(option['default'])}`"


def kind(option: dict[str, Any]) -> str:
    name = f"list of {option['elements']}" if "elements" in option else option["type"]
    choices = ", ".join(f"`{choice}`" for choice in option.get("choices", []))
    return f"{name}: {choices}" if choices else str(name)


def row(name: str, option: dict[str, Any]) -> str:
    description = option["description"]
    text = " ".join(description) if isinstance(description, list) else description
    return f"| `{name}` | {kind(option)} | {shown(option)} | {plain(text)} |"


def tables(specs: dict[str, Any]) -> str:
    parts = []
    for entry, spec in specs.items():
        if entry != "main":
            parts.append(f"### Entry point `{entry}`\n\n{plain(' '.join(spec['description']))}\n")
        rows = [row(name, option) for name, option in spec["options"].items()]
        parts.append("\n".join(["| variable | type | default | meaning |", "| --- | --- | --- | --- |", *rows]) + "\n")
    return "\n".join(parts)


def render(role: Path) -> str:
    """The README with new tables between the two marks; a README without the marks is returned unchanged."""
    specs = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]
    present = (role / "README.md").read_text(encoding="utf-8")
    before, mark, rest = present.partition(BEGIN)
    _old, end, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables(specs)}\n{END}{after}" if mark and end else present


def main() -> int:
    for role in sorted(path for path in ROLES.iterdir() if (path / "meta" / "argument_specs.yml").exists()):
        (role / "README.md").write_text(render(role), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
