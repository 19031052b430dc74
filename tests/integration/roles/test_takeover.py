"""A mirror and an endpoint that an earlier version set up are taken over by one run of the playbooks."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from simulators.download_service import DownloadService
from simulators.static_web_server import StaticWebServer
from tests.support.agent import OLD, Agent
from tests.support.ansible_runs import Ansible
from tests.support.role_mirror import mirror_variables
from tools.collection_tree import CHECKOUT

# The last commit before the role took its variables through role_variables.
FORMER = "1b199628373b64fc99a79ae63c3c50d4d51f2007"


@pytest.fixture
def former(tmp_path: Path) -> Path:
    """The folder of collections with an earlier version of the collection."""
    home = tmp_path / "former" / "ansible_collections" / "mde" / "offline"
    home.mkdir(parents=True)
    archive = ["git", "archive", FORMER, "galaxy.yml", "meta", "playbooks", "plugins", "roles"]
    packed = subprocess.run(archive, cwd=CHECKOUT, capture_output=True, check=False)
    if packed.returncode != 0:
        pytest.skip(f"NOT TESTED: this checkout does not have the commit {FORMER[:7]}")
    subprocess.run(["tar", "-x", "-C", str(home)], input=packed.stdout, check=True)
    return tmp_path / "former"


def test_one_run_takes_over(
    ansible: Ansible, service: DownloadService, served: StaticWebServer, former: Path, tmp_path: Path
) -> None:
    agent = Agent(tmp_path / "endpoint")
    ansible.hosts["mirrors"] = {"m": mirror_variables(tmp_path / "mirror", service.url)}
    more = {"endpoint_config": {"antivirusEngine": {"scanArchives": False}}, "endpoint_update_interval": 14400}
    ansible.hosts["endpoints"] = {"e": agent.variables(endpoint_mirror=served.url, **more)}
    ansible.environment["ANSIBLE_COLLECTIONS_PATH"] = str(former)
    before = ansible.playbook("mde.offline.site")
    assert before.status == 0, before.output
    written = agent.managed_file.read_bytes()

    del ansible.environment["ANSIBLE_COLLECTIONS_PATH"]
    after = ansible.playbook("mde.offline.site")
    assert after.status == 0, after.output
    assert after.recap["e"].changed == 0, after.output
    assert agent.managed_file.read_bytes() == written
    assert agent.field("definitions_version") == OLD

    gone = ansible.playbook("mde.offline.endpoints", endpoint_state="absent")
    assert gone.status == 0, gone.output
    assert agent.managed == {"antivirusEngine": {"enforcementLevel": "real_time"}}
