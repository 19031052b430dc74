"""The program that cron, launchd and systemd's alarms call, around the real command and a real download service."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mde.offline.plugins.module_utils._mirror.pack import build_command

from simulators.download_service import DownloadService
from tools.collection_tree import CHECKOUT

from .scheduled import LISTENER, calls_in
from .stage import NEW, OLD

JOB = CHECKOUT / "roles" / "mirror" / "files" / "mde_mirror_job.py"


class Mirror:
    """A mirror in a folder, and the job that looks after it."""

    def __init__(self, folder: Path, service: DownloadService) -> None:
        self.service = service
        self.folder = folder
        self.root = folder / "two words" / "srv"
        self.state = self.root / ".state"
        self.state.mkdir(parents=True)
        self.calls = folder / "calls"
        self.settings = folder / "settings.json"
        self.write_settings()
        command = folder / "mde-mirror"
        build_command(str(command), sys.executable)
        self.job: dict[str, Any] = {
            "command": [sys.executable, str(command)],
            "settings": str(self.settings),
            "state": str(self.state),
            "metrics": str(self.state / "metrics.prom"),
            "max_age": 24,
            "alarm": [sys.executable, "-c", LISTENER, str(self.calls), "--team", "a b"],
            "repeat": 24,
            "spread": "0",
            "time_limit": "1h 30min",
        }

    def write_settings(self, **more: Any) -> None:
        fields = {
            "downloadFolder": str(self.root),
            "architectures": ["x86_64"],
            "source": {"url": self.service.url, "retries": 0},
        }
        self.settings.write_text(json.dumps({**fields, **more}), encoding="utf-8")

    def run(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        config = self.folder / "job.json"
        config.write_text(json.dumps({**self.job, **more}), encoding="utf-8")
        command = [sys.executable, str(JOB), str(config), *words]
        # Whatever the caller's umask is, others read what is published.
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=600, preexec_fn=lambda: os.umask(0o077)
        )

    def told(self) -> list[list[str]]:
        return calls_in(self.calls)

    def wind_back(self, kind: str, hours: float) -> None:
        then = time.time() - hours * 3600
        os.utime(self.state / f"alarm-{kind}", (then, then))

    def last_success_was(self, iso: str) -> None:
        path = self.state / "last-sync.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "last_success": iso}), encoding="utf-8")


@pytest.fixture
def mirror(tmp_path: Path, service: DownloadService) -> Mirror:
    return Mirror(tmp_path, service)


def test_a_sync_that_works_writes_metrics_and_tells_nobody(mirror: Mirror) -> None:
    done = mirror.run("sync")
    assert (done.returncode, mirror.told()) == (0, []), done
    assert OLD in done.stdout
    metrics = mirror.state / "metrics.prom"
    assert "mde_mirror_last_sync_failed 0.0\n" in metrics.read_text()
    # The folder was made by an account with a closed umask, and is served to others nevertheless.
    package = mirror.root / "linux/production/arch_x86_64/updates.zip"
    assert {oct(path.stat().st_mode & 0o777) for path in (metrics, package)} == {"0o644"}

    assert (mirror.run("watch").returncode, mirror.told()) == (0, [])


def test_a_failing_sync_is_told_once_until_one_works(mirror: Mirror) -> None:
    assert mirror.run("sync").returncode == 0
    mirror.service.fault("status", kind="package", code=404)
    mirror.service.publish(NEW, platform="linux", ring="production")

    assert mirror.run("sync").returncode == 1
    ((*words, reason),) = mirror.told()
    assert words == ["--team", "a b"]
    assert "linux/production/x86_64: http_status: " in reason
    assert "\n" not in reason
    assert "mde_mirror_last_sync_failed 1.0\n" in (mirror.state / "metrics.prom").read_text()

    again = mirror.run("sync")
    assert (again.returncode, len(mirror.told())) == (1, 1)
    assert "told already" in again.stdout
    # systemd calls the alarm by itself, and follows the same rule.
    assert mirror.run("alarm", "sync").returncode == 0
    assert len(mirror.told()) == 1

    mirror.wind_back("sync", 25)
    mirror.last_success_was("2020-01-01T00:00:00Z")
    assert mirror.run("sync").returncode == 1
    assert len(mirror.told()) == 2, "after a day it is told again"

    mirror.service.clear_faults()
    assert mirror.run("sync").returncode == 0
    mirror.service.fault("status", kind="package", code=404)
    mirror.service.publish("1.449.118.0", platform="linux", ring="production")
    assert mirror.run("sync").returncode == 1
    assert len(mirror.told()) == 3, "trouble after a success is new trouble"


def test_a_stale_mirror_is_told_apart_from_a_failing_sync(mirror: Mirror) -> None:
    never = mirror.run("watch")
    assert never.returncode == 1
    assert "was never filled" in mirror.told()[0][-1]
    assert mirror.run("sync").returncode == 0
    assert mirror.run("watch").returncode == 0

    mirror.last_success_was("2020-01-01T00:00:00Z")
    mirror.wind_back("watch", 25)
    assert mirror.run("watch").returncode == 1
    assert "2020-01-01" in mirror.told()[1][-1]
    assert (mirror.run("watch").returncode, len(mirror.told())) == (1, 2)
    assert mirror.run("alarm", "watch").returncode == 0
    # The sync's own alarm is not silenced by the watch's.
    assert mirror.run("alarm", "sync").returncode == 0
    assert len(mirror.told()) == 3

    gone = mirror.run("watch", max_age=0)
    assert (gone.returncode, len(mirror.told())) == (0, 3), "the alarm is switched off"


def test_a_failing_alarm_command_hurts_nothing_and_is_tried_again(mirror: Mirror) -> None:
    broken = [sys.executable, "-c", "import sys; sys.exit('no route to the pager')"]
    for alarm, said in ((broken, "no route to the pager"), (["/nowhere/pager"], "/nowhere/pager cannot be run")):
        watched = mirror.run("watch", alarm=alarm)
        assert watched.returncode == 1
        assert said in watched.stdout
    assert mirror.run("alarm", "watch", alarm=broken).returncode == 1
    assert mirror.run("watch").returncode == 1
    assert len(mirror.told()) == 1
    mirror.service.fault("status", kind="package", code=404)
    assert mirror.run("sync", alarm=broken).returncode == 1


def test_settings_that_cannot_be_used_are_told(mirror: Mirror) -> None:
    mirror.write_settings(retian=3)
    assert mirror.run("sync").returncode == 2
    assert "unknown key retian" in mirror.told()[0][-1]


def test_a_sync_that_takes_too_long_is_ended(mirror: Mirror) -> None:
    # Headers come at once, the package never ends.
    mirror.service.fault("stall", kind="package")
    mirror.write_settings(source={"url": mirror.service.url, "retries": 0, "timeout": 600, "minSpeed": 0})
    done = mirror.run("sync", time_limit="2s")
    assert done.returncode not in (0, 75)
    assert "its time limit" in mirror.told()[0][-1]
    # Nothing of it is left that holds the lock.
    mirror.service.clear_faults()
    assert mirror.run("sync").returncode == 0


def test_another_sync_at_work_is_no_trouble(mirror: Mirror) -> None:
    fake = mirror.folder / "locked"
    fake.write_text("#!/bin/sh\ncase $1 in sync) exit 75;; esac\n", encoding="utf-8")
    fake.chmod(0o755)
    assert mirror.run("sync", command=[str(fake)]).returncode == 0
    assert mirror.told() == []


def test_wrong_use_is_said(mirror: Mirror) -> None:
    assert "usage" in mirror.run("weekly").stderr
    assert "usage" in mirror.run("alarm", "weekly").stderr
    assert mirror.run("weekly").returncode == 2
    broken = mirror.run("sync", time_limit=None)
    assert broken.returncode == 2
    assert "Apply the role mde.offline.mirror again" in broken.stderr
