"""The role mirror with `mirror_hosting`: it syncs and serves with a real nginx, and sets the facts with addresses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from simulators.download_service import DownloadService
from tests.support.agent import OLD
from tests.support.ansible_runs import Ansible, Run
from tests.support.nginx import NAME, Hosting, eventually
from tests.support.role_mirror import mirror_variables

STATUS, MANIFEST = "/status.json", "/linux/production/arch_x86_64/manifest.json"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[DownloadService]:
    with DownloadService(tmp_path / "service") as running:
        running.publish(OLD, platform="linux", ring="production")
        yield running


class Mirror:
    """A host on which the role mirror sets up everything."""

    def __init__(self, hosting: Hosting, service: DownloadService, folder: Path) -> None:
        self.server = hosting.server
        self.ansible = hosting.ansible
        # The default root has files that were created without a sync; here, the role fills the root.
        shutil.rmtree(self.server.root)
        self.variables = {**self.server.variables(), **mirror_variables(folder, service.url), "mirror_hosting": "http"}
        del self.variables["mirror_http_root"]
        assert self.variables["mirror_root"] == str(self.server.root)

    def apply(self, *options: str, **more: Any) -> Run:
        self.ansible.hosts["mirrors"] = {"m": {**self.variables, **more}}
        return self.ansible.roles("mirror", "mirrors", *options)


def test_a_failure_of_sync_or_server_does_not_stop_the_other(
    hosting: Hosting, service: DownloadService, tmp_path: Path
) -> None:
    mirror = Mirror(hosting, service, tmp_path)
    server = mirror.server

    service.fault("status", code=503)
    failed = mirror.apply(mirror_settings={"source": {"retries": 0}})
    assert failed.status == 2
    assert "http_status" in failed.output
    assert server.ask(STATUS).status == 200, "a mirror that could not sync is served all the same"
    assert server.ask(MANIFEST).status == 404

    service.clear_faults()
    main_file = server.main_file.read_text(encoding="utf-8")
    server.main_file.write_text(main_file + "nonsense;\n", encoding="utf-8")
    # The site changes, so that the role checks the configuration of nginx.
    failed = mirror.apply(mirror_http_cache_seconds=5)
    assert failed.status == 2
    assert "nginx refuses its configuration" in failed.flat()
    server.main_file.write_text(main_file, encoding="utf-8")
    assert json.loads(server.ask(MANIFEST).body)["DefinitionVersion"] == OLD, "synced although serving failed"

    assert mirror.apply().status == 0
    # Surveys pass empty text for unanswered questions. The defaults of the role mirror_http apply then.
    again = mirror.apply(
        "-e", "mirror_http_listing=", "-e", "mirror_http_cache_seconds=", "-e", "mirror_http_networks="
    )
    assert (again.status, again.recap["m"].changed) == (0, 0), again.output

    gone = mirror.apply(mirror_state="absent")
    assert gone.status == 0, gone.output
    assert not server.site.exists()
    eventually("the site is forgotten", lambda: server.ask(MANIFEST).status == 404)
    assert (server.root / MANIFEST.lstrip("/")).is_file()


def test_one_fact_has_the_address_for_each_kind_of_hosting(ansible: Ansible) -> None:
    hosts: dict[str, tuple[dict[str, Any], str]] = {
        "http": ({"mirror_hosting": "http"}, f"http://{NAME}"),
        "https": (
            {"mirror_hosting": "http", "mirror_http_protocols": ["http", "https"], "mirror_http_tls_port": 8443},
            f"https://{NAME}:8443",
        ),
        "nfs": ({"mirror_hosting": "nfs"}, "/mnt/mde-mirror"),
        "nfs_elsewhere": ({"mirror_hosting": "nfs", "mirror_nfs_client_path": "/mnt/other"}, "/mnt/other"),
        "share": ({"mirror_hosting": "smb"}, f"//{NAME}/mde-mirror"),
        "directory": ({"mirror_root": "/data/mirror/"}, "/data/mirror"),
    }
    named = {"mirror_http_server_name": NAME, "mirror_nfs_server_name": NAME}
    ansible.hosts["mirrors"] = {
        name: {**named, **variables, "wanted": address} for name, (variables, address) in hosts.items()
    }
    usable = "mirror_address | mde.offline.mirror_url | length > 0"
    tasks: list[dict[str, Any]] = [
        {"ansible.builtin.include_role": {"name": "mde.offline.mirror", "tasks_from": "address"}},
        {"ansible.builtin.assert": {"that": ["mirror_address == wanted", usable]}},
        {
            "ansible.builtin.assert": {"that": f"mirror_nfs_source == '{NAME}:/srv/mde-mirror'"},
            "when": "mirror_hosting | default('') == 'nfs'",
        },
    ]
    run = ansible.tasks(*tasks)
    assert run.status == 0, run.output
    assert len(run.recap) == len(hosts)
