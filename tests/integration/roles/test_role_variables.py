"""The module role_variables in roles such as a user writes, on the oldest and the newest versions of ansible-core."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import cores
from tests.support.ansible_runs import Ansible, Run

OPTIONS: dict[str, Any] = {
    "demo_on": {"type": "bool", "default": False},
    "demo_count": {"type": "int", "default": 3},
    "demo_root": {"type": "path", "default": "/srv/demo"},
    "demo_protocols": {"type": "list", "elements": "str", "choices": ["http", "https"], "default": ["http"]},
    "demo_settings": {"type": "dict", "default": {}},
    "demo_proxy": {"type": "str", "default": "", "no_log": True},
    "demo_name": {"type": "str", "default": "{{ inventory_hostname }}"},
}
TAKE = {
    "name": "Read the role's variables",
    "mde.offline.role_variables": {"others": ["demo_web_port"]},
    "register": "__demo_taken",
    "no_log": True,
    "tags": ["always"],
}
REFUSE = {
    "name": "Refuse variables that are not valid",
    "ansible.builtin.assert": {
        "that": "not __demo_taken.problems",
        "fail_msg": "{{ __demo_taken.problems | join(' ') }}",
        "quiet": True,
    },
    "tags": ["always"],
}
NOTE = {
    "name": "Note what was taken",
    "ansible.builtin.copy": {
        "content": "{{ __demo | to_json }}",
        "dest": "{{ notes }}/{{ __demo.name }}",
        "mode": "0600",
    },
    "check_mode": False,
    "diff": False,
    "no_log": True,
    "tags": ["install"],
}


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


@pytest.fixture(params=cores.LINES)
def demo(request: pytest.FixtureRequest, ansible: Ansible, tmp_path: Path) -> Demo:
    return Demo(ansible, tmp_path, request.param)


class Demo:
    """Two roles side by side: `demo` reads a variable of `demo_web`."""

    def __init__(self, ansible: Ansible, folder: Path, line: str) -> None:
        ansible.use_core(line)
        self.hosts = ansible.hosts["demo"] = {"one": {}}
        self.ansible = ansible
        self.notes = folder / "notes"
        self.notes.mkdir()
        role = folder / "roles" / "demo"
        web = folder / "roles" / "demo_web"
        entries = {"main": {"options": OPTIONS}, "brief": {"options": {"demo_name": OPTIONS["demo_name"]}}}
        write(role / "meta/argument_specs.yml", {"argument_specs": entries})
        write(role / "defaults/main.yml", {name: option["default"] for name, option in OPTIONS.items()})
        write(role / "vars/main.yml", {"__demo": "{{ __demo_taken.variables }}"})
        write(role / "tasks/main.yml", [TAKE, REFUSE, NOTE])
        brief = {**TAKE, "mde.offline.role_variables": {"entry_point": "brief"}}
        write(role / "tasks/brief.yml", [brief, REFUSE, NOTE])
        port = {"type": "int", "default": 80}
        write(web / "meta/argument_specs.yml", {"argument_specs": {"main": {"options": {"demo_web_port": port}}}})
        write(web / "defaults/main.yml", {"demo_web_port": 80})
        write(web / "tasks/main.yml", [])

    def play(self, *tasks: dict[str, Any], options: tuple[str, ...] = (), **extra: Any) -> Run:
        play = {"hosts": "all", "gather_facts": False, "vars": {"notes": str(self.notes)}, "tasks": tasks}
        return self.ansible.playbook([play], *options, **extra)

    def run(self, *options: str, tasks_from: str = "main", **variables: Any) -> Run:
        """Runs the role without Ansible's own validation, which would refuse some of the values."""
        include = {"name": "demo", "tasks_from": tasks_from, "rolespec_validate": False}
        return self.play({"ansible.builtin.import_role": include}, options=options, **variables)

    def taken(self, name: str = "one") -> dict[str, Any]:
        return dict(json.loads((self.notes / name).read_text(encoding="utf-8")))

    def refused(self, *options: str, **variables: Any) -> str:
        run = self.run(*options, **variables)
        assert run.status == 2, run.output
        assert "Refuse variables that are not valid" in run.output
        # The results are shown as YAML, which doubles or escapes quotation marks.
        return run.flat().replace("''", "'").replace("\\", "")


def test_values_arrive_in_their_types(demo: Demo) -> None:
    # As -e KEY=VALUE and surveys give them.
    words = ["demo_on=false", "demo_count=7", "demo_protocols=https", "demo_web_port=8080", "demo_settings="]
    run = demo.run(*(word for text in words for word in ("-e", text)), "-e", "demo_root=~/x")
    assert run.status == 0, run.output
    assert demo.taken() == {
        "on": False,
        "count": 7,
        "root": "~/x",
        "protocols": ["https"],
        "settings": {},
        "proxy": "",
        "name": "one",
        "demo_web_port": 8080,
    }


def test_ansibles_own_check_takes_what_surveys_give(demo: Demo) -> None:
    options = ("-e", "demo_on=no", "-e", "demo_count=7", "-e", "demo_protocols=http,https")
    run = demo.play({"ansible.builtin.include_role": {"name": "demo"}}, options=options, demo_settings='{"a": 1}')
    assert run.status == 0, run.output
    taken = demo.taken()
    assert (taken["on"], taken["count"], taken["protocols"]) == (False, 7, ["http", "https"])
    assert taken["settings"] == {"a": 1}


def test_what_is_not_set_has_the_default(demo: Demo) -> None:
    run = demo.run(demo_on="", demo_count=None, demo_protocols="", demo_web_port="", demo_name="{{ omit }}")
    assert run.status == 0, run.output
    taken = demo.taken()
    assert (taken["on"], taken["count"], taken["protocols"], taken["demo_web_port"]) == (False, 3, ["http"], 80)


