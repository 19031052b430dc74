"""Modules that Ansible runs ad hoc: packed, passed to an interpreter and run there, as in any task."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, Callable

import pytest

from tools.collection_tree import CHECKOUT

CALL_MODULE = CHECKOUT / "tests" / "support" / "call_module.py"


@pytest.fixture
def through_ansible(tmp_path) -> Callable[..., dict[str, Any]]:
    def call(module: str, **arguments: Any) -> dict[str, Any]:
        command = [sys.executable, str(CALL_MODULE), module, json.dumps(arguments)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    return call


def test_a_mirror_without_a_sync_is_reported_as_empty(through_ansible, tmp_path):
    result = through_ansible("mde.offline.mirror_info", config={"downloadFolder": str(tmp_path / "mirror")})
    assert not result.get("failed"), result
    assert result["changed"] is False
    assert result["mirror"]["channels"] == []
    assert result["mirror"]["last_sync"] is None


def test_a_host_without_an_agent_is_a_finding_and_not_a_failure(through_ansible, tmp_path):
    result = through_ansible("mde.offline.health_info", mdatp=str(tmp_path / "mdatp"))
    assert not result.get("failed"), result
    assert result["changed"] is False
    assert [finding["id"] for finding in result["findings"]] == ["not_installed"]
    assert str(tmp_path / "mdatp") in result["findings"][0]["message"]


def test_an_unknown_setting_is_refused_by_name_without_a_traceback(through_ansible, tmp_path):
    result = through_ansible("mde.offline.mirror_sync", config={"downloadFolder": str(tmp_path), "speed": 3})
    assert result["failed"] is True
    assert "speed" in result["msg"]
    assert "Traceback" not in str(result)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_option_is_refused_by_name(through_ansible):
    result = through_ansible("mde.offline.health_info", minutes=5)
    assert result["failed"] is True
    assert "minutes" in result["msg"]


def test_the_command_is_not_installed_into_a_missing_folder(through_ansible, tmp_path):
    result = through_ansible("mde.offline.mirror_command", path=str(tmp_path / "bin" / "mde-mirror"))
    assert result["failed"] is True
    assert f"The folder {tmp_path / 'bin'} does not exist." in result["msg"]
    assert list(tmp_path.iterdir()) == []
