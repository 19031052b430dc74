"""Compares the cost of the role endpoint with plain tasks (template, command, shell) on endpoints without changes.

It prints module runs, milliseconds and ratios:

    .venv/bin/python tests/benchmark/endpoints.py

The hosts are directories on this machine with a simulated agent. They are updated from one mirror before the
measurement. The benchmark does not fail if it is slow.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT))

from ending import Failed, status_of  # noqa: E402

from simulators.static_web_server import StaticWebServer  # noqa: E402
from tools.collection_tree import link_checkout  # noqa: E402

# The support of the tests imports the collection by its name.
sys.path.insert(1, str(link_checkout()))

from tests.support.agent import Agent, publish  # noqa: E402
from tests.support.ansible_runs import Ansible, ModuleRuns, Run  # noqa: E402

VERSION = "1.449.108.0"
PLAIN_TASKS = Path(__file__).with_name("plain_endpoint.yml")
ROUNDS = 3


@dataclass(frozen=True)
class Candidate:
    """A playbook that is measured."""

    name: str
    playbook: Path


class Fleet:
    """Simulated hosts in directories, which update from one mirror."""

    def __init__(self, directory: Path, mirror: str, size: int) -> None:
        self.size = size
        self.runs = ModuleRuns(directory)
        self.ansible = Ansible(directory)
        self.ansible.hosts["endpoints"] = {}
        for number in range(size):
            agent = Agent(directory / f"host{number}")
            self.ansible.hosts["endpoints"][f"host{number}"] = {
                **agent.variables(endpoint_mirror=mirror),
                "plain_url": f"{mirror}/linux/production/",
            }
        role = {"hosts": "endpoints", "gather_facts": False, "roles": ["mde.offline.endpoint"]}
        path = directory / "role.json"
        path.write_text(json.dumps([role]), encoding="utf-8")
        self.role = Candidate("mde.offline.endpoint", path)
        nothing = {"hosts": "endpoints", "gather_facts": False, "tasks": [{"ansible.builtin.meta": "noop"}]}
        self.nothing = directory / "nothing.json"
        self.nothing.write_text(json.dumps([nothing]), encoding="utf-8")

    def settled(self, candidate: Candidate) -> Run:
        """Runs the playbook until nothing changes; these runs are not measured."""
        for _try in range(2):
            done = self.ansible.playbook(candidate.playbook)
            if done.status != 0:
                raise Failed(f"{candidate.name} failed:\n{done.output[-3000:]}")
        if any(counts.changed for counts in done.recap.values()):
            raise Failed(f"{candidate.name} changes a host on every run:\n{done.output[-3000:]}")
        return done

    def module_runs(self, candidate: Candidate) -> float:
        """The number of Python processes that are started per host, counted by a wrapper of the interpreter."""
        done = self.ansible.playbook(candidate.playbook, ansible_python_interpreter=self.runs.interpreter)
        if done.status != 0:
            raise Failed(f"{candidate.name} failed:\n{done.output[-3000:]}")
        return self.runs.taken() / self.size

    def seconds(self, playbook: Path) -> float:
        started = time.monotonic()
        done = self.ansible.playbook(playbook)
        if done.status != 0:
            raise Failed(f"{playbook.name} failed:\n{done.output[-3000:]}")
        return time.monotonic() - started


def compare(fleet: Fleet) -> None:
    candidates = [fleet.role, Candidate("template, command, shell", PLAIN_TASKS)]
    counted: dict[str, float] = {}
    for candidate in candidates:
        fleet.settled(candidate)
        counted[candidate.name] = fleet.module_runs(candidate)
    # The candidates take turns, and the best time of each counts, so that other load on the machine has little effect.
    times: dict[str, list[float]] = {candidate.name: [] for candidate in candidates}
    start: list[float] = []
    for _round in range(ROUNDS):
        start.append(fleet.seconds(fleet.nothing))
        for candidate in candidates:
            times[candidate.name].append(fleet.seconds(candidate.playbook))
    busy, cores = os.getloadavg()[0], os.cpu_count()
    print(f"{fleet.size} endpoints without changes; the start of ansible-playbook is subtracted")
    print(f"    load of this machine: {busy:.1f} on {cores} processors; above {cores}, the times are unreliable\n")
    print(f"    {'':28}{'module runs/host':>20}{'ms/host':>12}{'ratio':>12}")
    each = {name: (min(found) - min(start)) / fleet.size * 1000 for name, found in times.items()}
    for candidate in candidates:
        share = each[fleet.role.name] / each[candidate.name]
        print(
            f"    {candidate.name:28}{counted[candidate.name]:20.1f}{each[candidate.name]:12.0f}{share:12.2f}",
            flush=True,
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Compares the role endpoint with plain tasks on endpoints without changes."
    )
    parser.add_argument("--hosts", type=int, default=20, help="number of endpoints (default: %(default)s)")
    options = parser.parse_args()

    def measure() -> None:
        with tempfile.TemporaryDirectory(prefix="mde-benchmark-") as name:
            directory = Path(name)
            publish(directory / "mirror", VERSION)
            with StaticWebServer(directory / "mirror") as served:
                compare(Fleet(directory, served.url, options.hosts))

    return status_of(measure)


if __name__ == "__main__":
    sys.exit(main())
