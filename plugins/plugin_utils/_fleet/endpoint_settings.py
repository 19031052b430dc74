# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Composes the managed configuration that the role endpoint writes or removes. Private to the collection."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping

from .mirror_url import AddressError, compose

Json = t.Mapping[str, t.Any]

NOT_SET = (
    "endpoint_mirror is not set. Give the address or the directory at which endpoints reach the mirror's root, for "
    "example https://mirror.example.com or /mnt/mde-mirror; or set endpoint_nfs_source to an export, which is mounted."
)


def endpoint_settings(options: Json, present: Json | None = None) -> dict[str, t.Any]:
    """The settings that follow from the variables of the role `endpoint`, given without their prefix.

    `present` is the managed configuration that the host has; only the values of `foreign` and `remove` depend on it.
    """
    root = _root(options)
    url, problems = _address(root, options)
    problems += _mode_problems(options["managed_file_mode"])
    updates = _updates(options)
    found = _present_url(present)
    foreign = bool(root and found) and found.rstrip("/") != url.rstrip("/")
    return {
        "problems": problems,
        "start": _start(options, problems),
        "mirror_url": url,
        "module_defaults": {"mdatp": options["mdatp"]} if options.get("mdatp") else {},
        "config": _desired(options, updates, url),
        "without_record": _promised(options),
        "present_url": found,
        "foreign": foreign,
        "remove": _removed(options, {} if foreign else updates, found),
    }


def merged(below: Json, above: Json) -> dict[str, t.Any]:
    """Merges two mappings. If both have a key, mappings are merged, and of other values that of `above` is used."""
    result = dict(below)
    for key, value in above.items():
        under = result.get(key)
        result[key] = merged(under, value) if isinstance(under, Mapping) and isinstance(value, Mapping) else value
    return result


def _root(options: Json) -> str:
    return str((options["mirror_nfs_client_path"] if options["nfs_source"] else options.get("mirror")) or "")


def _address(root: str, options: Json) -> tuple[str, list[str]]:
    """The address of the channel, and what is wrong with it; removing needs none."""
    if not root:
        return "", [] if options["state"] == "absent" else [NOT_SET]
    try:
        return compose(root, options["channel"], "linux"), []
    except AddressError as error:
        return "", [str(error)]


def _mode_problems(mode: str) -> list[str]:
    if not mode:
        return []
    if not re.fullmatch("0[0-7]{3}", mode):
        return [
            f"endpoint_managed_file_mode is {mode[:40]}, which is not a mode. Give an octal number of four digits in "
            "quotation marks, such as '0640'."
        ]
    if int(mode, 8) & 0o022:
        return [
            f"endpoint_managed_file_mode is {mode}, which lets users other than root write the managed "
            "configuration. Give a mode without these permissions, such as '0644'."
        ]
    return []


def _start(options: Json, problems: list[str]) -> str:
    """The task file of the role that comes first."""
    if problems:
        return "invalid"
    if options["state"] == "absent":
        return "remove"
    return "mount" if options["nfs_source"] else "configure"


def _updates(options: Json) -> dict[str, t.Any]:
    """The settings of updates, without the address."""
    updates: dict[str, t.Any] = {
        "antivirusEngine": {
            "offlineDefinitionUpdate": "enabled",
            "offlineDefinitionUpdateFallbackToCloud": options["fallback_to_cloud"],
        },
        "cloudService": {"automaticDefinitionUpdateEnabled": True},
    }
    if options["verify_signature"]:
        updates["features"] = {"offlineDefinitionUpdateVerifySig": "enabled"}
    if options["update_interval"] > 0:
        updates["cloudService"]["definitionUpdatesInterval"] = options["update_interval"]
    return updates


def _desired(options: Json, updates: Json, url: str) -> dict[str, t.Any]:
    engine: dict[str, t.Any] = {"offlineDefinitionUpdateUrl": url}
    if options["enforcement_level"]:
        engine["enforcementLevel"] = options["enforcement_level"]
    return merged(merged(updates, {"antivirusEngine": engine}), options["config"])


def _promised(options: Json) -> dict[str, t.Any]:
    """The settings whose absence a variable promises: hosts of version 0.1.0 have them without a record of them."""
    return {} if options["update_interval"] > 0 else {"cloudService": {"definitionUpdatesInterval": None}}


def _present_url(present: Json | None) -> str:
    engine = (present or {}).get("antivirusEngine")
    found = engine.get("offlineDefinitionUpdateUrl") if isinstance(engine, Mapping) else None
    return found if isinstance(found, str) else ""


def _removed(options: Json, updates: Json, url: str) -> dict[str, t.Any]:
    """The role's settings, without the enforcement level: removing that would take protection away from the host."""
    address = {"antivirusEngine": {"offlineDefinitionUpdateUrl": url}} if updates else {}
    own = merged(merged(updates, address), options["config"])
    engine = own.get("antivirusEngine", {})
    if isinstance(engine, Mapping):
        engine = {key: value for key, value in engine.items() if key != "enforcementLevel"}
    return {**own, "antivirusEngine": engine}
