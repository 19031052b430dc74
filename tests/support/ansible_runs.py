"""Runs playbooks, roles, tasks and modules with ansible-playbook, and returns the output and the result of each task.

This file is not named ansible.py, because call_module.py beside it is a program that imports the real `ansible`.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.support import cores
from tools.collection_tree import link_checkout

CALLBACKS = Path(__file__).with_name("callbacks")
_RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)
_FATAL = re.compile(r"^fatal: \[(\w+)\]: FAILED! =>(.*?)(?=^\S|\Z)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Counts:
    """The numbers of a host in the recap of ansible-playbook."""

    ok: int
    changed: int
    unreachable: int
    failed: int


@dataclass
class Run:
    """A run of ansible-playbook: exit status, output, and the results of the tasks in order."""

    status: int
    output: str
    results: list[dict[str, Any]]
    # The last result of each task, by the name of the task.
    by_task: dict[str, dict[str, Any]]
    recap: dict[str, Counts] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for host, *numbers in _RECAP.findall(self.output):
            self.recap[host] = Counts(*map(int, numbers))

    @property
    def only(self) -> dict[str, Any]:
        """The result of the only task."""
        assert len(self.results) == 1, self.output
        return self.results[0]

    def flat(self) -> str:
        """The output without line breaks and indentation, for searches of sentences."""
        return " ".join(self.output.split())

    def failures(self) -> dict[str, str]:
        """The error messages of the hosts that failed, without line breaks."""
        return {host: " ".join(message.split()) for host, message in _FATAL.findall(self.output)}

    def task(self, name: str) -> str:
        """The part of the output that belongs to a task."""
        found = re.search(rf"^TASK \[[^\n]*{re.escape(name)}\] \*+$(.*?)(?=^TASK|^PLAY|\Z)", self.output, re.M | re.S)
        assert found, f"no task {name!r} in:\n{self.output}"
        return found.group(1)


class Ansible:
    """Runs ansible-playbook in a folder.

    Tests fill the inventory: `hosts[group][name]` contains the variables of a host, `common` those of all hosts.
    Without hosts, the inventory contains only localhost.
    """

    def __init__(self, folder: Path, interpreter: str | Path = sys.executable) -> None:
        self.folder = folder
        self.hosts: dict[str, dict[str, dict[str, Any]]] = {}
        self.common: dict[str, Any] = {
            "ansible_connection": "local",
            "ansible_python_interpreter": str(interpreter),
            "ansible_become": False,
        }
        self.environment: dict[str, str] = {}
        # The ansible-playbook in the virtual environment of the tests.
        self.program = [sys.executable, "-m", "ansible", "playbook"]

    def use_core(self, line: str) -> None:
        """Selects the newest ansible-core of a line such as 2.16."""
        self.program = [str(cores.ansible_playbook(line))]

    def playbook(self, playbook: str | Path | list[dict[str, Any]], *options: str, **variables: Any) -> Run:
        """Runs a playbook, which is given by its name or path, or as a list of plays."""
        if isinstance(playbook, list):
            text = yaml.safe_dump(playbook, allow_unicode=True, sort_keys=False)
            playbook = self._write("play.yml", text)
        inventory = self._write("inventory.json", json.dumps({"all": self._all_hosts()}))
        configuration = self._write("ansible.cfg", "[defaults]\n")
        record = self._write("results.jsonl", "")
        command = [*self.program, "-i", str(inventory), str(playbook), *options]
        if variables:
            command += ["-e", json.dumps(variables)]
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "PYTHON"))}
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={
                **kept,
                "PWD": str(self.folder),
                "ANSIBLE_CONFIG": str(configuration),
                "ANSIBLE_HOME": str(self.folder / ".ansible"),
                "ANSIBLE_COLLECTIONS_PATH": str(link_checkout()),
                "ANSIBLE_INJECT_FACT_VARS": "false",
                "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS),
                "ANSIBLE_CALLBACKS_ENABLED": "record_results",
                "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml",
                "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "false",
                "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_PIPELINING": "1",
                "RECORD_RESULTS_IN": str(record),
                **self.environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=1200,
            check=False,
        )
        output = done.stdout.decode("utf-8", "replace")
        assert "Traceback (most recent call last)" not in output, output
        lines = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
        by_task = {line["task"]: line["result"] for line in lines}
        return Run(done.returncode, output, [line["result"] for line in lines], by_task)

    def roles(self, role: str, group: str, *options: str, **variables: Any) -> Run:
        """Applies a role to a group, as the playbook of a user does."""
        play = {
            "hosts": group,
            "gather_facts": False,
            "roles": [{"role": f"mde.offline.{role}"}],
            # Some simulated agents never show a result, and the default is to wait for a minute.
            "module_defaults": {"mde.offline.definitions_update": {"wait": 3}},
        }
        return self.playbook([play], *options, **variables)

    def tasks(self, *tasks: dict[str, Any], options: tuple[str, ...] = (), **play: Any) -> Run:
        """Runs tasks on all hosts. `options` are for ansible-playbook, other keywords for the play."""
        named = [{"name": f"Task {number}", **task} for number, task in enumerate(tasks, 1)]
        return self.playbook([{"hosts": "all", "gather_facts": False, **play, "tasks": named}], *options)

    def module(self, name: str, *options: str, **arguments: Any) -> dict[str, Any]:
        """Runs a module of the collection and returns its result."""
        run = self.tasks({f"mde.offline.{name}": arguments}, options=options)
        assert run.only["failed"] == (run.status != 0), run.output
        return run.only

    def _all_hosts(self) -> dict[str, Any]:
        hosts = {} if self.hosts else {"localhost": {}}
        groups = {group: {"hosts": hosts} for group, hosts in self.hosts.items()}
        return {"vars": self.common, "hosts": hosts, "children": groups}

    def _write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path


def interpreter(path: Path, script: str) -> str:
    """A shell script as the interpreter of a host; `PYTHON` in the script is replaced by the real interpreter."""
    line = script.replace("PYTHON", f'{shlex.quote(sys.executable)} "$@"')
    path.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


class ModuleRuns:
    """Counts how often Ansible starts Python on a host, which is the main cost on the host."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "runs"
        self.interpreter = interpreter(
            folder / "counting-python", f"echo run >> {shlex.quote(str(self._log))}; exec PYTHON"
        )

    def taken(self) -> int:
        """The number of starts since the last call."""
        count = len(self._log.read_text(encoding="utf-8").splitlines()) if self._log.exists() else 0
        self._log.unlink(missing_ok=True)
        return count
