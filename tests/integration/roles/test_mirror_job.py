"""mde-mirror-job, which cron, launchd and the alarms of systemd run, with the real mde-mirror and an HTTP service."""

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
from tests.support.agent import NEW, OLD
from tests.support.role_mirror import LISTENER, calls_in
from tools.collection_tree import CHECKOUT

JOB = CHECKOUT / "roles" / "mirror" / "files" / "mde_mirror_job.py"


class Mirror:
    """A mirror in a folder, and the settings of its job."""

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
            "sign": False,
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
        # Published files must be readable for others, independent of the umask of the caller.
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=600, preexec_fn=lambda: os.umask(0o077)
        )

    def alarms(self) -> list[list[str]]:
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


def test_a_successful_sync_writes_metrics_and_raises_no_alarm(mirror: Mirror) -> None:
    done = mirror.run("sync")
    assert (done.returncode, mirror.alarms()) == (0, []), done
    assert OLD in done.stdout
    metrics = mirror.state / "metrics.prom"
    assert "mde_mirror_last_sync_failed 0.0\n" in metrics.read_text()
    # The files are readable for others although the umask of the caller is 077.
    package = mirror.root / "linux/production/arch_x86_64/updates.zip"
    assert {oct(path.stat().st_mode & 0o777) for path in (metrics, package)} == {"0o644"}

    assert (mirror.run("watch").returncode, mirror.alarms()) == (0, [])


def test_a_failing_sync_raises_one_alarm_until_a_sync_succeeds(mirror: Mirror) -> None:
    assert mirror.run("sync").returncode == 0
    mirror.service.fault("status", kind="package", code=404)
    mirror.service.publish(NEW, platform="linux", ring="production")

    assert mirror.run("sync").returncode == 1
    ((*words, reason),) = mirror.alarms()
    assert words == ["--team", "a b"]
    assert "linux/production/x86_64: http_status: " in reason
    assert "\n" not in reason
    assert "mde_mirror_last_sync_failed 1.0\n" in (mirror.state / "metrics.prom").read_text()

    again = mirror.run("sync")
    assert (again.returncode, len(mirror.alarms())) == (1, 1)
    assert "was already run for this problem" in again.stdout
    # systemd runs the alarm itself, and the same limit applies.
    assert mirror.run("alarm", "sync").returncode == 0
    assert len(mirror.alarms()) == 1

    mirror.wind_back("sync", 25)
    mirror.last_success_was("2020-01-01T00:00:00Z")
    assert mirror.run("sync").returncode == 1
    assert len(mirror.alarms()) == 2, "the alarm is repeated after a day"

    mirror.service.clear_faults()
    assert mirror.run("sync").returncode == 0
    mirror.service.fault("status", kind="package", code=404)
    mirror.service.publish("1.449.118.0", platform="linux", ring="production")
    assert mirror.run("sync").returncode == 1
    assert len(mirror.alarms()) == 3, "a failure after a success is a new problem"


def test_alarms_of_a_stale_mirror_and_of_a_failing_sync_are_independent(mirror: Mirror) -> None:
    never = mirror.run("watch")
    assert never.returncode == 1
    assert "was never filled" in mirror.alarms()[0][-1]
    assert mirror.run("sync").returncode == 0
    assert mirror.run("watch").returncode == 0

    mirror.last_success_was("2020-01-01T00:00:00Z")
    mirror.wind_back("watch", 25)
    assert mirror.run("watch").returncode == 1
    assert "2020-01-01" in mirror.alarms()[1][-1]
    assert (mirror.run("watch").returncode, len(mirror.alarms())) == (1, 2)
    assert mirror.run("alarm", "watch").returncode == 0
    # An alarm of the watch does not suppress the alarm of the sync.
    assert mirror.run("alarm", "sync").returncode == 0
    assert len(mirror.alarms()) == 3

    gone = mirror.run("watch", max_age=0)
    assert (gone.returncode, len(mirror.alarms())) == (0, 3), "the alarm is switched off"


