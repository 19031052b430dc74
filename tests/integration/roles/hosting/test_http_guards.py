"""mirror_http on hosts with a firewall and SELinux, whose commands are simulated; some tests need root."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.firewalls import SystemCommands
from tests.support.nginx import Hosting, free_port

RULE = 'public rule port port="{}" protocol="tcp" accept'


@pytest.fixture
def host(hosting: Hosting) -> Hosting:
    if os.geteuid() != 0:
        pytest.skip("mirror_http touches the firewall and SELinux only as root")
    return hosting


def as_root(**more: Any) -> dict[str, Any]:
    """Variables for a host whose nginx is installed and not started."""
    return {"mirror_http_unprivileged": False, "mirror_http_package": "", "mirror_http_service": "", **more}


def put_in_path(hosting: Hosting, commands: SystemCommands) -> None:
    hosting.ansible.environment["PATH"] = f"{commands.bin}{os.pathsep}{os.environ['PATH']}"


def test_firewalld(host: Hosting, tmp_path: Path) -> None:
    firewall = SystemCommands(tmp_path / "firewalld", "firewall-cmd")
    put_in_path(host, firewall)
    port = host.server.port
    rehearsal = host.apply("--check", **as_root())
    assert (rehearsal.status, firewall.take_calls()) == (0, []), rehearsal.output
    assert "changed: [m]" in rehearsal.task("Open and close ports")

    host.works(**as_root())
    assert firewall.lines("runtime") == firewall.lines("permanent") == [RULE.format(port)]
    firewall.take_calls()
    assert host.works(**as_root()).recap["m"].changed == 0
    assert firewall.take_calls() == []

    other = free_port()
    host.works(**as_root(mirror_http_port=other))
    assert firewall.lines("runtime") == firewall.lines("permanent") == [RULE.format(other)]
    host.works(**as_root(mirror_http_state="absent"))
    assert firewall.lines("runtime") == firewall.lines("permanent") == []


def test_ufw_keeps_what_others_opened(host: Hosting, tmp_path: Path) -> None:
    firewall = SystemCommands(tmp_path / "ufw", "ufw")
    put_in_path(host, firewall)
    port, theirs = host.server.port, free_port()
    (firewall.home / "ufw").write_text(f"allow 22/tcp\nallow {theirs}/tcp\n", encoding="utf-8")
    host.works(**as_root())
    ours = f"allow {port}/tcp comment 'mde.offline.mirror_http'"
    assert firewall.lines("ufw") == ["allow 22/tcp", f"allow {theirs}/tcp", ours]
    assert host.works(**as_root()).recap["m"].changed == 0
    # A port that is open already is not opened again, and stays open when the site is removed.
    host.works(**as_root(mirror_http_port=theirs))
    host.works(**as_root(mirror_http_state="absent"))
    assert firewall.lines("ufw") == ["allow 22/tcp", f"allow {theirs}/tcp"]

    firewall.take_calls()
    host.works(**as_root(mirror_http_firewall="none"))
    assert firewall.take_calls() == []


def test_selinux(host: Hosting, tmp_path: Path) -> None:
    tools = SystemCommands(tmp_path / "selinux", "selinuxenabled", "matchpathcon", "semanage", "restorecon")
    put_in_path(host, tools)
    host.server.root = host.server.root.rename(tmp_path / "mirror.d")
    spec = f"{str(host.server.root).replace('.', chr(92) + '.')}(/.*)?"
    rehearsal = host.apply("--check", **as_root())
    assert (rehearsal.status, tools.take_calls()) == (0, []), rehearsal.output
    assert rehearsal.recap["m"].changed > 0

    host.works(**as_root())
    assert tools.lines("fcontext") == [f"{spec} httpd_sys_content_t"]
    assert tools.lines("labels") == ["httpd_sys_content_t"]
    assert tools.lines("ports") == [str(host.server.port)]
    assert host.works(**as_root()).recap["m"].changed == 0

    tools.take_calls()
    # The first port belongs to another SELinux type; SELinux already lets nginx use the second one.
    (tools.home / "fcontext").write_text(f"{spec} user_home_t\n", encoding="utf-8")
    host.works(**as_root(mirror_http_port=22))
    calls = tools.take_calls()
    assert f"semanage fcontext -m -t httpd_sys_content_t {spec}" in calls
    assert "semanage port -m -t http_port_t -p tcp 22" in calls
    host.works(**as_root(mirror_http_port=8080))
    assert [call for call in tools.take_calls() if "port" in call] == []
    host.works(**as_root(mirror_http_port=8080, mirror_http_metrics_port=9145))
    assert "semanage port -a -t http_port_t -p tcp 9145" in tools.take_calls()


def test_selinux_without_its_tools_is_reported(host: Hosting, tmp_path: Path) -> None:
    tools = SystemCommands(tmp_path / "selinux", "selinuxenabled")
    put_in_path(host, tools)
    run = host.works(**as_root())
    assert "semanage is not installed" in run.flat()
