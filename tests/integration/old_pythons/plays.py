"""Runs tasks with ansible-playbook in a temporary folder, and returns the result of each task."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import yaml

CALLBACKS = Path(__file__).parent / "callbacks"


class Played(NamedTuple):
    """One run of ansible-playbook: exit status, output, and the results of the tasks in order."""

    status: int
    output: str
    results: list[dict[str, Any]]

    @property
    def only(self) -> dict[str, Any]:
        """The result of the only task of the play."""
        assert len(self.results) == 1, self.output
        return self.results[0]


class Plays:
    """Runs tasks on localhost with a given ansible-playbook and a given Python for the modules."""

    def __init__(self, command: Path, interpreter: Path, folder: Path, collections: str, **environment: str) -> None:
        self._command = command
        self._interpreter = interpreter
        self._collections = collections
        self._environment = environment
        self.folder = folder

    def play(
        self, *tasks: dict[str, Any], options: tuple[str, ...] = (), extra: dict[str, Any] | None = None, **play: Any
    ) -> Played:
        """Runs tasks. `options` are for ansible-playbook, `extra` are variables, other keywords are for the play."""
        named = [{"name": f"Task {number}", **task} for number, task in enumerate(tasks, 1)]
        content = {"name": "A test", "hosts": "localhost", "gather_facts": False, **play, "tasks": named}
        return self.playbook([content], options, extra)

    def playbook(
        self, content: list[dict[str, Any]], options: tuple[str, ...] = (), extra: dict[str, Any] | None = None
    ) -> Played:
        """Runs a playbook."""
        playbook = self.folder / "play.yml"
        playbook.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), encoding="utf-8")
        record = self.folder / "results.jsonl"
        record.write_text("", encoding="utf-8")
        variables = {"ansible_connection": "local", "ansible_python_interpreter": str(self._interpreter)}
        variables.update(extra or {})
        command = [str(self._command), "-i", "localhost,", "-e", json.dumps(variables), *options, str(playbook)]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self._variables(record),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=1200,
            check=False,
        )
        results = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
        return Played(done.returncode, done.stdout.decode("utf-8", "replace"), results)

    def _variables(self, record: Path) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PYTHON"))}
        return {
            **kept,
            "ANSIBLE_COLLECTIONS_PATH": self._collections,
            "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS),
            "ANSIBLE_CALLBACKS_ENABLED": "record_results",
            "ANSIBLE_HOME": str(self.folder / ".ansible"),
            "ANSIBLE_INJECT_FACT_VARS": "false",
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_NOCOLOR": "true",
            "ANSIBLE_PIPELINING": "true",
            "RECORD_RESULTS_IN": str(record),
            **self._environment,
        }
