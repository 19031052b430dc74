"""A fixture that runs a module through Ansible ad hoc, without a playbook."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest

CALL_MODULE = Path(__file__).with_name("call_module.py")


@pytest.fixture
def through_ansible(tmp_path) -> Callable[..., dict[str, Any]]:
    def call(module: str, **arguments: Any) -> dict[str, Any]:
        command = [sys.executable, str(CALL_MODULE), module, json.dumps(arguments)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    return call
