"""The schedulers of the role mirror: lines of cron, which are run, files of launchd, units of systemd, and changes."""

from __future__ import annotations

import grp
import json
import os
import plistlib
import pwd
import re
import shutil
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from simulators.download_service import DownloadService
from tests.support.agent import NEW
from tests.support.ansible_runs import Ansible, Run
from tests.support.openpgp import Key
from tests.support.role_mirror import ALARM, LISTENER, SYNC, WATCH, Cron, calls_in, check_units, mirror_variables

# The simulated launchctl appends its requests to the file `asked`, and keeps one file per loaded daemon.
LAUNCHCTL = """#!/bin/sh
cd "$LAUNCHCTL_STATE" || exit 9
case $1 in
print) test -e "loaded-${2#system/}" ;;
bootout) echo "$*" >> asked; rm "loaded-${2#system/}" ;;
bootstrap) echo "$*" >> asked; test -f "$3" && name=${3##*/} && touch "loaded-${name%.plist}" ;;
esac
"""


class Host:
    """A mirror's host in a folder, with simulated commands launchctl and logger."""

    def __init__(self, ansible: Ansible, folder: Path, service: str) -> None:
        self.ansible = ansible
        self.place = folder / "mirror"
        self.programs = folder / "programs"
        self.programs.mkdir()
        for name, text in (("launchctl", LAUNCHCTL), ("logger", '#!/bin/sh\necho "$*" >> "${0%/*}/logged"\n')):
            (self.programs / name).write_text(text, encoding="utf-8")
            (self.programs / name).chmod(0o755)
        self.calls = folder / "calls"
        self.variables = {
            **mirror_variables(self.place, service),
            # systemd-analyze requires that the account of the units exists.
            "mirror_user": pwd.getpwuid(os.getuid()).pw_name,
            "mirror_group": grp.getgrgid(os.getgid()).gr_name,
            "mirror_cron_file": str(self.place / "cron.d" / "mde-mirror"),
            "mirror_launchd_directory": str(self.place / "daemons"),
            "mirror_alarm_command": [sys.executable, "-c", LISTENER, str(self.calls), "50 %"],
            "mirror_metrics_file": str(self.place / "node-exporter" / "mde-mirror.prom"),
            "mirror_schedule_spread": "0",
        }

    def apply(self, scheduler: str, *options: str, **more: Any) -> Run:
        """Applies the role to a host whose facts name launchd."""
        self.ansible.hosts["mirrors"] = {"m": {**self.variables, "mirror_scheduler": scheduler, **more}}
        facts = {"service_mgr": "launchd", "os_family": "Darwin", "cacheable": True}
        play = {
            "hosts": "mirrors",
            "gather_facts": False,
            "environment": {
                "PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}",
                "LAUNCHCTL_STATE": str(self.programs),
            },
            "tasks": [
                {"ansible.builtin.setup": {"gather_subset": ["!all", "!min", "distribution", "python", "service_mgr"]}},
                {"ansible.builtin.set_fact": facts},
                {"ansible.builtin.include_role": {"name": "mde.offline.mirror"}},
            ],
        }
        return self.ansible.playbook([play], *options)

    def works(self, scheduler: str, *options: str, **more: Any) -> Run:
        run = self.apply(scheduler, *options, **more)
        assert run.status == 0, run.output
        return run

    def files(self, folder: str) -> list[str]:
        return sorted(path.name for path in (self.place / folder).rglob("*") if not path.is_dir())

    def alarms(self) -> list[list[str]]:
        return calls_in(self.calls)

    def launchctl(self) -> list[str]:
        """The requests to launchctl since the last call."""
        path = self.programs / "asked"
        asked = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return asked


@pytest.fixture
def host(ansible: Ansible, service: DownloadService, tmp_path: Path) -> Host:
    return Host(ansible, tmp_path, service.url)


