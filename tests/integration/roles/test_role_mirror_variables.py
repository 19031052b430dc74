"""How the role mirror takes its variables: as surveys give them, twice in one play, with tags, and without secrets."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from simulators.download_service import DownloadService
from tests.support import cores
from tests.support.ansible_runs import Ansible
from tests.support.role_mirror import mirror_variables

PASSWORD = "s3cret"
PROXY = f"http://sync:{PASSWORD}@127.0.0.1:9"


@pytest.fixture
def host(ansible: Ansible, tmp_path: Path) -> dict[str, Any]:
    """The variables of the one mirror in the inventory, which has no source that answers."""
    variables = {**mirror_variables(tmp_path / "mirror", "http://127.0.0.1:9"), "mirror_sync": False}
    ansible.hosts["mirrors"] = {"m": variables}
    return variables


def load(path: str | Path) -> dict[str, Any]:
    return dict(json.loads(Path(path).read_text(encoding="utf-8")))


@pytest.mark.parametrize("line", cores.LINES)
def test_text_becomes_what_the_variable_means(
    ansible: Ansible, host: dict[str, Any], line: str, tmp_path: Path
) -> None:
    ansible.use_core(line)
    host["mirror_cron_file"] = str(tmp_path / "mirror/cron.d/mde-mirror")
    # As -e KEY=VALUE and surveys give them.
    survey = {
        "mirror_unprivileged": "yes",
        "mirror_sync": "false",
        "mirror_mac": "false",
        "mirror_preview": "True",
        "mirror_keep_previous": "no",
        "mirror_retain": "5",
        "mirror_architectures": "arm64",
        "mirror_channels": "canary,pilot",
        "mirror_scheduler": "cron",
        "mirror_alarm_max_age": "48",
        "mirror_alarm_command": "/usr/local/bin/page",
    }
    words = [word for item in survey.items() for word in ("-e", "=".join(item))]
    objects = {
        "mirror_settings": '{"source": {"retries": 7}}',
        "mirror_alarm_max_definitions_age": '{"canary": 24}',
    }
    run = ansible.roles("mirror", "mirrors", *words, **objects)
    assert run.status == 0, run.output
    settings = load(host["mirror_settings_file"])
    wanted = {
        "downloadMacUpdates": False,
        "downloadPreviewUpdates": True,
        "backupPreviousUpdates": False,
        "retain": 5,
        "architectures": ["arm64"],
        "channels": ["canary", "pilot"],
        "maxDefinitionsAge": {"canary": 24},
    }
    assert {key: settings[key] for key in wanted} == wanted
    assert settings["source"]["retries"] == 7
    job = load(tmp_path / "mirror/etc/job.json")
    assert (job["max_age"], job["repeat"], job["alarm"]) == (48, 24, ["/usr/local/bin/page"])
    assert not (Path(host["mirror_root"]) / "linux").exists(), "mirror_sync is false"


def test_each_use_in_a_play_has_its_own_values(ansible: Ansible, host: dict[str, Any], tmp_path: Path) -> None:
    cache = tmp_path / "facts"
    ansible.environment.update(ANSIBLE_CACHE_PLUGIN="jsonfile", ANSIBLE_CACHE_PLUGIN_CONNECTION=str(cache))
    uses: dict[str, dict[str, Any]] = {
        "one": {"mirror_source_proxy": PROXY, "mirror_schedule": "hourly"},
        "two": {"mirror_schedule": "daily", "mirror_alarm_command": ["/bin/page", PASSWORD], "mirror_retain": 9},
    }
    tasks = [
        {
            "ansible.builtin.include_role": {"name": "mde.offline.mirror"},
            "vars": {
                **mirror_variables(tmp_path / name, "http://127.0.0.1:9"),
                **variables,
                "mirror_scheduler": "systemd",
            },
        }
        for name, variables in uses.items()
    ]
    gathered = {"ansible.builtin.setup": {"gather_subset": ["!all", "!min", "python", "service_mgr"]}}
    rehearsal = ansible.tasks(gathered, *tasks, options=("--check", "--diff", "-vvv"))
    assert rehearsal.status == 0, rehearsal.output
    assert PASSWORD not in rehearsal.output
    assert not (tmp_path / "one").exists()

    run = ansible.tasks(gathered, *tasks, options=("--diff", "-vvv"))
    assert run.status == 0, run.output
    assert PASSWORD not in run.output
    cached = "".join(path.read_text(encoding="utf-8") for path in cache.iterdir())
    assert "service_mgr" in cached
    assert PASSWORD not in cached
    for name, schedule, retain in (("one", "hourly", 3), ("two", "daily", 9)):
        settings = load(tmp_path / name / "etc/settings.json")
        assert (settings["downloadFolder"], settings["retain"]) == (str(tmp_path / name / "two words/srv"), retain)
        assert settings["source"].get("proxy", "") == (PROXY if name == "one" else "")
        assert f"\nOnCalendar={schedule}\n" in (tmp_path / name / "systemd/mde-mirror-sync.timer").read_text()
    assert load(tmp_path / "two/etc/job.json")["alarm"] == ["/bin/page", PASSWORD]
    assert not (tmp_path / "one/etc/job.json").exists()


@pytest.mark.parametrize("line", ["2.16", "2.21"])
def test_tags_run_a_phase_and_the_guards(
    ansible: Ansible, host: dict[str, Any], service: DownloadService, line: str
) -> None:
    ansible.use_core(line)
    host.update(mirror_sync=True, mirror_source_url=service.url)
    root, command, settings = (Path(host[f"mirror_{name}"]) for name in ("root", "command", "settings_file"))

    def play(tags: str, status: int = 0, **variables: Any) -> str:
        run = ansible.roles("mirror", "mirrors", "--tags", tags, **variables)
        assert run.status == status, run.output
        return run.flat()

    for tags in ("install", "configure", "serve", "verify", "preflight"):
        assert "mirror_back was renamed" in play(tags, 2, mirror_back=True)
        assert "is a folder of the system" in play(tags, 2, mirror_log_file="/var/log/sync.log")
    play("preflight")
    play("remove")
    assert not root.exists()
    play("install")
    assert (command.exists(), settings.exists()) == (True, False)
    play("configure")
    assert (settings.exists(), (root / "linux").exists()) == (True, False)
    play("serve")
    assert not (root / "linux").exists()
    assert "linux/production/x86_64: updated" in play("verify", mirror_retain=9)
    assert load(settings)["retain"] == 3
    shutil.rmtree((root / "linux/production/arch_x86_64").resolve())
    assert "No release is left for linux/production/arch_x86_64 in" in play("serve", 2), "the proof runs with every tag"
    play("verify")
    play("serve")
    play("install,configure", mirror_state="absent")
    assert command.exists()
    play("remove", mirror_state="absent")
    assert (command.exists(), settings.exists(), (root / "linux").exists()) == (False, False, True)


def test_old_names_are_refused_with_the_new_ones(ansible: Ansible, host: dict[str, Any], tmp_path: Path) -> None:
    run = ansible.roles(
        "mirror", "mirrors", mirror_back=True, mirror_source_origin=f"https://u:{PASSWORD}@example.com/x.git"
    )
    assert run.status == 2
    assert "mirror_back was renamed to mirror_keep_previous" in run.flat()
    assert "mirror_source_origin was renamed to mirror_source_script_url" in run.flat()
    assert PASSWORD not in run.output
    assert not (tmp_path / "mirror").exists()
