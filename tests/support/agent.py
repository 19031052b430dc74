"""The simulated agent in a folder, and the files of the mirror that it updates from."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ansible_collections.mde.offline.plugins.module_utils._endpoint.mirror.address import architecture

from simulators.download_service import build_package
from tests.support.ansible_runs import Ansible
from tools.collection_tree import CHECKOUT

OLD, NEW = "1.449.108.0", "1.449.117.0"
ENGINE = "1.1.26020.1002"


def publish(root: Path, version: str, arch: str = "x86_64", channel: str = "production", engine: str = ENGINE) -> None:
    """Creates the files that a mirror serves, without a sync."""
    folder = root / f"linux/{channel}/arch_{arch}"
    build_package(folder / "updates.zip", version, engine, arch=arch, size=20_000)
    manifest = {"EngineVersion": engine, "DefinitionVersion": version}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def publish_status(
    root: Path, arch: str = "x86_64", channel: str = "production", age_hours: int = 1, **members: Any
) -> None:
    """Creates the status.json of such a mirror; `members` are further ones of the channel, such as `withdrawn`."""

    def moment(hours: int) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - hours * 3600))

    path = f"linux/{channel}/arch_{arch}"
    entry = {"platform": "linux", "channel": channel, "arch": arch, "path": path, "held": None}
    entry.update(definitions_date=moment(age_hours), **members)
    content = {"format": 1, "generated": moment(0), "channels": [entry]}
    (root / "status.json").write_text(json.dumps(content), encoding="utf-8")


def withdrawn(*definitions: str, engine: str = ENGINE) -> list[dict[str, str]]:
    """The list of that name in status.json."""
    return [{"definitions_version": version, "engine_version": engine} for version in definitions]


class Agent:
    """An endpoint in a folder, with the simulated agent."""

    def __init__(self, root: Path, *options: str) -> None:
        self.root = root
        self.command = root / "usr/bin/mdatp"
        self.managed_file = root / "etc/opt/microsoft/mdatp/managed/mdatp_managed.json"
        self.record = root / "var/lib/mde-offline/endpoint.json"
        self.simulate("install", *options)

    def simulate(self, verb: str, *arguments: str) -> None:
        """Runs a verb of the simulator, such as `break` and the name of a state."""
        program = CHECKOUT / "simulators" / "mdatp.py"
        command = [sys.executable, str(program), verb, "--root", str(self.root), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def run(self, *arguments: str) -> str:
        """The output of `mdatp`."""
        return subprocess.run([str(self.command), *arguments], check=True, capture_output=True, text=True).stdout

    def variables(self, **more: Any) -> dict[str, Any]:
        return {
            "endpoint_mdatp": str(self.command),
            "endpoint_managed_file": str(self.managed_file),
            "endpoint_record_file": str(self.record),
            "endpoint_enforcement_level": "real_time",
            **more,
        }

    @property
    def managed(self) -> dict[str, Any]:
        return dict(json.loads(self.managed_file.read_text(encoding="utf-8")))

    def manage(self, antivirus: dict[str, Any], **more: Any) -> None:
        """Writes the managed configuration."""
        self.managed_file.write_text(json.dumps({"antivirusEngine": antivirus, **more}), encoding="utf-8")

    def field(self, name: str) -> Any:
        return json.loads(self.run("health", "--field", name))


class UpdatingAgent(Agent):
    """An agent that updates from a mirror, which has published nothing yet."""

    def __init__(self, folder: Path, mirror: Path, url: str, *options: str) -> None:
        super().__init__(folder / "endpoint", "--arch", architecture(), *options)
        self.mirror, self.url = mirror, url
        self.ansible = Ansible(folder)
        self.manage(
            {
                "enforcementLevel": "real_time",
                "offlineDefinitionUpdate": "enabled",
                "offlineDefinitionUpdateUrl": url,
                "offlineDefinitionUpdateFallbackToCloud": False,
            }
        )

    def publish(self, definitions: str) -> None:
        publish(self.mirror, definitions, architecture())

    def module(self, name: str, *options: str, **arguments: Any) -> dict[str, Any]:
        """Runs a module of the collection on this endpoint and returns its result."""
        return self.ansible.module(name, *options, mdatp=str(self.command), **arguments)


def ids(result: dict[str, Any]) -> list[str]:
    return [entry["id"] for entry in result["findings"]]