def test_templates_are_evaluated_once(demo: Demo) -> None:
    demo.hosts["one"] = {
        "site": "/srv",
        "marker": {"__ansible_unsafe": "{{ 1 + 1 }}"},
        "demo_root": "{{ site }}/demo",
        "demo_settings": {"deep": ["{{ site }}", "{{ marker }}"]},
        "demo_count": "{{ '4' }}",
    }
    run = demo.run()
    assert run.status == 0, run.output
    taken = demo.taken()
    assert (taken["root"], taken["count"]) == ("/srv/demo", 4)
    assert taken["settings"] == {"deep": ["/srv", "{{ 1 + 1 }}"]}


def test_all_problems_are_named_at_once(demo: Demo) -> None:
    output = demo.refused(
        demo_on="maybe",
        demo_count="three",
        demo_root="{{ nowhere }}/x",
        demo_settings={"a": {"b": "{{ lookup('ansible.builtin.file', '/does/not/exist') }}"}},
        demo_protocols=["ftp"],
        demo_web_port="http",
    )
    assert 'demo_on has to be true or false. The value is "maybe".' in output
    assert 'demo_count has to be an integer. The value is "three".' in output
    assert "demo_root cannot be evaluated: 'nowhere' is undefined. Correct its template." in output
    assert "demo_settings cannot be evaluated: " in output
    assert 'demo_protocols has to be one of: http, https. The value is "ftp".' in output
    assert 'demo_web_port has to be an integer. The value is "http".' in output


def test_secrets_reach_neither_output_nor_fact_cache(demo: Demo, tmp_path: Path) -> None:
    cache = tmp_path / "facts"
    demo.ansible.environment.update(ANSIBLE_CACHE_PLUGIN="jsonfile", ANSIBLE_CACHE_PLUGIN_CONNECTION=str(cache))
    kept = {"ansible.builtin.set_fact": {"remembered": True, "cacheable": True}}
    include = {"ansible.builtin.include_role": {"name": "demo"}}
    run = demo.play(kept, include, options=("-vvv", "--diff"), demo_proxy="http://u:hunter2@proxy:3128")
    assert run.status == 0, run.output
    assert demo.taken()["proxy"] == "http://u:hunter2@proxy:3128"
    cached = "".join(path.read_text(encoding="utf-8") for path in cache.iterdir())
    assert "remembered" in cached
    assert "hunter2" not in run.output + cached

    for wrong in (
        ["hunter2"],
        "{{ 'hunter2' | no_such_filter }}",
        "{{ {'a': 'hunter2'}.b }}",
        "{{ 'hunter2' | int / 0 }}",
    ):
        output = demo.refused("-vvv", demo_proxy=wrong, demo_on="maybe")
        assert "demo_proxy" in output
        assert "demo_on has to be true or false" in output
        assert "hunter2" not in output


def test_entry_points_take_what_they_need(demo: Demo) -> None:
    run = demo.run(tasks_from="brief", demo_count="three")
    assert run.status == 0, run.output
    assert demo.taken() == {"name": "one"}


def test_each_pass_of_a_loop_takes_its_own(demo: Demo) -> None:
    include = {
        "ansible.builtin.include_role": {"name": "demo"},
        "vars": {"demo_name": "{{ item }}", "demo_count": "{{ item[-1] }}"},
        "loop": ["host1", "host2"],
    }
    run = demo.play(include)
    assert run.status == 0, run.output
    assert [demo.taken(name)["count"] for name in ("host1", "host2")] == [1, 2]


def test_tags_check_mode_and_delegation(demo: Demo) -> None:
    demo.hosts["two"] = {"demo_count": 9}
    run = demo.run("--tags", "install", "--check", "--limit", "one")
    assert run.status == 0, run.output
    assert demo.taken()["count"] == 3
    delegated = {
        "ansible.builtin.include_role": {"name": "demo", "apply": {"delegate_to": "two"}},
        "vars": {"demo_name": "delegated"},
    }
    run = demo.play(delegated, options=("--limit", "one"), demo_on="yes")
    assert run.status == 0, run.output
    assert (demo.taken("delegated")["count"], demo.taken("delegated")["on"]) == (3, True)


def test_old_names_are_refused_with_the_new_one(demo: Demo) -> None:
    role = demo.ansible.folder / "roles" / "mirror"
    options = {"mirror_keep_previous": {"type": "bool", "default": True}}
    write(role / "meta/argument_specs.yml", {"argument_specs": {"main": {"options": options}}})
    write(role / "defaults/main.yml", {"mirror_keep_previous": True})
    write(role / "tasks/main.yml", [{**TAKE, "mde.offline.role_variables": {}}, REFUSE])
    run = demo.play({"ansible.builtin.include_role": {"name": "mirror"}}, mirror_back=False)
    assert run.status == 2
    wanted = "mirror_back was renamed to mirror_keep_previous. Set mirror_keep_previous instead and remove mirror_back."
    assert wanted in run.flat()


def test_a_task_that_is_wrong_is_named(demo: Demo) -> None:
    outside = {"mde.offline.role_variables": {}, "register": "taken"}
    shown = {"ansible.builtin.debug": {"msg": "{{ taken.problems }}"}}
    run = demo.play(outside, shown)
    assert run.status == 0, run.output
    assert "works only in the tasks of a role" in run.flat()
    role = demo.ansible.folder / "roles" / "demo"
    write(role / "tasks/main.yml", [{**TAKE, "mde.offline.role_variables": {"others": ["demo_x_y"]}}, REFUSE])
    assert "has the variable demo_x_y" in demo.refused()
