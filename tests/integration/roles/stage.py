"""Helpers of the tests of roles and playbooks: runs of ansible-playbook on hosts that are directories."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.collection_tree import CHECKOUT, link_checkout

OLD, NEW = "1.449.108.0", "1.449.117.0"
_RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Counts:
    """The numbers of a host in the recap of ansible-playbook."""

    ok: int
    changed: int
    unreachable: int
    failed: int


@dataclass
class Run:
    """The output and the exit status of a run of ansible-playbook."""

    status: int
    output: str
    recap: dict[str, Counts] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for host, *numbers in _RECAP.findall(self.output):
            self.recap[host] = Counts(*map(int, numbers))

    def flat(self) -> str:
        """The output without line breaks and indentation, for searches of sentences."""
        return " ".join(self.output.split())

    def task(self, name: str) -> str:
        """The part of the output that belongs to a task."""
        found = re.search(rf"^TASK \[[^\n]*{re.escape(name)}\] \*+$(.*?)(?=^TASK|^PLAY|\Z)", self.output, re.M | re.S)
        assert found, f"no task {name!r} in:\n{self.output}"
        return found.group(1)


class Ansible:
    """Runs playbooks. Tests fill the inventory: `hosts[group][name]` contains the variables of a host."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hosts: dict[str, dict[str, dict[str, Any]]] = {}
        self.environment: dict[str, str] = {}
        # The ansible-playbook in the virtual environment of the tests.
        self.program = [sys.executable, "-m", "ansible", "playbook"]

    def playbook(self, name: str, *options: str, **variables: Any) -> Run:
        inventory = self.folder / "inventory.json"
        common = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "ansible_become": False,
        }
        children = {group: {"hosts": hosts} for group, hosts in self.hosts.items()}
        inventory.write_text(json.dumps({"all": {"vars": common, "children": children}}), encoding="utf-8")
        configuration = self.folder / "ansible.cfg"
        configuration.write_text("[defaults]\n", encoding="utf-8")
        kept = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        command = [*self.program, "-i", str(inventory), name, *options]
        if variables:
            command += ["-e", json.dumps(variables)]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={
                **kept,
                "PWD": str(self.folder),
                "ANSIBLE_CONFIG": str(configuration),
                "ANSIBLE_COLLECTIONS_PATH": str(link_checkout()),
                "ANSIBLE_INJECT_FACT_VARS": "false",
                "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml",
                "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "false",
                "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_PIPELINING": "1",
                **self.environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1200,
            check=False,
        )
        assert "Traceback (most recent call last)" not in done.stdout, done.stdout
        return Run(done.returncode, done.stdout)

    def roles(self, role: str, group: str, *options: str, **variables: Any) -> Run:
        """Applies a role to a group, as the playbook of a user does."""
        play = {
            "hosts": group,
            "gather_facts": False,
            "roles": [{"role": f"mde.offline.{role}"}],
            # Some simulated agents never show a result, and the default is to wait for a minute.
            "module_defaults": {"mde.offline.definitions_update": {"wait": 3}},
        }
        path = self.folder / f"{role}.json"
        path.write_text(json.dumps([play]), encoding="utf-8")
        return self.playbook(str(path), *options, **variables)


def mirror_variables(folder: Path, service: str) -> dict[str, Any]:
    """A mirror in a directory, which is owned by the user that runs the test."""
    return {
        "mirror_unprivileged": True,
        "mirror_scheduler": "none",
        "mirror_root": str(folder / "two words" / "srv"),
        "mirror_command": str(folder / "bin" / "mde-mirror"),
        "mirror_settings_file": str(folder / "etc" / "settings.json"),
        "mirror_log_file": str(folder / "log" / "sync.log"),
        "mirror_unit_directory": str(folder / "systemd"),
        "mirror_source_url": service,
        "mirror_architectures": ["x86_64"],
    }


class Agent:
    """An endpoint in a directory, with the simulated agent."""

    def __init__(self, root: Path, *options: str) -> None:
        self.root = root
        self.command = root / "usr/bin/mdatp"
        self.managed_file = root / "etc/opt/microsoft/mdatp/managed/mdatp_managed.json"
        self.stand_in("install", *options)

    def stand_in(self, verb: str, *arguments: str) -> None:
        program = CHECKOUT / "simulators" / "mdatp.py"
        subprocess.run([sys.executable, str(program), verb, "--root", str(self.root), *arguments], check=True)

    def variables(self, **more: Any) -> dict[str, Any]:
        return {
            "endpoint_mdatp": str(self.command),
            "endpoint_managed_file": str(self.managed_file),
            "endpoint_enforcement_level": "real_time",
            **more,
        }

    @property
    def managed(self) -> dict[str, Any]:
        return dict(json.loads(self.managed_file.read_text(encoding="utf-8")))

    def field(self, name: str) -> Any:
        command = [str(self.command), "health", "--field", name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)
