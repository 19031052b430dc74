"""Fixtures that run `mde-mirror` with the simulated service over TLS, and check what clients can see."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from simulators.certificates import Authority
from simulators.download_service import PLATFORMS, DownloadService, package_versions

CHECKOUT = Path(__file__).resolve().parents[3]
COMMAND = [sys.executable, str(CHECKOUT / "tools" / "mde_mirror_dev.py")]

FIRST, SECOND, THIRD = "1.443.508.0", "1.443.509.0", "1.443.1000.0"
ENGINE = "1.1.25110.3002"
SIZE = 30_000

# A time limit in seconds that is only reached if something is broken, also on slow and busy machines.
LONGEST = 300
# Settings for a source that responds, and for tests of one that does not. All other requests must end within the limit.
PATIENT = {"timeout": 120, "connectTimeout": 120}
HASTY = {"timeout": 3}

# Runs the command and prints its peak memory. This needs a separate process, because a child process inherits the peak
# of its parent.
MEASURED = [
    sys.executable,
    "-c",
    "import resource, subprocess, sys; status = subprocess.call(sys.argv[1:]); "
    "print('peak', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr); sys.exit(status)",
    *COMMAND,
]

STRUCK = "linux/production/arch_x86_64"
UNITS = (
    STRUCK,
    "linux/production/arch_arm64",
    "linux/preview/arch_x86_64",
    "linux/preview/arch_arm64",
)


def until(condition):
    """Waits until a condition is true; returns false if it does not become true."""
    end = time.monotonic() + LONGEST
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def linger(process, seconds):
    """Waits for so many seconds, or until the process ends."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)


def kill(process, number=signal.SIGKILL):
    """Sends a signal and waits for the end of the process; returns true if the signal ended it."""
    process.send_signal(number)
    output = "".join(process.communicate(timeout=LONGEST))
    assert "Traceback" not in output, output
    return process.returncode == -number


class Process(subprocess.Popen):
    """A running command. If a test fails, it does not wait for the end of the command."""

    def __exit__(self, kind, error, trace):
        if kind is not None:
            self.kill()
        super().__exit__(kind, error, trace)


class Kills:
    """The numbered rounds of a test that kills runs at random moments.

    How many runs are done before the signal comes is a matter of speed, so there are further rounds until enough of
    them were killed at work; without any the test would say nothing.
    """

    def __init__(self, rounds, wanted, first=0):
        self.first, self.rounds, self.wanted, self.count = first, rounds, wanted, 0

    def __iter__(self):
        done = 0
        while done < self.rounds or self.count < self.wanted:
            assert done < 10 * self.rounds, f"{self.count} of {done} runs were killed at work"
            yield self.first + done
            done += 1

    def strike(self, process):
        self.count += kill(process)


@dataclass
class Run:
    """A finished run of the command."""

    status: int
    stdout: str
    stderr: str
    seconds: float
    report: dict = field(default_factory=dict)

    @property
    def text(self):
        return self.stdout + self.stderr

    @property
    def units(self):
        return {f"{unit['platform']}/{unit['channel']}/arch_{unit['arch']}": unit for unit in self.report["units"]}

    @property
    def peak(self):
        """The peak memory of a `MEASURED` run, in bytes."""
        return int(self.stderr.rsplit("peak", 1)[1]) * 1024

    def outcomes(self):
        return {path: unit["outcome"] for path, unit in self.units.items()}

    def error(self, path=STRUCK):
        return self.units[path]["error"]


@dataclass(frozen=True)
class Served:
    """The files that a client gets from a folder."""

    zip: bytes
    manifest: bytes

    @property
    def sha256(self):
        return hashlib.sha256(self.zip).hexdigest()

    @property
    def definitions(self):
        return json.loads(self.manifest)["DefinitionVersion"]


def assert_whole(served, path, promoted=False):
    """Whether the zip is valid, and belongs to the manifest and the folder; any ring may be promoted to a channel."""
    with zipfile.ZipFile(io.BytesIO(served.zip)) as package:
        assert package.testzip() is None
    versions = package_versions(io.BytesIO(served.zip))
    manifest = json.loads(served.manifest)
    assert manifest == {"EngineVersion": versions["engine"], "DefinitionVersion": versions["definitions"]}
    platform, channel, folder = path.split("/")
    assert (versions["platform"], "arch_" + versions["arch"]) == (platform, folder)
    assert promoted or versions["ring"] == channel.removesuffix("_back")


