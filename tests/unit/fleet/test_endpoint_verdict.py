"""The decisions of the role endpoint: when it updates a host, measures its requirements, and fails it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.mde.offline.plugins.filter.endpoint_verdict import endpoint_verdict
from ansible_collections.mde.offline.plugins.plugin_utils._fleet.endpoint_verdict import is_behind

OLD, NEW = "1.449.99.0", "1.449.117.0"
OPTIONS = {"update": True, "fail_on": "error", "preflight": "auto"}


def finding(name: str, severity: str = "error") -> dict[str, str]:
    return {"id": name, "severity": severity, "message": f"{name} was seen.", "hint": f"Repair {name}."}


def seen(*findings: dict[str, str], installed: Any = NEW, published: Any = NEW, **more: Any) -> dict[str, Any]:
    """The result of health_info on a host that has these findings."""
    fields = {"definitions_version": installed, "engine_version": "1.1.1.1", "app_version": "101.26062.0005"}
    return {
        "findings": list(findings),
        "health": {"fields": {**fields, "definitions_update_source_uri": "http://m/linux/production/", **more}},
        "mirror": {"definitions_version": published},
        "raw": [{"command": "mdatp health --output json"}],
    }


def refused(before: str, published: str = OLD, **fields: Any) -> dict[str, Any]:
    """The result of definitions_update, after which the host has NEW and the mirror is older."""
    result = seen(installed=NEW, published=published, **fields)
    result["mirror"]["engine_version"] = "1.1.1.1"
    ran = {"raw": [{"command": "mdatp definitions update"}], "failed": False}
    return {**result, **ran, "before": {"definitions_version": before}, "after": {"definitions_version": NEW}}


STALE, WARNING = finding("definitions_stale"), finding("network_slow", "warning")
INFO, FAULT = finding("passive_mode", "info"), finding("daemon_unreachable")

# The result; the options that differ from OPTIONS; whether the configuration was changed; next; the faults.
NEXT = {
    "a healthy host is done": (seen(), {}, False, "verify", []),
    "new settings need an update": (seen(), {}, True, "update", []),
    "new settings need a look even without updates": (seen(), {"update": False}, True, "update", []),
    "older than the mirror": (seen(installed=OLD), {}, False, "update", ["update_failed"]),
    "newer than the mirror": (seen(installed=NEW, published=OLD), {}, False, "verify", []),
    "older, and updates are switched off": (seen(installed=OLD), {"update": False}, False, "verify", []),
    "the mirror's version is unknown": (seen(published=None), {}, False, "update", ["update_failed"]),
    "the host's version is unknown": (seen(installed=None), {}, False, "update", ["update_failed"]),
    "a version that cannot be read": (seen(installed="latest"), {}, False, "update", ["update_failed"]),
    "no answer from the mirror": ({**seen(), "mirror": None}, {}, False, "update", ["update_failed"]),
    "an error": (seen(FAULT), {}, False, "update", ["daemon_unreachable"]),
    "an error, and updates are switched off": (
        seen(FAULT),
        {"update": False},
        False,
        "preflight",
        ["daemon_unreachable"],
    ),
    "an error, and requirements are not measured": (
        seen(FAULT),
        {"update": False, "preflight": "never"},
        False,
        "verify",
        ["daemon_unreachable"],
    ),
    "a warning alone needs no update": (seen(WARNING), {}, False, "verify", []),
    "a warning that fails hosts": (seen(WARNING), {"fail_on": "warning"}, False, "update", ["network_slow"]),
    "an info never fails a host": (seen(INFO), {"fail_on": "warning"}, False, "verify", []),
    "requirements are always measured": (seen(), {"preflight": "always"}, False, "preflight", []),
    "requirements are always measured after an update": (seen(), {"preflight": "always"}, True, "update", []),
    "no answer": ({"msg": "The module failed."}, {}, False, "update", ["update_failed", "no_answer"]),
    "no answer without updates": ({}, {"update": False}, False, "preflight", ["no_answer"]),
    "the version does not prove its source": (
        seen(finding("source_unknown", "warning")),
        {},
        False,
        "update",
        [],
    ),
    "the same without updates": (seen(finding("source_unknown", "warning")), {"update": False}, False, "verify", []),
    "one finding names the failed update already": (
        seen(finding("update_failed"), installed=OLD),
        {},
        False,
        "update",
        ["update_failed"],
    ),
    "older definitions are wanted": ({**seen(published=OLD), "lower": "rollback"}, {}, False, "update", []),
    "older definitions are wanted, and updates are switched off": (
        {**seen(published=OLD), "lower": "rollback"},
        {"update": False},
        False,
        "verify",
        [],
    ),
    "older definitions were refused": (refused(NEW), {}, False, "update", ["update_failed"]),
    "older definitions were refused, with a new engine": (
        refused(NEW, published=NEW, engine_version="1.1.1.2"),
        {},
        False,
        "update",
        ["update_failed"],
    ),
    "the mirror published something newer during the update": (refused(OLD), {}, False, "verify", []),
    "errors that only report": (seen(FAULT), {"fail_on": "never"}, False, "update", ["daemon_unreachable"]),
    "a warning that only reports": (seen(WARNING), {"fail_on": "never"}, False, "verify", []),
}


@pytest.mark.parametrize(("result", "options", "changed", "following", "faults"), NEXT.values(), ids=NEXT)
def test_what_comes_next_and_what_fails_the_host(
    result: dict[str, Any], options: dict[str, Any], changed: bool, following: str, faults: list[str]
) -> None:
    verdict = endpoint_verdict(result, {**OPTIONS, **options}, changed)
    assert (verdict["next"], verdict["faults"]) == (following, faults)
    assert verdict["failed"] is (bool(faults) and options.get("fail_on") != "never")


OLD_KERNEL, SMALL_DISK, NOTE = finding("kernel_old"), finding("disk_small", "warning"), finding("hint", "info")

# The result; the options; the unmet requirements; the faults; the ids that the lines show.
REQUIREMENTS = {
    "a host that updates is not failed": (seen(), {}, [OLD_KERNEL], [], ["kernel_old"]),
    "unless they are always measured": (seen(), {"preflight": "always"}, [OLD_KERNEL], ["kernel_old"], ["kernel_old"]),
    "warnings count where warnings fail hosts": (
        seen(),
        {"preflight": "always", "fail_on": "warning"},
        [OLD_KERNEL, SMALL_DISK],
        ["kernel_old", "disk_small"],
        ["kernel_old", "disk_small"],
    ),
    "warnings are shown": (seen(), {"preflight": "always"}, [SMALL_DISK], [], ["disk_small"]),
    "a host that does not update is failed for them too": (
        seen(FAULT),
        {},
        [OLD_KERNEL],
        ["daemon_unreachable", "kernel_old"],
        ["daemon_unreachable", "kernel_old"],
    ),
    "what a finding says is not repeated": (
        seen(FAULT),
        {},
        [FAULT, OLD_KERNEL],
        ["daemon_unreachable", "kernel_old"],
        ["daemon_unreachable", "kernel_old"],
    ),
    "infos are left out": (seen(), {"preflight": "always"}, [NOTE], [], []),
}


@pytest.mark.parametrize(("result", "options", "unmet", "faults", "shown"), REQUIREMENTS.values(), ids=REQUIREMENTS)
def test_requirements_explain_and_fail_a_host_only_where_they_should(
    result: dict[str, Any], options: dict[str, Any], unmet: list[Any], faults: list[str], shown: list[str]
) -> None:
    verdict = endpoint_verdict(result, {**OPTIONS, **options}, requirements={"findings": unmet})
    assert verdict["faults"] == faults
    heads = [
        line.split(":")[0].split()[1] for line in verdict["lines"] if line.startswith(("ERROR", "WARNING", "INFO"))
    ]
    assert heads == shown
    text = " ".join(" ".join(verdict["lines"]).split())
    assert ("With endpoint_preflight: always," in text) is (bool(shown) and not faults)


def test_requirements_are_measured_where_they_are_asked_for_by_tag() -> None:
    assert endpoint_verdict(seen(), OPTIONS)["preflight"] is False
    by_tag = endpoint_verdict(
        seen(), {**OPTIONS, "preflight": "never"}, measure=True, requirements={"findings": [FAULT]}
    )
    assert (by_tag["preflight"], by_tag["next"], by_tag["faults"]) == (True, "preflight", [])


@pytest.mark.parametrize(
    ("result", "options", "again"),
    [
        (seen(), {}, False),
        (seen(STALE), {}, True),
        (seen(STALE), {"update": False}, False),
        ({**seen(STALE), "raw": [{"command": "mdatp definitions update"}]}, {}, False),
        (seen(finding("source_not_mirror", "warning")), {}, True),
        (seen(FAULT), {}, False),
        # An update would replace the newer definitions.
        (seen(STALE, published=OLD), {}, False),
    ],
)
def test_the_agent_is_asked_again_where_only_an_update_tells(
    result: dict[str, Any], options: dict[str, Any], again: bool
) -> None:
    assert endpoint_verdict(result, {**OPTIONS, **options})["update_again"] is again


@pytest.mark.parametrize(
    ("result", "options", "fails"),
    [
        (seen(), {}, False),
        (seen(FAULT), {}, False),
        (seen(installed=OLD), {}, False),
        (seen(finding("mirror_unreachable")), {}, True),
        (seen(finding("mirror_answer_unusable"), FAULT), {}, True),
        (seen(finding("mirror_package_missing")), {"update": False}, True),
        (seen(finding("mirror_package_missing")), {"fail_on": "never"}, False),
    ],
)
def test_what_fails_in_check_mode(result: dict[str, Any], options: dict[str, Any], fails: bool) -> None:
    assert endpoint_verdict(result, {**OPTIONS, **options})["failed_in_check_mode"] is fails


@pytest.mark.parametrize(
    ("installed", "published", "behind"),
    [
        ("1.449.9.0", "1.449.10.0", True),
        ("1.449.10.0", "1.449.9.0", False),
        ("1.449.10.0", "1.449.10.0", False),
        ("1.449.10", "1.449.10.0", True),
        ("", "1.449.10.0", True),
        (None, None, True),
        ("1.449.x.0", "1.449.10.0", True),
    ],
)
def test_versions_are_compared_as_numbers(installed: Any, published: Any, behind: bool) -> None:
    assert is_behind(seen(installed=installed, published=published)) is behind


def test_the_lines_name_what_was_found_and_what_to_do() -> None:
    result = {**seen(STALE, antivirus_enforcement_level="passive"), "msg": "The update failed.\nSee the log."}
    lines = endpoint_verdict(result, OPTIONS)["lines"]
    assert lines[:6] == [
        "The update failed.",
        "See the log.",
        f"definitions {NEW}, engine 1.1.1.1, agent 101.26062.0005",
        "source http://m/linux/production/",
        "ERROR definitions_stale: definitions_stale was seen.",
        "  What to do: Repair definitions_stale.",
    ]
    assert lines[6].startswith("NOTE The agent updates by its own timer only")
    assert max(map(len, lines)) <= 74
    unknown = endpoint_verdict({"health": {"fields": {"app_version": "101.1.1"}}}, OPTIONS)["lines"]
    assert unknown == [
        "definitions of unknown version, engine of unknown version, agent 101.1.1",
        "source unknown",
    ]
    assert endpoint_verdict({}, OPTIONS)["lines"] == []


def test_a_refused_configuration_is_reported_by_its_message_and_the_ids_that_it_does_not_name() -> None:
    refused = {
        "failed": True,
        "msg": "The file has 1 error.\n- $.a: It is wrong. [wrong_type]",
        "findings": [finding("wrong_type"), finding("not_json"), finding("not_json"), WARNING],
    }
    verdict = endpoint_verdict(refused, OPTIONS, requirements={"findings": [OLD_KERNEL]})
    assert verdict["lines"] == [
        "The file has 1 error.",
        "- $.a: It is wrong. [wrong_type]",
        "Finding: not_json",
        "ERROR kernel_old: kernel_old was seen.",
        "  What to do: Repair kernel_old.",
    ]


@pytest.mark.parametrize(
    "odd",
    [
        {"findings": None, "health": None, "mirror": None, "raw": None},
        {"findings": ["text", {"severity": "error"}, {"id": 5}], "health": {"fields": None}, "mirror": []},
        {"findings": [{"id": "a", "severity": "terrible"}], "raw": ["text"]},
    ],
)
def test_results_of_other_types_are_judged_all_the_same(odd: dict[str, Any]) -> None:
    assert endpoint_verdict(odd, OPTIONS)["failed"] is True


def test_other_types_than_mappings_are_refused_with_advice() -> None:
    with pytest.raises(AnsibleFilterError, match="takes the results of modules and the options as mappings"):
        endpoint_verdict(["text"], OPTIONS)
    with pytest.raises(AnsibleFilterError, match="the option fail_on is missing"):
        endpoint_verdict({}, {"update": True, "preflight": "auto"})
