"""The modules mirror_sync and mirror_info, run by ansible-playbook on this host with the simulated service.

One playbook contains the history of a mirror. The tests examine the result of each task.
"""

from __future__ import annotations

import json

import pytest
import yaml

from simulators.certificates import Authority
from simulators.download_service import DownloadService
from tests.support.ansible_runs import Ansible
from tests.support.engine import ENGINE, FIRST, SIZE, THIRD, folders

X86, ARM = folders("production")
PASSWORD = "hunter2-of-the-proxy"

PLAYBOOK = """
- name: The history of a mirror
  hosts: all
  gather_facts: false
  module_defaults:
    group/mde.offline.mirror:
      settings: "{{ settings_file }}"
    ansible.builtin.uri:
      method: POST
      body_format: json
      status_code: 200
  tasks:
    - {name: info_of_nothing, mde.offline.mirror_info: {verify: true}}
    - {name: first_checked, mde.offline.mirror_sync: {}, check_mode: true, diff: true}
    - {name: root_after_check, ansible.builtin.stat: {path: "{{ root }}"}}
    - {name: first, mde.offline.mirror_sync: {}, diff: true}
    - {name: again, mde.offline.mirror_sync: {}, diff: true}
    - {name: info, mde.offline.mirror_info: {verify: true}}

    - name: A release lands for one architecture
      ansible.builtin.uri:
        url: "{{ control }}releases"
        body: {definitions: "{{ newer }}", platform: linux, arch: x86_64, size: 30000}
    - {name: second_checked, mde.offline.mirror_sync: {}, check_mode: true, diff: true}
    - {name: info_after_check, mde.offline.mirror_info: {}}
    - name: The service refuses its package
      ansible.builtin.uri:
        url: "{{ control }}faults"
        body: {name: status, kind: package, options: {code: 500}}
    - {name: failing, mde.offline.mirror_sync: {}, ignore_errors: true}
    - {name: info_after_failure, mde.offline.mirror_info: {}}
    - {name: The service is well again, ansible.builtin.uri: {url: "{{ control }}faults", method: DELETE}}
    - {name: by_config, mde.offline.mirror_sync: {config: "{{ config }}"}, diff: true}

    - name: The service takes the release back
      ansible.builtin.uri:
        url: "{{ control }}releases"
        body: {definitions: "{{ older }}", platform: linux, arch: x86_64, size: 30000}
    - {name: lower, mde.offline.mirror_sync: {}, ignore_errors: true}
    - {name: allowed, mde.offline.mirror_sync: {allow_downgrade: true}}

    - {name: Damage, ansible.builtin.copy: {content: broken, dest: "{{ root }}/{{ damaged_folder }}/updates.zip"}}
    - {name: damaged, mde.offline.mirror_info: {verify: true}}
    - {name: repaired, mde.offline.mirror_sync: {}}

    - name: wrong_config
      mde.offline.mirror_sync: {config: {downloadFolder: here, retain: three, colour: blue, source: {retires: 1}}}
      ignore_errors: true
    - {name: no_file, mde.offline.mirror_sync: {settings: /no/such/file}, ignore_errors: true}
    - name: wrong_info
      mde.offline.mirror_info: {config: {downloadLinuxUpdates: false}}
      ignore_errors: true
    - name: with_secret
      mde.offline.mirror_sync:
        config: "{{ config | combine({'source': {'proxy': proxy}}, recursive=true) }}"
      ignore_errors: true
"""


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """The result of each task by its name, and the output of ansible-playbook."""
    directory = tmp_path_factory.mktemp("modules")
    authority = Authority(directory / "authority")
    tls = authority.issue("server", ["127.0.0.1"]).server_context()
    with DownloadService(directory / "packages", tls=tls) as service:
        service.publish(FIRST, ENGINE, platform="linux", ring="production", size=SIZE)
        config = {
            "downloadFolder": str(directory / "mirror"),
            "source": {"url": service.url, "caFile": str(authority.cert), "retries": 0},
        }
        (directory / "settings.json").write_text(json.dumps(config), encoding="utf-8")
        run = Ansible(directory).playbook(
            yaml.safe_load(PLAYBOOK),
            "-vvv",
            root=config["downloadFolder"],
            settings_file=str(directory / "settings.json"),
            config=config,
            control=service.control_url,
            older=FIRST,
            newer=THIRD,
            damaged_folder=ARM,
            proxy=f"http://user:{PASSWORD}@127.0.0.1:9",
        )
    assert run.status == 0, run.output
    return {**run.by_task, "printed": run.output}


def outcomes(result):
    return {f"{unit['platform']}/{unit['channel']}/arch_{unit['arch']}": unit["outcome"] for unit in result["units"]}


def definitions(info):
    return {channel["path"]: channel["definitions_version"] for channel in info["mirror"]["channels"]}


def line(path, version):
    return f"{path}: definitions {version}, engine {ENGINE}\n"


def test_before_the_first_sync_there_is_nothing(played):
    info = played["info_of_nothing"]
    assert not info["changed"]
    assert info["mirror"]["channels"] == []
    assert info["mirror"]["last_sync"] is None
    assert info["damages"] == []


