"""The modules definitions_update and health_info with agents that work, report late or wrongly, fail, or hang."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.mde.offline.plugins.module_utils._endpoint.agent import health_report, update
from ansible_collections.mde.offline.plugins.module_utils._endpoint.mirror import address
from ansible_collections.mde.offline.plugins.modules import definitions_update, health_info

OLD, NEW, NEWER = "1.443.1.0", "1.443.508.0", "1.445.9.0"
# The calls of the agent for one look at the host.
LOOK = ["health --output json", "health --details definitions"]
DEFAULTS = {"timeout": 20, "wait": 3, "version": None, "exact": False, "mirror_url": None, "max_age_hours": 168}
DEFAULTS["managed_file"] = "/nonexistent/mdatp_managed.json"

AGENT = """\
#!/bin/sh
# A fake agent: version, rows and behaviour are files beside it.
cd "$(dirname "$0")" || exit 1
echo "$*" >> calls
version=$(cat version)
if [ -e pending ]; then
    lag=$(cat lag 2>/dev/null || echo 0)
    if [ "$lag" -gt 0 ]; then echo $((lag - 1)) > lag; else mv pending version; version=$(cat version); fi
fi
case "$*" in
"health --output json")
    [ -e json_hangs ] && sleep 100
    printf '{"healthy":true,"licensed":true,"appVersion":"101.26062.0005","engineVersion":"1.1.1.1",'
    printf '"definitionsVersion":"%s"}\\n' "$version" ;;
"health --details definitions")
    printf 'definitions_version : "%s"\\n' "$version"
    printf 'definitions_status : "%s"\\n' "$(cat status 2>/dev/null || echo up_to_date)"
    printf 'definitions_update_fail_reason : "%s"\\n' "$(cat reason 2>/dev/null)"
    printf 'offline_definition_update : "enabled" [managed]\\n'
    printf 'offline_definition_url_configured : "%s" [managed]\\n' "$(cat url)" ;;
"definitions update") . ./update ;;
*) exit 64 ;;
esac
"""


class Host:
    """A simulated agent and a mirror in directories of the test."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.mirror = folder / "mirror"
        self.command = folder / "mdatp"
        self.command.write_text(AGENT)
        self.command.chmod(self.command.stat().st_mode | stat.S_IXUSR)
        self.put(version=OLD, url=str(self.mirror), update=f"echo {NEW} > version")

    def put(self, **files: str) -> None:
        for name, content in files.items():
            (self.folder / name).write_text(content)

    def publish(self, definitions: str, engine: str = "1.1.2.2") -> None:
        folder = self.mirror / f"arch_{address.architecture()}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "manifest.json").write_text(json.dumps({"DefinitionVersion": definitions, "EngineVersion": engine}))

    def update(self, check_mode: bool = False, diff: bool = False, **params):
        params = dict(DEFAULTS, mdatp=str(self.command), **params)
        return definitions_update.run(SimpleNamespace(params=params, check_mode=check_mode, _diff=diff))

    def health(self, **params):
        defaults = {"timeout": 20, "mirror_url": None, "check_mirror": True, "max_age_hours": 168}
        defaults["managed_file"] = DEFAULTS["managed_file"]
        return health_info.run(SimpleNamespace(params=dict(defaults, mdatp=str(self.command), **params)))

    def calls(self) -> list[str]:
        """The calls of the agent since the last use of this method."""
        path = self.folder / "calls"
        asked = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return asked


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def ids(result):
    return [entry["id"] for entry in result["findings"]]


def test_an_update_moves_the_version_and_the_next_one_changes_nothing(host):
    host.publish(NEW)
    first = host.update(diff=True)
    assert (first["changed"], first["failed"]) == (True, False)
    assert (first["before"]["definitions_version"], first["after"]["definitions_version"]) == (OLD, NEW)
    assert first["diff"] == {"before": first["before"], "after": first["after"]}
    assert first["health"]["fields"]["definitions_version"] == NEW
    assert first["mirror"]["definitions_version"] == NEW
    assert [call["command"] for call in first["raw"]].count("mdatp definitions update") == 1
    host.calls()
    second = host.update(wait=60)
    assert (second["changed"], second["failed"]) == (False, False)
    # The mirror has no newer version, so one call after the update is enough.
    assert host.calls() == [*LOOK, "definitions update", LOOK[-1], *LOOK]


