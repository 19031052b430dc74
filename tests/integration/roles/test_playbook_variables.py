"""The variables of the playbooks on the oldest and the newest ansible-core: surveys, mistakes, and skipped proofs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from simulators.download_service import DownloadService
from tests.support import cores
from tests.support.ansible_runs import Ansible
from tests.support.role_mirror import mirror_variables
from tools.collection_tree import CHECKOUT

PLAYBOOKS = ("diagnose", "endpoints", "health", "mirror", "preflight", "site", "sync")
CONFIGURED = "Write the managed configuration"


@pytest.fixture(params=[cores.LINES[0], cores.LINES[-1]])
def fleet(request: pytest.FixtureRequest, ansible: Ansible, tmp_path: Path) -> Ansible:
    """Three endpoints without an agent; the first of them has a configuration that the role refuses to change."""
    ansible.use_core(request.param)
    hosts = {}
    for name in ("e1", "e2", "e3"):
        hosts[name] = {
            "endpoint_mdatp": "/nowhere/mdatp",
            "endpoint_managed_file": str(tmp_path / name / "mdatp_managed.json"),
            "endpoint_record_file": str(tmp_path / name / "record.json"),
            "endpoint_mirror": "http://127.0.0.1:1",
            "endpoint_mirror_check": False,
            "endpoint_fail_on": "never",
            "endpoint_preflight": "never",
            "endpoint_update": False,
        }
        (tmp_path / name).mkdir()
    (tmp_path / "e1" / "mdatp_managed.json").write_text("not json", encoding="utf-8")
    ansible.hosts["endpoints"] = hosts
    ansible.hosts["mirrors"] = {"m": {"mirror_settings_file": "/nowhere/settings.json"}}
    return ansible


def words(**variables: str) -> list[str]:
    """Extra variables as text, as surveys give them."""
    return [part for name, value in variables.items() for part in ("-e", f"{name}={value}")]


def test_answers_of_surveys_are_text(fleet: Ansible, tmp_path: Path) -> None:
    empty = words(mde_serial="", mde_max_fail_percentage="", mde_fail_on="", mde_endpoints="", mde_mirrors="")
    whole = fleet.playbook("mde.offline.endpoints", *empty)
    assert whole.status == 2, whole.output
    assert {name for name, counts in whole.recap.items() if counts.failed} == {"e1"}
    assert whole.output.count(f"{CONFIGURED}] *") == 1

    one_by_one = fleet.playbook("mde.offline.endpoints", *words(mde_serial="1", mde_max_fail_percentage="0"))
    assert one_by_one.status == 2, one_by_one.output
    assert one_by_one.output.count(f"{CONFIGURED}] *") == 1
    assert "e2" not in one_by_one.output.partition(f"{CONFIGURED}] *")[2].partition("PLAY RECAP")[0]

    (tmp_path / "e1" / "mdatp_managed.json").unlink()
    for serial, batches in (("1,50%", 3), ('[1, "100%"]', 2)):
        growing = fleet.playbook("mde.offline.endpoints", mde_serial=serial)
        assert growing.status == 0, growing.output
        assert growing.output.count(f"{CONFIGURED}] *") == batches

    quiet = fleet.playbook(
        "mde.offline.health", *words(mde_fail_on="never", mde_report="report.json", mde_mirrors="nobody,m")
    )
    assert quiet.status == 0, quiet.output
    assert (fleet.folder / "report.json").is_file()


def unanswered(role: str) -> list[str]:
    """The variables of a role whose type does not allow empty text, which surveys pass for unanswered questions."""
    specs = yaml.safe_load((CHECKOUT / "roles" / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))
    options = specs["argument_specs"]["main"]["options"]
    return [
        name
        for name, option in options.items()
        if ("choices" in option or option["type"] not in ("str", "path")) and not option.get("required")
    ]


def test_unanswered_questions_of_surveys_leave_the_defaults_of_the_roles(
    fleet: Ansible, service: DownloadService, tmp_path: Path
) -> None:
    empty = unanswered("endpoint")
    assert {"endpoint_update", "endpoint_max_age_hours", "endpoint_fail_on"} <= set(empty)
    run = fleet.playbook("mde.offline.endpoints", "--limit", "e2", *words(**dict.fromkeys(empty, "")))
    # With the default of endpoint_fail_on, a host without an agent fails.
    assert run.status == 2, run.output
    assert "not_installed" in run.flat()

    variables = {**mirror_variables(tmp_path / "mirror", service.url), "mirror_architectures": ""}
    fleet.hosts["mirrors"]["m"] = variables
    given = {"mirror_unprivileged": "yes", "mirror_scheduler": "none", "mirror_sync": "no"}
    empty = [name for name in unanswered("mirror") if name not in given]
    assert {"mirror_architectures", "mirror_settings", "mirror_retain", "mirror_hosting"} <= set(empty)
    run = fleet.playbook("mde.offline.mirror", *words(**dict.fromkeys(empty, ""), **given))
    assert run.status == 0, run.output
    settings = json.loads(Path(variables["mirror_settings_file"]).read_text(encoding="utf-8"))
    assert (settings["architectures"], settings["retain"]) == (["x86_64", "arm64"], 3)

    synced = fleet.playbook("mde.offline.sync", *words(mirror_allow_downgrade=""))
    assert synced.status == 0, synced.output
    assert "linux/production/x86_64: updated" in synced.flat()


def test_mistakes_are_refused_before_anything_happens(fleet: Ansible) -> None:
    wrong = fleet.playbook(
        "mde.offline.site", *words(mde_fail_on="sometimes", mde_serial="all", mde_max_fail_percentage="many")
    )
    assert wrong.status == 2, wrong.output
    shown = wrong.flat()
    assert "mde_fail_on has to be one of: error, warning, never." in shown
    assert "mde_max_fail_percentage has to be a number." in shown
    assert "Build the mirrors" not in shown
    assert CONFIGURED not in shown

    misspelled = fleet.playbook("mde.offline.endpoints", *words(mde_seriall="5", mde_thing="mine"))
    assert misspelled.status == 2, misspelled.output
    assert "No playbook has the variable mde_seriall. Set mde_serial instead" in misspelled.flat()
    assert "mde_thing" not in misspelled.output
    assert CONFIGURED not in misspelled.output

    serial = fleet.playbook("mde.offline.endpoints", *words(mde_serial="all"))
    assert serial.status == 2, serial.output
    assert "mde_serial has to be a number of endpoints from 1, a percentage from 1% to 100%" in serial.flat()


def test_variables_of_a_role_are_checked_on_their_host_alone(fleet: Ansible) -> None:
    fleet.hosts["endpoints"]["e2"]["endpoint_max_age_hours"] = "old"
    fleet.hosts["endpoints"]["e3"]["endpoint_max_age_hours"] = "24"
    health = fleet.playbook("mde.offline.health")
    assert health.status == 2, health.output
    assert {name for name in ("e1", "e2", "e3") if health.recap[name].failed} == {"e2"}
    assert "endpoint_max_age_hours has to be an integer." in health.flat()
    assert "not_checked on e2" in health.flat()


def test_a_proof_is_not_skipped(fleet: Ansible) -> None:
    refused = [(playbook, "verify") for playbook in PLAYBOOKS]
    refused += [("preflight", "preflight"), ("health", "always"), ("site", "configure,verify")]
    for playbook, tags in refused:
        run = fleet.playbook(f"mde.offline.{playbook}", "--skip-tags", tags)
        assert run.status not in (0, 2), run.output
        assert "that would skip the verification" in run.flat()
        assert "TASK [" not in run.output
    # Other phases can be skipped.
    done = fleet.playbook("mde.offline.endpoints", "--skip-tags", "configure", "--limit", "e2")
    assert done.status == 0, done.output
    assert CONFIGURED not in done.output
