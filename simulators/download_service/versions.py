"""The version file (XML) that the service returns for `action=info`."""

from __future__ import annotations

from typing import Any, Mapping

from .packages import Release


def versions_xml(release: Release, changes: Mapping[str, Any]) -> bytes:
    """The version file of a release. `changes` replaces fields; null leaves a field out."""
    fields = {
        "engine": release.engine,
        "platform": "4.18.26010.5",
        "signatures": release.definitions,
        "date": release.date,
        "extra": "",
        "root": "versions",
        **changes,
    }
    root = fields["root"]
    lines = [f"<{root}>"]
    lines += [f"  <{name}>{fields[name]}</{name}>" for name in ("engine", "platform") if fields[name] is not None]
    if fields["signatures"] is not None:
        date = "" if fields["date"] is None else f' date="{fields["date"]}"'
        lines.append(f"  <signatures{date}>{fields['signatures']}</signatures>")
    return "\n".join([*lines, f"{fields['extra']}</{root}>", ""]).encode("utf-8")
