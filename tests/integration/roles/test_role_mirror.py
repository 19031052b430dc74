"""The role mirror, applied to a directory without root: a new mirror, a second run, a change, and the removal."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from simulators.download_service import DownloadService
from tests.support.agent import NEW, OLD
from tests.support.ansible_runs import Ansible
from tests.support.role_mirror import SYNC, WATCH, check_units, mirror_variables


@pytest.fixture
def host(ansible: Ansible, service: DownloadService, tmp_path: Path) -> dict[str, Any]:
    """The variables of the one mirror in the inventory."""
    variables = mirror_variables(tmp_path / "mirror", service.url)
    # systemd-analyze requires that the account of the units exists.
    for name, option in (("mirror_user", "-un"), ("mirror_group", "-gn")):
        variables[name] = subprocess.run(["id", option], capture_output=True, text=True, check=True).stdout.strip()
    ansible.hosts["mirrors"] = {"m": variables}
    return variables


def tree(folder: Path) -> dict[str, str]:
    """Everything below a folder: content or link target, and mode."""
    found = {}
    for path in sorted(folder.rglob("*")):
        what = "folder"
        if path.is_symlink():
            what = f"link to {path.readlink()}"
        elif path.is_file():
            what = hashlib.sha256(path.read_bytes()).hexdigest()
        found[str(path.relative_to(folder))] = f"{stat.filemode(path.lstat().st_mode)} {what}"
    return found


def mode(path: str) -> str:
    return oct(stat.S_IMODE(Path(path).stat().st_mode))


def versions(host: dict[str, Any]) -> set[str]:
    status = json.loads((Path(host["mirror_root"]) / "status.json").read_text(encoding="utf-8"))
    return {channel["definitions_version"] for channel in status["channels"]}


def test_from_nothing_to_a_mirror_and_away(
    ansible: Ansible, host: dict[str, Any], service: DownloadService, tmp_path: Path
) -> None:
    place = tmp_path / "mirror"
    host["mirror_scheduler"] = "systemd"

    rehearsal = ansible.roles("mirror", "mirrors", "--check", "--diff")
    assert rehearsal.status == 0, rehearsal.output
    assert rehearsal.recap["m"].changed > 0
    assert '+  "downloadLinuxUpdates": true,' in rehearsal.output
    assert not place.exists()
    assert service.asked() == []

    first = ansible.roles("mirror", "mirrors")
    assert first.status == 0, first.output
    assert f"linux/production/x86_64: updated, definitions {OLD}" in first.flat()
    package = Path(host["mirror_root"]) / "linux/production/arch_x86_64/updates.zip"
    with zipfile.ZipFile(package) as opened:
        assert opened.testzip() is None
    assert versions(host) == {OLD}
    settings = json.loads(Path(host["mirror_settings_file"]).read_text(encoding="utf-8"))
    assert settings["downloadFolder"] == host["mirror_root"]
    assert settings["source"] == {"url": service.url}
    assert mode(host["mirror_settings_file"]) == "0o640"
    assert mode(host["mirror_root"]) == "0o755"
    command = [sys.executable, host["mirror_command"], "status", "--settings", host["mirror_settings_file"]]
    assert OLD in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    check_units(place / "systemd", *SYNC, *WATCH)
    unit = (place / "systemd" / "mde-mirror-sync.service").read_text(encoding="utf-8")
    assert f'ReadWritePaths="{host["mirror_root"]}"' in unit

    second = ansible.roles("mirror", "mirrors")
    assert (second.status, second.recap["m"].changed) == (0, 0), second.output

    service.publish(NEW, platform="linux", ring="production")
    before = tree(place)
    rehearsal = ansible.roles("mirror", "mirrors", "--check", mirror_retain=5)
    assert rehearsal.status == 0, rehearsal.output
    assert "changed: [m]" in rehearsal.task("Validate the settings with the command and write them")
    assert tree(place) == before

    changed = ansible.roles("mirror", "mirrors", mirror_retain=5)
    assert changed.status == 0, changed.output
    assert json.loads(Path(host["mirror_settings_file"]).read_text(encoding="utf-8"))["retain"] == 5
    assert versions(host) == {NEW}

    data = tree(Path(host["mirror_root"]))
    gone = ansible.roles("mirror", "mirrors", mirror_state="absent")
    assert gone.status == 0, gone.output
    assert tree(Path(host["mirror_root"])) == data
    assert not Path(host["mirror_command"]).exists()
    assert not Path(host["mirror_settings_file"]).exists()
    assert [path for path in (place / "systemd").rglob("*") if not path.is_dir()] == []


def test_refused_settings_do_not_go_live_and_passwords_are_not_shown(
    ansible: Ansible, host: dict[str, Any], tmp_path: Path
) -> None:
    host.update(
        mirror_sync=False,
        mirror_source_proxy="http://sync:s3cret@127.0.0.1:9",
        mirror_scheduler="cron",
        mirror_cron_file=str(tmp_path / "mirror/cron.d/mde-mirror"),
        mirror_alarm_command=["/bin/page", "s3cretly"],
    )
    first = ansible.roles("mirror", "mirrors", "--diff", "-vvv")
    assert first.status == 0, first.output
    before = Path(host["mirror_settings_file"]).read_text(encoding="utf-8")
    assert "s3cret" in before
    assert "s3cret" not in first.output

    refused = ansible.roles("mirror", "mirrors", "--diff", mirror_settings={"retian": 3})
    assert refused.status == 2
    assert "unknown key retian (did you mean retain?)" in refused.flat()
    assert "s3cret" not in refused.output
    assert Path(host["mirror_settings_file"]).read_text(encoding="utf-8") == before

    # The new files no longer contain a password, but the files that they replace do.
    host.update(mirror_source_proxy="http://127.0.0.1:9", mirror_alarm_command=[])
    cleared = ansible.roles("mirror", "mirrors", "--diff", "-vvv")
    assert cleared.status == 0, cleared.output
    assert "s3cret" not in cleared.output
    for name in ("settings.json", "job.json"):
        assert "s3cret" not in (tmp_path / "mirror/etc" / name).read_text(encoding="utf-8")


ODD_PASSWORDS = ["s3cret/Pw@rd", "12/3s3cret", "s3cret Pw", "s3cret?x#Pw"]


def test_passwords_that_need_percent_encoding_are_refused_before_anything_is_shown(
    ansible: Ansible, host: dict[str, Any], tmp_path: Path
) -> None:
    for password in ODD_PASSWORDS:
        host.update(mirror_source_proxy=f"http://sync:{password}@127.0.0.1:9")
        refused = ansible.roles("mirror", "mirrors", "--check", "--diff", "-vvv")
        assert refused.status == 2
        assert "mirror_source_proxy has a user or a password that needs percent-encoding" in refused.flat()
        assert "s3cret" not in refused.output
        assert not (tmp_path / "mirror").exists()


@pytest.mark.parametrize(
    "earlier",
    [
        *(f"http://sync:{password}@127.0.0.1:9" for password in ODD_PASSWORDS),
        "http://sync:s3cret%40127.0.0.1:9",
        "http://sync:s3cret\\u0040127.0.0.1:9",
        "sync:s3cret@127.0.0.1:9",
    ],
    ids=range(7),
)
def test_a_password_in_settings_that_somebody_else_wrote_is_not_shown(
    ansible: Ansible, host: dict[str, Any], earlier: str
) -> None:
    file = Path(host["mirror_settings_file"])
    file.parent.mkdir(parents=True)
    file.write_text(f'{{"source": {{"proxy": "{earlier}"}}}}\n', encoding="utf-8")
    host.update(mirror_sync=False)
    replaced = ansible.roles("mirror", "mirrors", "--check", "--diff", "-vvv")
    assert "Validate the settings with the command and write them" in replaced.output
    assert "s3cret" not in replaced.output


def test_what_cannot_work_is_refused_in_words(ansible: Ansible, host: dict[str, Any], tmp_path: Path) -> None:
    typo = ansible.roles("mirror", "mirrors", mirror_scheduler="weekly", mirror_retain="three")
    assert typo.status == 2
    assert "value of mirror_scheduler must be one of: auto, systemd, cron, launchd, none, got: weekly" in typo.flat()
    assert "mirror_retain" in typo.output

    shared = ansible.roles("mirror", "mirrors", mirror_log_file="/var/log/sync.log")
    assert shared.status == 2
    assert "each need a folder that contains nothing else" in shared.flat()

    pager = ansible.roles(
        "mirror",
        "mirrors",
        mirror_alarm_command=["mail", "root"],
        mirror_alarm_units=["page me"],
        mirror_metrics_file="/x",
    )
    assert pager.status == 2
    assert "mirror_alarm_command has to begin with the absolute path of a program." in pager.flat()
    assert "mirror_metrics_file has to end in .prom" in pager.flat()

    if shutil.which("systemd-analyze"):
        never = ansible.roles("mirror", "mirrors", mirror_scheduler="systemd", mirror_schedule="now and then")
        assert never.status == 2
        assert "now and then" in never.task("Refuse a schedule that systemd does not understand")
    assert not (tmp_path / "mirror").exists()
