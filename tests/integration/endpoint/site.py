"""Helpers of the tests of endpoint modules: an endpoint in a folder, its mirror, and the results of modules."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ansible_collections.mde.offline.plugins.module_utils._endpoint.mirror.address import architecture

from tests.integration.roles.endpoints import publish
from tests.integration.roles.stage import Agent

# As JSON, because the path of the checkout may contain spaces.
PYTHON = json.dumps({"ansible_python_interpreter": sys.executable})


class Site(Agent):
    """An endpoint and its mirror, which has published nothing yet."""

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(folder / "endpoint", "--arch", architecture())
        self.mirror, self.url = folder / "mirror", url
        engine = {"enforcementLevel": "real_time", "offlineDefinitionUpdate": "enabled"}
        engine.update({"offlineDefinitionUpdateUrl": url, "offlineDefinitionUpdateFallbackToCloud": False})
        self.managed_file.write_text(json.dumps({"antivirusEngine": engine}))

    def publish(self, definitions: str) -> None:
        publish(self.mirror, definitions, architecture())

    def module(self, name: str, *options: str, **arguments: Any) -> dict[str, Any]:
        """Runs a module ad hoc and returns its result."""
        command = [sys.executable, "-m", "ansible", "adhoc", "localhost", "-m", f"mde.offline.{name}"]
        done = subprocess.run(
            [*command, "-a", json.dumps({"mdatp": str(self.command), **arguments}), "-e", PYTHON, *options],
            env=dict(os.environ, ANSIBLE_NOCOLOR="1", ANSIBLE_FORCE_COLOR="0", ANSIBLE_LOCALHOST_WARNING="false"),
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert " => {" in done.stdout, done.stdout + done.stderr
        start = done.stdout.index(" => {")
        result: dict[str, Any] = json.JSONDecoder().raw_decode(done.stdout, start + 4)[0]
        failed = done.stdout[:start].endswith("FAILED!")
        assert failed == (done.returncode != 0), done.stdout
        return dict(result, failed=failed)


def ids(result: dict[str, Any]) -> list[str]:
    return [entry["id"] for entry in result["findings"]]
