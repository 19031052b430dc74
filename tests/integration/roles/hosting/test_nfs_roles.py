"""The roles for NFS with the real exportfs, in a mount namespace where /etc/exports.d and /var/lib/nfs are empty."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.ansible_runs import Ansible, Run
from tests.support.nginx import find, messages, mirror_tree

EXPORTS = "/etc/exports.d/mde-mirror.exports"
# Folders of this machine that the test must not change; the namespace has its own folders at these paths.
PRIVATE = ("/etc/exports.d", "/var/lib/nfs")


def namespace() -> list[str]:
    unshare = find("unshare")
    if os.geteuid() != 0 or not unshare or not find("exportfs"):
        pytest.skip("the role mirror_nfs needs root, unshare and exportfs (apt-get install nfs-kernel-server)")
    probe = subprocess.run([unshare, "--mount", "true"], capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        pytest.skip(f"no mount namespace for the role mirror_nfs: {probe.stderr.strip()}")
    return [unshare, "--mount"]


class Server:
    """Runs of the role mirror_nfs, each in its own mount namespace. All runs see the files in the folder `state`."""

    def __init__(self, folder: Path) -> None:
        self.enter = namespace()
        self.folder = folder
        self.ansible = Ansible(folder)
        self.root = mirror_tree(folder / "two words" / "srv")
        self.private = {path: folder / "state" / path.strip("/").replace("/", "-") for path in PRIVATE}
        for path in self.private.values():
            path.mkdir(parents=True)
        (self.private["/var/lib/nfs"] / "etab").touch()

    @property
    def exports(self) -> Path:
        return self.private["/etc/exports.d"] / Path(EXPORTS).name

    def script(self) -> str:
        binds = [f"mkdir -p {path} && mount --bind '{self.private[path]}' {path}" for path in PRIVATE]
        return " && ".join([*binds, 'exec "$@"'])

    def inside(self, *command: str) -> subprocess.CompletedProcess[str]:
        full = [*self.enter, "sh", "-c", self.script(), "sh", *command]
        return subprocess.run(full, capture_output=True, text=True, check=False)

    def exported(self) -> list[str]:
        path = str(self.root).replace(" ", "\\040")
        lines = self.inside("exportfs", "-s").stdout.splitlines()
        return sorted(line.split(None, 1)[1] for line in lines if line.startswith(path + " "))

    def variables(self) -> dict[str, Any]:
        return {
            "mirror_nfs_root": str(self.root),
            "mirror_nfs_package": "",
            "mirror_nfs_service": "",
            "mirror_nfs_server_name": "mirror.test",
            "ansible_python_interpreter": str(self.interpreter()),
        }

    def exported_by_others(self, network: str, options: str) -> Path:
        """Creates another file in /etc/exports.d that also exports the mirror."""
        theirs = self.private["/etc/exports.d"] / "theirs.exports"
        theirs.write_text(f'"{self.root}" {network}({options})\n', encoding="utf-8")
        return theirs

    def apply(self, *options: str, **more: Any) -> Run:
        self.ansible.hosts["mirrors"] = {"m": {**self.variables(), **more}}
        return self.ansible.roles("mirror_nfs", "mirrors", *options)

    def interpreter(self) -> Path:
        """The Python of the host: modules run in the namespace, Ansible itself runs outside."""
        wrapper = self.folder / "python"
        unshare = " ".join(self.enter)
        script = self.script().replace('"$@"', f'{shlex.quote(sys.executable)} "$@"')
        wrapper.write_text(f'#!/bin/sh\nexec {unshare} sh -c {shlex.quote(script)} sh "$@"\n', encoding="utf-8")
        wrapper.chmod(0o755)
        return wrapper


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


def test_from_nothing_to_an_export_and_away(server: Server) -> None:
    networks = ["10.20.0.0/16", "192.0.2.7", "fd00:1::/32", "@endpoints"]
    rehearsal = server.apply("--check", "--diff", mirror_nfs_networks=networks)
    assert rehearsal.status == 0, rehearsal.output
    assert rehearsal.recap["m"].changed > 0
    assert "10.20.0.0/16(ro,root_squash" in rehearsal.output
    assert not server.exports.exists()

    first = server.apply(mirror_nfs_networks=networks, mirror_nfs_options=["fsid=17"])
    assert first.status == 0, first.output
    exported = server.exported()
    assert [line.split("(")[0] for line in exported] == sorted(networks)
    for line in exported:
        options = line.split("(")[1].rstrip(")").split(",")
        assert {"ro", "root_squash", "sync", "no_subtree_check", "fsid=17", "sec=sys"} <= set(options)
        assert "rw" not in options

    again = server.apply(mirror_nfs_networks=networks, mirror_nfs_options=["fsid=17"])
    assert (again.status, again.recap["m"].changed) == (0, 0), again.output
    # The role restores an export that somebody removed with exportfs -u.
    assert server.inside("exportfs", "-u", f"10.20.0.0/16:{server.root}").returncode == 0
    assert len(server.exported()) == 3
    repaired = server.apply(mirror_nfs_networks=networks, mirror_nfs_options=["fsid=17"])
    assert (repaired.status, len(server.exported())) == (0, 4), repaired.output

    gone = server.apply(mirror_nfs_state="absent")
    assert gone.status == 0, gone.output
    assert not server.exports.exists()
    assert server.exported() == []
    again = server.apply(mirror_nfs_state="absent")
    assert (again.status, again.recap["m"].changed) == (0, 0), again.output


def test_what_exportfs_does_not_take_is_not_left_behind(server: Server) -> None:
    assert server.apply(mirror_nfs_networks=["10.20.0.0/16"]).status == 0
    good, exported = server.exports.read_bytes(), server.exported()
    unknown = server.apply(mirror_nfs_networks=["10.20.0.0/16"], mirror_nfs_options=["no_such_option"])
    assert unknown.status == 2
    assert 'unknown keyword "no_such_option"' in unknown.flat()
    assert (server.exports.read_bytes(), server.exported()) == (good, exported)
    # exportfs ends with status 0 nevertheless. Only the list of exports shows that the name could not be resolved.
    unresolved = server.apply(mirror_nfs_networks=["10.20.0.0/16", "nobody.invalid"])
    assert unresolved.status == 2
    assert "does not export to all of mirror_nfs_networks. Missing: nobody.invalid." in unresolved.flat()
    assert (server.exports.read_bytes(), server.exported()) == (good, exported)


def test_an_export_of_others_with_more_rights_is_reported(server: Server) -> None:
    theirs = server.exported_by_others("10.9.0.0/16", "rw,no_subtree_check")
    refused = server.apply(mirror_nfs_networks=["10.20.0.0/16"])
    assert refused.status == 2
    assert "10.9.0.0/16" in refused.flat()
    assert "is exported with other rights as well" in refused.flat()
    assert theirs.exists()
    assert not server.exports.exists()


def test_an_export_of_others_does_not_stand_for_one_that_is_missing(server: Server) -> None:
    server.exported_by_others("10.9.0.0/16", "ro,no_subtree_check")
    networks = ["10.20.0.0/16", "fd00:1:0::/48"]
    assert server.apply(mirror_nfs_networks=networks).status == 0
    assert server.inside("exportfs", "-u", f"10.20.0.0/16:{server.root}").returncode == 0
    repaired = server.apply(mirror_nfs_networks=networks)
    assert repaired.status == 0, repaired.output
    assert [line.split("(")[0] for line in server.exported()] == ["10.20.0.0/16", "10.9.0.0/16", "fd00:1:0::/48"]


def test_rights_that_somebody_gave_by_hand_are_taken_back(server: Server) -> None:
    assert server.apply(mirror_nfs_networks=["10.20.0.0/16"]).status == 0
    good = server.exported()
    by_hand = ("exportfs", "-o", "rw,no_root_squash,no_subtree_check", f"10.21.0.0/16:{server.root}")
    assert server.inside(*by_hand).returncode == 0
    assert server.exported() != good
    repaired = server.apply(mirror_nfs_networks=["10.20.0.0/16"])
    assert repaired.status == 0, repaired.output
    assert server.exported() == good


def test_rights_of_others_beside_read_only_ones_are_reported(server: Server) -> None:
    server.exported_by_others("10.9.0.0/16", "ro,sec=sys,no_subtree_check,sec=krb5,rw")
    refused = server.apply(mirror_nfs_networks=["10.20.0.0/16"])
    assert refused.status == 2
    assert "is exported with other rights as well" in refused.flat()


def test_a_root_that_is_a_link_is_refused(server: Server) -> None:
    link = server.folder / "link"
    link.symlink_to(server.root.parent)
    refused = server.apply(mirror_nfs_root=f"{link}/srv", mirror_nfs_networks=["10.20.0.0/16"])
    assert refused.status == 2
    assert f"its real path is {server.root}" in refused.flat()
    assert not server.exports.exists()


def test_networks_and_options_are_judged_before_anything_is_touched(server: Server) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({}, "It is empty"),
        ({"mirror_nfs_networks": ["10.300.0.0/16"]}, "10.300.0.0/16"),
        ({"mirror_nfs_networks": ["10.2.0.0/40"]}, "10.2.0.0/40"),
        ({"mirror_nfs_networks": ["10.2.0.0/16(rw)"]}, "10.2.0.0/16(rw)"),
        ({"mirror_nfs_networks": ["a b"]}, "Not one of these: a b"),
        ({"mirror_nfs_networks": ["*"]}, "set mirror_nfs_everyone"),
        ({"mirror_nfs_networks": ["0.0.0.0/0"]}, "set mirror_nfs_everyone"),
        ({"mirror_nfs_networks": ["::/0"]}, "set mirror_nfs_everyone"),
        ({"mirror_nfs_networks": ["10.2.0.0/16"], "mirror_nfs_options": ["no_root_squash"]}, "stays read-only"),
        ({"mirror_nfs_networks": ["10.2.0.0/16"], "mirror_nfs_options": ["fsid=1,rw"]}, "stays read-only"),
        ({"mirror_nfs_networks": ["10.2.0.0/16"], "mirror_nfs_options": ["anonuid=0"]}, "stays read-only"),
        ({"mirror_nfs_networks": ["10.2.0.0/16"], "mirror_nfs_options": ["sec=none"]}, "stays read-only"),
    ]
    server.ansible.hosts["mirrors"] = {f"m{n}": {**server.variables(), **one} for n, (one, _words) in enumerate(wrong)}
    refused = messages(server.ansible.roles("mirror_nfs", "mirrors"), len(wrong))
    for (_variables, words), message in zip(wrong, refused):
        assert words in message
    assert not server.exports.exists()
    everybody = server.apply(mirror_nfs_networks=["*"], mirror_nfs_everyone=True)
    assert everybody.status == 0, everybody.output
    assert [line.split("(")[0] for line in server.exported()] == ["*"]


def client(folder: Path, **more: Any) -> dict[str, Any]:
    return {
        "mirror_nfs_client_source": "mirror.test:/srv/mde-mirror",
        "mirror_nfs_client_path": "/mnt/mde-mirror/",
        "mirror_nfs_client_package": "",
        "mirror_nfs_client_unit_directory": str(folder),
        **more,
    }


def test_the_units_of_a_client(tmp_path: Path) -> None:
    if os.geteuid() != 0 or not shutil.which("systemd-escape"):
        pytest.skip("the role mirror_nfs_client needs root and systemd-escape")
    ansible, units = Ansible(tmp_path), tmp_path / "units"
    units.mkdir()

    def apply(*options: str, **more: Any) -> Run:
        ansible.hosts["endpoints"] = {"e": client(units, **more)}
        return ansible.roles("mirror_nfs_client", "endpoints", *options)

    rehearsal = apply("--check", "--diff")
    assert rehearsal.status == 0, rehearsal.output
    assert list(units.iterdir()) == []
    assert apply().status == 0
    mount, automount = units / "mnt-mde\\x2dmirror.mount", units / "mnt-mde\\x2dmirror.automount"
    text = mount.read_text(encoding="utf-8")
    assert "What=mirror.test:/srv/mde-mirror\nWhere=/mnt/mde-mirror\n" in text
    found = re.search("^Options=(.*)$", text, re.M)
    assert found
    assert {"ro", "nosuid", "nodev", "noexec", "_netdev", "nfsvers=4", "soft"} <= set(found.group(1).split(","))
    again = apply()
    assert (again.status, again.recap["e"].changed) == (0, 0), again.output

    assert apply(mirror_nfs_client_automount=True).status == 0
    assert {path.name for path in units.iterdir()} == {mount.name, automount.name}
    if shutil.which("systemd-analyze"):
        # systemd-analyze finds one unit from the other only in a folder that is given to it.
        done = subprocess.run(
            ["systemd-analyze", "verify", str(mount), str(automount)], capture_output=True, text=True, check=False
        )
        assert "mde" not in done.stderr, done.stderr
    assert apply().status == 0
    assert [path.name for path in units.iterdir()] == [mount.name]
    assert apply(mirror_nfs_client_state="absent").status == 0
    assert list(units.iterdir()) == []

    wrong: list[dict[str, Any]] = [
        {"mirror_nfs_client_source": "/srv/mde-mirror"},
        {"mirror_nfs_client_options": ["rw"]},
        {"mirror_nfs_client_path": "mnt"},
    ]
    ansible.hosts["endpoints"] = {f"m{number}": client(units, **one) for number, one in enumerate(wrong)}
    for message in messages(ansible.roles("mirror_nfs_client", "endpoints"), len(wrong)):
        assert "mirror_nfs_client_source has to be server:/path" in message