def test_health_that_lags_is_waited_for(host):
    host.publish(NEW)
    host.put(lag="3", update=f"echo {NEW} > pending; echo Security intelligence is up to date")
    result = host.update(version="mirror", wait=30)
    assert (result["changed"], result["failed"]) == (True, False)
    assert result["after"]["definitions_version"] == NEW


def test_without_anything_to_compare_with_health_has_to_settle(host, monkeypatch):
    monkeypatch.setattr(health_report, "read_mirror", lambda *_: (None, []))
    monkeypatch.setattr(update, "SETTLING", 0)
    host.put(update="true")
    result = host.update()
    assert (result["changed"], result["failed"]) == (False, False)


def test_a_demand_that_is_met_asks_the_agent_for_nothing(host):
    host.put(version=NEW)
    for demanded in (NEW, OLD):
        result = host.update(version=demanded)
        assert (result["changed"], result["failed"]) == (False, False)
    assert "definitions update" not in host.calls()


def test_a_demand_that_is_not_met_fails_and_says_what_the_host_has(host):
    result = host.update(version=NEWER, wait=1)
    assert (result["changed"], result["failed"]) == (True, True)
    assert NEWER in result["msg"]
    assert NEW in result["msg"]


def test_an_exact_demand_goes_back_too(host):
    host.put(version=NEWER)
    assert host.update(version=NEW)["changed"] is False
    result = host.update(version=NEW, exact=True)
    assert (result["changed"], result["failed"]) == (True, False)
    assert result["after"]["definitions_version"] == NEW


def test_a_rollback_is_named_with_both_versions(host):
    host.put(version=NEWER)
    host.publish(NEW)
    assert host.update(version="mirror")["changed"] is False
    predicted = host.update(check_mode=True, version="mirror", exact=True)
    assert (predicted["changed"], predicted["failed"]) == (True, False)
    assert predicted["msg"] == f"Definitions would be rolled back from {NEWER} to {NEW}."
    result = host.update(version="mirror", exact=True)
    assert (result["changed"], result["failed"]) == (True, False)
    assert result["msg"] == f"Definitions were rolled back from {NEWER} to {NEW}."


@pytest.mark.parametrize("update", ["true", "echo 'the set is too old'; exit 3", "echo 'too old' > reason"])
def test_an_agent_that_refuses_an_older_set(host, update):
    host.put(version=NEWER, update=update)
    host.publish(NEW)
    result = host.update(version="mirror", exact=True, wait=1)
    assert (result["changed"], result["failed"]) == (False, True)
    assert "The agent may refuse definitions that are older than its own" in result["msg"]
    # A refusal of older definitions does not explain why newer ones are not installed.
    host.put(version=OLD)
    assert "may refuse" not in host.update(version="mirror", exact=True, wait=1)["msg"]


def test_a_release_that_differs_in_its_engine_only_is_another_one(host):
    host.put(version=NEW)
    host.publish(NEW, engine="1.1.0.9")  # The agent has 1.1.1.1.
    assert host.update(version="mirror", wait=1)["failed"] is False
    result = host.update(version="mirror", exact=True, wait=1)
    assert (result["changed"], result["failed"]) == (False, True)
    assert host.update(check_mode=True, version="mirror", exact=True)["msg"] == (
        f"Definitions would be rolled back from {NEW} with engine 1.1.1.1 to {NEW} with engine 1.1.0.9."
    )


def test_an_update_that_changes_nothing_although_the_mirror_is_ahead(host):
    host.publish(NEW)
    host.put(update="true")
    quiet = host.update(wait=1)
    assert (quiet["changed"], quiet["failed"], ids(quiet)) == (False, False, ["behind_mirror"])
    strict = host.update(wait=1, version="mirror")
    assert (strict["changed"], strict["failed"]) == (False, True)


