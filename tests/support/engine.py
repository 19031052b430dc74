"""Mirrors in folders: runs `mde-mirror` for them, and checks what their clients can see."""

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
import threading
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from simulators.download_service import PLATFORMS, package_versions
from tools.collection_tree import CHECKOUT

COMMAND = [sys.executable, str(CHECKOUT / "tools" / "mde_mirror_dev.py")]

ENGINE = "1.1.25110.3002"
SIZE = 30_000
ARCHITECTURES = ("x86_64", "arm64")


def version(number):
    """The definitions version of release `number`."""
    return f"1.443.{500 + number}.0"


def number_of(version_or_release):
    """The inverse of `version`; the name of a release begins with its version."""
    return int(version_or_release.split(".")[2]) - 500


def folders(channel, *architectures, platform="linux"):
    return [f"{platform}/{channel}/arch_{arch}" for arch in architectures or ARCHITECTURES]


# The third has more digits than the second.
FIRST, SECOND, THIRD = version(8), version(9), version(500)
PRODUCTION, BACK, CANARY = (folders(channel)[0] for channel in ("production", "production_back", "canary"))
# The units of linux that a mirror follows with the settings of `Mirror`.
UNITS = (*folders("production"), *folders("preview"))

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


def needs(*programs):
    """Skips the test if one of these programs is not installed."""
    missing = [name for name in programs if not shutil.which(name)]
    if missing:
        pytest.skip("NOT TESTED: Microsoft's script needs {}, not installed here".format(", ".join(missing)))


def until(condition):
    """Waits until a condition is true; returns false if it does not become true."""
    end = time.monotonic() + LONGEST
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def linger(process, seconds):
    """Waits for a number of seconds, or until the process ends."""
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

    How many runs end before the signal depends on the speed of the machine, so there are further rounds until enough
    runs were killed. A test without a killed run would prove nothing.
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

    def error(self, path=PRODUCTION):
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

    @property
    def number(self):
        return number_of(self.definitions)


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

    def set_root(self, root):
        """Sets another root."""
        self.root = root
        self.configure(downloadFolder=str(root))

    def move_to(self, folder):
        """Moves the root to another folder, which may be on another file system."""
        if self.root.exists():
            shutil.copytree(self.root, folder / "mirror", symlinks=True)
        self.set_root(folder / "mirror")

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

    def served(self, path=PRODUCTION):
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


class ChannelMirror(Mirror):
    """A mirror with channels of its own."""

    promotes = True

    def __init__(self, directory, *service_and_ca_file):
        directory.mkdir(exist_ok=True)
        super().__init__(directory, *service_and_ca_file)
        self.configure(downloadPreviewUpdates=False, channels=["canary", "pilot"], logFilePath=None)

    def publish(self, number, **options):
        """The service publishes a release, and a sync fetches it."""
        self.service.publish(version(number), **{"size": SIZE, **options})
        return self.sync_well()

    # Operations on channels

    def verb(self, *arguments, **options):
        run = self.run(*map(str, arguments), "--json", **options)
        assert run.report["changed"] in (True, False)
        return run

    def well(self, *arguments, **options):
        """Runs a verb that must succeed."""
        run = self.verb(*arguments, **options)
        assert run.status == 0, run.text
        assert (run.report["result"], run.report["errors"]) == ("ok", [])
        self.check()
        return run

    def refused(self, code, *arguments, **options):
        """Runs a verb that must fail with this code, give advice, and change nothing that clients or operators see."""
        before = self.state()
        run = self.verb(*arguments, **options)
        assert run.status == 1, run.text
        (error,) = run.report["errors"]
        assert error["code"] == code, error
        assert error["message"] and error["hint"]
        assert run.report["changed"] is False
        assert self.state() == before
        if before:
            self.check()
        return error

    # Inspecting the channels

    def state(self):
        """What is served and the records of the channels, without the lock and temporary files."""
        if not self.root.exists():
            return {}
        found = {name: data for name, data in self.tree().items() if not name.startswith((".state", ".incoming"))}
        found[".state"] = self.channels()
        return {name: data for name, data in found.items() if data or name.count("/") > 1}

    def serves(self, path):
        """The number of the release that clients get; None if there is none."""
        return self.served(path).number if (self.root / path).exists() else None

    def numbers(self, channel, *architectures):
        return [self.serves(path) for path in folders(channel, *architectures)]

    def name(self, path):
        return Path(os.readlink(self.root / path)).name

    def channels(self):
        file = self.root / ".state" / "channels.json"
        return json.loads(file.read_bytes())["channels"] if file.exists() else {}

    def state_writes(self):
        """Returns a function that tests whether the state was written since this call."""

        def identity():
            stat = (self.root / ".state" / "channels.json").stat()
            # An inode number alone is not enough, because file systems reuse it soon.
            return stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns

        before = identity()
        return lambda: identity() != before

    def history(self, path, key="action"):
        return [entry[key] for entry in self.channels()[path]["history"]]

    def stored(self, arch="x86_64"):
        """The numbers of the releases on the disk."""
        return sorted({number_of(path.name) for path in (self.root / ".releases" / f"linux-{arch}").iterdir()})

    def agree(self):
        """Checks that state, links and status are the same, and that there are no temporary files."""
        self.check()
        recorded = {}
        for path, entry in self.channels().items():
            platform, channel, folder = path.split("/")
            recorded[path] = entry["current"]
            if entry["previous"]:
                recorded[f"{platform}/{channel}_back/{folder}"] = entry["previous"]
        assert {path: self.name(path) for path in self.folders()} == recorded
        reported = {}
        for entry in self.status()["channels"]:
            reported[entry["path"]] = entry["release"]
            if entry["back"]:
                reported["{platform}/{channel}_back/arch_{arch}".format(**entry)] = entry["back"]["release"]
        assert reported == recorded
        assert list((self.root / ".incoming").iterdir()) == []
        assert self.run("verify").status == 0


class Patience:
    """A command that waits for silent programs until the test calls `end`, instead of for two minutes.

    The argument of `end` is the error code with which a silent program of this kind fails.
    """

    def __init__(self, patched, folder):
        self.flags = folder
        self.command = patched(
            "from pathlib import Path",
            "from _mirror.sources.subprocesses import Watchdog",
            f"over = lambda watch: Path({str(folder)!r}, watch.code).exists()",
            "Watchdog.patience = property(lambda watch: 0.5 if over(watch) else 3600.0)",
        )

    def end(self, code):
        self.flags.mkdir(exist_ok=True)
        (self.flags / code).touch()

    @contextlib.contextmanager
    def ends_when(self, condition, code):
        over = threading.Event()
        watcher = threading.Thread(target=lambda: until(lambda: over.is_set() or condition()) and self.end(code))
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()


@contextlib.contextmanager
def tmpfs_mounts():
    """Yields a function that mounts small file systems; skips the test if mounting is not allowed."""
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
