"""Drives `mde-mirror` as a user does, against the stand-in service over TLS, and checks what clients can see."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import stat
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from simulators.certificates import Authority
from simulators.download_service import DownloadService, package_versions

CHECKOUT = Path(__file__).resolve().parents[3]
COMMAND = [sys.executable, str(CHECKOUT / "tools" / "mde_mirror_dev.py")]

FIRST, SECOND, THIRD = "1.443.508.0", "1.443.509.0", "1.443.1000.0"
ENGINE = "1.1.25110.3002"
SIZE = 30_000

STRUCK = "linux/production/arch_x86_64"
UNITS = (
    STRUCK,
    "linux/production/arch_arm64",
    "linux/preview/arch_x86_64",
    "linux/preview/arch_arm64",
)


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


def assert_whole(served, path):
    """The zip is whole, and the manifest and the folder's name fit to it."""
    with zipfile.ZipFile(io.BytesIO(served.zip)) as package:
        assert package.testzip() is None
    versions = package_versions(io.BytesIO(served.zip))
    manifest = json.loads(served.manifest)
    assert manifest == {"EngineVersion": versions["engine"], "DefinitionVersion": versions["definitions"]}
    platform, channel, folder = path.split("/")
    assert (versions["platform"], versions["ring"], "arch_" + versions["arch"]) == (
        platform,
        channel[: -len("_back")] if channel.endswith("_back") else channel,
        folder,
    )


class Mirror:
    """One mirror: its root, its settings, and the command."""

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
                "timeout": 1,
                "connectTimeout": 2,
            },
        }

    # Running it

    def configure(self, **changes):
        """Sets settings; those of `source` are merged, and None takes a key away."""
        source = changes.pop("source", {})
        self.settings.update(changes)
        self.settings["source"].update(source)
        for fields in (self.settings, self.settings["source"]):
            for key in [key for key, value in fields.items() if value is None]:
                del fields[key]

    def start(self, *arguments, command=COMMAND, **options):
        self.settings_file.write_text(json.dumps(self.settings), encoding="utf-8")
        return subprocess.Popen(
            [*command, *arguments, "--settings", str(self.settings_file)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            **options,
        )

    def run(self, *arguments, timeout=60, **options):
        """Runs the command to its end. Whatever happens, it never shows a traceback."""
        begun = time.monotonic()
        with self.start(*arguments, **options) as process:
            try:
                stdout, stderr = process.communicate(timeout=timeout)
            finally:
                process.kill()
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
        return sorted(
            path.relative_to(self.root).as_posix()
            for path in self.root.glob("*/*/arch_*")
            if not path.relative_to(self.root).parts[0].startswith(".")
        )

    def served(self, path=STRUCK):
        folder = self.root / path
        return Served((folder / "updates.zip").read_bytes(), (folder / "manifest.json").read_bytes())

    def snapshot(self, paths=None):
        return {path: self.served(path) for path in (self.folders() if paths is None else paths)}

    def tree(self):
        """Everything below the root, byte by byte."""
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
            assert_whole(served, path)
            card = json.loads((folder / "release.json").read_text(encoding="utf-8"))
            assert card["sha256"] == served.sha256
            for name in ("updates.zip", "manifest.json", "release.json"):
                assert stat.S_IMODE((folder / name).stat().st_mode) == 0o644
        status_file = self.root / "status.json"
        if status_file.exists():
            assert json.loads(status_file.read_text(encoding="utf-8"))["format"] == 1

    def status(self):
        return json.loads((self.root / "status.json").read_text(encoding="utf-8"))


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
    running_service.clear_faults()
    running_service.tls = server_certificate.server_context()
    running_service.latency = running_service.throttle = 0.0
    running_service.etag = running_service.last_modified = running_service.ranges = True
    running_service.publish(FIRST, ENGINE, size=SIZE)
    running_service.clear_requests()
    yield running_service
    running_service.clear_faults()


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
    """Mounts small filesystems; skips where that is not allowed."""
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

    with contextlib.ExitStack() as cleanup:
        cleanup.callback(lambda: [subprocess.run(["umount", str(path)], check=True) for path in mounted])
        yield mount