def test_check_mode_predicts_and_writes_nothing(played):
    for checked, done in (("first_checked", "first"), ("second_checked", "by_config")):
        assert played[checked]["changed"]
        assert outcomes(played[checked]) == outcomes(played[done])
        assert played[checked]["diff"] == played[done]["diff"]
    assert played["root_after_check"]["stat"]["exists"] is False
    assert definitions(played["info_after_check"]) == {X86: FIRST, ARM: FIRST}
    assert played["info_after_check"]["mirror"]["last_sync"] == played["info"]["mirror"]["last_sync"]


def test_the_first_sync_changes_and_the_second_does_not(played):
    assert (played["first"]["changed"], played["again"]["changed"]) == (True, False)
    assert outcomes(played["first"]) == {X86: "updated", ARM: "updated"}
    assert outcomes(played["again"]) == {X86: "unchanged", ARM: "unchanged"}
    assert [unit["bytes"] for unit in played["again"]["units"]] == [0, 0]


def test_the_diff_shows_versions(played):
    first = {"before": "", "after": line(X86, FIRST) + line(ARM, FIRST)}
    assert played["first"]["diff"] == first
    assert played["again"]["diff"] == {"before": first["after"], "after": first["after"]}
    assert played["by_config"]["diff"] == {"before": first["after"], "after": line(X86, THIRD) + line(ARM, FIRST)}
    assert f"+{X86}: definitions {THIRD}" in played["printed"]


def test_info_reports_what_is_served(played):
    info = played["info"]
    assert definitions(info) == {X86: FIRST, ARM: FIRST}
    assert info["damages"] == []
    assert info["mirror"]["last_sync"]["result"] == "ok"
    assert info["mirror"]["last_success"] == info["mirror"]["last_sync"]["finished"]
    assert not info["changed"]


def test_a_failure_is_reported_with_advice(played):
    failing = played["failing"]
    assert failing["failed"]
    assert not failing["changed"]
    assert outcomes(failing) == {X86: "failed", ARM: "unchanged"}
    error = failing["units"][0]["error"]
    assert error["code"] == "http_status"
    assert "500" in error["message"]
    for part in ("1 of 2 units failed", "linux/production/x86_64", error["message"], error["hint"]):
        assert part in failing["msg"]
    after = played["info_after_failure"]["mirror"]
    assert definitions(played["info_after_failure"]) == {X86: FIRST, ARM: FIRST}
    assert after["last_sync"]["result"] == "failed"
    assert after["last_success"] == played["info"]["mirror"]["last_success"]


def test_message_and_hint_are_separate_sentences(played):
    error = played["failing"]["units"][0]["error"]
    assert f"{error['message']}. {error['hint']}" in played["failing"]["msg"]


def test_config_replaces_the_settings_file(played):
    assert outcomes(played["by_config"]) == {X86: "updated", ARM: "unchanged"}
    assert [unit["before"]["definitions_version"] for unit in played["by_config"]["units"]] == [FIRST, FIRST]
    assert [unit["after"]["definitions_version"] for unit in played["by_config"]["units"]] == [THIRD, FIRST]


def test_a_lower_version_needs_the_option(played):
    assert played["lower"]["failed"]
    assert played["lower"]["units"][0]["error"]["code"] == "downgrade"
    assert "allow_downgrade" in played["lower"]["msg"]
    assert played["allowed"]["changed"]
    assert outcomes(played["allowed"]) == {X86: "updated", ARM: "unchanged"}


def test_verify_finds_damage_and_sync_repairs_it(played):
    (damage,) = played["damaged"]["damages"]
    assert damage["path"] == ARM
    assert "updates.zip" in damage["damages"][0]
    assert outcomes(played["repaired"]) == {X86: "unchanged", ARM: "repaired"}
    assert played["repaired"]["changed"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("wrong_config", ["downloadFolder", "retain", "colour", "mean retries?", "`config`"]),
        ("no_file", ["/no/such/file"]),
        ("wrong_info", ["downloadLinuxUpdates"]),
    ],
)
def test_invalid_settings_are_reported_by_name(played, name, words):
    result = played[name]
    assert result["failed"]
    assert result["error"]["code"] == "settings"
    assert result["error"]["hint"] in result["msg"]
    for part in words:
        assert part in result["msg"]


def test_nothing_ends_in_a_traceback(played):
    assert "Traceback" not in played["printed"]
    assert "MODULE FAILURE" not in played["printed"]


def test_an_error_of_the_proxy_does_not_contain_its_password(played):
    result = {key: value for key, value in played["with_secret"].items() if key != "invocation"}
    assert result["failed"]
    assert PASSWORD not in json.dumps(result)


def test_a_proxy_that_cannot_be_reached_is_reported_by_name(played):
    assert "127.0.0.1:9" in played["with_secret"]["msg"]


def test_the_arguments_of_a_task_do_not_contain_the_password(played):
    assert PASSWORD not in played["printed"]
