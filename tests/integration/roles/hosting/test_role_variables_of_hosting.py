"""The variables of the hosting roles as surveys and `-e KEY=VALUE` give them, and each role twice in one play."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support import cores
from tests.support.ansible_runs import Ansible, Run
from tests.support.nginx import OTHER, Hosting, free_port

OLDEST_AND_NEWEST = pytest.mark.parametrize("core", [cores.LINES[0], cores.LINES[-1]])


def words(**variables: object) -> list[str]:
    """Options of ansible-playbook that set each variable to a text."""
    return [option for name, value in variables.items() for option in ("-e", f"{name}={value}")]


def apply(ansible: Ansible, role: str, passes: list[dict[str, Any]], *options: str) -> Run:
    """Applies a role once with each set of variables, in one play."""
    tasks = [
        {
            "name": f"Pass {number}",
            "ansible.builtin.include_role": {"name": f"mde.offline.{role}"},
            "vars": variables,
            "tags": ["always"],
        }
        for number, variables in enumerate(passes)
    ]
    return ansible.tasks(*tasks, options=options)


@OLDEST_AND_NEWEST
def test_texts_are_booleans_integers_and_lists(tmp_path: Path, core: str) -> None:
    ansible = Ansible(tmp_path)
    ansible.use_core(core)
    ansible.hosts["hosts"] = {"h": {}}
    site = {
        "mirror_http_listing": "false",
        "mirror_http_default_server": "no",
        "mirror_http_protocols": "https",
        "mirror_http_tls_port": "8443",
        "mirror_http_addresses": "127.0.0.1,[::1]",
        "mirror_http_unprivileged": "yes",
        "mirror_http_tls_certificate": "/etc/mirror.pem",
        "mirror_http_tls_key": "/etc/mirror.key",
        "mirror_http_command": "/nonexistent/nginx",
        "mirror_http_site_file": tmp_path / "site.conf",
    }
    run = apply(ansible, "mirror_http", [{}], "--check", "--diff", *words(**site))
    assert run.status == 0, run.output
    assert "+    autoindex off;" in run.output
    listens = [line.split("listen ")[1] for line in run.output.splitlines() if line.startswith("+    listen")]
    assert listens == ["127.0.0.1:8443 ssl;", "[::1]:8443 ssl;"]

    export = {"mirror_nfs_root": tmp_path, "mirror_nfs_networks": "0.0.0.0/0,10.0.0.0/8", "mirror_nfs_package": ""}
    refused = apply(ansible, "mirror_nfs", [{}], "--check", *words(**export, mirror_nfs_everyone="false"))
    assert refused.status == 2
    assert "0.0.0.0/0 exports the mirror to everybody" in refused.flat()


@OLDEST_AND_NEWEST
def test_texts_for_the_mount(tmp_path: Path, core: str) -> None:
    if os.geteuid() != 0 or not shutil.which("systemd-escape"):
        pytest.skip("NOT TESTED: the role mirror_nfs_client needs root and systemd-escape")
    ansible = Ansible(tmp_path)
    ansible.use_core(core)
    units = tmp_path / "units"
    units.mkdir()
    ansible.hosts["hosts"] = {"h": {"mirror_nfs_client_source": "m.test:/srv", "mirror_nfs_client_package": ""}}
    texts = {
        "mirror_nfs_client_unit_directory": units,
        "mirror_nfs_client_automount": "false",
        "mirror_nfs_client_options": "nfsvers=4,soft",
    }
    run = apply(ansible, "mirror_nfs_client", [{}, {"mirror_nfs_client_path": "/mnt/second"}], *words(**texts))
    assert run.status == 0, run.output
    assert sorted(path.name for path in units.iterdir()) == ["mnt-mde\\x2dmirror.mount", "mnt-second.mount"]
    assert "Options=ro,nosuid,nodev,noexec,_netdev,nfsvers=4,soft\n" in (units / "mnt-second.mount").read_text()

    # An element with a comma would be several options, and the last ones would take precedence. The variable is removed
    # from -e, because -e has precedence over the variables of the role.
    del texts["mirror_nfs_client_options"]
    several = {"mirror_nfs_client_options": ["nfsvers=4,exec,rw"]}
    refused = apply(ansible, "mirror_nfs_client", [several], *words(**texts))
    assert refused.status == 2
    assert "each without commas" in refused.flat()


def test_each_pass_has_its_own_values_and_tags_select_phases(hosting: Hosting, tmp_path: Path) -> None:
    ansible, server = hosting.ansible, hosting.server
    cache = tmp_path / "facts"
    ansible.environment.update(ANSIBLE_CACHE_PLUGIN="jsonfile", ANSIBLE_CACHE_PLUGIN_CONNECTION=str(cache))
    ansible.hosts["hosts"] = {"h": {**server.variables(), "mirror_http_tls_key": "/etc/s3cret"}}
    second = {
        "mirror_http_port": free_port(),
        "mirror_http_site_file": str(server.site.with_name("second.conf")),
        "mirror_http_server_name": OTHER,
        "mirror_http_listing": True,
    }
    passes: list[dict[str, Any]] = [{}, second]
    rehearsal = apply(ansible, "mirror_http", passes, "--check")
    assert (rehearsal.status, server.pid, server.site.exists()) == (0, None, False), rehearsal.output
    run = apply(ansible, "mirror_http", passes, "-vvv")
    assert run.status == 0, run.output
    assert server.ask("/").status == 403
    assert server.ask("/", name=OTHER, port=second["mirror_http_port"]).status == 200
    taken = run.task("Read the role's variables")
    assert "s3cret" not in taken
    cached = "".join(path.read_text(encoding="utf-8") for path in cache.iterdir())
    assert "python" in cached
    assert "s3cret" not in cached
    assert apply(ansible, "mirror_http", passes).recap["h"].changed == 0

    shown = ("Check protocols and ports", "Check the answer")
    for tag in ("preflight", "install", "verify", "remove"):
        chosen = apply(ansible, "mirror_http", passes, "--tags", tag)
        assert (chosen.status, chosen.recap["h"].changed) == (0, 0), chosen.output
        assert all(name in chosen.output for name in shown), f"the guards and the proof run with --tags {tag}"
        assert "Write the site" not in chosen.output
    for tag in ("configure", "serve"):
        assert "Write the site" in apply(ansible, "mirror_http", passes, "--tags", tag).output
    # A change that belongs to a phase that was not selected is not made.
    untouched = server.site.read_bytes()
    assert apply(ansible, "mirror_http", passes, "--tags", "verify", *words(mirror_http_cache_seconds=5)).status == 0
    assert server.site.read_bytes() == untouched
    port = free_port()
    wrong = apply(ansible, "mirror_http", [{"mirror_http_port": port}], "--tags", "verify")
    assert wrong.status == 2
    assert f"http://mirror.test:{port}/status.json" in wrong.flat()
