"""The role endpoint on hosts that are odd: names and folders, the C locale, /tmp, HOME, sudo."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agent import OLD, Agent
from tests.support.ansible_runs import Ansible, interpreter

MANAGED = "etc/opt/microsoft/mdatp/managed/mdatp_managed.json"
# The /tmp of some hardened hosts, mounted read-only or noexec. The check fails unless the mount option has its effect.
TMP = "mount --bind /tmp /tmp && mount -o remount,bind,{option} /tmp && {check}"
CHECK = {
    "ro": "! mktemp /tmp/mde-offline-XXXXXX 2>/dev/null",
    "noexec": "probe=$(mktemp /tmp/mde-offline-XXXXXX) && cp /bin/true $probe && chmod 755 $probe && "
    "! $probe 2>/dev/null && rm $probe",
}


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder that is not in /tmp, with blanks and umlauts in its path."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="mde offline Größe ☃ ") as made:
        yield Path(made)


def hosts_of(folder: Path, tmp_hosts: bool) -> dict[str, dict[str, object]]:
    """One host for each oddity."""
    made = {}
    for name in ("größe-東京", "homeless", *(CHECK if tmp_hosts else ())):
        root = folder / name
        made[name] = Agent(root).variables(ansible_remote_tmp=str(folder / "remote tmp"))
    made["homeless"]["ansible_python_interpreter"] = interpreter(folder / "homeless-python", "exec env -u HOME PYTHON")
    for option in CHECK if tmp_hosts else ():
        script = TMP.format(option=option, check=CHECK[option]) + ' && exec "$@"'
        made[option]["ansible_python_interpreter"] = interpreter(
            folder / f"{option}-python", f"exec unshare --mount sh -c {shlex.quote(script)} sh PYTHON"
        )
    return made


def can_mount() -> bool:
    unshare = shutil.which("unshare")
    script = "mount --bind /tmp /tmp && mount -o remount,bind,ro /tmp"
    command = [unshare or "unshare", "--mount", "sh", "-c", script]
    return bool(
        unshare and os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )


@pytest.mark.parametrize("pipelining", ["1", "0"], ids=["pipelining", "no pipelining"])
def test_odd_hosts_are_configured_updated_and_proved(
    ansible: Ansible, mirror: str, elsewhere: Path, pipelining: str
) -> None:
    mounts = can_mount()
    ansible.hosts["endpoints"] = hosts_of(elsewhere, mounts)
    ansible.environment["ANSIBLE_PIPELINING"] = pipelining
    play = {
        "hosts": "endpoints",
        "gather_facts": False,
        # This is the locale of the hosts. On the controller, Ansible requires UTF-8.
        "environment": {"LC_ALL": "C", "LANG": "C"},
        "roles": [{"role": "mde.offline.endpoint"}],
    }
    done = ansible.playbook([play], "--diff", endpoint_mirror=mirror)
    assert done.status == 0, done.output
    for name, counts in done.recap.items():
        assert counts.changed == 2, (name, done.output)
        assert json.loads((elsewhere / name / MANAGED).read_text(encoding="utf-8"))["antivirusEngine"]
    assert len(done.recap) == len(ansible.hosts["endpoints"])
    again = ansible.playbook([play], endpoint_mirror=mirror)
    assert (again.status, sum(counts.changed for counts in again.recap.values())) == (0, 0), again.output
    if not mounts:
        pytest.skip("NOT TESTED with a read-only or noexec /tmp: no mount namespaces here (needs root and unshare)")


def test_sudo_without_a_terminal(ansible: Ansible, mirror: str, tmp_path: Path) -> None:
    """The test uses sudo as it is configured. Setting `Defaults requiretty` would change the machine of the tests."""
    allowed = (
        shutil.which("sudo")
        and subprocess.run(
            ["sudo", "-n", "true"], stdin=subprocess.DEVNULL, capture_output=True, check=False
        ).returncode
        == 0
    )
    if not allowed:
        pytest.skip("NOT TESTED with sudo: this machine has none, or it asks for a password")
    agent = Agent(tmp_path / "one host")
    ansible.hosts["endpoints"] = {"e": agent.variables(ansible_become=True, ansible_become_method="sudo")}
    done = ansible.roles("endpoint", "endpoints", endpoint_mirror=mirror)
    assert done.status == 0, done.output
    assert agent.managed_file.stat().st_uid == 0
    assert agent.field("definitions_version") == OLD
