"""Writes docs/managed-configuration.md and docs/findings-config.md from schema and rules; --check only compares."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

from plugins.plugin_utils._managed import json_schema, validate  # noqa: E402
from plugins.plugin_utils._managed.findings import Rule  # noqa: E402

MADE = "<!-- Made by tools/render_managed_docs.py from the schema and the rules: change those, and run it again. -->"
SOURCES = {
    "AT26": "AtroCore product documentation, 2026",
    "BAS26": "Microsoft Learn, penetration testing and breach-and-attack-simulation guidance, 2026-05-27",
    "CM26": "Microsoft Learn, common mistakes with exclusions, 2026-06-30",
    "DSC": "Microsoft365DSC, Intune antivirus and global exclusion policies for Linux, 2026",
    "E26": "Microsoft Learn, eBPF sensor on Linux, 2026-07-02",
    "INS": "microsoft/mdatp-xplat, linux/installation/mde_installer.sh 0.8.4",
    "IT": "Intune documentation of the antivirus profile",
    "JSON Schema": "JSON Schema, draft 2020-12",
    "MAN": "microsoft/mdatp-xplat, macOS manifest 101.25102.0001",
    "MP26": "Microsoft Learn, preferences on macOS, 2026-09-18",
    "N25": "Microsoft Learn, network protection on Linux, 2025-03-31",
    "O25": "Microsoft Learn, offline security intelligence updates on Linux, 2025-03-31",
    "O26": "the same page, 2026-09-08",
    "P25": "Microsoft Learn, preferences on Linux, 2025-01-13",
    "P26": "the same page, 2026-07-02 with edits to September 2026",
    "PR26": "Microsoft Learn, prerequisites on Linux, 2026-03-08",
    "PX26": "Microsoft Learn, static proxy on Linux, 2026-07-02",
    "RN26": "Microsoft Learn, release notes of Defender for Endpoint, 2026-09-25",
    "S26": "Microsoft Learn, scheduled scans on Linux, 2026-09-10",
    "W24": "Microsoft Learn, what is new on Linux, 2024-12-02",
    "X26": "Microsoft Learn, exclusions on Linux, 2026-09-16",
}
KEYS_INTRO = f"""# Every key of `mdatp_managed.json`

{MADE}

The managed configuration of Microsoft Defender for Endpoint on Linux lies in
`/etc/opt/microsoft/mdatp/managed/mdatp_managed.json`. Microsoft publishes no schema of it. This page is made from the
one of this collection, [`mdatp_managed.schema.json`](../plugins/plugin_utils/_managed/schema/mdatp_managed.schema.json)
(JSON Schema, draft 2020-12). What the schema cannot say is checked by [rules](findings-config.md).

Both are applied by the filter `mde.offline.config_findings` and by the module `mde.offline.managed_config`.

## In an editor

Let the editor match the schema by file name, and keep `$schema` out of the file on the host: the agent does not know
that key. In Visual Studio Code, for instance, `.vscode/settings.json`:

```json
{{
  "json.schemas": [
    {{
      "fileMatch": ["mdatp_managed.json"],
      "url": "{json_schema.load()["$id"]}"
    }}
  ]
}}
```

## How to read the tables

- *Agent*: the first version that knows the key; nothing where no document names one.
- *Default*: what the agent does where the key is missing; nothing where documents do not say or disagree.
- *Source*: the documents that the row was taken from, listed at the end.
"""
FINDINGS_INTRO = f"""# Findings about the managed configuration

{MADE}

They come from the filter `mde.offline.config_findings` and from the module `mde.offline.managed_config`. Ids are
stable. *error*: certain or nearly certain to misbehave. *warning*: works, and is a risk or does not do what it seems to
do. *info*: advice.

How they are seen: `path` names the place in the file (`antivirusEngine.exclusions[2].path`; `$` is the whole file),
`message` says what stands there, `hint` what to write instead.
"""


def cell(text: object) -> str:
    """Text for a cell of a table: what is no code must not become HTML or emphasis."""
    parts = str(text).replace("|", "\\|").replace("\n", " ").split("`")
    parts[::2] = [re.sub(r"([<*])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


def code(value: object) -> str:
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def allowed(node: json_schema.Node) -> str:
    items = json_schema.resolve(node["items"]) if "items" in node else {}
    if "enum" in node:
        return ", ".join(map(code, node["enum"]))
    if "enum" in items:
        return "any of " + ", ".join(map(code, items["enum"]))
    if "minimum" in node:
        return f"{node['minimum']} to {node['maximum']}" if "maximum" in node else f"{node['minimum']} or more"
    return ""


def agent(node: json_schema.Node) -> str:
    values = [f"{code(name)}: {since}" for name, since in node.get("x-value-minimum-agent-version", {}).items()]
    return ", ".join([*filter(None, [node.get("x-minimum-agent-version")]), *values])


def key_row(name: str, node: json_schema.Node) -> list[str]:
    notes = node["description"]
    if node.get("deprecated"):
        since = node.get("x-deprecated-since")
        notes = f"**Deprecated{f' since {since}' if since else ''}.** {notes}"
    kind = node["type"] + (f" of {json_schema.resolve(node['items'])['type']}s" if node["type"] == "array" else "")
    default = code(node["default"]) if "default" in node else ""
    return [code(name), kind, allowed(node), default, agent(node), cell(notes), node["x-source"]]


def render_keys() -> str:
    head = ["Key", "Type", "Allowed", "Default", "Agent", "What it does", "Source"]
    parts = [KEYS_INTRO]
    for section, node in json_schema.load()["properties"].items():
        if node["type"] != "object":
            continue
        rows = []
        for place, below in json_schema.walk(node):
            name = ".".join(place).replace(".[]", "[]")
            if below["type"] != "object":
                rows.append(key_row(name, below))
        since = f" Agent {node['x-minimum-agent-version']} or newer." if "x-minimum-agent-version" in node else ""
        parts.append(f"## `{section}`\n\n{node['description']}{since}\n\n{table(head, rows)}")
    parts.append(f"## `MemoryScan`\n\n{json_schema.load()['$defs']['memoryScan']['description']}\n")
    parts.append(
        "## Sources\n\n" + table(["Key", "Document"], ([name, text] for name, text in sorted(SOURCES.items())))
    )
    return "\n".join(parts)


def finding_row(rule: Rule) -> list[str]:
    return [code(rule.id), rule.severity, f"**{cell(rule.title)}.** {cell(rule.meaning)}", cell(rule.remedy)]


def render_findings() -> str:
    rows = (finding_row(validate.RULES[name]) for name in sorted(validate.RULES))
    return FINDINGS_INTRO + "\n" + table(["Id", "Severity", "What it means", "What to do"], rows)


PAGES = {"docs/managed-configuration.md": render_keys, "docs/findings-config.md": render_findings}


def main(arguments: list[str]) -> int:
    stale = []
    for name, render in PAGES.items():
        page, text = CHECKOUT / name, render()
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "--check" not in arguments:
                page.write_text(text, encoding="utf-8")
                print(f"written: {name}")
    if stale and "--check" in arguments:
        print(f"stale: {', '.join(stale)}. Run: python tools/render_managed_docs.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
