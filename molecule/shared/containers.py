"""Starts or removes the containers of a scenario, several at a time; `create.yml` and `destroy.yml` run this program.

    containers.py start|remove SCENARIO <PLATFORMS

Standard input has the platforms of the scenario as JSON. The mapping `rig` of a platform has its options:

    network    network of the scenario, default `main`. No network has a route to others.
    systemd    false: run a process that does nothing, instead of systemd
    options    further options of `podman run`
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

AT_ONCE = 4
UP_WITHIN = 60


def podman(*words: str, check: bool = True) -> str:
    done = subprocess.run(["podman", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise SystemExit(f"podman {' '.join(words)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout.strip()


def network(scenario: str, platform: dict[str, Any]) -> str:
    return f"mde-{scenario}-{platform.get('rig', {}).get('network', 'main')}"


def mount(source: str, target: str) -> str:
    return f"--mount=type=bind,source={source},target={target},readonly"


def start(scenario: str, platform: dict[str, Any]) -> None:
    rig = platform.get("rig", {})
    systemd, name = rig.get("systemd", True), platform["name"]
    podman(
        *("run", "--detach", "--name", name, "--hostname", name),
        *("--network", network(scenario, platform), f"--systemd={'always' if systemd else 'false'}"),
        # The simulators and the scenario's own files; a host with SELinux would label them otherwise.
        *("--security-opt", "label=disable"),
        mount(f"{os.environ['MDE_CHECKOUT']}/simulators", "/opt/rig"),
        mount(os.environ["MOLECULE_SCENARIO_DIRECTORY"], "/opt/scenario"),
        *rig.get("options", []),
        os.environ["MDE_RIG_IMAGE"],
        *([] if systemd else ["sleep", "infinity"]),
    )
    until = time.monotonic() + UP_WITHIN
    while systemd:
        state = podman("exec", name, "systemctl", "is-system-running", "--wait", check=False)
        if state in ("running", "degraded"):
            break
        if time.monotonic() > until:
            raise SystemExit(f"systemd of {name} was not up after {UP_WITHIN} s: {state}")
        time.sleep(0.5)


def main() -> int:
    verb, scenario = sys.argv[1:]
    platforms = json.load(sys.stdin)
    networks = sorted({network(scenario, platform) for platform in platforms})
    if verb == "remove":
        names = [platform["name"] for platform in platforms]
        print(podman("rm", "--force", "--ignore", "--time", "0", *names))
        for name in networks:
            podman("network", "rm", "--force", name, check=False)
        return 0
    # The first step of every run removes what an earlier one left.
    for name in networks:
        podman("network", "create", "--internal", name)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _done in pool.map(lambda platform: start(scenario, platform), platforms):
            pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
