"""Compares a sync of mde-mirror with other ways to mirror, and prints times and ratios.

    .venv/bin/python tests/benchmark/sync.py                    MICROSOFT_SCRIPT=FILE adds Microsoft's own script

All of them download from the simulated service on loopback over TLS. The service limits the speed of each connection
and delays each response, as on a real network. The benchmark needs 3 GB in TMPDIR. It does not fail if it is slow.
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
# Redirects Microsoft's script, whose URL is fixed, to the simulated service.
arguments=()
for argument; do
    arguments+=("${argument/#"$BENCHMARK_FROM"/"$BENCHMARK_TO"}")
done
exec "$BENCHMARK_CURL" --cacert "$BENCHMARK_CA" "${arguments[@]}"
"""


@dataclass(frozen=True)
class Figures:
    """One run: seconds, processor seconds, peak memory of the largest process and bytes written to the file system."""

    seconds: float
    processor: float
    memory: int
    written: int

    @property
    def times(self) -> str:
        return f"{self.seconds:.2f} s ({self.processor:.2f} s)"


def measured(command: list[str], cwd: Path, environment: dict[str, str] | None = None) -> Figures:
    """Runs a command; kills it and its child processes after `LONGEST_SECONDS`."""
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
            tail = output.read().decode("utf-8", "replace")[-2000:]
            raise Failed(f"{' '.join(command[:3])} ended with {process.returncode} after {seconds:.0f} s:\n{tail}")
    return Figures(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, usage.ru_oublock * 512)


class Candidate:
    """A program that mirrors all packages into its own folder."""

    name = ""

    def __init__(self, directory: Path, service: DownloadService, ca_file: Path) -> None:
        self.directory, self.service, self.ca_file = directory / type(self).__name__, service, ca_file
        self.folder = self.directory / "mirror"

    def run(self) -> Figures:
        raise NotImplementedError

    def packages(self) -> dict[str, int]:
        """The sizes of the mirrored packages by folder, without n-1."""
        found = {}
        for path in self.folder.glob("*/*/arch_*/updates.zip"):
            folder = path.parent.relative_to(self.folder).as_posix()
            if "_back/" not in folder and not folder.startswith("."):
                found[folder] = path.stat().st_size
        return found


class MdeMirror(Candidate):
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


class OneUnit(MdeMirror):
    name = "mde-mirror, one package"
    only_linux_production = True


class OneAtATime(Candidate):
    name = "curl, one at a time"

    def run(self) -> Figures:
        self.folder.mkdir(parents=True, exist_ok=True)
        script = Path(__file__).with_name("one_at_a_time.sh")
        return measured(["bash", str(script), self.service.url, str(self.folder), str(self.ca_file)], self.directory)


class MicrosoftsScript(Candidate):
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


def candidates() -> list[type[Candidate]]:
    """The programs to compare; mde-mirror is the first."""
    found: list[type[Candidate]] = [MdeMirror]
    if shutil.which("curl"):
        found.append(OneAtATime)
    else:
        skipped("benchmark of one request after another", "curl is not installed")
    script = os.environ.get("MICROSOFT_SCRIPT", "")
    missing = [name for name in ("curl", "jq") if not shutil.which(name)]
    if not script:
        skipped(
            "benchmark of Microsoft's script",
            "MICROSOFT_SCRIPT is not set to the path of xplat_offline_updates_download.sh",
        )
    elif not Path(script).is_file():
        skipped("benchmark of Microsoft's script", f"the file in MICROSOFT_SCRIPT does not exist: {script}")
    elif missing:
        skipped("benchmark of Microsoft's script", f"it needs {' and '.join(missing)}")
    else:
        found.append(MicrosoftsScript)
    return found


class Bench:
    def __init__(self, directory: Path, service: DownloadService, ca_file: Path, size: int) -> None:
        self.directory, self.service, self.ca_file, self.size = directory, service, ca_file, size

    def publish(self, definitions: str, size: int, **unit: str) -> dict[str, int]:
        """Publishes a release and deletes the packages of the previous one; returns the sizes by folder."""
        for path in self.service.directory.glob("*.zip"):
            path.unlink()
        released = self.service.publish(definitions, size=size, stored=True, **unit)
        return {
            f"{release.unit.platform}/{release.unit.ring}/arch_{release.unit.arch}": release.path.stat().st_size
            for release in released
        }

    @contextlib.contextmanager
    def candidate(self, kind: type[Candidate]) -> Iterator[Candidate]:
        candidate = kind(self.directory, self.service, self.ca_file)
        candidate.directory.mkdir()
        try:
            yield candidate
        finally:
            shutil.rmtree(candidate.directory)

    def slow_line(self) -> None:
        print(f"(a) first sync of eight packages of {self.size // MB} MB, (b) nothing new")
        print(f"    {THROTTLE // MB} MB/s for each connection, {LATENCY * 1000:.0f} ms before each response, TLS")
        busy, cores = os.getloadavg()[0], os.cpu_count()
        print(f"    load of this machine: {busy:.1f} on {cores} processors; above {cores}, the times are unreliable\n")
        expected = self.publish(FIRST, self.size)
        self.service.throttle, self.service.latency = THROTTLE, LATENCY
        rows: list[tuple[str, Figures, Figures]] = []
        for kind in candidates():
            with self.candidate(kind) as candidate:
                first = candidate.run()
                if candidate.packages() != expected:
                    raise Failed(f"{candidate.name} did not download all packages: {candidate.packages()}")
                self.service.clear_requests()
                idle = candidate.run()
                if self.service.asked("package"):
                    raise Failed(f"{candidate.name} downloaded packages although nothing was new")
                rows.append((candidate.name, first, idle))
        self.service.throttle = self.service.latency = 0.0
        print(f"    {'':24}{'first sync (processor)':>26}{'nothing new (processor)':>26}{'time of mde-mirror':>24}")
        _mde_mirror, our_first, our_idle = rows[0]
        for name, first, idle in rows:
            shares = f"{our_first.seconds / first.seconds:.2f}{our_idle.seconds / idle.seconds:8.2f}"
            print(f"    {name:24}{first.times:>26}{idle.times:>26}{shares:>24}", flush=True)

    def memory(self) -> None:
        print("\n(c) peak memory of a sync of one package, without a speed limit\n")
        peaks = []
        for size in (self.size, 5 * self.size):
            self.publish(FIRST, size, platform="linux", arch="x86_64", ring="production")
            with self.candidate(OneUnit) as candidate:
                figures = candidate.run()
            peaks.append(figures.memory)
            print(f"    {size // MB:5} MB{figures.memory / MB:20.1f} MB{figures.times:>26}", flush=True)
        print(f"    a package of five times the size needs {peaks[1] / peaks[0]:.2f} times the memory")

    def publication(self) -> None:
        print("\n(d) bytes written to publish a release and keep the previous one as n-1, relative to the packages\n")
        for kind in candidates():
            with self.candidate(OneUnit if kind is MdeMirror else kind) as candidate:
                # The other programs cannot select units, so they get eight smaller packages.
                unit = {"platform": "linux", "arch": "x86_64", "ring": "production"} if kind is MdeMirror else {}
                size = self.size if unit else self.size // 8
                self.publish(SECOND, size, **unit)
                candidate.run()
                total = sum(self.publish(THIRD, size, **unit).values())
                written = candidate.run().written
                if not written:
                    print("    not measured: this file system (a tmpfs?) does not count written bytes")
                    return
                print(f"    {candidate.name:24}{written / total:12.2f}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Compares a sync of mde-mirror with other ways to mirror.")
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
