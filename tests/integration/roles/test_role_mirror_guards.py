"""What the role mirror refuses before it changes anything: values with line breaks, and unsafe folders."""

from __future__ import annotations

import json
import os
import pwd
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.ansible_runs import Ansible
from tests.support.role_mirror import mirror_variables
from tools.collection_tree import CHECKOUT

ACCOUNT = "nobody"
UNFIT: dict[str, dict[str, Any]] = {
    "limit": {"mirror_sync_time_limit": "6h\nExecStartPre=+/bin/sh -c 'id >/tmp/owned'"},
    "limit_end": {"mirror_sync_time_limit": "6h\n"},
    "spread": {"mirror_schedule_spread": "30min\nOnCalendar=*:0/1\nUnit=evil.service"},
    "schedule": {"mirror_schedule": "hourly\nUnit=evil.service"},
    "user": {"mirror_user": "nobody\nExecStartPre=+/bin/id"},
    "user_cron": {"mirror_user": "nobody\n* * * * * root id", "mirror_scheduler": "cron"},
    "user_shell": {"mirror_user": "root id;", "mirror_scheduler": "cron"},
    "group": {"mirror_group": "nogroup\nCapabilityBoundingSet=~"},
    "root": {"mirror_root": '/x" "/etc'},
    "root_line": {"mirror_root": "/srv/x\nExecStartPre=+/bin/id"},
    "log": {"mirror_log_file": "/var/log/x\r/sync.log"},
    "command": {"mirror_command": '/usr/local/bin/x" -c "'},
    "settings": {"mirror_settings_file": "/etc/x\n* * * * * root id\n/s.json", "mirror_scheduler": "cron"},
    "python": {"mirror_python": "/usr/bin/python3\nExecStartPre=+/bin/id"},
    "cron_file": {"mirror_cron_file": "/etc/cron.d/x\n", "mirror_scheduler": "cron"},
    "relative": {"mirror_root": "srv/mirror"},
}
NO_SPAN: dict[str, dict[str, Any]] = {
    "spread": {"mirror_schedule_spread": "bogus"},
    "limit": {"mirror_sync_time_limit": "6 hours and a half"},
    "many": {"mirror_sync_time_limit": "1" * 60 + "x"},
    "blanks": {"mirror_sync_time_limit": "1     " * 30 + "x"},
}


def test_what_would_begin_a_line_of_its_own_is_refused(ansible: Ansible, tmp_path: Path) -> None:
    usual = {**mirror_variables(tmp_path / "mirror", "http://127.0.0.1:9"), "mirror_scheduler": "systemd"}
    ansible.hosts["mirrors"] = {name: {**usual, **variables} for name, variables in UNFIT.items()}
    found = ansible.roles("mirror", "mirrors").failures()
    for name, variables in UNFIT.items():
        assert f"{next(iter(variables))} cannot be used" in found[name], name
    assert not (tmp_path / "mirror").exists()


def test_spans_of_time_are_judged_for_systemd_too(ansible: Ansible, tmp_path: Path) -> None:
    usual = {**mirror_variables(tmp_path / "mirror", "http://127.0.0.1:9"), "mirror_scheduler": "systemd"}
    good = {"infinite": {"mirror_sync_time_limit": "infinity"}, "weeks": {"mirror_sync_time_limit": "1.5w 2 h 3"}}
    ansible.hosts["mirrors"] = {name: {**usual, **variables} for name, variables in {**NO_SPAN, **good}.items()}
    run = ansible.roles("mirror", "mirrors", "--check")
    found = run.failures()
    assert set(found) == set(NO_SPAN), run.output
    assert all("Give a span of time" in message for message in found.values())
    assert not (tmp_path / "mirror").exists()


def test_a_percent_sign_in_a_path_is_no_specifier_of_systemd(ansible: Ansible, tmp_path: Path) -> None:
    variables = mirror_variables(tmp_path / "mirror", "http://127.0.0.1:9")
    variables.update(mirror_scheduler="systemd", mirror_sync=False, mirror_root=str(tmp_path / "r%h"))
    ansible.hosts["mirrors"] = {"m": variables}
    run = ansible.roles("mirror", "mirrors")
    assert run.status == 0, run.output
    unit = (tmp_path / "mirror/systemd/mde-mirror-sync.service").read_text(encoding="utf-8")
    assert f'ReadWritePaths="{tmp_path}/r%%h"' in unit
    assert "TimeoutStartSec=6h" in unit


@pytest.fixture
def privileged(tmp_path: Path) -> dict[str, Any]:
    """A mirror that the role, as root, would give to an existing account."""
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: only root gives folders away")
    return {
        **mirror_variables(tmp_path / "mirror", "http://127.0.0.1:9"),
        "mirror_unprivileged": False,
        "mirror_manage_account": False,
        "mirror_user": ACCOUNT,
        "mirror_group": "root",
        "mirror_root": str(tmp_path / "srv"),
        "mirror_sync": False,
    }