def test_cron_syncs_and_raises_an_alarm_when_the_mirror_stops(host: Host, service: DownloadService) -> None:
    rehearsal = host.works("cron", "--check", "--diff")
    assert "+0 */2 * * * " in rehearsal.output
    assert "50 %" not in rehearsal.output, "the alarm command may contain a password"
    assert not host.place.exists()

    host.works("cron")
    again = host.works("cron")
    assert again.recap["m"].changed == 0, again.output
    cron = Cron(host.place / "cron.d" / "mde-mirror")
    assert stat.S_IMODE((host.place / "cron.d" / "mde-mirror").stat().st_mode) == 0o644
    assert cron.settings["MAILTO"] == ""
    assert cron.lines["sync"][:2] == ("0 */2 * * *", host.variables["mirror_user"])
    assert cron.lines["watch"][0].split()[1:] == ["*", "*", "*", "*"], "hourly"
    # The metrics already include the sync that the role ran.
    metrics = Path(host.variables["mirror_metrics_file"])
    assert "mde_mirror_last_sync_failed 0.0\n" in metrics.read_text()
    assert stat.S_IMODE(metrics.stat().st_mode) == 0o644

    service.publish(NEW, platform="linux", ring="production")
    synced = cron.run("sync", host.programs)
    assert (synced.returncode, synced.stdout, synced.stderr) == (0, "", ""), "cron would mail the output of each run"
    package = Path(host.variables["mirror_root"]) / "linux/production/arch_x86_64"
    assert json.loads((package / "manifest.json").read_text())["DefinitionVersion"] == NEW
    assert NEW in metrics.read_text()
    assert NEW in Path(host.variables["mirror_log_file"]).read_text()

    service.fault("status", kind="package", code=404)
    service.publish("1.449.118.0", platform="linux", ring="production")
    failed = cron.run("sync", host.programs)
    assert (failed.stdout, failed.stderr) == ("", "")
    ((word, reason),) = host.alarms()
    assert word == "50 %"
    assert "http_status" in reason
    assert "the sync of the mirror failed" in (host.programs / "logged").read_text()
    assert "mde_mirror_last_sync_failed 1.0\n" in metrics.read_text()

    assert cron.run("watch", host.programs).returncode == 0
    assert len(host.alarms()) == 1, "not stale yet"
    state = Path(host.variables["mirror_root"]) / ".state" / "last-sync.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "last_success": "2020-01-01T00:00:00Z"}))
    cron.run("watch", host.programs)
    assert len(host.alarms()) == 2
    assert "2020-01-01" in host.alarms()[1][1]

    # If the job cannot start, it raises no alarm; the line of cron logs the failure instead.
    (host.programs / "logged").unlink()
    Path(host.variables["mirror_command"] + "-job").unlink()
    cron.run("watch", host.programs)
    assert "the watch of the mirror failed" in (host.programs / "logged").read_text()


def test_cron_and_launchd_keep_a_signature_alive_where_nothing_else_is_watched(host: Host, tmp_path: Path) -> None:
    key = Key(tmp_path, "mirror")
    host.variables.update(
        mirror_signing_key=str(key.secret),
        mirror_alarm_max_age=0,
        mirror_metrics_file="",
        mirror_alarm_command=[],
    )
    host.works("cron")
    status = Path(host.variables["mirror_root"]) / "status.json"
    before = json.loads(status.read_text())
    watch = Cron(host.place / "cron.d" / "mde-mirror").run("watch", host.programs)
    assert (watch.returncode, watch.stdout, watch.stderr) == (0, "", "")
    after = json.loads(status.read_text())
    assert after["sequence"] > before["sequence"]
    assert after["signed"]["signature"] != before["signed"]["signature"]

    # A key that cannot be used fails the watch.
    (host.place / "etc" / "signing-key.asc").write_bytes(key.public.read_bytes())
    Cron(host.place / "cron.d" / "mde-mirror").run("watch", host.programs)
    assert "the watch of the mirror failed" in (host.programs / "logged").read_text()

    host.works("launchd", mirror_sync=False)
    assert host.files("daemons") == ["mde-mirror-sync.plist", "mde-mirror-watch.plist"]
    assert json.loads((host.place / "etc" / "job.json").read_text())["sign"] is True


