"""All examples of all modules and filters are run with a mirror and an endpoint in a temporary folder."""

from __future__ import annotations

import ast
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from simulators.download_service import DownloadService
from simulators.static_web_server import StaticWebServer
from tests.support.agent import Agent
from tests.support.ansible_runs import Ansible
from tests.support.openpgp import Key
from tools.collection_tree import CHECKOUT

PLUGINS = CHECKOUT / "plugins"
DOCUMENTED = sorted([*PLUGINS.glob("modules/*.py"), *PLUGINS.glob("filter/*.yml")])
ARCH = "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64"
# The URLs of the mirror in the examples, and the version that an example requires.
EXAMPLE_MIRRORS = ("http://mirror.example.com:8080", "http://mirror.example.com:8000", "http://mirror.example.com")
OLDER, REQUIRED = "1.443.500.0", "1.443.508.0"
TAKES_VARIABLES = "mde.offline.role_variables"
# Folders of a real host; the tests use folders of the same name in the temporary folder.
HOST_FOLDERS = ("/etc/", "/mnt/", "/opt/", "/srv/", "/usr/", "/var/")


def documentation(path: Path) -> dict[str, Any]:
    """The parsed DOCUMENTATION and EXAMPLES of a plugin."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".yml":
        found = yaml.safe_load(text)
        return {"DOCUMENTATION": found["DOCUMENTATION"], "EXAMPLES": yaml.safe_load(found["EXAMPLES"])}
    parts = {
        node.targets[0].id: yaml.safe_load(ast.literal_eval(node.value))
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id.isupper()
        if node.targets[0].id in ("DOCUMENTATION", "EXAMPLES")
    }
    assert set(parts) == {"DOCUMENTATION", "EXAMPLES"}
    return parts


def all_options(path: Path) -> dict[str, Any]:
    """The options of a module, including those of its documentation fragments."""
    described = documentation(path)["DOCUMENTATION"]
    found = dict(described.get("options") or {})
    for fragment in described.get("extends_documentation_fragment", []):
        if not fragment.startswith("mde.offline."):
            continue
        tree = ast.parse((PLUGINS / "doc_fragments" / f"{fragment.split('.')[-1]}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "DOCUMENTATION":
                found.update(yaml.safe_load(ast.literal_eval(node.value)).get("options") or {})
    return found


PATH_OPTIONS = {
    f"mde.offline.{path.stem}": {
        name: option["default"]
        for name, option in all_options(path).items()
        if option.get("type") == "path" and option.get("default")
    }
    for path in DOCUMENTED
    if path.suffix == ".py"
}


class World:
    """A mirror with two releases behind a web server, and an endpoint that updated from it."""

    def __init__(self, root: Path, service: DownloadService, key: Key | None) -> None:
        self.root, self.service, self.key = root, service, key
        self.mirror = root / "srv/mde-mirror"
        self.settings = root / "etc/mde-mirror/settings.json"
        self.web = StaticWebServer(self.mirror)

    def build(self) -> None:
        self.settings.parent.mkdir(parents=True)
        self.mirror.mkdir(parents=True)
        for folder in ("mnt/transfer", "usr/local/bin"):
            (self.root / folder).mkdir(parents=True)
        settings = {"downloadFolder": str(self.mirror), "channels": ["pilot"], **self.source}
        if self.key:
            settings["signing"] = {"key": str(self.key.secret)}
            settings["source"]["trustedKeys"] = str(self.key.public)
        self.settings.write_text(json.dumps(settings), encoding="utf-8")
        for version in (OLDER, REQUIRED):
            self.service.publish(version, size=20_000)
            self._run(sys.executable, CHECKOUT / "tools/mde_mirror_dev.py", "sync", "--settings", self.settings)
        self.web.start()
        agent = Agent(self.root, "--arch", ARCH)
        agent.managed_file.write_text(json.dumps(self.profile), encoding="utf-8")
        agent.run("definitions", "update")
        (self.root / "usr/bin/python3.12").symlink_to(sys.executable)
        for folder in ("templates", "files"):
            (self.root / folder).mkdir()
        (self.root / "templates/mdatp_managed.json.j2").write_text(json.dumps(self.profile), encoding="utf-8")
        (self.root / "files/mdatp_managed.json").write_text(json.dumps(self.profile), encoding="utf-8")

    @property
    def source(self) -> dict[str, Any]:
        return {"source": {"type": "microsoft", "url": self.service.url}}

    @property
    def profile(self) -> dict[str, Any]:
        engine = {
            "enforcementLevel": "real_time",
            "offlineDefinitionUpdate": "enabled",
            "offlineDefinitionUpdateUrl": f"{self.web.url.rstrip('/')}/linux/production/",
            "offlineDefinitionUpdateFallbackToCloud": False,
        }
        return {"antivirusEngine": engine, "cloudService": {"automaticDefinitionUpdateEnabled": True}}

    def relocated(self, value: Any) -> Any:
        """An example with the URLs and paths of this test, and without become."""
        if isinstance(value, list):
            return [self.relocated(item) for item in value]
        if isinstance(value, dict):
            found = {name: self.relocated(item) for name, item in value.items() if not str(name).startswith("become")}
            for module in PATH_OPTIONS.keys() & found.keys():
                found[module] = self._with_paths(module, found[module] or {})
            return found
        if not isinstance(value, str):
            return value
        for mirror in EXAMPLE_MIRRORS:
            value = value.replace(mirror, self.web.url.rstrip("/"))
        return f"{self.root}{value}" if value.startswith(HOST_FOLDERS) else value

    def _with_paths(self, module: str, arguments: dict[str, Any]) -> dict[str, Any]:
        arguments = dict(arguments)
        for name, default in PATH_OPTIONS[module].items():
            arguments.setdefault(name, f"{self.root}{default}")
        if "downloadFolder" in (arguments.get("config") or {}):
            arguments["config"] = {**arguments["config"], **self.source}
        return arguments

    @staticmethod
    def _run(*command: object) -> None:
        subprocess.run([str(word) for word in command], check=True, capture_output=True, timeout=600)


def play_of(tasks: list[dict[str, Any]], root: Path) -> dict[str, Any]:
    """A play with these tasks. A task that takes the variables of a role becomes a task of that role."""
    play = {"name": "Examples", "hosts": "localhost", "gather_facts": False, "tasks": tasks}
    if TAKES_VARIABLES not in tasks[0]:
        return play
    shutil.copytree(CHECKOUT / "roles", root / "roles", ignore=shutil.ignore_patterns("tasks", "handlers"))
    role = tasks[0]["register"].removeprefix("__").removesuffix("_taken")
    (root / "roles" / role / "tasks").mkdir()
    (root / "roles" / role / "tasks/main.yml").write_text(yaml.safe_dump(tasks, sort_keys=False), encoding="utf-8")
    include = {"name": "Apply the role", "ansible.builtin.include_role": {"name": role}}
    return {**play, "gather_facts": True, "tasks": [include]}


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key | None:
    return Key(tmp_path_factory.mktemp("keys"), "example") if shutil.which("gpg") and shutil.which("gpgv") else None


@pytest.fixture
def world(tmp_path: Path, key: Key | None) -> Iterator[World]:
    with DownloadService(tmp_path / "service") as service:
        made = World(tmp_path / "hosts", service, key)
        try:
            made.build()
            yield made
        finally:
            made.web.stop()


@pytest.mark.parametrize("path", DOCUMENTED, ids=lambda path: path.stem)
def test_the_examples_of_the_documentation_work(path: Path, world: World) -> None:
    if path.stem == "mirror_bundle" and not world.key:
        pytest.skip("NOT TESTED: a signed bundle needs gpg and gpgv, not installed here")
    examples = documentation(path)["EXAMPLES"]
    assert examples
    content = world.relocated(examples)
    tasks = [task for item in content for task in item.get("tasks", [item])]
    if "hosts" not in content[0]:
        content = [play_of(content, world.root)]
    search = f"{world.root / 'usr/bin'}{os.pathsep}{os.environ['PATH']}"
    for play in content:
        play["environment"] = {"PATH": search}
    ansible = Ansible(world.root)
    ansible.hosts["endpoints"] = {"localhost": {}}
    played = ansible.playbook(content)
    assert played.status == 0, played.output
    assert len(played.results) >= len(tasks), played.output
