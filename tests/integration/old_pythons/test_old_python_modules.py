"""The modules of the endpoint, run by ansible-core 2.16 with the Pythons of old hosts, in the C locale."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent import Agent, publish
from tests.support.ansible_runs import Ansible

C_LOCALE = {"LANG": "C", "LC_ALL": "C"}
DEFINITIONS = "1.450.1.0"
SECRET = "s3cret-in-an-address"
CONFIG = {
    "antivirusEngine": {"enforcementLevel": "real_time", "maximumOnDemandScanThreads": 4},
    "edr": {"groupIds": "Größe ☃ 𝄞 東京"},
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "Größe 東京" / "mdatp_managed.json"


def task(path: Path, **arguments: Any) -> dict[str, Any]:
    return {"mde.offline.managed_config": {"path": str(path), "mdatp": "/nonexistent/mdatp", **arguments}}


def test_managed_config(old_ansible: Ansible, path: Path) -> None:
    broken, twice = path.with_name("broken.json"), path.with_name("twice.json")
    path.parent.mkdir()
    broken.write_bytes(b'{"edr": {},\n "features": {},\n}')
    twice.write_bytes('{"edr": {"groupIds": "ä"},\n "edr": {}}'.encode())
    twice.chmod(0o666)
    with contextlib.suppress(OSError):  # Not all file systems support user attributes.
        os.setxattr(twice, "user.note", b"kept")
    attributes = os.listxattr(twice)
    change = {"antivirusEngine": {"scanArchives": False}, "cloudService": {"enabled": True}}
    proxy = {"cloudService": {"proxy": f"http://u:{SECRET}@proxy:8080/"}}
    played = old_ansible.tasks(
        {**task(path, config=CONFIG), "check_mode": True},
        task(path, config=CONFIG),
        task(path, config=CONFIG),
        task(path, config=change, backup=True, mode="0640"),
        task(path, config=proxy),
        task(path, state="absent", config={**change, "edr": None}),
        task(broken, config=CONFIG),
        task(twice, config=CONFIG),
        task(twice, config=CONFIG, state="replaced", protect=True),
        options=("--diff", "-vvv"),
        environment=C_LOCALE,
        ignore_errors=True,
    )
    assert "MODULE FAILURE" not in played.output, played.output
    predicted, created, again, changed, refused, removed, not_json, duplicate, replaced = played.results
    outcome = [result["changed"] for result in played.results]
    assert outcome == [True, True, False, True, False, True, False, False, True]
    assert predicted["config"] == created["config"] == again["config"] == CONFIG
    assert json.loads(created["diff"][0]["after"]) == CONFIG
    assert list(json.loads(created["diff"][0]["after"])) == list(CONFIG)
    assert created["path"] == str(path)
    backup = Path(changed["backup_file"])
    assert backup.read_bytes() == (json.dumps(CONFIG, indent=2, ensure_ascii=False) + "\n").encode()
    assert "proxy_credentials" in {found["id"] for found in refused["findings"]}
    assert SECRET not in played.output
    left = {"antivirusEngine": CONFIG["antivirusEngine"]}
    assert removed["config"] == left
    assert path.read_bytes() == (json.dumps(left, indent=2) + "\n").encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [found["id"] for found in not_json["findings"] + duplicate["findings"]] == ["not_json", "duplicate_name"]
    assert "line 3" in not_json["msg"]
    assert "line 1 and again in line 2" in duplicate["msg"]
    assert json.loads(twice.read_bytes()) == CONFIG
    assert (stat.S_IMODE(twice.stat().st_mode), os.listxattr(twice)) == (0o644, attributes)
    assert Path(replaced["backup_file"]).read_bytes().startswith(b'{"edr"')


def test_an_endpoint_is_configured_updates_from_a_mirror_and_proves_it(old_ansible: Ansible, tmp_path: Path) -> None:
    host, mirror = Agent(tmp_path / "endpoint", "--arch", "x86_64"), tmp_path / "Spiegel Größe"
    ring, agent = mirror / "linux/production", str(host.command)
    publish(mirror, DEFINITIONS)
    config = {
        "antivirusEngine": {
            "enforcementLevel": "real_time",
            "offlineDefinitionUpdate": "enabled",
            "offlineDefinitionUpdateUrl": str(ring),
            "offlineDefinitionUpdateFallbackToCloud": False,
        },
        "cloudService": {"automaticDefinitionUpdateEnabled": True},
    }
    health = {"mde.offline.health_info": {"mdatp": agent, "check_mirror": False}}
    played = old_ansible.tasks(
        health,
        {"mde.offline.managed_config": {"path": str(host.managed_file), "mdatp": agent, "config": config}},
        {"mde.offline.definitions_update": {"mdatp": agent, "version": DEFINITIONS}},
        {"mde.offline.definitions_update": {"mdatp": agent, "version": DEFINITIONS}},
        health,
        {"mde.offline.health_info": {"mdatp": str(host.root / "nowhere"), "check_mirror": False}},
        environment=C_LOCALE,
    )
    assert played.status == 0, played.output
    before, configured, _updated, _again, after, nowhere = played.results
    assert [result["changed"] for result in played.results] == [False, True, True, False, False, False], played.output
    assert configured["agent_version"] == before["health"]["fields"]["app_version"]
    assert before["health"]["fields"]["definitions_version"] != DEFINITIONS
    fields = after["health"]["fields"]
    assert fields["definitions_version"] == DEFINITIONS
    assert fields["offline_definition_url_configured"] == str(ring)
    assert [found["id"] for found in nowhere["findings"]] == ["not_installed"]


def test_a_host_is_looked_at_before_and_after_its_agent_breaks(old_ansible: Ansible, tmp_path: Path) -> None:
    """Preflight and diagnosis in real plays: a good agent, one with garbled output, one that crashes, and none."""
    host, ring = Agent(tmp_path / "Größe 東京", "--arch", "x86_64"), tmp_path / "Spiegel" / "linux" / "production"
    agent, managed = str(host.command), host.managed_file
    managed.write_text('{"antivirusEngine": {"offlineDefintionUpdate": "enabled", "x": "ä"}}', encoding="utf-8")
    broken = tmp_path / "broken"
    broken.write_bytes(b"#!/bin/sh\nprintf 'kaputt \\374\\344\\n' >&2\nkill -SEGV $$\n")
    broken.chmod(0o755)
    binary = tmp_path / "binary"
    binary.write_bytes(b"\x7fELF\x02\x01\x01" + b"\0" * 70)
    binary.chmod(0o755)
    url = f"http://{SECRET}:{SECRET}@127.0.0.1:1/häuser/"

    def diagnosis(command: str, **more: Any) -> dict[str, Any]:
        return {
            "mde.offline.diagnosis_info": {"mdatp": command, "managed_file": str(managed), "mirror_url": url, **more},
        }

    played = old_ansible.tasks(
        {"mde.offline.preflight_info": {"mdatp": agent}},
        {"mde.offline.preflight_info": {"mdatp": str(tmp_path / "nowhere")}},
        diagnosis(agent),
        diagnosis(str(broken), connectivity_test=False, log_lines=0),
        diagnosis(str(binary)),
        diagnosis(str(tmp_path / "nowhere")),
        {"mde.offline.health_info": {"mdatp": str(broken), "mirror_url": str(ring)}},
        environment=C_LOCALE,
    )
    assert played.status == 0, played.output
    # Ansible adds the arguments of the task (`invocation`) to the result; they are not output of the module.
    said = [{name: value for name, value in result.items() if name != "invocation"} for result in played.results]
    assert SECRET not in json.dumps(said)
    ready, bare, good, garbled, foreign, nowhere, asked = played.results
    assert not any(result["changed"] for result in played.results)
    assert {entry["id"] for entry in ready["requirements"]} == {entry["id"] for entry in bare["requirements"]}
    measured = {entry["id"]: entry["ok"] for entry in ready["requirements"]}
    assert measured["agent_version"] is True
    assert measured["architecture"] in (True, None)
    for result in (good, garbled, foreign, nowhere):
        ids = [entry["id"] for entry in result["findings"]]
        assert {"managed_file_incomplete", "mirror_url_malformed"} <= set(ids)
        assert all(entry["message"] and entry["hint"] for entry in result["findings"])
    assert good["health"]["fields"]["app_version"]
    for result, wanted in ((garbled, "mdatp_cannot_run"), (foreign, "mdatp_cannot_run"), (nowhere, "not_installed")):
        assert result["findings"][0]["id"] == wanted
        assert result["health"]["fields"] == {}
    assert "SIGSEGV" in garbled["findings"][0]["message"]
    assert [entry["id"] for entry in asked["findings"]] == ["mdatp_cannot_run", "mirror_unreachable"]
