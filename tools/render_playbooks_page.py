"""Writes docs/playbooks.md from the playbooks, the variables of the role internal_playbook, and the table of tags."""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import yaml
from render_role_readmes import kind, plain, shown

CHECKOUT = Path(__file__).resolve().parent.parent
PAGE = CHECKOUT / "docs" / "playbooks.md"
ROLE = CHECKOUT / "roles" / "internal_playbook"
PLAYBOOKS = CHECKOUT / "playbooks"

# What each tag of each playbook runs, in addition to the tasks that check the variables and verify the result.
MIRROR = {
    "preflight": "checks the host of the mirror",
    "install": "installs the command, its account and the packages of the servers",
    "configure": "writes the settings, the schedule and the configuration of the servers",
    "serve": "serves the mirror over HTTP or NFS",
    "verify": "syncs the mirror and verifies that it is served",
    "remove": "removes the mirror, with `mirror_state: absent`",
}
ENDPOINTS = {
    "preflight": "measures Microsoft's requirements",
    "configure": "writes the managed configuration and updates the definitions",
    "verify": "collects the health and verifies that the host updates from the mirror",
    "remove": "removes the settings of the role, with `endpoint_state: absent`",
}
TAGS: dict[str, dict[str, str]] = {
    "site": {},
    "mirror": MIRROR,
    "endpoints": ENDPOINTS,
    "sync": {"verify": "syncs the mirrors"},
    "health": {"verify": "collects the health and summarises it"},
    "diagnose": {"verify": "diagnoses the endpoints and summarises the findings"},
    "preflight": {"preflight": "measures the requirements and summarises them"},
}

HEAD = """\
# The playbooks

<!-- Written by tools/render_playbooks_page.py (make docs). Change the playbooks, the argument_specs of the role
internal_playbook or that program, not this page. -->

Run a playbook by its name, with an inventory that has the groups `mirrors` and `endpoints`:

```bash
ansible-playbook -i inventory mde.offline.site
ansible-playbook -i inventory mde.offline.endpoints -e mde_serial=50 -e mde_max_fail_percentage=10
```

| playbook | what it does | variables |
| --- | --- | --- |
"""

VARIABLES = """
## Variables

The first play of each playbook checks these variables. It refuses values that are not valid, and names that are close
to one of them, such as `mde_seriall`. Text from surveys of AWX and from `-e NAME=VALUE` is converted, and an empty
answer counts as not set.

| variable | type | default | meaning |
| --- | --- | --- | --- |
"""

ROLES = (
    "The playbooks read variables of the roles as well. `site`, `mirror`, `sync` and `endpoints` apply the roles; "
    "their READMEs describe the variables. {readers} The playbooks check these values for each host: a host with a "
    "value that is not valid fails, and the others continue."
)

TAGS_HEAD = """
## Tags

`--tags` runs one phase. The tasks that check the variables and verify the result run with every tag.

| playbook | tag | what it runs |
| --- | --- | --- |
"""

TAIL = """
`--skip-tags` leaves out a phase. The playbooks refuse to run without verification, so `always` and `verify` cannot be
skipped, nor `preflight` in the playbook of that name.
"""


def options() -> dict[str, Any]:
    specs = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]
    found: dict[str, Any] = specs["main"]["options"]
    return found


def others(entry_point: str) -> list[str]:
    """The variables of roles that an entry point of the role internal_playbook reads."""
    take = yaml.safe_load((ROLE / "tasks" / f"{entry_point}.yml").read_text(encoding="utf-8"))[0]
    return list(take["mde.offline.role_variables"]["others"])


def text(name: str) -> str:
    """The text of a playbook and of those that it imports."""
    content = (PLAYBOOKS / f"{name}.yml").read_text(encoding="utf-8")
    for imported in re.findall(r"import_playbook: (?:mde\.offline\.)?([\w/]+?)(?:\.yml)?$", content, re.MULTILINE):
        content += text(imported)
    if "tasks_from: summarise" in content:
        content += (ROLE / "tasks" / "summarise.yml").read_text(encoding="utf-8")
    return content


def purpose(name: str) -> str:
    """The comment at the head of a playbook."""
    lines = (PLAYBOOKS / f"{name}.yml").read_text(encoding="utf-8").splitlines()[1:]
    end = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    return " ".join(line.removeprefix("# ") for line in lines[:end])


def variables(name: str) -> str:
    used = set(re.findall(r"\bmde_\w+", text(name)))
    return ", ".join(f"`{variable}`" for variable in options() if variable in used)


def listed(names: list[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return ", ".join(quoted[:-1]) + f" and {quoted[-1]}" if len(quoted) > 1 else quoted[0]


def roles() -> str:
    """Which playbooks read variables of roles that they do not apply."""
    sentences = []
    for entry_point in ("endpoint", "mirror"):
        line = f"tasks_from: {entry_point}\n"
        names = [name for name in TAGS if line in (PLAYBOOKS / f"{name}.yml").read_text(encoding="utf-8")]
        verb = "reads" if len(names) == 1 else "read"
        sentences.append(f"{listed(names)} {verb} {listed(others(entry_point))} without applying the role.")
    return f"\n{textwrap.fill(ROLES.format(readers=' '.join(sentences)), 120)}\n"


def tag_rows(name: str) -> list[str]:
    if not TAGS[name]:
        return [f"| `{name}` | those of `mirror`, `endpoints` and `health` | the phase in each of these playbooks |"]
    return [f"| `{name}` | `{tag}` | {what} |" for tag, what in TAGS[name].items()]


def render() -> str:
    playbooks = "".join(f"| `mde.offline.{name}` | {purpose(name)} | {variables(name)} |\n" for name in TAGS)
    rows = []
    for name, option in options().items():
        described = option["description"]
        meaning = " ".join(described) if isinstance(described, list) else described
        rows.append(f"| `{name}` | {kind(option)} | {shown(option)} | {plain(meaning)} |\n")
    tags = "".join(f"{row}\n" for name in TAGS for row in tag_rows(name))
    return HEAD + playbooks + VARIABLES + "".join(rows) + roles() + TAGS_HEAD + tags + TAIL


def main() -> int:
    PAGE.write_text(render(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
