"""The internal role that installs packages, with a simulated package manager that records its calls."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.ansible_runs import Ansible

MANAGER = """#!/usr/bin/python
import json, pathlib
from ansible.module_utils.basic import AnsibleModule
options = {"name": {"type": "list"}, "state": {}, "update_cache": {"type": "bool", "default": False}}
module = AnsibleModule(options)
calls = pathlib.Path(CALLS)
with calls.open("a") as stream:
    stream.write(json.dumps([module.params["name"], module.params["update_cache"]]) + "\\n")
if OUTDATED and not module.params["update_cache"]:
    module.fail_json(msg="no such package")
module.exit_json(changed=True)
"""


@pytest.mark.parametrize(("outdated", "calls"), [(False, [False]), (True, [False, True])])
def test_outdated_package_lists_are_updated(tmp_path: Path, outdated: bool, calls: list[bool]) -> None:
    ansible = Ansible(tmp_path)
    ansible.hosts["hosts"] = {"h": {}}
    noted = tmp_path / "calls"
    library = tmp_path / "library"
    library.mkdir()
    ansible.environment["ANSIBLE_LIBRARY"] = str(library)
    program = MANAGER.replace("CALLS", repr(str(noted))).replace("OUTDATED", repr(outdated))
    (library / "pacman.py").write_text(program, encoding="utf-8")
    tasks = [
        {"ansible.builtin.set_fact": {"pkg_mgr": "pacman", "cacheable": True}},
        {
            "ansible.builtin.include_role": {"name": "mde.offline.internal_packages"},
            "vars": {"internal_packages_names": "one,two"},
        },
    ]
    run = ansible.tasks(*tasks)
    assert run.status == 0, run.output
    found = [json.loads(line) for line in noted.read_text(encoding="utf-8").splitlines()]
    assert found == [[["one", "two"], updated] for updated in calls]
