"""Runs tasks with a real ansible-playbook in a scratch folder, and gives back what each task returned."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import yaml

CALLBACKS = Path(__file__).parent / "callbacks"


class Played(NamedTuple):
    """What one ansible-playbook did: its exit status, all that it printed, and the result of each task in order."""

    status: int
    output: str
    results: list[dict[str, Any]]

    @property
    def only(self) -> dict[str, Any]:
        """The result of the one task of the play."""
        assert len(self.results) == 1, self.output
        return self.results[0]


class Plays:
    """Plays tasks on localhost with one ansible-playbook and one Python on the target's side."""

    def __init__(self, command: Path, interpreter: Path, folder: Path, collections: str, **environment: str) -> None:
        self._command = command
        self._interpreter = interpreter
        self._collections = collections
        self._environment = environment
        self.folder = folder

    def play(
        self, *tasks: dict[str, Any], options: tuple[str, ...] = (), extra: dict[str, Any] | None = None, **play: Any
    ) -> Played:
        """Play the tasks; `options` go to ansible-playbook, `extra` are variables, the rest belongs to the play."""
        named = [{"name": f"Task {number}", **task} for number, task in enumerate(tasks, 1)]
        content = {"name": "A test", "hosts": "localhost", "gather_facts": False, **play, "tasks": named}
        return self.playbook([content], options, extra)

    def playbook(
        self, content: list[dict[str, Any]], options: tuple[str, ...] = (), extra: dict[str, Any] | None = None
    ) -> Played:
        """Play a whole playbook."""
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
