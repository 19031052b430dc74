"""Drives `mde-mirror` as a user does, against the stand-in service over TLS, and checks what clients can see."""

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

# How long something may take on a machine that is slow and busy. Nothing takes so long unless it is broken.
LONGEST = 300
# For a source that answers, and for tests about one that does not: all else must still answer within it.
PATIENT = {"timeout": 120, "connectTimeout": 120}
HASTY = {"timeout": 3}

# The command, telling how much memory it took at most: asked for by a process of its own, because what is asked of the
# system counts the most that the parent ever had, too.
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
    """Waits for what nobody announces. False when it did not come."""
    end = time.monotonic() + LONGEST
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def linger(process, seconds):
    """Lets a process work for so long, or to its end."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)


def kill(process, number=signal.SIGKILL):
    """Sends a signal and waits for the end. True when the signal was what ended it."""
    process.send_signal(number)
    told = "".join(process.communicate(timeout=LONGEST))
    assert "Traceback" not in told, told
    return process.returncode == -number


class Process(subprocess.Popen):
    """A run of the command. Where a test fails beside it, its end is not waited for."""

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
    """One finished run of the command."""

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
        """The most memory of a `MEASURED` run, in bytes."""
        return int(self.stderr.rsplit("peak", 1)[1]) * 1024

    def outcomes(self):
        return {path: unit["outcome"] for path, unit in self.units.items()}

    def error(self, path=STRUCK):
        return self.units[path]["error"]


@dataclass(frozen=True)
class Served:
    """What a client gets from one folder."""

    zip: bytes
    manifest: bytes

    @property
    def sha256(self):
        return hashlib.sha256(self.zip).hexdigest()

    @property
    def definitions(self):
        return json.loads(self.manifest)["DefinitionVersion"]


def assert_whole(served, path, promoted=False):
    """The zip is whole, and the manifest and the folder's name fit to it; any ring may be promoted to a channel."""
    with zipfile.ZipFile(io.BytesIO(served.zip)) as package:
        assert package.testzip() is None
    versions = package_versions(io.BytesIO(served.zip))
    manifest = json.loads(served.manifest)
    assert manifest == {"EngineVersion": versions["engine"], "DefinitionVersion": versions["definitions"]}
    platform, channel, folder = path.split("/")
    assert (versions["platform"], "arch_" + versions["arch"]) == (platform, folder)
    assert promoted or versions["ring"] == channel.removesuffix("_back")


def damage(folder):
    """One bit of the zip, with size and time of change as they were."""
    path = folder / "updates.zip"
    stat = path.stat()
    with path.open("r+b") as stream:
        stream.seek(stat.st_size // 2)
        byte = stream.read(1)
        stream.seek(-1, os.SEEK_CUR)
        stream.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


class Mirror:
    """One mirror: its root, its settings, and the command."""

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

    # Running it

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
        """From now on this is the root."""
        self.root = root
        self.configure(downloadFolder=str(root))

    def move_to(self, folder):
        """Carries the root to another folder, which may be a disk of its own."""
        if self.root.exists():
            shutil.copytree(self.root, folder / "mirror", symlinks=True)
        self.lie_at(folder / "mirror")

    def start(self, *arguments, command=COMMAND, **options):
        # In one step: a process that was started before may be about to read it.
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
        """Runs the command to its end. Whatever happens, it never shows a traceback."""
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

    # Looking at it

    def folders(self):
        # By the names of the platforms: other folders come and go while a sync is at work.
        found = (path for platform in PLATFORMS for path in self.root.glob(f"{platform}/*/arch_*"))
        return sorted(path.relative_to(self.root).as_posix() for path in found)

    def served(self, path=STRUCK):
        folder = self.root / path
        return Served((folder / "updates.zip").read_bytes(), (folder / "manifest.json").read_bytes())

    def snapshot(self, paths=None):
        return {path: self.served(path) for path in (self.folders() if paths is None else paths)}

    def tree(self):
        """Everything below the root, byte by byte. Only while nothing is at work there."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            name = path.relative_to(self.root).as_posix()
            if path.is_symlink():
                found[name] = os.readlink(path)
            else:
                found[name] = path.read_bytes() if path.is_file() else None
        return found

    def check(self, paths=None):
        """What must hold at every moment: all that clients can see is whole, belongs together, and may be read."""
        for path in self.folders() if paths is None else paths:
            folder = self.root / path
            served = self.served(path)
            assert_whole(served, path, self.promotes)
            card = json.loads((folder / "release.json").read_text(encoding="utf-8"))
            assert card["sha256"] == served.sha256
            for name in ("updates.zip", "manifest.json", "release.json"):
                assert stat.S_IMODE((folder / name).stat().st_mode) == 0o644
        status_file = self.root / "status.json"
        if status_file.exists():
            assert json.loads(status_file.read_text(encoding="utf-8"))["format"] == 1

    def status(self):
        return json.loads((self.root / "status.json").read_text(encoding="utf-8"))

    def everything_written(self):
        """All that lies about here but the settings, which are the operator's."""
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
    """The service in its first state: one release everywhere, no faults, no records."""
    running_service.publish(FIRST, ENGINE, size=SIZE)
    running_service.clear_requests()
    yield running_service
    # At the end, because what a session shares is made before the first of these.
    running_service.clear_faults()
    running_service.tls = server_certificate.server_context()
    running_service.latency = running_service.throttle = 0.0
    running_service.etag = running_service.last_modified = running_service.ranges = True


@pytest.fixture
def mirror(tmp_path, service, authority):
    """A mirror that was never synced."""
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
    """Mounts small filesystems and returns where; skips where that is not allowed."""
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
