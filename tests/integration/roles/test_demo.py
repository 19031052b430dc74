"""`make demo`: succeeds in a checkout whose path contains a blank, and leaves no process behind when it is stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools.collection_tree import CHECKOUT

pytestmark = pytest.mark.slow

NEEDED = ("plugins", "roles", "playbooks", "meta", "galaxy.yml", "simulators", "tools")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, so that the tests do not disturb a demo that a developer runs."""
    copy = tmp_path_factory.mktemp("demo") / "two words"
    copy.mkdir()
    for name in NEEDED:
        source = CHECKOUT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, copy / name)
    return copy


def running(checkout: Path) -> list[str]:
    """Command lines of processes that belong to a demo of this checkout."""
    place = str(checkout / ".demo").encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            mine = b"MDE_OFFLINE_DEMO=" in (folder / "environ").read_bytes()
            mine = mine and place in (folder / "environ").read_bytes()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        if mine and command:
            found.append(command)
    return found


def start(checkout: Path, log: Path) -> subprocess.Popen[bytes]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    with log.open("wb") as stream:
        return subprocess.Popen(
            [sys.executable, "simulators/demo.py"],
            cwd=checkout,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )


def wait_for(wanted: str, log: Path, process: subprocess.Popen[bytes], seconds: float = 600) -> None:
    """Waits until the log shows something."""
    deadline = time.monotonic() + seconds
    while wanted not in log.read_text(encoding="utf-8", errors="replace"):
        assert process.poll() is None, log.read_text(encoding="utf-8", errors="replace")
        assert time.monotonic() < deadline, log.read_text(encoding="utf-8", errors="replace")
        time.sleep(0.05)


def test_the_demo_keeps_its_promises(checkout: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = start(checkout, log)
    assert process.wait(1200) == 0, log.read_text(encoding="utf-8", errors="replace")
    shown = log.read_text(encoding="utf-8")
    assert "All results were as expected" in shown
    assert "ERROR source_not_mirror on endpoint3" in shown
    assert "mde.offline.site" in shown
    found = json.loads((checkout / ".demo" / "health.json").read_text(encoding="utf-8"))
    assert {host["name"]: host["verdict"] for host in found["hosts"]} == {
        "endpoint1": "ok",
        "endpoint2": "ok",
        "endpoint3": "error",
    }
    assert running(checkout) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_demo_leaves_nothing_running(checkout: Path, tmp_path: Path, number: signal.Signals) -> None:
    log = tmp_path / "log"
    process = start(checkout, log)
    try:
        wait_for("TASK [mde.offline.mirror", log, process)
        assert running(checkout) != []
        process.send_signal(number)
        assert process.wait(300) == 128 + number
    finally:
        process.kill()
        process.wait()
    assert running(checkout) == []
    shown = log.read_text(encoding="utf-8", errors="replace")
    assert "demo: interrupted" in shown
    assert "Traceback" not in shown