def damage(folder):
    """Inverts one bit of the zip and keeps its size and modification time."""
    path = folder / "updates.zip"
    stat = path.stat()
    with path.open("r+b") as stream:
        stream.seek(stat.st_size // 2)
        byte = stream.read(1)
        stream.seek(-1, os.SEEK_CUR)
        stream.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


class Mirror:
    """A mirror: its root, its settings, and the command."""

    promotes = False

    def __init__(self, directory, service, ca_file):
        self.directory, self.service = directory, service
        self.root = directory / "mirror"
        self.settings_file = directory / "settings.json"
        self.settings = {
            "downloadFolder": str(self.root),
            "downloadLinuxUpdates": True,
            "downloadMacUpdates": False,
            "downloadPreviewUpdates": True,
            "backupPreviousUpdates": True,
            "logFilePath": str(directory / "sync.log"),
            "source": {
                "url": service.url,
                "caFile": str(ca_file),
                "retries": 0,
                **PATIENT,
            },
        }

    # Running the command

    def configure(self, **changes):
        """Sets settings; those of `source` are merged, `script` is `source.script`, and None takes a key away."""
        source, script = changes.pop("source", {}), changes.pop("script", {})
        self.settings.update(changes)
        self.settings["source"].update(source)
        if script:
            self.settings["source"].setdefault("script", {}).update(script)
        for fields in (self.settings, self.settings["source"], self.settings["source"].get("script", {})):
            for key in [key for key, value in fields.items() if value is None]:
                del fields[key]

    def lie_at(self, root):
        """Sets another root."""
        self.root = root
        self.configure(downloadFolder=str(root))

    def move_to(self, folder):
        """Moves the root to another folder, which may be on another file system."""
        if self.root.exists():
            shutil.copytree(self.root, folder / "mirror", symlinks=True)
        self.lie_at(folder / "mirror")

    def start(self, *arguments, command=COMMAND, **options):
        # In one step, because a process that is running may be reading the file.
        staged = self.settings_file.with_suffix(".new")
        staged.write_text(json.dumps(self.settings), encoding="utf-8")
        staged.replace(self.settings_file)
        return Process(
            [*command, *arguments, "--settings", str(self.settings_file)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            **options,
        )

    def run(self, *arguments, **options):
        """Runs the command and checks that it prints no traceback."""
        begun = time.monotonic()
        with self.start(*arguments, **options) as process:
            stdout, stderr = process.communicate(timeout=LONGEST)
        run = Run(process.returncode, stdout, stderr, time.monotonic() - begun)
        assert "Traceback" not in run.text, run.text
        if "--json" in arguments and stdout.strip():
            run.report = json.loads(stdout)
        return run

    def sync(self, *arguments, **options):
        return self.run("sync", "--json", *arguments, **options)

    def sync_well(self, *arguments, **options):
        run = self.sync(*arguments, **options)
        assert run.status == 0, run.text
        assert run.report["result"] == "ok"
        assert run.report["errors"] == []
        self.check()
        return run

    # Inspecting the mirror

    def folders(self):
        # Only the folders of the platforms, because a sync creates and removes other folders.
        found = (path for platform in PLATFORMS for path in self.root.glob(f"{platform}/*/arch_*"))
        return sorted(path.relative_to(self.root).as_posix() for path in found)

    def served(self, path=STRUCK):
        folder = self.root / path
        return Served((folder / "updates.zip").read_bytes(), (folder / "manifest.json").read_bytes())

    def snapshot(self, paths=None):
        return {path: self.served(path) for path in (self.folders() if paths is None else paths)}

    def tree(self):
        """The content of all files below the root; only while no command runs."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            name = path.relative_to(self.root).as_posix()
            if path.is_symlink():
                found[name] = os.readlink(path)
            else:
                found[name] = path.read_bytes() if path.is_file() else None
        return found

    def check(self, paths=None):
        """Checks what must be true at any time: all files that clients can see are valid, consistent and readable."""
        for path in self.folders() if paths is None else paths:
            folder = self.root / path
            served = self.served(path)
            assert_whole(served, path, self.promotes)
            record = json.loads((folder / "release.json").read_text(encoding="utf-8"))
            assert record["sha256"] == served.sha256
            for name in ("updates.zip", "manifest.json", "release.json"):
                assert stat.S_IMODE((folder / name).stat().st_mode) == 0o644
        status_file = self.root / "status.json"
        if status_file.exists():
            assert json.loads(status_file.read_text(encoding="utf-8"))["format"] == 1

    def status(self):
        return json.loads((self.root / "status.json").read_text(encoding="utf-8"))

    def everything_written(self):
        """The content of all files except the settings, which belong to the operator."""
        return b"".join(
            path.read_bytes() for path in self.directory.rglob("*") if path.is_file() and path != self.settings_file
        )


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def server_certificate(authority):
    return authority.issue("server", ["127.0.0.1", "localhost"])


@pytest.fixture(scope="session")
def running_service(tmp_path_factory, server_certificate):
    with DownloadService(tmp_path_factory.mktemp("packages"), tls=server_certificate.server_context()) as service:
        yield service


@pytest.fixture
def service(running_service, server_certificate):
    """The service in its initial state: one release for all units, no faults, no records."""
    running_service.publish(FIRST, ENGINE, size=SIZE)
    running_service.clear_requests()
    yield running_service
    # After the test, because fixtures of the session are created before the first test.
    running_service.clear_faults()
    running_service.tls = server_certificate.server_context()
    running_service.latency = running_service.throttle = 0.0
    running_service.etag = running_service.last_modified = running_service.ranges = True


@pytest.fixture
def mirror(tmp_path, service, authority):
    """A mirror before its first sync."""
    return Mirror(tmp_path, service, authority.cert)


@pytest.fixture(scope="session")
def seed(tmp_path_factory, running_service, authority):
    """The root of a mirror that serves the first release in four units; tests get copies of it."""
    running_service.publish(FIRST, ENGINE, size=SIZE)
    seeded = Mirror(tmp_path_factory.mktemp("seed"), running_service, authority.cert)
    run = seeded.sync_well()
    assert run.outcomes() == dict.fromkeys(UNITS, "updated")
    return seeded.root


@pytest.fixture
def filled(seed, mirror):
    """A mirror that serves the first release in four units."""
    shutil.copytree(seed, mirror.root, symlinks=True)
    mirror.service.clear_requests()
    return mirror


@pytest.fixture
def tmpfs(tmp_path):
    """Mounts small file systems and returns their paths; skips the test if mounting is not allowed."""
    mounted = []

    def mount(path, size):
        path.mkdir(parents=True, exist_ok=True)
        result = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            pytest.skip(f"NOT TESTED: mounting a tmpfs is not allowed here ({result.stderr.strip()})")
        mounted.append(path)
        return path

    with contextlib.ExitStack() as cleanup:
        cleanup.callback(lambda: [subprocess.run(["umount", str(path)], check=True) for path in mounted])
        yield mount
