"""Measures a sync side by side with other ways to mirror, in one run, and prints times and ratios.

    .venv/bin/python tests/benchmark/sync.py                    MICROSOFT_SCRIPT=FILE adds Microsoft's own script

All of them fetch from the stand-in service on loopback, over TLS, throttled for each connection and with a delay
before each answer, as a real line has them. It needs 3 GB in TMPDIR for its time. Nothing is asserted about time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT))
sys.path.insert(1, str(CHECKOUT / "tools"))

from ending import Failed, status_of  # noqa: E402
from skipped import skipped  # noqa: E402

from simulators.certificates import Authority  # noqa: E402
from simulators.download_service import DownloadService  # noqa: E402

MB = 1_000_000
THROTTLE, LATENCY = 60 * MB, 0.05
LONGEST_SECONDS = 90.0
FIRST, SECOND, THIRD = "1.443.508.0", "1.443.509.0", "1.443.510.0"
SERVICE_ADDRESS = "https://go.microsoft.com/fwlink/"
WRAPPER = """#!/usr/bin/env bash
# Leads Microsoft's script, which cannot be told otherwise, to the stand-in service.
arguments=()
for argument; do
    arguments+=("${argument/#"$BENCHMARK_FROM"/"$BENCHMARK_TO"}")
done
exec "$BENCHMARK_CURL" --cacert "$BENCHMARK_CA" "${arguments[@]}"
"""


@dataclass(frozen=True)
class Figures:
    """What one run took: seconds, of these on a processor, peak memory of its biggest process (bytes), bytes that went
    to the filesystem."""

    seconds: float
    processor: float
    memory: int
    written: int

    @property
    def times(self) -> str:
        return f"{self.seconds:.2f} s ({self.processor:.2f} s)"


def measured(command: list[str], cwd: Path, environment: dict[str, str] | None = None) -> Figures:
    """Runs a command to its end; it and its children are killed after `LONGEST_SECONDS`."""
    with tempfile.TemporaryFile() as output:
        started = time.monotonic()
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        alarm = threading.Timer(LONGEST_SECONDS, os.killpg, (process.pid, signal.SIGKILL))
        alarm.start()
        try:
            _pid, status, usage = os.wait4(process.pid, 0)
            seconds = time.monotonic() - started
            process.returncode = os.waitstatus_to_exitcode(status)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        finally:
            alarm.cancel()
        if process.returncode:
            output.seek(0)
            said = output.read().decode("utf-8", "replace")[-2000:]
            raise Failed(f"{' '.join(command[:3])} ended with {process.returncode} after {seconds:.0f} s:\n{said}")
    return Figures(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, usage.ru_oublock * 512)


class Way:
    """One way to mirror everything into a folder of its own."""

    name = ""

    def __init__(self, directory: Path, service: DownloadService, ca_file: Path) -> None:
        self.directory, self.service, self.ca_file = directory / type(self).__name__, service, ca_file
        self.folder = self.directory / "mirror"

    def run(self) -> Figures:
        raise NotImplementedError

    def packages(self) -> dict[str, int]:
        """What it serves: sizes by folder; n-1 left out."""
        found = {}
        for path in self.folder.glob("*/*/arch_*/updates.zip"):
            folder = path.parent.relative_to(self.folder).as_posix()
            if "_back/" not in folder and not folder.startswith("."):
                found[folder] = path.stat().st_size
        return found


class Ours(Way):
    name = "mde-mirror"
    only_linux_production = False

    def run(self) -> Figures:
        self.directory.mkdir(exist_ok=True)
        everything = not self.only_linux_production
        settings = {
            "downloadFolder": str(self.folder),
            "downloadMacUpdates": everything,
            "downloadPreviewUpdates": everything,
            "architectures": ["x86_64", "arm64"] if everything else ["x86_64"],
            "source": {"url": self.service.url, "caFile": str(self.ca_file)},
        }
        path = self.directory / "settings.json"
        path.write_text(json.dumps(settings), encoding="utf-8")
        command = [sys.executable, str(CHECKOUT / "tools" / "mde_mirror_dev.py"), "sync", "--settings", str(path)]
        return measured(command, self.directory)


class OneUnit(Ours):
    name = "mde-mirror, one package"
    only_linux_production = True


class OneAtATime(Way):
    name = "curl, one at a time"

    def run(self) -> Figures:
        self.folder.mkdir(parents=True, exist_ok=True)
        script = Path(__file__).with_name("one_at_a_time.sh")
        return measured(["bash", str(script), self.service.url, str(self.folder), str(self.ca_file)], self.directory)


class MicrosoftsScript(Way):
    name = "Microsoft's script"

    def run(self) -> Figures:
        self.folder.mkdir(parents=True, exist_ok=True)
        script = self.directory / "xplat_offline_updates_download.sh"
        if not script.exists():
            shutil.copy(os.environ["MICROSOFT_SCRIPT"], script)
            settings = {
                "downloadFolder": str(self.folder),
                "downloadLinuxUpdates": True,
                "downloadMacUpdates": True,
                "downloadPreviewUpdates": True,
                "backupPreviousUpdates": True,
                "logFilePath": str(self.directory / "script.log"),
            }
            (self.directory / "settings.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")
            wrapper = self.directory / "bin" / "curl"
            wrapper.parent.mkdir()
            wrapper.write_text(WRAPPER, encoding="utf-8")
            wrapper.chmod(0o755)
        environment = {
            "PATH": f"{self.directory / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "BENCHMARK_FROM": SERVICE_ADDRESS,
            "BENCHMARK_TO": self.service.url,
            "BENCHMARK_CA": str(self.ca_file),
            "BENCHMARK_CURL": shutil.which("curl") or "curl",
        }
        return measured(["bash", str(script)], self.directory, environment)


def ways() -> list[type[Way]]:
    """Who takes part: ours first."""
    found: list[type[Way]] = [Ours]
    if shutil.which("curl"):
        found.append(OneAtATime)
    else:
        skipped("benchmark of one request after another", "curl is not installed")
    script = os.environ.get("MICROSOFT_SCRIPT", "")
    lacking = [name for name in ("curl", "jq") if not shutil.which(name)]
    if not script:
        skipped("benchmark of Microsoft's script", "MICROSOFT_SCRIPT does not name xplat_offline_updates_download.sh")
    elif not Path(script).is_file():
        skipped("benchmark of Microsoft's script", f"MICROSOFT_SCRIPT names no file: {script}")
    elif lacking:
        skipped("benchmark of Microsoft's script", f"it needs {' and '.join(lacking)}")
    else:
        found.append(MicrosoftsScript)
    return found


class Bench:
    def __init__(self, directory: Path, service: DownloadService, ca_file: Path, size: int) -> None:
        self.directory, self.service, self.ca_file, self.size = directory, service, ca_file, size

    def publish(self, definitions: str, size: int, **unit: str) -> dict[str, int]:
        """Publishes a release, which forgets the packages of the one before; returns the sizes by folder."""
        for path in self.service.directory.glob("*.zip"):
            path.unlink()
        released = self.service.publish(definitions, size=size, stored=True, **unit)
        return {
            f"{release.unit.platform}/{release.unit.ring}/arch_{release.unit.arch}": release.path.stat().st_size
            for release in released
        }

    @contextlib.contextmanager
    def way(self, kind: type[Way]) -> Iterator[Way]:
        way = kind(self.directory, self.service, self.ca_file)
        way.directory.mkdir()
        try:
            yield way
        finally:
            shutil.rmtree(way.directory)

    def slow_line(self) -> None:
        print(f"(a) first sync of eight packages of {self.size // MB} MB, (b) nothing new")
        print(f"    {THROTTLE // MB} MB/s for each connection, {LATENCY * 1000:.0f} ms before each answer, TLS")
        busy, cores = os.getloadavg()[0], os.cpu_count()
        print(f"    this machine's load is {busy:.1f} on {cores} processors; above {cores}, times say little\n")
        expected = self.publish(FIRST, self.size)
        self.service.throttle, self.service.latency = THROTTLE, LATENCY
        rows: list[tuple[str, Figures, Figures]] = []
        for kind in ways():
            with self.way(kind) as way:
                first = way.run()
                if way.packages() != expected:
                    raise Failed(f"{way.name} did not fetch all packages: {way.packages()}")
                self.service.clear_requests()
                idle = way.run()
                if self.service.asked("package"):
                    raise Failed(f"{way.name} fetched packages though nothing was new")
                rows.append((way.name, first, idle))
        self.service.throttle = self.service.latency = 0.0
        print(f"    {'':24}{'first sync (processor)':>26}{'nothing new (processor)':>26}{'our share of the time':>24}")
        _ours, our_first, our_idle = rows[0]
        for name, first, idle in rows:
            shares = f"{our_first.seconds / first.seconds:.2f}{our_idle.seconds / idle.seconds:8.2f}"
            print(f"    {name:24}{first.times:>26}{idle.times:>26}{shares:>24}", flush=True)

    def memory(self) -> None:
        print("\n(c) peak memory of a sync of one package, no throttle\n")
        peaks = []
        for size in (self.size, 5 * self.size):
            self.publish(FIRST, size, platform="linux", arch="x86_64", ring="production")
            with self.way(OneUnit) as way:
                figures = way.run()
            peaks.append(figures.memory)
            print(f"    {size // MB:5} MB{figures.memory / MB:20.1f} MB{figures.times:>26}", flush=True)
        print(f"    five times the size takes {peaks[1] / peaks[0]:.2f} times the memory")

    def publication(self) -> None:
        print("\n(d) written to publish a release and keep the one before as n-1, in sizes of the packages\n")
        for kind in ways():
            with self.way(OneUnit if kind is Ours else kind) as way:
                # The others know no choice of units: they get eight smaller packages.
                unit = {"platform": "linux", "arch": "x86_64", "ring": "production"} if kind is Ours else {}
                size = self.size if unit else self.size // 8
                self.publish(SECOND, size, **unit)
                way.run()
                total = sum(self.publish(THIRD, size, **unit).values())
                written = way.run().written
                if not written:
                    print("    not measured: this filesystem (a tmpfs?) does not count what is written")
                    return
                print(f"    {way.name:24}{written / total:12.2f}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measures a sync side by side with other ways to mirror.")
    parser.add_argument("--size", type=int, default=120, metavar="MB", help="size of a package (default: %(default)s)")
    size = parser.parse_args().size * MB

    def measure() -> None:
        with tempfile.TemporaryDirectory(prefix="mde-benchmark-") as name:
            directory = Path(name)
            if shutil.disk_usage(directory).free < 25 * size:
                raise Failed(f"{directory.parent} has less than {25 * size // MB} MB free; set TMPDIR.")
            authority = Authority(directory / "authority")
            tls = authority.issue("server", ["127.0.0.1"]).server_context()
            with DownloadService(directory / "packages", tls=tls) as service:
                bench = Bench(directory, service, authority.cert, size)
                bench.slow_line()
                bench.memory()
                bench.publication()

    return status_of(measure)


if __name__ == "__main__":
    sys.exit(main())
