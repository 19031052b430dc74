"""What the Ansible modules of the mirror share: settings from their parameters, and results as plain data."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping
from urllib.parse import unquote, urlsplit

from . import channels
from .bundle import export_bundle, import_bundle
from .channels import Selection
from .errors import MirrorError
from .settings import Settings, load, parse
from .status import read_status, verify
from .sync import sync


def run_sync(params: Mapping[str, Any], check: bool) -> dict[str, Any]:
    """The result of the module `mirror_sync`: what a sync returns, with `failed`, `msg` and `diff`."""
    try:
        done = sync(_settings(params), check=check, allow_downgrade=params["allow_downgrade"]).as_dict()
    except MirrorError as error:
        return _refused(error)
    failed = done.pop("result") == "failed"
    return {**done, "failed": failed, "msg": _told(done), "diff": _diff(done["units"])}


def run_info(params: Mapping[str, Any], _check: bool) -> dict[str, Any]:
    """The result of the module `mirror_info`: the status of the mirror, and its damages if it was to be verified."""
    try:
        settings = _settings(params)
        found: dict[str, Any] = {"failed": False, "changed": False, "mirror": read_status(settings)}
        if params["verify"]:
            found["damages"] = [entry for entry in verify(settings) if entry["damages"]]
        return found
    except MirrorError as error:
        return _refused(error)


def secrets(params: Mapping[str, Any]) -> set[str]:
    """Passwords in the parameters of a module, in every form they may be printed in."""
    source = (params.get("config") or {}).get("source")
    found: set[str] = set()
    for key in ("proxy", "origin"):
        address = source.get(key) if isinstance(source, Mapping) else None
        try:
            password = urlsplit(address).password if isinstance(address, str) else None
        except ValueError:
            password = str(address)
        if password:
            found |= {password, unquote(password)}
    return found


def _settings(params: Mapping[str, Any]) -> Settings:
    if params["config"] is not None:
        return parse(params["config"], "the settings in `config`")
    return load(Path(params["settings"]))


def _refused(error: MirrorError) -> dict[str, Any]:
    return {"failed": True, "changed": False, "msg": f"{error.message}. {error.hint}", "error": error.as_dict()}


def _told(done: dict[str, Any]) -> str:
    errors = [
        "{platform}/{channel}/{arch}: {error[message]}. {error[hint]}".format(**unit)
        for unit in done["units"]
        if unit["error"]
    ]
    errors += ["{message}. {hint}".format(**error) for error in done["errors"]]
    if errors:
        return "{} of {} units failed. {}".format(
            sum(1 for unit in done["units"] if unit["error"]), len(done["units"]), " ".join(errors)
        )
    moved = [unit for unit in done["units"] if unit["outcome"] in ("updated", "repaired", "adopted")]
    return f"{len(moved)} of {len(done['units'])} units changed"


def _diff(units: list[dict[str, Any]]) -> dict[str, str]:
    def listed(key: str) -> str:
        return "".join(
            "{platform}/{channel}/arch_{arch}: definitions {definitions_version}, engine {engine_version}\n".format(
                **unit, **unit[key]
            )
            for unit in units
            if unit[key]
        )

    return {"before": listed("before"), "after": listed("after")}


def run_channel(params: Mapping[str, Any], check: bool) -> dict[str, Any]:
    """The result of the module `mirror_channel`."""
    selection = Selection(params["channel"], params["platform"], params["arch"])
    reason, by = params["reason"], params["by"]

    def work(settings: Settings) -> dict[str, Any]:
        if params["state"] == "promoted":
            source = Selection(params["source"], params["platform"], params["arch"])
            return channels.promote(settings, source, params["channel"], params["release"], by, check)
        if params["state"] == "rolled_back":
            return channels.rollback(settings, selection, params["release"], reason, by, check)
        if params["state"] == "held":
            return channels.hold(settings, selection, reason, by, check)
        return channels.release(settings, selection, by, check)

    try:
        done = work(_settings(params))
    except MirrorError as error:
        return _refused(error)
    return {**done, "failed": False, "diff": _channel_diff(done["units"])}


def run_bundle(params: Mapping[str, Any], check: bool) -> dict[str, Any]:
    """The result of the module `mirror_bundle`."""
    try:
        settings = _settings(params)
        if params["state"] == "imported":
            return {"failed": False, **import_bundle(settings, Path(params["path"]), check, params["allow_downgrade"])}
        lacking = Path(params["lacking"]) if params["lacking"] else None
        return {"failed": False, **export_bundle(settings, Path(params["path"]), lacking, check)}
    except MirrorError as error:
        return _refused(error)


def _channel_diff(units: list[dict[str, Any]]) -> dict[str, str]:
    def listed(key: str) -> str:
        lines = []
        for unit in units:
            held = unit[key]["held"]
            lines.append(
                "{platform}/{channel}/arch_{arch}: {0}{1}\n".format(
                    unit[key]["release"] or "nothing", f", held: {held['reason']}" if held else "", **unit
                )
            )
        return "".join(lines)

    return {"before": listed("before"), "after": listed("after")}
