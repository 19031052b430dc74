"""Measures the processor time of a sync that finds nothing new, side by side with a bare start of Python.

    .venv/bin/python tests/benchmark/start.py                    PYTHONS='python3.9 /usr/bin/python3' measures those too

The packed command asks the simulated service on loopback. Nothing is asserted about time.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT))
sys.path.insert(1, str(CHECKOUT / "tools"))

from ending import Failed, status_of  # noqa: E402

from simulators.download_service import DownloadService  # noqa: E402

RUNS = 15
IMPORTS = "import argparse, json, ssl, http.client, concurrent.futures"


def processor_time(command: list[str]) -> float:
    """The processor time of a command in seconds, in user mode and in the kernel."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _pid, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise Failed(f"{' '.join(command)} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def compare(python: str, directory: Path, settings: Path) -> None:
    command = directory / "mde-mirror"
    packing = [python, str(CHECKOUT / "tools" / "build_mde_mirror.py"), str(command)]
    subprocess.run(packing, check=True, stdout=subprocess.DEVNULL)
    sync = [python, str(command), "sync", "--settings", str(settings)]
    processor_time(sync)
    # By turns, so that both see the same load; the least is what they take undisturbed.
    pairs = [(processor_time([python, "-c", IMPORTS]), processor_time(sync)) for _run in range(RUNS)]
    bare, ours = (min(times) for times in zip(*pairs))
    print(f"{python:40}{bare * 1000:12.0f} ms{ours * 1000:12.0f} ms{ours / bare:8.2f}", flush=True)


def measure() -> None:
    with tempfile.TemporaryDirectory(prefix="mde-benchmark-") as name:
        directory = Path(name)
        with DownloadService(directory / "packages") as service:
            service.publish("1.443.508.0")
            settings = directory / "settings.json"
            settings.write_text(
                json.dumps({"downloadFolder": str(directory / "mirror"), "source": {"url": service.url}}),
                encoding="utf-8",
            )
            print(f"{'Python':40}{'bare imports':>15}{'nothing new':>15}{'ratio':>8}")
            for python in [sys.executable, *os.environ.get("PYTHONS", "").split()]:
                found = shutil.which(python)
                if not found:
                    raise Failed(f"PYTHONS names a program that is not there: {python}")
                compare(found, directory, settings)


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Compares a sync that finds nothing new with bare imports, on this Python and those in PYTHONS."
    )
    parser.parse_args()
    return status_of(measure)


if __name__ == "__main__":
    sys.exit(main())
