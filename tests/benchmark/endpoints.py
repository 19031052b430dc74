"""Measures what an endpoint costs on which nothing has to change: the role endpoint beside the obvious tasks (template,
command, shell), in one run, and prints module runs, milliseconds and ratios.

    .venv/bin/python tests/benchmark/endpoints.py

The hosts are directories on this machine with the stand-in of the agent, all updated from one mirror before it is
measured. Nothing is asserted about time.
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
from tests.integration.roles.endpoints import ModuleRuns, publish  # noqa: E402
from tests.integration.roles.stage import Agent, Ansible, Run  # noqa: E402

VERSION = "1.449.108.0"
OBVIOUS = Path(__file__).with_name("obvious_endpoint.yml")
ROUNDS = 3


@dataclass(frozen=True)
class Way:
    """A playbook, and what it is called."""

    name: str
    playbook: Path


class Fleet:
    """Hosts that are directories, pointed at one mirror."""

    def __init__(self, directory: Path, mirror: str, size: int) -> None:
        self.size = size
        self.runs = ModuleRuns(directory)
        self.ansible = Ansible(directory)
        self.ansible.hosts["endpoints"] = {}
        for number in range(size):
            agent = Agent(directory / f"host{number}")
            self.ansible.hosts["endpoints"][f"host{number}"] = {
                **agent.variables(endpoint_mirror=mirror),
                "obvious_url": f"{mirror}/linux/production/",
            }
        role = {"hosts": "endpoints", "gather_facts": False, "roles": ["mde.offline.endpoint"]}
        path = directory / "role.json"
        path.write_text(json.dumps([role]), encoding="utf-8")
        self.role = Way("mde.offline.endpoint", path)
        nothing = {"hosts": "endpoints", "gather_facts": False, "tasks": [{"ansible.builtin.meta": "noop"}]}
        self.nothing = directory / "nothing.json"
        self.nothing.write_text(json.dumps([nothing]), encoding="utf-8")

    def settled(self, way: Way) -> Run:
        """One run in which nothing changes; what it takes to get there is not counted."""
        for _try in range(2):
            done = self.ansible.playbook(str(way.playbook))
            if done.status != 0:
                raise Failed(f"{way.name} failed:\n{done.output[-3000:]}")
        if any(counts.changed for counts in done.recap.values()):
            raise Failed(f"{way.name} changes a host on every run:\n{done.output[-3000:]}")
        return done

    def module_runs(self, way: Way) -> float:
        """How often a Python is started on a host, counted by one that notes it."""
        done = self.ansible.playbook(str(way.playbook), ansible_python_interpreter=self.runs.interpreter)
        if done.status != 0:
            raise Failed(f"{way.name} failed:\n{done.output[-3000:]}")
        return self.runs.taken() / self.size

    def seconds(self, playbook: Path) -> float:
        started = time.monotonic()
        done = self.ansible.playbook(str(playbook))
        if done.status != 0:
            raise Failed(f"{playbook.name} failed:\n{done.output[-3000:]}")
        return time.monotonic() - started


def compare(fleet: Fleet) -> None:
    ways = [fleet.role, Way("template, command, shell", OBVIOUS)]
    counted: dict[str, float] = {}
    for way in ways:
        fleet.settled(way)
        counted[way.name] = fleet.module_runs(way)
    # By turns, and the best of each counts: so a busy moment does not.
    times: dict[str, list[float]] = {way.name: [] for way in ways}
    start: list[float] = []
    for _round in range(ROUNDS):
        start.append(fleet.seconds(fleet.nothing))
        for way in ways:
            times[way.name].append(fleet.seconds(way.playbook))
    busy, cores = os.getloadavg()[0], os.cpu_count()
    print(f"{fleet.size} endpoints on which nothing has to change; the start of ansible-playbook is taken off")
    print(f"    this machine's load is {busy:.1f} on {cores} processors; above {cores}, times say little\n")
    print(f"    {'':28}{'module runs a host':>20}{'ms a host':>12}{'our share':>12}")
    each = {name: (min(found) - min(start)) / fleet.size * 1000 for name, found in times.items()}
    for way in ways:
        share = each[fleet.role.name] / each[way.name]
        print(f"    {way.name:28}{counted[way.name]:20.1f}{each[way.name]:12.0f}{share:12.2f}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measures what an endpoint costs on which nothing has to change.")
    parser.add_argument("--hosts", type=int, default=20, help="endpoints (default: %(default)s)")
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
