"""Values of the role mirror's variables that the role cannot use."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible_collections.mde.offline.plugins.filter.mirror_script_programs import mirror_script_programs
from ansible_collections.mde.offline.plugins.module_utils._mirror.sources.script_checkout import is_zip_address
from ansible_collections.mde.offline.plugins.plugin_utils._roles import schedules
from ansible_collections.mde.offline.plugins.plugin_utils._roles.mirror import problems

from tools.collection_tree import CHECKOUT

DEFAULTS = {
    name.removeprefix("mirror_"): value
    for name, value in yaml.safe_load((CHECKOUT / "roles/mirror/defaults/main.yml").read_text(encoding="utf-8")).items()
}
# A variable, a value that cannot be used, and a part of the message.
REFUSED = [
    ("root", "", "mirror_root cannot be used"),
    ("root", "srv/mirror", "mirror_root cannot be used"),
    ("root", '/x" "/etc', "mirror_root cannot be used"),
    ("root", "/srv/x\nExecStartPre=+/bin/id", "mirror_root cannot be used"),
    ("root", "/srv/x\n", "mirror_root cannot be used"),
    ("log_file", "/var/log/x\r/sync.log", "mirror_log_file cannot be used"),
    ("python", "/x\nExecStartPre=+/bin/id", "mirror_python cannot be used"),
    ("user", "root id;", "mirror_user cannot be used. Give the name of an account."),
    ("group", "nogroup\nX=~", "mirror_group cannot be used. Give the name of a group."),
    ("schedule", "hourly\nUnit=evil.service", "mirror_schedule cannot be used"),
    ("hosting", "smb", "for Windows hosts"),
    (
        "source_proxy",
        "http://sync:s3cr3t/Pw%40rd@proxy:3128",
        "mirror_source_proxy has a user or a password that needs",
    ),
    ("source_script_url", "https://sync:12/3s3cr3t@host/x.git", "mirror_source_script_url has a user or a password"),
    ("settings", {"source": {"proxy": "http://sync:s3cr3t#x@proxy:3128"}}, "mirror_settings.source.proxy has a user"),
    ("settings", {"source": {"script": {"url": "https://u:s3cr3t x@h/x"}}}, "replace('/', '%2F')"),
    ("alarm_command", ["mail", "root"], "absolute path of a program"),
    ("alarm_command", ["/usr/bin/mail root"], "elements of a list"),
    ("alarm_units", ["page me"], "mirror_alarm_units has 'page me'"),
    ("alarm_units", ["x.service\n"], "mirror_alarm_units has"),
    ("alarm_max_age", -1, "mirror_alarm_max_age"),
    ("alarm_max_definitions_age", -1, "mirror_alarm_max_definitions_age has to be a number of hours"),
    ("alarm_max_definitions_age", "often", "mirror_alarm_max_definitions_age has to be a number of hours"),
    ("alarm_max_definitions_age", True, "mirror_alarm_max_definitions_age has to be a number of hours"),
    ("alarm_max_definitions_age", {"canary": "24h"}, "or a mapping of channels to hours"),
    ("alarm_max_definitions_age", {5: 24}, "or a mapping of channels to hours"),
    ("alarm_repeat", 0, "mirror_alarm_repeat"),
    ("metrics_file", "/x", "has to end in .prom"),
    ("schedule_cron", "0 24 * * *", 'is "0 24 * * *". The field 24 is not valid.'),
    ("schedule_cron", "@reboot", 'is "@reboot". Give the five fields'),
    ("cron_file", "/etc/cron.d/x.y", "only letters, digits, _ and -"),
    ("schedule_spread", "bogus", 'mirror_schedule_spread is "bogus". Give a span of time'),
    ("sync_time_limit", "6 hours and a half", "Give a span of time"),
    ("schedule_interval", 60, "at least 300"),
]


@pytest.mark.parametrize(("name", "value", "said"), REFUSED)
def test_what_cannot_be_used_is_refused_in_a_sentence(name: str, value: object, said: str) -> None:
    (sentence,) = problems({**DEFAULTS, name: value}, "cron", "Debian", {})
    assert said in sentence
    assert "s3cr3t" not in sentence


@pytest.mark.parametrize("scheduler", ["systemd", "cron", "launchd", "none"])
def test_the_defaults_can_be_used(scheduler: str) -> None:
    assert problems(DEFAULTS, scheduler, "RedHat", {}) == []


@pytest.mark.parametrize(
    "values",
    [
        {"log_file": "", "metrics_file": "", "python": "python3"},
        {"sync_time_limit": "infinity"},
        {"alarm_command": ["/usr/bin/page", "two words"], "alarm_units": ["page@x.service"]},
        {"root": "/srv/two words/50 %"},
        {"source_proxy": "http://sync:s3cr3t%2FPw%40rd@proxy:3128", "source_script_url": "git@host:path/a@b"},
        {"source_script_url": "https://host/a@b.git", "settings": {"source": {"proxy": None, "script": None}}},
        {"settings": {"source": None}},
        {"alarm_max_definitions_age": {"canary": 24, "production": 0, "pilot": 1.5}},
    ],
)
def test_other_values_can_be_used(values: dict[str, Any]) -> None:
    assert problems({**DEFAULTS, **values}, "cron", "Debian", {}) == []


def test_macos_has_no_srv() -> None:
    (sentence,) = problems(DEFAULTS, "none", "Darwin", {})
    assert "/usr/local/var/mde-mirror" in sentence
    assert problems({**DEFAULTS, "root": "/srv2/x"}, "none", "Darwin", {}) == []


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({}, None),
        ({"type": "mirror", "url": "https://m.example.com"}, None),
        ({"type": "mirror", "url": "http://m.example.com"}, "copy another mirror over plain http"),
        ({"type": "mirror", "url": "HTTP://m.example.com", "unsigned": False}, "copy another mirror over plain http"),
        ({"type": "mirror", "url": "http://m.example.com", "unsigned": True}, None),
        ({"type": "mirror", "url": "http://m.example.com", "trustedKeys": "/x"}, None),
        ({"type": "mirror", "url": "https://m.example.com", "trustedKeys": "/x"}, None),
        ({"type": "mirror", "url": "https://m.example.com", "trustedKeys": "/x", "unsigned": True}, "are mutually"),
        # This is the address of a proxy or of a test service, not of another mirror.
        ({"type": "microsoft", "url": "http://m.example.com"}, None),
        # The command itself reports faults in raw settings.
        ("text", None),
        ({"type": "mirror"}, None),
    ],
)
def test_a_copy_over_plain_http_needs_a_proof_of_its_origin(source: object, said: str | None) -> None:
    sentences = problems(DEFAULTS, "none", "Debian", {"source": source})
    assert len(sentences) == (said is not None)
    if said:
        assert said in sentences[0]
        assert "mirror_source_trusted_keys" in sentences[0]
        assert "mirror_source_unsigned" in sentences[0]


def test_times_count_for_a_scheduler_only() -> None:
    values = {**DEFAULTS, "schedule_cron": "@reboot", "schedule_spread": "bogus", "schedule_interval": 1}
    assert problems(values, "none", "Debian", {}) == []
    assert not [sentence for sentence in problems(values, "systemd", "Debian", {}) if "schedule_cron" in sentence]


@pytest.mark.parametrize(
    ("schedule", "fault"),
    [
        ("0 */2 * * *", None),
        ("5,35 0-23/3 1,15 jan-mar mon-fri", None),
        ("*/15 22 * 12 7", None),
        ("0 24 * * *", "24"),
        ("60 */2 * * *", "60"),
        ("0 */0 * * *", "*/0"),
        ("0 2 0 * *", "0"),
        ("0 2 * 13 *", "13"),
        ("0 2 * * 0-8", "0-8"),
        ("0 2 * foo *", "foo"),
        ("0 two * * *", "two"),
        ("0 2 mon * *", "mon"),
        ("0, 2 * * *", "0,"),
        ("0 2 * *", "0 2 * *"),
        ("", ""),
    ],
)
def test_fields_of_cron(schedule: str, fault: str | None) -> None:
    assert schedules.cron_fault(schedule) == fault


@pytest.mark.parametrize(
    ("text", "systemd", "elsewhere"),
    [
        ("30min", True, True),
        ("1h 30min", True, True),
        ("0", True, True),
        ("1.5w 2 h 3", True, False),
        ("2months", True, False),
        ("bogus", False, False),
        ("", False, False),
        ("6h\n", False, False),
        ("minutes", False, False),
        # Patterns with nested repetition must not take minutes for these.
        ("1" * 60 + "x", False, False),
        ("1     " * 30 + "x", False, False),
    ],
)
def test_spans_of_time(text: str, systemd: bool, elsewhere: bool) -> None:
    assert (schedules.is_span(text, True), schedules.is_span(text, False)) == (systemd, elsewhere)


@pytest.mark.parametrize(
    ("text", "duration"),
    [("30min", "PT30M"), ("6 h", "PT6H"), ("90s", "PT90S"), ("1h 30min", ""), ("0s", ""), ("30min\n", "")],
)
def test_durations_of_task_scheduler(text: str, duration: str) -> None:
    assert schedules.iso_duration(text) == duration


def test_git_is_needed_where_the_command_calls_it() -> None:
    addresses = (
        "https://github.com/microsoft/mdatp-xplat.git",
        "https://github.com/microsoft/mdatp-xplat/archive/refs/heads/master.zip",
        "https://api.github.com/repos/microsoft/mdatp-xplat/zipball/master",
        "https://codeload.github.com/microsoft/mdatp-xplat/zip/refs/heads/master",
        "https://mirror.example.com/files/xplat.ZIP?token=1",
        "https://git.example.com/zipper/mdatp-xplat",
        "ssh://git@git.example.com/zip/mdatp-xplat",
    )
    expected = {address: not is_zip_address(address) for address in addresses}
    expected.update({"": False, "/srv/mdatp-xplat": True, "/srv/mdatp-xplat.zip": False})
    sources = {address: {"type": "script", "script": {"url": address}} for address in expected}
    found = {address: "git" in mirror_script_programs(source) for address, source in sources.items()}
    assert found == expected
    for other in ({"type": "mirror"}, {}, "text"):
        assert mirror_script_programs(other) == []
    assert mirror_script_programs({"type": "script", "script": "text"}) == ["bash", "curl", "jq"]
