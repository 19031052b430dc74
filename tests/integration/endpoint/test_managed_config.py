"""managed_config through ansible-playbook: what it writes, when it writes, what it refuses, and what it never shows."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mde.offline.plugins.module_utils._endpoint.mirror.address import architecture

from tests.support.agent import OLD, publish
from tests.support.ansible_runs import Ansible, Run

SECRET = "s3cret-in-an-address"
GOOD = {
    "antivirusEngine": {
        "enforcementLevel": "real_time",
        "offlineDefinitionUpdate": "enabled",
        "offlineDefinitionUpdateUrl": "http://mirror.example.com:8080/linux/production/",
        "offlineDefinitionUpdateFallbackToCloud": False,
    },
    "cloudService": {"automaticDefinitionUpdateEnabled": True},
}
BAD_KEY = {"antivirusEngine": {"enforcementLevl": "real_time"}}


@pytest.fixture
def ansible(tmp_path: Path) -> Ansible:
    return Ansible(tmp_path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "managed" / "mdatp_managed.json"


def task(path: Path | str, **arguments: Any) -> dict[str, Any]:
    # The module must not call an agent of the machine that runs the tests.
    return {"mde.offline.managed_config": {"path": str(path), "mdatp": "/nonexistent/mdatp", **arguments}}


def put(path: Path, content: Any) -> bytes:
    """Writes a file without the module: bytes as they are, anything else as JSON in one line."""
    data = content if isinstance(content, bytes) else json.dumps(content, ensure_ascii=False).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return data


def holds(path: Path) -> Any:
    return json.loads(path.read_bytes())


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def identity(path: Path) -> tuple[int, ...]:
    """Values that change when the file is written or its attributes change, but not when the file is read."""
    found = path.stat()
    return (found.st_ino, found.st_mode, found.st_uid, found.st_gid, found.st_mtime_ns, found.st_ctime_ns)


def ids(result: dict[str, Any], severity: str | None = None) -> set[str]:
    return {found["id"] for found in result["findings"] if severity in (None, found["severity"])}


def module_runs(played: Run) -> int:
    return played.output.count("Using module file")


def test_a_new_file_and_then_nothing_to_do(ansible: Ansible, path: Path) -> None:
    first = ansible.tasks(task(path, config=GOOD), options=("-vvv",))
    assert first.only["changed"], first.output
    assert path.read_bytes() == (json.dumps(GOOD, indent=2) + "\n").encode()
    assert first.only["config"] == GOOD
    assert first.only["path"] == str(path)
    assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)) == (0o644, 0o755)
    assert module_runs(first) == 2
    before = identity(path)
    again = ansible.tasks(task(path, config=GOOD), options=("-vvv",))
    assert (again.only["changed"], again.only["config"]) == (False, GOOD)
    assert module_runs(again) == 1
    assert identity(path) == before
    assert names(path.parent) == [path.name]


def test_what_others_put_there_stays_and_layout_does_not_count(ansible: Ansible, path: Path) -> None:
    others = {"edr": {"groupIds": "Größe ☃ 𝄞", "tags": [{"key": "GROUP", "value": "東京"}]}, **GOOD}
    data = put(path, others)
    played = ansible.tasks(
        task(path, config=GOOD),
        task(path, config={"cloudService": {"definitionUpdatesInterval": 14400}, "edr": {"groupIds": None}}),
        options=("--diff",),
    )
    same, changed = played.results
    assert (same["changed"], changed["changed"]) == (False, True), played.output
    assert not same["diff"]
    wanted = json.loads(data)
    wanted["cloudService"]["definitionUpdatesInterval"] = 14400
    del wanted["edr"]["groupIds"]
    assert path.read_bytes() == (json.dumps(wanted, indent=2, ensure_ascii=False) + "\n").encode()
    [diff] = changed["diff"]
    assert json.loads(diff["before"]) == others
    assert json.loads(diff["after"]) == wanted
    assert '+    "definitionUpdatesInterval": 14400' in played.output


def test_an_address_that_does_not_serve_the_host_is_not_written(ansible: Ansible, path: Path, tmp_path: Path) -> None:
    publish(tmp_path, OLD, architecture())
    engine = {**GOOD["antivirusEngine"], "offlineDefinitionUpdateUrl": str(tmp_path / "linux/production")}
    works = {**GOOD, "antivirusEngine": engine}
    dead = {**GOOD, "antivirusEngine": {**engine, "offlineDefinitionUpdateUrl": "/nowhere/linux/production"}}
    other = {"cloudService": {"definitionUpdatesInterval": 14400}}
    for options in (("--check",), ()):
        first, refused, unseen, same = ansible.tasks(
            task(path, config=works, check_mirror=True),
            {**task(path, config=dead, check_mirror=True), "ignore_errors": True},
            {**task(path, config={**dead, **other}), "check_mode": True},
            task(path, config=other, check_mirror=True),
            options=options,
        ).results
        assert (first["changed"], refused["failed"], refused["changed"]) == (True, True, False)
        assert "mirror_unreachable" in ids(refused, "error")
        assert "check_mirror to false" in refused["msg"]
        assert (unseen["changed"], same["changed"]) == (True, True)
    assert f"The host keeps {tmp_path}/linux/production." in refused["msg"]
    assert holds(path)["antivirusEngine"] == engine


def test_lists_replace_lists(ansible: Ansible, path: Path) -> None:
    entry = {"$type": "excludedPath", "isDirectory": True, "scopes": ["epp"]}
    entries = [{**entry, "path": "/srv/data/one"}, {**entry, "path": "/srv/data/two"}]
    put(path, {"exclusionSettings": {"exclusions": entries}, **GOOD})
    played = ansible.tasks(task(path, config={"exclusionSettings": {"exclusions": entries[1:]}}))
    assert played.only["changed"], played.output
    assert holds(path)["exclusionSettings"] == {"exclusions": entries[1:]}


def test_check_mode_says_what_would_happen_and_writes_nothing(ansible: Ansible, path: Path) -> None:
    played = ansible.tasks(task(path, config=GOOD), options=("--check", "--diff", "-vvv"))
    assert (played.only["changed"], played.only["config"]) == (True, GOOD), played.output
    assert json.loads(played.only["diff"][0]["after"]) == GOOD
    assert module_runs(played) == 1
    assert not path.parent.exists()
    data = put(path, GOOD)
    played = ansible.tasks(
        task(path, config=GOOD),
        task(path, config={"edr": {"groupIds": "x"}}, mode="0600", backup=True),
        task(path, config=BAD_KEY),
        options=("--check",),
        ignore_errors=True,
    )
    assert [result["changed"] for result in played.results] == [False, True, False], played.output
    assert played.results[2]["failed"]
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (data, 0o644)
    assert names(path.parent) == [path.name]


def test_errors_keep_the_file_from_being_written(ansible: Ansible, path: Path) -> None:
    played = ansible.tasks(task(path, config={**GOOD, **BAD_KEY}), options=("--diff",))
    assert played.status != 0
    result = played.only
    assert (result["failed"], result["changed"]) == (True, False)
    assert "misspelt_key" in ids(result, "error")
    for words in ("nothing was written", "antivirusEngine.enforcementLevl", "[misspelt_key]", "validation: warn"):
        assert words in result["msg"]
    assert "diff" not in result
    assert not path.parent.exists()


def test_the_content_of_others_is_validated_too(ansible: Ansible, path: Path) -> None:
    data = put(path, {**GOOD, "notAKey": 1})
    played = ansible.tasks(
        task(path, config=GOOD),
        task(path, config={"edr": {"groupIds": "x"}}),
        task(path, config={"notAKey": None}),
        ignore_errors=True,
    )
    unchanged, changed, repaired = played.results
    assert "This task does not change it" in unchanged["msg"], played.output
    assert "nothing was written" in changed["msg"]
    assert ids(unchanged, "error") == ids(changed, "error") == {"unknown_key"}
    assert (repaired["changed"], holds(path)) == (True, GOOD)
    assert data != path.read_bytes()


def test_warn_writes_and_says_it(ansible: Ansible, path: Path) -> None:
    config = {**GOOD, "notAKey": 1}
    played = ansible.tasks(task(path, config=config, validation="warn"), task(path, config=config, validation="warn"))
    assert [result["changed"] for result in played.results] == [True, False], played.output
    assert all("unknown_key" in ids(result, "error") for result in played.results)
    assert "[WARNING]" in played.output
    assert "notAKey" in played.output.partition("[WARNING]")[2]
    assert holds(path) == config


def test_accepted_findings_need_a_reason_and_then_do_not_count(ansible: Ansible, path: Path) -> None:
    config = {**GOOD, "notAKey": 1}
    played = ansible.tasks(
        task(path, config=config, accept={"unknown_key": "The vendor asked for it."}),
        task(path, config=config, accept={"unknown_key": "  "}),
        task(path, config=config, accept={"unknown_key": True}),
        task(path, config=config, accept={"unknown_keys": "The vendor asked for it."}),
        ignore_errors=True,
    )
    accepted, empty, no_words, other = played.results
    assert accepted["changed"], played.output
    assert "unknown_key" not in ids(accepted)
    [found] = [found for found in accepted["accepted"] if found["id"] == "unknown_key"]
    assert (found["reason"], found["path"]) == ("The vendor asked for it.", "notAKey")
    assert "reason" in empty["msg"]
    assert "reason" in no_words["msg"]
    assert ids(other, "error") == {"unknown_key"}
    assert "there is no finding unknown_keys" in " ".join(played.output.split())
    assert "Did you mean unknown_key?" in " ".join(played.output.split())


def test_absent_takes_away_exactly_its_keys(ansible: Ansible, path: Path) -> None:
    put(path, {"edr": {"groupIds": "x"}, "cloudService": {"enabled": True}, **GOOD, "features": {}})
    keys = {"antivirusEngine": dict.fromkeys(GOOD["antivirusEngine"]), "cloudService": GOOD["cloudService"]}
    played = ansible.tasks(
        task(path, state="absent", config=keys),
        task(path, state="absent", config=keys),
        task(path.with_name("missing.json"), state="absent", config=keys),
        options=("--diff",),
    )
    first, again, missing = played.results
    assert [first["changed"], again["changed"], missing["changed"]] == [True, False, False], played.output
    assert holds(path) == {"edr": {"groupIds": "x"}, "features": {}}
    assert missing["config"] is None
    assert not path.with_name("missing.json").exists()


def test_replaced_leaves_nothing_else_and_a_backup_keeps_the_old_file(ansible: Ansible, path: Path) -> None:
    data = put(path, {"edr": {"groupIds": "x"}})
    path.chmod(0o640)
    played = ansible.tasks(
        task(path, state="replaced", config=GOOD, backup=True), task(path, state="replaced", config=GOOD, backup=True)
    )
    first, again = played.results
    assert (first["changed"], again["changed"]) == (True, False), played.output
    assert holds(path) == GOOD
    backup = Path(first["backup_file"])
    assert (backup.read_bytes(), stat.S_IMODE(backup.stat().st_mode)) == (data, 0o640)
    assert "backup_file" not in again
    assert names(path.parent) == sorted([path.name, backup.name])


BROKEN = {
    "not_json": b'{"cloudService": {\n  "enabled": true,\n}}',
    "duplicate_name": b'{"cloudService": {"enabled": true,\n"enabled": false}}',
    "byte_order_mark": b'\xef\xbb\xbf{"cloudService": {"enabled": true}}',
    "wrong_encoding": '{"edr": {"groupIds": "Größe"}}'.encode("utf-16"),
    "root_not_object": b'["cloudService"]',
    "empty_file": b"",
}


def test_each_kind_of_invalid_file_is_named_and_replaced_only_with_a_backup(ansible: Ansible, path: Path) -> None:
    paths = {kind: path.with_name(f"{kind}.json") for kind in BROKEN}
    for kind, data in BROKEN.items():
        put(paths[kind], data)
    played = ansible.tasks(
        *[task(paths[kind], config=GOOD, validation="warn") for kind in BROKEN],
        task(paths["not_json"], config=GOOD, state="absent"),
        ignore_errors=True,
    )
    for kind, result in zip(BROKEN, played.results):
        assert (result["failed"], ids(result)) == (True, {kind}), played.output
        assert "state: replaced" in result["msg"]
        assert paths[kind].read_bytes() == BROKEN[kind]
    assert "line 3" in played.results[0]["msg"]
    assert "line 1 and again in line 2" in played.results[1]["msg"]
    assert played.results[-1]["failed"]
    played = ansible.tasks(*[task(paths[kind], config=GOOD, state="replaced") for kind in BROKEN], options=("--diff",))
    for kind, result in zip(BROKEN, played.results):
        assert result["changed"], played.output
        assert holds(paths[kind]) == GOOD
        assert Path(result["backup_file"]).read_bytes() == BROKEN[kind]


def test_links_are_followed_and_what_is_no_file_is_refused(ansible: Ansible, path: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere" / "real.json"
    put(target, {})
    path.parent.mkdir()
    path.symlink_to(target)
    dangling = path.with_name("dangling.json")
    dangling.symlink_to(tmp_path / "gone.json")
    fifo = path.with_name("fifo.json")
    os.mkfifo(fifo)
    played = ansible.tasks(
        task(path, config=GOOD),
        task(dangling, config=GOOD),
        task(fifo, config=GOOD),
        task(path.parent, config=GOOD),
        task(target / "below.json", config=GOOD),
        task("relative.json", config=GOOD),
        ignore_errors=True,
    )
    followed, *refused = played.results
    assert (followed["changed"], followed["path"]) == (True, str(target)), played.output
    assert path.is_symlink()
    assert holds(target) == GOOD
    advice = ("symbolic link", "not a regular file", "not a regular file", "correct the path", "absolute")
    for result, words in zip(refused, advice):
        assert result["failed"]
        assert words in result["msg"]
        assert "Traceback" not in result["msg"]
    assert not (tmp_path / "gone.json").exists()


@pytest.fixture
def immutable(path: Path) -> Iterator[Path]:
    """A file that not even root may change."""
    put(path, GOOD)
    chattr = shutil.which("chattr")
    if not chattr or subprocess.run([chattr, "+i", str(path)], capture_output=True, check=False).returncode:
        pytest.skip("NOT TESTED: this user or this file system cannot make a file immutable")
    yield path
    subprocess.run([chattr, "-i", str(path)], check=True)


def test_an_immutable_file_is_left_whole_with_advice(ansible: Ansible, immutable: Path) -> None:
    data = immutable.read_bytes()
    played = ansible.tasks(
        task(immutable, config=GOOD),
        task(immutable, config={"edr": {"groupIds": "x"}}),
        task(immutable, config={}, state="replaced"),
        ignore_errors=True,
    )
    unchanged, *refused = played.results
    assert not unchanged["changed"], played.output
    for result in refused:
        assert (result["failed"], result["changed"]) == (True, False)
        assert "lsattr" in result["msg"]
    assert immutable.read_bytes() == data
    assert names(immutable.parent) == [immutable.name]


def test_owner_and_mode_change_only_when_asked_for(ansible: Ansible, path: Path) -> None:
    put(path, GOOD)
    path.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    before = path.stat()
    played = ansible.tasks(
        task(path, config={"edr": {"groupIds": "x"}}),
        task(path, config=GOOD, mode="u=rw,g=r,o="),
        task(path, config=GOOD, mode="0640"),
        task(path, config={"edr": {"groupIds": "y"}}, mode="0644"),
        task(path.with_name("new.json"), config=GOOD, mode="0600"),
        task(path, config={"edr": {"groupIds": "z"}}, mode="nonsense"),
        options=("--diff",),
        ignore_errors=True,
    )
    assert [result["changed"] for result in played.results[:-1]] == [True, True, False, True, True], played.output
    assert played.results[1]["diff"][0]["after"]["mode"] == "0640"
    assert (path.stat().st_uid, path.stat().st_gid) == (before.st_uid, before.st_gid)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert stat.S_IMODE(path.with_name("new.json").stat().st_mode) == 0o600
    assert "mode" in played.results[-1]["msg"]
    assert holds(path)["edr"] == {"groupIds": "y"}
    assert names(path.parent) == ["mdatp_managed.json", "new.json"]


def agent(path: Path, *lines: str) -> Path:
    """A shell script as the agent; other tests use the simulated agent."""
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]), encoding="utf-8")
    path.chmod(0o755)
    return path


def test_the_version_of_the_agent_counts(ansible: Ansible, path: Path, tmp_path: Path) -> None:
    old = agent(tmp_path / "old", """echo '"101.23062.0010"'""")
    hanging = agent(tmp_path / "hanging", "exec sleep 60")
    odd = agent(tmp_path / "odd", "echo 'version seven'")
    played = ansible.tasks(
        task(path, config=GOOD, agent_version="101.23062.0010"),
        task(path, config=GOOD, mdatp=str(old)),
        task(path, config=GOOD, mdatp=str(old), agent_version="101.26062.0007"),
        task(path, config=GOOD, mdatp=str(hanging), timeout=1),
        task(path, config=GOOD, mdatp=str(odd)),
        task(path, config=GOOD, agent_version="new"),
        ignore_errors=True,
    )
    given, asked, overruled, hung, unclear, wrong = played.results
    assert given["failed"], played.output
    assert given["findings"] == asked["findings"]
    assert any("101.24022.0001" in found["message"] + found["hint"] for found in given["findings"])
    assert (asked["agent_version"], overruled["agent_version"]) == ("101.23062.0010", "101.26062.0007")
    assert overruled["changed"]
    assert (hung["agent_version"], unclear["agent_version"]) == (None, None)
    assert "not checked against the version" in played.output
    assert "agent_version must be" in wrong["msg"]


def test_a_change_by_somebody_else_in_between_is_not_overwritten(ansible: Ansible, path: Path, tmp_path: Path) -> None:
    put(path, {})
    meddling = agent(tmp_path / "mdatp", f"echo '{{\"edr\": {{}}}}' > '{path}'", "echo 101.26062.0007")
    played = ansible.tasks(task(path, config=GOOD, mdatp=str(meddling)), options=("--diff",))
    assert (played.only["failed"], played.only["changed"]) == (True, False), played.output
    assert "another process" in played.only["msg"]
    assert "Run the task again" in played.only["msg"]
    assert holds(path) == {"edr": {}}


def test_a_template_goes_the_same_way(ansible: Ansible, path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "templates"
    folder.mkdir()
    (folder / "url.j2").write_text('"http://{{ mirror }}:8080/linux/production/"', encoding="utf-8")
    (folder / "profile.json.j2").write_text(
        '{\n  "antivirusEngine": {\n    "enforcementLevel": "{{ level }}",\n'
        '    {# a remark #}\n    "offlineDefinitionUpdate": "enabled",\n'
        '    "offlineDefinitionUpdateUrl": {% include "url.j2" %},\n'
        '    "offlineDefinitionUpdateFallbackToCloud": {{ fallback | to_json }}\n  },\n'
        '  "cloudService": {{ cloud | to_nice_json }}\n}\n',
        encoding="utf-8",
    )
    (folder / "one_expression.j2").write_text("{{ {'cloudService': cloud} | to_json }}", encoding="utf-8")
    broken = {
        "comma.j2": ('{\n"cloudService": {\n"enabled": true,\n}\n}\n', ("line 4", "comma")),
        "twice.j2": ('{"edr": {},\n"edr": {}}\n', ("edr twice", "line 2")),
        "python.j2": ("{'cloudService': {{ cloud }}}\n", ("quotes", "to_json")),
        "undefined.j2": ('{"edr": {{ nobody_set_this | to_json }}}\n', ("nobody_set_this", "undefined.j2")),
        "syntax.j2": ("{% if %}\n", ("syntax.j2",)),
        "empty.j2": ("{% if false %}{}{% endif %}\n", ("empty",)),
        "secret.j2": (f'{{\n"proxy": "http://u:{SECRET}@h/" "x"\n}}\n', ("line 2", "lacks a comma")),
        "bare_secret.j2": (f'{{"edr": {{"groupIds": {SECRET}}}}}\n', ("line 1", "lacks a value", '"groupIds": ****')),
        "secret_twice.j2": (f'{{"edr": {{"groupIds": "{SECRET}"}},\n"edr": "{SECRET}"}}\n', ("edr twice",)),
        "list.j2": ("[1, 2]\n", ("not an object",)),
        "attribute.j2": ('{"edr": {"groupIds": "{{ cloud.nothing.below }}"}}\n', ("attribute.j2", "nothing")),
        "filter.j2": ('{"edr": {{ cloud | no_such_filter }}}\n', ("filter.j2", "no_such_filter")),
        "zero.j2": ('{"edr": {"groupIds": "{{ 1 / 0 }}"}}\n', ("zero.j2", "division by zero")),
        "include.j2": ('{% include "gone.j2" %}\n', ("include.j2", "gone.j2")),
        "mark.j2": (b'\xef\xbb\xbf{"edr": {}}\n', ("byte order mark", "Save the template")),
        "utf16.j2": ('{"edr": {}}\n'.encode("utf-16"), ("UTF-16", "Save the template")),
        "latin1.j2": ('{"edr": {"groupIds": "Größe"}}\n'.encode("latin-1"), ("not UTF-8", "Save the template")),
        "missing.j2": (None, ("missing.j2",)),
        "": (None, ("template is empty",)),
    }
    for name, (text, _words) in broken.items():
        if text is not None:
            (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    played = ansible.tasks(
        task(path, template="profile.json.j2"),
        task(path, config=GOOD),
        task(path.with_name("other.json"), template="one_expression.j2"),
        *[task(path, template=name) for name in broken],
        ignore_errors=True,
        vars={"level": "real_time", "mirror": "mirror.example.com", "fallback": False, "cloud": GOOD["cloudService"]},
    )
    template, config, expression, *refused = played.results
    assert (template["changed"], config["changed"]) == (True, False), played.output
    assert holds(path) == GOOD
    assert expression["changed"]
    assert holds(path.with_name("other.json")) == {"cloudService": GOOD["cloudService"]}
    for result, (_text, wanted) in zip(refused, broken.values()):
        assert result["failed"]
        assert [words for words in wanted if words not in result["msg"]] == []
    assert SECRET not in played.output


def test_secrets_are_shown_nowhere(ansible: Ansible, path: Path) -> None:
    address = f"http://user:{SECRET}@proxy.example.com:8080/"
    put(path, {"cloudService": {"proxy": address}, "apiToken": SECRET})
    other = path.with_name("other.json")
    broken = path.with_name("broken.json")
    put(broken, f'{{"proxy": "{address}"'.encode())
    variables = {"proxy": address}
    config = {"cloudService": {"proxy": "{{ proxy }}", "enabled": True}}
    (ansible.folder / "variables.json").write_text(json.dumps(variables), encoding="utf-8")
    played = ansible.tasks(
        task(path, config=config),
        task(path, config={**config, "edr": {"groupIds": "x"}}, validation="warn", backup=True),
        task(other, config=config, validation="warn"),
        task(broken, config=config),
        task(broken, config=config, state="replaced", validation="warn"),
        options=("--diff", "-vvv", "-e", "@variables.json"),
        ignore_errors=True,
    )
    assert [result["changed"] for result in played.results] == [False, True, True, False, True], played.output
    assert holds(other)["cloudService"]["proxy"] == address
    assert holds(path)["apiToken"] == SECRET
    assert "proxy_credentials" in ids(played.results[0], "error")
    assert SECRET not in played.output
    assert SECRET not in json.dumps(played.results)
    assert "********@proxy.example.com:8080" in played.output


ODD_PASSWORDS = ["s3cret/Pw@rd", "12/3s3cret", "s3cret Pw", "s3cret?x#Pw", "s3cret%2FPw", 's3cret"<Pw>', "s3cret\nPw"]


def test_odd_passwords_are_shown_on_neither_side(ansible: Ansible, path: Path) -> None:
    """The old and the new file contain such passwords, also under a key that is not for addresses."""
    configs: list[dict[str, Any]] = []
    tasks = []
    for number, password in enumerate(ODD_PASSWORDS):
        for kind, address in (("web", f"http://user:{password}@proxy:8080/"), ("none", f"user:{password}@proxy:8080")):
            file = path.with_name(f"{kind}{number}.json")
            earlier = address.replace("s3cret", "s3cret-former")
            put(file, {"cloudService": {"proxy": earlier}, "comment": earlier, "credentials": {"name": password}})
            mixed = {"cloudService": {"proxy": address}, "antivirusEngine": {"offlineDefinitionUpdateUrl": address}}
            configs += [mixed, mixed, {"comment": None, "cloudService": {"proxy": None}}]
            tasks += [
                # The values are in variables, because ansible-core 2.19 shows the lines of a failed task.
                task(file, config=f"{{{{ configs[{len(configs) - 3 + step}] }}}}", validation=validation)
                for step, validation in enumerate(("strict", "warn", "warn"))
            ]
    (ansible.folder / "variables.json").write_text(json.dumps({"configs": configs}), encoding="utf-8")
    played = ansible.tasks(*tasks, options=("--diff", "-vvv", "-e", "@variables.json"), ignore_errors=True)
    assert [result["changed"] for result in played.results] == [False, True, True] * (len(tasks) // 3), played.output
    assert "s3cret" not in played.output
    assert "s3cret" not in json.dumps(played.results)
    assert "********@proxy:8080" in played.output


def test_wrong_use_is_answered_with_advice(ansible: Ansible, path: Path) -> None:
    wrong = {
        "exclusive": {"config": GOOD, "template": "x.j2"},
        "config, template": {},
        "_instead_of": {"config": GOOD, "_instead_of": "absent"},
        "state": {"config": GOOD, "state": "present"},
        "quotes": {"config": {"edr": {"groupIds": datetime.date(2026, 1, 1)}}},
        "deep": {"config": json.loads('{"a":' * 40 + "1" + "}" * 40)},
    }
    played = ansible.tasks(*[task(path, **arguments) for arguments in wrong.values()], ignore_errors=True)
    assert [result.get("failed") for result in played.results] == [True] * len(wrong), played.output
    assert [words for words, result in zip(wrong, played.results) if words not in result["msg"]] == []
    assert "raceback" not in played.output
    assert not path.parent.exists()


def test_defaults_for_the_whole_group_reach_it(ansible: Ansible, path: Path) -> None:
    defaults = {"group/mde.offline.endpoint": {"mdatp": "/nonexistent/mdatp", "timeout": 5}}
    defaults["mde.offline.managed_config"] = {"path": str(path)}
    played = ansible.tasks({"mde.offline.managed_config": {"config": GOOD}}, module_defaults=defaults)
    assert played.only["changed"], played.output
    assert holds(path) == GOOD


def test_what_others_can_write_is_found_and_protected_on_request(ansible: Ansible, path: Path) -> None:
    put(path, GOOD)
    path.chmod(0o666)
    path.parent.chmod(0o777)
    health = {"health_info": {"mirror_url": "/nonexistent"}}
    played = ansible.tasks(
        task(path, config=GOOD, **health),
        {**task(path, config=GOOD, protect=True), "check_mode": True},
        task(path, config=GOOD, protect=True),
        task(path, config=GOOD, protect=True, **health),
        task(path.parent / "new" / "file.json", config=GOOD, protect=True),
        options=("--diff",),
    )
    found, foretold, protected, again, new = played.results
    assert "managed_file_writable" in ids(found["health_info"]), played.output
    assert "managed_file_writable" not in ids(again["health_info"])
    changed = [result["changed"] for result in (found, foretold, protected, again, new)]
    assert changed == [False, True, True, False, True]
    assert foretold["diff"] == protected["diff"]
    assert [(diff["before"], diff["after"]) for diff in protected["diff"]] == [
        ({"mode": "0666"}, {"mode": "0644"}),
        ({"mode": "0777"}, {"mode": "0755"}),
    ]
    assert [stat.S_IMODE(place.stat().st_mode) for place in (path, path.parent)] == [0o644, 0o755]


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: only root can give files to other users")
def test_a_folder_of_another_user_leads_nowhere_else(ansible: Ansible, path: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(f'{{"{SECRET}": 1, "{SECRET}": 2}}')
    secret.chmod(0o600)
    put(path, b"broken")
    path.parent.chmod(0o700)
    for place in (path, path.parent):
        os.chown(place, 65534, 65534)
    link = path.with_name("link.json")
    link.symlink_to(secret)
    rooted = tmp_path / "rooted.json"
    rooted.symlink_to(secret)
    played = ansible.tasks(
        task(path, config=GOOD, state="replaced"),
        task(link, config=GOOD, state="replaced", mode="0666"),
        task(rooted, config=GOOD),
        ignore_errors=True,
    )
    replaced, refused, quoted = played.results
    assert (path.stat().st_uid, holds(path)) == (65534, GOOD), played.output
    assert Path(replaced["backup_file"]).read_bytes() == b"broken"
    assert "it is not followed" in refused["msg"]
    assert "names a key twice" in quoted["msg"]
    assert SECRET not in played.output
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert sorted(names(path.parent)) == sorted([path.name, link.name, Path(replaced["backup_file"]).name])


def test_another_name_of_the_file_keeps_its_attributes(ansible: Ansible, path: Path, tmp_path: Path) -> None:
    put(path, GOOD)
    path.chmod(0o600)
    other = tmp_path / "other"
    other.hardlink_to(path)
    played = ansible.tasks(task(path, config=GOOD, mode="0644"))
    assert played.only["changed"], played.output
    assert [stat.S_IMODE(place.stat().st_mode) for place in (path, other)] == [0o644, 0o600]


# A Python that every user may run. Other users may not be able to run the Python of the virtual environment.
SYSTEM_PYTHON = shutil.which("python3", path="/usr/bin:/bin")


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: only root can run a task as another user")
@pytest.mark.skipif(SYSTEM_PYTHON is None, reason="NOT TESTED: there is no Python that every user may run")
def test_an_unprivileged_user_is_advised_to_become_root(ansible: Ansible, path: Path) -> None:
    data = put(path, GOOD)
    path.chmod(0o600)
    ansible.common.update(ansible_become=True, ansible_python_interpreter=SYSTEM_PYTHON)
    become = {"become_user": "nobody", "become_method": "su", "become_flags": "-s /bin/sh"}
    played = ansible.tasks(
        task(path, config=GOOD),
        task(path.with_name("new.json"), config=GOOD),
        ignore_errors=True,
        **become,
    )
    for result in played.results:
        assert "become: true" in result["msg"], played.output
    assert path.read_bytes() == data


def test_the_half_on_the_host_writes_nothing_by_itself(path: Path) -> None:
    collection = Path(os.environ["ANSIBLE_COLLECTIONS_PATH"]) / "ansible_collections" / "mde" / "offline"
    done = subprocess.run(
        [sys.executable, str(collection / "plugins" / "modules" / "managed_config.py")],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": {"path": str(path), "config": GOOD}}),
        env={**os.environ, "PYTHONPATH": os.environ["ANSIBLE_COLLECTIONS_PATH"]},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 1
    assert "without its action plugin" in json.loads(done.stdout)["msg"]
    assert not path.parent.exists()
