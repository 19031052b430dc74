"""The modules mirror_channel and mirror_bundle, run by ansible-playbook: check mode, diff, idempotence, refusals.

One play runs every step three times: in check mode, without check mode, and again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys

import pytest

from tests.support.ansible_runs import Ansible
from tests.support.engine import SIZE, ChannelMirror, folders, version

CHANNEL, BUNDLE = "mde.offline.mirror_channel", "mde.offline.mirror_bundle"

# Name of a step, module, arguments. `{here}` is a temporary folder, `{island}` the settings of a second mirror.
STEPS = [
    ("promoted", CHANNEL, {"channel": "canary", "state": "promoted", "source": "production", "by": "anna"}),
    (
        "promoted_by_version",
        CHANNEL,
        {"channel": "pilot", "state": "promoted", "source": "production", "release": version(1)},
    ),
    ("rolled_back", CHANNEL, {"channel": "production", "state": "rolled_back", "reason": "false positives"}),
    ("held", CHANNEL, {"channel": "pilot", "state": "held", "reason": "freeze", "arch": "arm64"}),
    ("unheld", CHANNEL, {"channel": "production", "state": "unheld", "platform": "linux"}),
    ("exported", BUNDLE, {"path": "{here}/bundle.tar", "state": "exported"}),
    ("imported", BUNDLE, {"path": "{here}/bundle.tar", "state": "imported", "unsigned": True, "settings": "{island}"}),
    (
        "exported_the_rest",
        BUNDLE,
        {"path": "{here}/rest.tar", "state": "exported", "base": "{here}/island/mirror/status.json"},
    ),
]
REFUSALS = [
    ("not_held", CHANNEL, {"channel": "pilot", "state": "promoted", "source": "canary"}, "held"),
    ("unknown", CHANNEL, {"channel": "nightly", "state": "held"}, "no_such_channel"),
    ("not_fed", CHANNEL, {"channel": "production", "state": "promoted", "source": "canary"}, "no_such_channel"),
    ("not_kept", CHANNEL, {"channel": "canary", "state": "rolled_back", "release": "1.1.1.1"}, "no_such_release"),
    ("no_file", BUNDLE, {"path": "{here}/missing.tar", "state": "imported"}, "file"),
    (
        "damaged",
        BUNDLE,
        {"path": "{here}/damaged.tar", "state": "imported", "unsigned": True, "settings": "{island}"},
        "damaged_bundle",
    ),
    ("no_settings", CHANNEL, {"channel": "canary", "state": "held", "settings": "{here}/none.json"}, "settings"),
    (
        "wrong_config",
        BUNDLE,
        {"path": "{here}/b.tar", "state": "exported", "config": {"downloadFolder": "here"}},
        "settings",
    ),
]
MISUSES = [
    ("no_source", CHANNEL, {"channel": "canary", "state": "promoted"}, "source"),
    ("no_state", BUNDLE, {"path": "/tmp/x"}, "state"),
]


def filled_in(arguments, names):
    def fill(value):
        return value.format(**names) if isinstance(value, str) else value

    return {key: fill(value) for key, value in arguments.items()}


def task(module, arguments, name, **more):
    return {"name": name, module: arguments, "diff": True, **more}


def spoil(source, target):
    """A task that damages one byte of a bundle."""
    code = f"d = bytearray(open({str(source)!r}, 'rb').read()); d[5000] ^= 1; open({str(target)!r}, 'wb').write(d)"
    return {"name": "spoil", "ansible.builtin.command": {"argv": [sys.executable, "-c", code]}}


@pytest.fixture(scope="module")
def results(tmp_path_factory, first_release, running_service, authority):
    """The result of each task, by its name."""
    here = tmp_path_factory.mktemp("modules")
    names = {"here": str(here), "island": str(here / "island.json")}
    mirror = ChannelMirror(here / "first", running_service, authority.cert)
    shutil.copytree(first_release, mirror.root, symlinks=True)
    running_service.clear_faults()
    running_service.publish(version(2), size=SIZE)
    mirror.sync_well()
    island = {"downloadFolder": str(here / "island" / "mirror"), "channels": ["canary"]}
    (here / "island.json").write_text(json.dumps(island))

    tasks = []
    for name, module, arguments in STEPS:
        arguments = filled_in(arguments, names)
        tasks += [
            task(module, arguments, f"{name}_predicted", check_mode=True),
            task(module, arguments, name),
            task(module, arguments, f"{name}_again"),
        ]
    tasks.append(spoil(here / "bundle.tar", here / "damaged.tar"))
    for name, module, arguments, _code in [*REFUSALS, *MISUSES]:
        tasks.append(task(module, filled_in(arguments, names), name, ignore_errors=True))
    defaults = {"group/mde.offline.all": {"settings": str(mirror.settings_file)}}
    run = Ansible(here).tasks(*tasks, module_defaults=defaults)
    assert run.status == 0, run.output
    found = run.by_task
    found["mirrors"] = {"first": mirror, "island": here / "island" / "mirror", "here": here}
    return found


def without_times(result):
    """A result without the values that always differ between runs, and without those of the existing file."""
    cleaned = json.loads(json.dumps(result))
    for unit in cleaned.get("units", []):
        for stand in ("before", "after"):
            held = (unit.get(stand) or {}).get("held")
            if held:
                held.pop("since")
    return {key: cleaned.get(key) for key in ("changed", "failed", "units", "diff", "path", "carried", "left_out")}


@pytest.mark.parametrize("name", [name for name, _module, _arguments in STEPS])
def test_check_mode_predicts_the_result_and_a_second_run_changes_nothing(results, name):
    predicted, happened, again = (results[name + suffix] for suffix in ("_predicted", "", "_again"))
    assert not any(result["failed"] for result in (predicted, happened, again)), happened
    assert [result["changed"] for result in (predicted, happened, again)] == [True, True, False]
    assert without_times(predicted) == without_times(happened)


@pytest.mark.parametrize("name", [name for name, module, _arguments in STEPS if module == CHANNEL])
def test_the_diff_shows_what_changed(results, name):
    for suffix in ("_predicted", ""):
        diff = results[name + suffix]["diff"]
        assert diff["before"] != diff["after"]
        for unit in results[name]["units"]:
            assert "{platform}/{channel}/arch_{arch}: ".format(**unit) in diff["after"]
    again = results[name + "_again"]["diff"]
    assert again["before"] == again["after"] == results[name]["diff"]["after"]


def test_the_outcome_of_each_unit_is_returned(results):
    units = {unit["arch"]: unit for unit in results["promoted"]["units"]}
    assert set(units) == {"x86_64", "arm64"}
    for unit in units.values():
        assert (unit["platform"], unit["channel"], unit["changed"]) == ("linux", "canary", True)
        assert unit["before"] == {"release": None, "previous": None, "held": None}
        assert unit["after"]["release"].startswith(version(2) + "-")
    (held,) = results["held"]["units"]
    assert (held["arch"], held["after"]["held"]["reason"], held["after"]["held"]["by"]) == (
        "arm64",
        "freeze",
        "ansible",
    )


def test_the_mirrors_match_the_results(results):
    mirror = results["mirrors"]["first"]
    mirror.agree()
    assert (mirror.numbers("canary"), mirror.numbers("pilot"), mirror.numbers("production")) == ([2, 2], [1, 1], [1, 1])
    island = results["mirrors"]["island"]
    for path in (*folders("production"), *folders("canary")):
        assert (island / path / "updates.zip").read_bytes() == (mirror.root / path / "updates.zip").read_bytes()
    # The second mirror has no such channel.
    assert not (island / "linux" / "pilot").exists()
    assert {entry["by"] for entry in mirror.channels()[folders("canary")[0]]["history"]} == {"anna"}


def test_a_bundle_is_returned_with_its_sha256(results):
    for name, file in (("exported", "bundle.tar"), ("exported_the_rest", "rest.tar")):
        data = (results["mirrors"]["here"] / file).read_bytes()
        assert results[name]["path"] == str(results["mirrors"]["here"] / file)
        assert (results[name]["bytes"], results[name]["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        assert results[name + "_again"]["sha256"] == results[name]["sha256"]
        assert results[name + "_predicted"]["sha256"] is None
    assert results["exported"]["left_out"] == []
    # pilot serves the same release as production, which the other mirror already has.
    assert results["exported_the_rest"]["carried"] == []


@pytest.mark.parametrize(("name", "code"), [(name, code) for name, _module, _arguments, code in REFUSALS])
def test_a_refusal_has_a_code_and_a_hint(results, name, code):
    result = results[name]
    assert (result["failed"], result["changed"]) == (True, False)
    assert result["error"]["code"] == code, result
    assert result["error"]["message"] in result["msg"]
    assert result["error"]["hint"] in result["msg"]


@pytest.mark.parametrize(("name", "word"), [(name, word) for name, _module, _arguments, word in MISUSES])
def test_wrong_usage_is_reported_by_name(results, name, word):
    assert results[name]["failed"] is True
    assert word in results[name]["msg"]
