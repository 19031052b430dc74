"""Checks the values of the role mirror's variables. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from . import schedules

Variables = Mapping[str, t.Any]

_CONTROL = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
_ONE_LINE = re.compile(rf"[^{_CONTROL}]*\Z")
# Units of systemd and lines of cron quote paths with quotation marks.
_PATH = re.compile(rf'/[^{_CONTROL}"$\\]*\Z')
_PROGRAM = re.compile(rf'[^{_CONTROL}"$\\\s][^{_CONTROL}"$\\]*\Z')
_ACCOUNT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*[$]?\Z")
_UNIT = re.compile(r"[A-Za-z0-9:_.@-]+[.](service|target|path|timer|socket)\Z")
_CRON_FILE = re.compile(r"[A-Za-z0-9_-]+\Z")

_TEXTS = ("schedule", "schedule_cron", "schedule_spread", "sync_time_limit")
_NAMES = ("user", "group")
_PATHS = ("root", "command", "settings_file", "unit_directory", "cron_file", "launchd_directory")
_OPTIONAL_PATHS = ("log_file", "metrics_file")
_SHORTEST_INTERVAL = 300
_LONGEST_AGE = 10**6


def problems(variables: Variables, scheduler: str, os_family: str, settings: Mapping[str, t.Any]) -> list[str]:
    """One sentence for each value that the role cannot use. The names of `variables` are without the role's name.

    `settings` are those that the role would write.
    """
    return [
        *_unfit(variables),
        *_for_the_host(variables, os_family),
        *_passwords(variables),
        *_origin(settings),
        *_alarms(variables),
        *(_cron(variables) if scheduler == "cron" else ()),
        *(_times(variables, scheduler) if scheduler != "none" else ()),
    ]


def _unfit(variables: Variables) -> Iterator[str]:
    """Values that would break a line, or a text in quotation marks, of a unit or of a cron file."""
    for name in _TEXTS:
        if not _ONE_LINE.match(variables[name]):
            yield f"mirror_{name} cannot be used, because it contains a line break or another control character."
    for name in _NAMES:
        if not _ACCOUNT.match(variables[name]):
            yield f"mirror_{name} cannot be used. Give the name of {'an account' if name == 'user' else 'a group'}."
    if variables["python"] and not _PROGRAM.match(variables["python"]):
        yield "mirror_python cannot be used. Give the path of an interpreter."
    for name in (*_PATHS, *_OPTIONAL_PATHS):
        if not _PATH.match(variables[name]) and not (name in _OPTIONAL_PATHS and variables[name] == ""):
            yield (
                f"mirror_{name} cannot be used. Give an absolute path without control characters, quotation marks, "
                "dollar signs and backslashes."
            )


def _for_the_host(variables: Variables, os_family: str) -> Iterator[str]:
    if variables["hosting"] == "smb":
        yield "mirror_hosting is smb, which is for Windows hosts. Choose http or nfs."
    if os_family == "Darwin" and PurePosixPath("/srv") in (
        PurePosixPath(variables["root"]),
        *PurePosixPath(variables["root"]).parents,
    ):
        yield "macOS does not allow a folder /srv. Set mirror_root, for instance to /usr/local/var/mde-mirror."


def needs_encoding(address: str) -> bool:
    """Whether user or password of an address contain a character that ends them, or that no address may contain."""
    # The user part ends at the last @, whatever its password contains.
    user = address[: address.rfind("@" if "@" in address else "%40") + 1].partition("://")[2][:-1]
    return ":" in user and re.search(r"[/?#\[\]]|[^!-~]", user) is not None


def _passwords(variables: Variables) -> Iterator[str]:
    source = variables.get("settings", {}).get("source", {})
    source = source if isinstance(source, Mapping) else {}
    script = source.get("script")
    addresses = {
        "mirror_source_proxy": variables.get("source_proxy"),
        "mirror_source_script_url": variables.get("source_script_url"),
        "mirror_settings.source.proxy": source.get("proxy"),
        "mirror_settings.source.script.url": script.get("url") if isinstance(script, Mapping) else None,
    }
    for name, address in addresses.items():
        # The value is not shown, because it contains a password.
        if isinstance(address, str) and needs_encoding(address):
            yield (
                f"{name} has a user or a password that needs percent-encoding: every character but letters, digits and "
                "- . _ ~ is written as %XX. The filter urlencode of Ansible leaves / as it is. Write "
                "password | urlencode | replace('/', '%2F')."
            )


def _origin(settings: Mapping[str, t.Any]) -> Iterator[str]:
    """Faults that the command would also report, but only after the role has replaced the earlier command."""
    source = settings.get("source")
    if not isinstance(source, Mapping):
        return
    trusted, unsigned = bool(source.get("trustedKeys")), bool(source.get("unsigned"))
    plain = str(source.get("url") or "").lower().startswith("http://")
    if source.get("type") == "mirror" and plain and not (trusted or unsigned):
        yield (
            "This mirror would copy another mirror over plain http, so anybody on the network path could change the "
            "packages. "
            "Set mirror_source_trusted_keys to the public keys that sign the other mirror, or use https in "
            "mirror_source_url, or accept the risk with mirror_source_unsigned: true. Nothing was changed."
        )
    if trusted and unsigned:
        yield (
            "mirror_source_trusted_keys and mirror_source_unsigned are mutually exclusive. Where keys are trusted, "
            "unsigned data is refused."
        )


def _alarms(variables: Variables) -> Iterator[str]:
    program = (variables["alarm_command"] or [""])[0]
    # The words are not shown, because they may contain a password.
    if program and not program.startswith("/"):
        yield "mirror_alarm_command has to begin with the absolute path of a program."
    elif re.search(r"\s", program):
        yield (
            "mirror_alarm_command begins with a path that contains a space. Give the program and each of its arguments "
            "as elements of a list. No shell splits a command line."
        )
    for unit in variables["alarm_units"]:
        if not _UNIT.match(unit):
            yield f"mirror_alarm_units has {unit!r}. Give names of systemd units with their suffix, as in page.service."
    if variables["alarm_max_age"] < 0:
        yield "mirror_alarm_max_age has to be a number of hours, or 0 for no alarm."
    if not _are_hours(variables["alarm_max_definitions_age"]):
        yield (
            "mirror_alarm_max_definitions_age has to be a number of hours, or a mapping of channels to hours. 0 "
            "means no limit."
        )
    if variables["alarm_repeat"] < 1:
        yield "mirror_alarm_repeat has to be a number of hours, at least 1."
    if variables["metrics_file"] and not variables["metrics_file"].endswith(".prom"):
        yield "mirror_metrics_file has to end in .prom. The collector of node_exporter reads no other files."


def _are_hours(value: t.Any) -> bool:
    """Whether a value is a number of hours, or a mapping of channels to hours."""
    if isinstance(value, Mapping):
        return all(isinstance(name, str) and _is_hours(hours) for name, hours in value.items())
    return _is_hours(value)


def _is_hours(value: t.Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= _LONGEST_AGE


def _cron(variables: Variables) -> Iterator[str]:
    schedule = variables["schedule_cron"]
    fault = schedules.cron_fault(schedule)
    if fault is not None:
        wrong = "" if fault == schedule else f" The field {fault} is not valid."
        yield (
            f'mirror_schedule_cron is "{schedule}".{wrong} Give the five fields of crontab(5): minute, hour, day, '
            'month and weekday, such as "0 */2 * * *".'
        )
    if not _CRON_FILE.match(PurePosixPath(variables["cron_file"]).name):
        yield "The file name in mirror_cron_file may contain only letters, digits, _ and -. cron ignores other files."


def _times(variables: Variables, scheduler: str) -> Iterator[str]:
    for name in ("schedule_spread", "sync_time_limit"):
        text = variables[name]
        if not schedules.is_span(text, scheduler == "systemd") and not (
            name == "sync_time_limit" and text == "infinity"
        ):
            yield f'mirror_{name} is "{text}". Give a span of time such as 30min, 6h or 1h 30min.'
    if variables["schedule_interval"] < _SHORTEST_INTERVAL:
        yield f"mirror_schedule_interval has to be a number of seconds, at least {_SHORTEST_INTERVAL}."