def test_one_scheduler_takes_over_from_another(host: Host) -> None:
    host.variables["mirror_sync"] = False
    host.works("cron", mirror_alarm_max_age=0, mirror_metrics_file="", mirror_alarm_command=[])
    assert list(Cron(host.place / "cron.d" / "mde-mirror").lines) == ["sync"]
    assert host.files("bin") == ["mde-mirror", "mde-mirror-job"]

    host.works("auto", mirror_scheduler="launchd")
    assert host.files("cron.d") == []
    assert host.files("daemons") == ["mde-mirror-sync.plist", "mde-mirror-watch.plist"]
    daemons = {}
    for path in (host.place / "daemons").iterdir():
        with path.open("rb") as file:
            daemons[path.stem] = plistlib.load(file)
    job = [sys.executable, host.variables["mirror_command"] + "-job", str(host.place / "etc" / "job.json")]
    for verb, seconds in (("sync", 7200), ("watch", 3600)):
        daemon = daemons[f"mde-mirror-{verb}"]
        assert daemon["Label"] == f"mde-mirror-{verb}"
        assert (daemon["UserName"], daemon["GroupName"]) == (
            host.variables["mirror_user"],
            host.variables["mirror_group"],
        )
        assert daemon["ProgramArguments"] == [*job, verb]
        assert (daemon["StartInterval"], daemon["Umask"]) == (seconds, 0o022)
    folder = f"{host.place}/daemons"
    assert host.launchctl() == [
        f"bootstrap system {folder}/mde-mirror-watch.plist",
        f"bootstrap system {folder}/mde-mirror-sync.plist",
    ]

    again = host.works("launchd")
    assert (again.recap["m"].changed, host.launchctl()) == (0, [])

    # A daemon that changed is unloaded and loaded again; a daemon that is not needed is removed.
    host.works("launchd", mirror_schedule_interval=3600, mirror_alarm_max_age=0, mirror_metrics_file="")
    assert host.launchctl() == [
        "bootout system/mde-mirror-watch",
        "bootout system/mde-mirror-sync",
        f"bootstrap system {folder}/mde-mirror-sync.plist",
    ]
    assert host.files("daemons") == ["mde-mirror-sync.plist"]

    units = host.place / "systemd"
    host.works("systemd", mirror_alarm_units=["page-me@mirror.service", "mail.target"])
    assert host.launchctl() == ["bootout system/mde-mirror-sync"]
    assert host.files("daemons") == []
    check_units(units, *SYNC, *WATCH, ALARM)
    for kind in ("sync", "watch"):
        unit = (units / f"mde-mirror-{kind}.service").read_text(encoding="utf-8")
        assert f"\nOnFailure=mde-mirror-alarm@{kind}.service page-me@mirror.service mail.target\n" in unit

    # Without an alarm command, the job file is not needed.
    host.works("systemd", mirror_alarm_command=[], mirror_alarm_max_age=0, mirror_metrics_file="")
    check_units(units, *SYNC)
    assert "OnFailure" not in (units / SYNC[0]).read_text(encoding="utf-8")
    assert host.files("bin") == ["mde-mirror"]
    assert host.files("etc") == ["settings.json"]

    host.works("none", mirror_state="absent")
    assert [host.files(name) for name in ("systemd", "bin", "etc")] == [[], [], []]


def test_a_mirror_of_microsofts_script_is_locked_down_too(host: Host, tmp_path: Path) -> None:
    lacking = [name for name in ("bash", "curl", "jq", "git") if not shutil.which(name)]
    if lacking:
        pytest.skip(f"Microsoft's script is not scheduled here: {', '.join(lacking)} not installed")
    host.works(
        "systemd",
        mirror_source_type="script",
        mirror_source_script_url="https://git.example.com/mdatp-xplat.git",
        mirror_source_script_commit="0123456789abcdef0123456789abcdef01234567",
        mirror_channels=["canary"],
        mirror_sync=False,
    )
    unit = (host.place / "systemd" / SYNC[0]).read_text(encoding="utf-8")
    metrics = f'"{host.variables["mirror_root"]}/.state/metrics.prom"'
    assert re.search(rf'^ExecStopPost=-"[^"]+" "[^"]+" "metrics" "--output" {re.escape(metrics)} ', unit, re.M)
    settings = json.loads(Path(host.variables["mirror_settings_file"]).read_text(encoding="utf-8"))
    assert settings["channels"] == ["canary"]
    assert settings["source"]["type"] == "script"
    assert settings["source"]["script"]["commit"] == "0123456789abcdef0123456789abcdef01234567"
    check_units(host.place / "systemd", *SYNC, *WATCH, ALARM)


def evaluate(ansible: Ansible, *tasks: dict[str, Any]) -> None:
    """Runs tasks that read the values that the role derives from its variables, without applying the role."""
    ansible.hosts["mirrors"] = {"m": {}}
    first = {"ansible.builtin.include_role": {"name": "mde.offline.mirror", "tasks_from": "facts", "public": True}}
    run = ansible.tasks(first, *tasks)
    assert run.status == 0, run.output


def test_auto_selects_the_scheduler_of_the_host(ansible: Ansible) -> None:
    tasks: list[dict[str, Any]] = []
    for unprivileged, manager, cron, chosen in (
        (False, "systemd", 0, "systemd"),
        (False, "launchd", 1, "launchd"),
        (False, "sysvinit", 0, "cron"),
        (False, "sysvinit", 1, "none"),
        (True, "systemd", 0, "none"),
    ):
        tasks += [
            {"ansible.builtin.set_fact": {"service_mgr": manager, "cacheable": True}},
            {
                "ansible.builtin.assert": {"that": f"__mirror_scheduler == '{chosen}'"},
                "vars": {
                    "__mirror": {"unprivileged": unprivileged, "scheduler": "auto"},
                    "__mirror_cron_result": {"rc": cron},
                },
            },
        ]
    evaluate(ansible, *tasks)


def test_invalid_schedules_of_cron_are_refused(host: Host) -> None:
    for schedule, said in (("0 24 * * *", "The field 24 is not valid"), ("@reboot", "five fields")):
        refused = host.apply("cron", mirror_schedule_cron=schedule)
        assert refused.status == 2
        assert said in refused.flat()
    assert not host.place.exists()
