"""The filter in a playbook: lazy and tagged data, raw text, and errors that give advice."""

from __future__ import annotations

import json

import pytest

from tests.support.ansible_runs import Ansible

PLAYBOOK = [
    {
        "hosts": "all",
        "gather_facts": False,
        "vars": {
            "password": "hunter2-geheim",
            "folder": "linux/production/arch_x86_64/",
            "managed": {
                "antivirusEngine": {
                    "enforcementLevel": "real_time",
                    "offlineDefinitionUpdate": "enabled",
                    "offlineDefinitionUpdateUrl": "http://mirror:8000/{{ folder }}",
                },
                "cloudService": {"proxy": "http://user:{{ password }}@proxy:3128/"},
            },
        },
        "tasks": [
            {
                "name": "Collect",
                "ansible.builtin.set_fact": {
                    "result": {
                        "mapping": "{{ managed | mde.offline.config_findings(agent_version='101.24022.0001') }}",
                        "text": "{{ lookup('ansible.builtin.file', file) | mde.offline.config_findings }}",
                    }
                },
            },
            {
                "name": "Keep",
                "ansible.builtin.copy": {"content": "{{ result | to_json }}", "dest": "{{ out }}", "mode": "0644"},
            },
            {
                "name": "Wrong version",
                "ansible.builtin.debug": {"msg": "{{ {} | mde.offline.config_findings(agent_version='latest') }}"},
            },
        ],
    }
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("filter")
    out, broken = folder / "out.json", folder / "broken.json"
    broken.write_text('\ufeff{"edr": {}, "edr": {}}', encoding="utf-8")
    return Ansible(folder).playbook(PLAYBOOK, out=str(out), file=str(broken)), out


def test_findings_of_lazy_data_and_of_text(run):
    done, out = run
    result = json.loads(out.read_text(encoding="utf-8"))
    assert {"url_contains_arch", "proxy_credentials", "http_mirror_unverified"} <= {f["id"] for f in result["mapping"]}
    assert [f["id"] for f in result["text"]][:2] == ["byte_order_mark", "duplicate_name"], done.output
    assert "hunter2-geheim" not in json.dumps(result)


def test_a_wrong_version_is_refused_with_advice(run):
    done, _out = run
    assert done.status != 0
    assert "agent_version must be a string of three numbers" in done.flat()
    assert "Traceback" not in done.output