def test_old_definitions_are_one_problem_although_syncs_go_on(mirror: Mirror) -> None:
    mirror.service.publish(NEW, platform="linux", ring="production", date="2026-01-05 06:00:00Z")
    assert mirror.run("sync").returncode == 0
    mirror.last_success_was(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 60)))
    assert mirror.run("watch").returncode == 1
    assert "hours old" in mirror.alarms()[0][-1]
    assert mirror.run("sync").returncode == 0
    assert (mirror.run("watch").returncode, len(mirror.alarms())) == (1, 1), "a sync without anything new ends nothing"
    mirror.write_settings(maxDefinitionsAge=0)
    assert mirror.run("watch").returncode == 0
    (mirror.root / "linux/production/arch_x86_64").unlink()
    assert (mirror.run("watch").returncode, len(mirror.alarms())) == (1, 2), "what is missing is another problem"


def test_a_failing_alarm_command_has_no_effect_on_the_sync_and_is_retried(mirror: Mirror) -> None:
    broken = [sys.executable, "-c", "import sys; sys.exit('no route to the pager')"]
    for alarm, message in ((broken, "no route to the pager"), (["/nowhere/pager"], "/nowhere/pager cannot be run")):
        watched = mirror.run("watch", alarm=alarm)
        assert watched.returncode == 1
        assert message in watched.stdout
    assert mirror.run("alarm", "watch", alarm=broken).returncode == 1
    assert mirror.run("watch").returncode == 1
    assert len(mirror.alarms()) == 1
    mirror.service.fault("status", kind="package", code=404)
    assert mirror.run("sync", alarm=broken).returncode == 1


def test_what_a_failing_alarm_command_prints_is_logged_without_its_arguments(mirror: Mirror) -> None:
    says = "import sys; sys.exit('cannot reach ' + ' '.join(sys.argv[1:-1]) + ' as http://bot:S3/c@ret@proxy:3128')"
    arguments = ["--token=S3cret-token", "https://bot:S3/cr@et@chat.example/hook", "https://chat.example/S3cret/hook"]
    watched = mirror.run("watch", alarm=[sys.executable, "-c", says, *arguments, "-H", "Authorization: Bearer S3cret"])
    assert watched.returncode == 1
    assert "failed: cannot reach" in watched.stdout
    assert "S3" not in watched.stdout + watched.stderr


def test_settings_that_cannot_be_used_raise_an_alarm(mirror: Mirror) -> None:
    mirror.write_settings(retian=3)
    assert mirror.run("sync").returncode == 2
    assert "unknown key retian" in mirror.alarms()[0][-1]


def test_a_sync_that_exceeds_its_time_limit_is_killed(mirror: Mirror) -> None:
    # The service sends the headers of the package, but never the body.
    mirror.service.fault("stall", kind="package")
    mirror.write_settings(source={"url": mirror.service.url, "retries": 0, "timeout": 600, "minSpeed": 0})
    done = mirror.run("sync", time_limit="2s")
    assert done.returncode not in (0, 75)
    assert "its time limit" in mirror.alarms()[0][-1]
    # No process of the killed sync holds the lock.
    mirror.service.clear_faults()
    assert mirror.run("sync").returncode == 0


def test_a_sync_that_finds_another_one_running_is_not_a_failure(mirror: Mirror) -> None:
    fake = mirror.folder / "locked"
    fake.write_text("#!/bin/sh\ncase $1 in sync) exit 75;; esac\n", encoding="utf-8")
    fake.chmod(0o755)
    assert mirror.run("sync", command=[str(fake)]).returncode == 0
    assert mirror.alarms() == []


def test_wrong_usage_is_reported(mirror: Mirror) -> None:
    assert "usage" in mirror.run("weekly").stderr
    assert "usage" in mirror.run("alarm", "weekly").stderr
    assert mirror.run("weekly").returncode == 2
    broken = mirror.run("sync", time_limit=None)
    assert broken.returncode == 2
    assert "Apply the role mde.offline.mirror again" in broken.stderr