def test_a_command_that_fails(host):
    host.put(update="echo 'cannot reach mirror' >&2; exit 5")
    result = host.update()
    assert (result["changed"], result["failed"]) == (False, True)
    assert "status 5" in result["msg"]
    assert "cannot reach mirror" in result["msg"]


def test_a_reason_in_health_is_a_failure_even_if_the_command_says_otherwise(host):
    host.publish(NEW)
    host.put(update="echo 'Connection refused' > reason")
    result = host.update(wait=60)
    assert host.calls() == [*LOOK, "definitions update", LOOK[-1], *LOOK]
    assert result["failed"] is True
    assert "Connection refused" in result["msg"]
    assert "update_failed" in ids(result)


def test_an_old_reason_that_goes_away_is_no_failure(host):
    host.publish(NEW)
    host.put(reason="Connection refused", update=f"echo {NEW} > version; : > reason")
    result = host.update(version="mirror")
    assert (result["changed"], result["failed"], ids(result)) == (True, False, [])


def test_a_hanging_update_is_stopped_and_reported(host):
    host.put(update="sleep 100")
    result = host.update(timeout=1)
    assert (result["changed"], result["failed"]) == (False, True)
    assert "within 1 seconds" in result["msg"]
    assert "mdatp_hangs" in ids(result)


def test_no_agent(host):
    host.command.unlink()
    result = host.update()
    assert (result["changed"], result["failed"], ids(result)) == (False, True, ["not_installed"])
    predicted = host.update(check_mode=True)
    assert (predicted["changed"], predicted["failed"]) == (False, False)
    assert "unknown" in predicted["msg"]


def test_the_mirror_is_demanded_but_cannot_be_read(host):
    result = host.update(version="mirror")
    assert result["failed"] is True
    assert "mirror" in result["msg"]
    assert "mirror_unreachable" in ids(result)
    assert "definitions update" not in host.calls()
    host.put(url="")
    assert "mirror_url" in host.update(version="mirror")["msg"]


@pytest.mark.parametrize(
    ("published", "version", "changed", "after"),
    [
        (NEW, None, True, NEW),
        (NEW, "mirror", True, NEW),
        (OLD, None, False, OLD),
        (None, NEWER, True, NEWER),
        (None, OLD, False, OLD),
        (None, None, False, OLD),
    ],
)
def test_check_mode_predicts_and_changes_nothing(host, published, version, changed, after):
    if published:
        host.publish(published)
    result = host.update(check_mode=True, diff=True, version=version)
    assert (result["changed"], result["failed"]) == (changed, False)
    assert result["diff"]["after"]["definitions_version"] == after
    assert ("unknown" in result["msg"]) is (published is None and version is None)
    assert "definitions update" not in host.calls()


# --- health_info ---


def test_health_of_a_good_host(host):
    host.publish(OLD)
    result = host.health()
    assert (result["changed"], result["healthy"], result["findings"]) == (False, True, [])
    assert result["health"]["fields"]["app_version"] == "101.26062.0005"
    assert result["health"]["managed"] == ["offline_definition_update", "offline_definition_url_configured"]
    assert [call["rc"] for call in result["raw"]] == [0, 0]


def test_health_compares_with_the_mirror_that_it_is_given(host):
    host.publish(NEW)
    other = host.health(mirror_url=str(host.mirror) + "2")
    assert set(ids(other)) == {"mirror_url_differs", "mirror_unreachable"}
    assert other["healthy"] is False
    behind = host.health(mirror_url=str(host.mirror))
    assert (ids(behind), behind["healthy"]) == (["behind_mirror"], True)
    assert host.health(check_mirror=False)["findings"] == []


def test_health_of_a_host_without_agent_and_of_one_that_hangs(host):
    host.put(json_hangs="")
    hangs = host.health(timeout=1)
    assert (ids(hangs), hangs["healthy"], hangs["health"]["fields"]) == (["mdatp_hangs"], False, {})
    assert hangs["raw"][0]["timed_out"] is True
    host.command.unlink()
    absent = host.health()
    assert (ids(absent), absent["healthy"], absent["raw"]) == (["not_installed"], False, [])
