"""The modules of the endpoint, carried by ansible-core 2.16 to the Pythons of old hosts and run in the C locale."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from simulators.download_service import build_package
from tests.integration.old_pythons.plays import Plays

STAND_IN = Path(__file__).resolve().parents[3] / "simulators" / "mdatp.py"
C_LOCALE = {"LANG": "C", "LC_ALL": "C"}
DEFINITIONS, ENGINE = "1.450.1.0", "1.1.25110.3002"
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


def test_managed_config(old_plays: Plays, path: Path) -> None:
    broken, twice = path.with_name("broken.json"), path.with_name("twice.json")
    path.parent.mkdir()
    broken.write_bytes(b'{"edr": {},\n "features": {},\n}')
    twice.write_bytes('{"edr": {"groupIds": "ä"},\n "edr": {}}'.encode())
    change = {"antivirusEngine": {"scanArchives": False}, "cloudService": {"enabled": True}}
    proxy = {"cloudService": {"proxy": f"http://u:{SECRET}@proxy:8080/"}}
    played = old_plays.play(
        {**task(path, config=CONFIG), "check_mode": True},
        task(path, config=CONFIG),
        task(path, config=CONFIG),
        task(path, config=change, backup=True, mode="0640"),
        task(path, config=proxy),
        task(path, state="absent", config={**change, "edr": None}),
        task(broken, config=CONFIG),
        task(twice, config=CONFIG),
        task(twice, config=CONFIG, state="replaced"),
        options=("--diff", "-vvv"),
        environment=C_LOCALE,
        ignore_errors=True,
    )
    assert "MODULE FAILURE" not in played.output, played.output
    foreseen, created, again, changed, refused, removed, not_json, duplicate, replaced = played.results
    outcome = [result["changed"] for result in played.results]
    assert outcome == [True, True, False, True, False, True, False, False, True]
    assert foreseen["config"] == created["config"] == again["config"] == CONFIG
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
    assert Path(replaced["backup_file"]).read_bytes().startswith(b'{"edr"')


def test_an_endpoint_is_configured_updates_from_a_mirror_and_proves_it(old_plays: Plays, tmp_path: Path) -> None:
    root, ring = tmp_path / "endpoint", tmp_path / "Spiegel Größe" / "linux" / "production"
    subprocess.run([sys.executable, str(STAND_IN), "install", "--root", str(root), "--arch", "x86_64"], check=True)
    folder = ring / "arch_x86_64"
    build_package(folder / "updates.zip", DEFINITIONS, ENGINE, size=20_000)
    manifest = {"EngineVersion": ENGINE, "DefinitionVersion": DEFINITIONS}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    managed = root / "etc/opt/microsoft/mdatp/managed/mdatp_managed.json"
    agent = str(root / "usr/bin/mdatp")
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
    played = old_plays.play(
        health,
        {"mde.offline.managed_config": {"path": str(managed), "mdatp": agent, "config": config}},
        {"mde.offline.definitions_update": {"mdatp": agent, "version": DEFINITIONS}},
        {"mde.offline.definitions_update": {"mdatp": agent, "version": DEFINITIONS}},
        health,
        {"mde.offline.health_info": {"mdatp": str(root / "nowhere"), "check_mirror": False}},
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