def test_folders_of_the_system_are_nobodys_to_give_away(
    ansible: Ansible, privileged: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to("/etc")
    (tmp_path / "deep").symlink_to("/usr")
    roots = (
        "//etc",
        "/etc/.",
        "/usr/bin",
        "/var/lib",
        "/boot",
        "/usr/share/x",
        "/usr/local/bin",
        "/home/x",
        "/srv/..",
        "/proc/1",
    )
    wrong: dict[str, dict[str, Any]] = {f"root{n}": {"mirror_root": path} for n, path in enumerate(roots)}
    wrong["link"] = {"mirror_root": str(tmp_path / "link")}
    wrong["deep"] = {"mirror_root": f"{tmp_path}/deep/lib"}
    wrong["log"] = {"mirror_log_file": "/var/log/./sync.log"}
    wrong["settings"] = {"mirror_settings_file": f"{tmp_path}/link/settings.json"}
    ansible.hosts["mirrors"] = {name: {**privileged, **variables} for name, variables in wrong.items()}
    # In check mode, this machine does not change even if the role accepts the folders by mistake.
    found = ansible.roles("mirror", "mirrors", "--check").failures()
    for name, variables in wrong.items():
        variable, path = next(iter(variables.items()))
        folder = path if variable == "mirror_root" else path.rpartition("/")[0]
        assert f"{variable}: {folder} is a folder of the system" in found[name], name


def microsofts(root: Path) -> Path:
    """A folder as Microsoft's script leaves it."""
    folder = root / "linux/production/arch_x86_64"
    folder.mkdir(parents=True)
    (folder / "updates.zip").write_bytes(b"package")
    (folder / "manifest.json").write_text("{}", encoding="utf-8")
    return root


def owners(folder: Path) -> set[str]:
    return {pwd.getpwuid(path.lstat().st_uid).pw_name for path in (folder, *folder.rglob("*"))}


def test_only_what_is_a_mirror_is_taken_over(ansible: Ansible, privileged: dict[str, Any], tmp_path: Path) -> None:
    number = pwd.getpwnam(ACCOUNT).pw_uid
    secret = tmp_path / "secret"
    secret.write_text("secret", encoding="utf-8")
    secret.chmod(0o600)
    script = microsofts(tmp_path / "script")
    (script / "linux/away").symlink_to(secret)
    (tmp_path / "by-link").symlink_to(script)
    other = tmp_path / "other"
    other.mkdir()
    (other / "shadow").write_text("root:x", encoding="utf-8")
    mixed = microsofts(tmp_path / "mixed")
    os.chown(mixed / "linux/production/arch_x86_64/updates.zip", 12345, 12345)
    linked = microsofts(tmp_path / "linked")
    (linked / "linux/hard").hardlink_to(secret)
    inside = tmp_path / "inside"
    inside.mkdir()
    log = tmp_path / "log"
    log.mkdir()
    (log / "access.log").touch()
    planted = microsofts(tmp_path / "planted")
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o700)
    (planted / ".state").symlink_to(victim)
    os.chown(planted, number, 0)
    hosts: dict[str, tuple[dict[str, Any], str]] = {
        "other": ({"mirror_root": f"{other}/."}, "contains other files than a mirror"),
        "mixed": ({"mirror_root": str(mixed)}, "belong to neither root nor nobody"),
        "linked": ({"mirror_root": str(linked)}, "have a hard link outside of it: linux/hard"),
        "log": ({"mirror_log_file": f"{log}/sync.log"}, f"{log} is in use for other files"),
        "planted": ({"mirror_root": str(planted)}, f"{planted}/.state is a link"),
        "inside": (
            {"mirror_root": str(inside), "mirror_settings_file": f"{inside}/etc/settings.json"},
            "is in a folder that the account of the mirror owns",
        ),
        "script": ({"mirror_root": f"{tmp_path}/by-link"}, ""),
    }
    ansible.hosts["mirrors"] = {
        name: {**privileged, **mirror_places(tmp_path / f"of-{name}"), **variables}
        for name, (variables, _said) in hosts.items()
    }
    run = ansible.roles("mirror", "mirrors")
    found = run.failures()
    for name, (_variables, said) in hosts.items():
        assert said in found.get(name, ""), run.output
    assert set(hosts) - set(found) == {"script"}
    assert owners(other) == owners(linked) == owners(log) == owners(inside) == {"root"}
    assert (stat.S_IMODE(victim.stat().st_mode), victim.stat().st_uid, list(victim.iterdir())) == (0o700, 0, [])
    assert (secret.stat().st_uid, stat.S_IMODE(secret.stat().st_mode)) == (0, 0o600)
    assert owners(script) == {ACCOUNT}

    ansible.hosts["mirrors"] = {"script": ansible.hosts["mirrors"]["script"]}
    assert ansible.roles("mirror", "mirrors").recap["script"].changed == 0


def mirror_places(folder: Path) -> dict[str, str]:
    """The folders beside the root, one set for each host of a run."""
    return {
        "mirror_command": str(folder / "bin/mde-mirror"),
        "mirror_settings_file": str(folder / "etc/settings.json"),
        "mirror_log_file": str(folder / "log/sync.log"),
    }


def test_metrics_go_nowhere_by_a_link_of_the_account(privileged: dict[str, Any], tmp_path: Path) -> None:
    root, victim, settings = tmp_path / "srv", tmp_path / "victim", tmp_path / "settings.json"
    root.mkdir()
    victim.mkdir(mode=0o700)
    (root / ".state").symlink_to(victim)
    os.chown(root, pwd.getpwnam(ACCOUNT).pw_uid, 0)
    settings.write_text(json.dumps({"downloadFolder": str(root)}), encoding="utf-8")
    package = "ansible_collections.mde.offline.plugins.module_utils._mirror"
    program = f"from {package}.cli import main; raise SystemExit(main())"
    options = ["--settings", str(settings), "--output", f"{root}/.state/m.prom"]
    command = [sys.executable, "-c", program, "metrics", *options]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT / ".cache")}
    subprocess.run(command, env=environment, capture_output=True, check=False)
    assert list(victim.iterdir()) == []
