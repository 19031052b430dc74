"""The role mirror_nfs_client with systemd: the requested mount is active, and units that the role did not write stay.

systemd and findmnt are simulated: programs record the mounts in files. The molecule scenario nfs uses real mounts.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.ansible_runs import Ansible, Run

MOUNT = "mnt-mde\\x2dmirror.mount"
SOURCE = "mirror.test:/srv/mde-mirror"
PROGRAM = """#!/bin/sh
'''exec' "{python}" "$0" "$@"
' '''
import pathlib, sys
home, units = pathlib.Path({home!r}), pathlib.Path({units!r})
name, args = pathlib.Path(sys.argv[0]).name, [a for a in sys.argv[1:] if not a.startswith("--")]
mounted = home / "mounted"
if name == "findmnt":
    wanted = sys.argv[sys.argv.index("--output") + 1]
    if not mounted.exists():
        sys.exit(1)
    source, options = mounted.read_text().split("\\n")
    print(source if wanted == "SOURCE" else options + " " + source)
    sys.exit(0)
verb, unit = (args + [""])[:2]
unit = unit.strip("'")
enabled = home / ("enabled-" + unit)
if verb == "show":
    there = (units / unit).exists()
    print("LoadState=" + ("loaded" if there else "not-found"))
    print("ActiveState=" + ("active" if mounted.exists() else "inactive"))
    print("FragmentPath=" + str(units / unit))
elif verb == "is-enabled":
    print("enabled" if enabled.exists() else "disabled")
    sys.exit(0 if enabled.exists() else 1)
else:
    with (home / "calls").open("a") as stream:
        stream.write(verb + "\\n")
    if verb == "enable":
        enabled.touch()
    elif verb == "disable":
        enabled.unlink()
    elif verb in ("start", "restart", "stop"):
        if verb != "start" and (home / "busy").exists():
            sys.exit("Job for " + unit + " failed.")
        if verb == "stop":
            mounted.unlink()
        elif verb == "restart" or not mounted.exists():
            fields = dict(line.split("=", 1) for line in (units / unit).read_text().splitlines() if "=" in line)
            options = fields["Options"].replace("_netdev,", "")
            if (home / "writable").exists():
                options = options.replace("ro,", "rw,")
            mounted.write_text(fields["What"] + "\\n" + options)
"""


class Endpoint:
    """A host with a simulated systemd, which writes a file for each mount."""

    def __init__(self, folder: Path) -> None:
        self.home, self.units, programs = folder / "home", folder / "units", folder / "bin"
        for path in (self.home, self.units, programs):
            path.mkdir()
        for name in ("systemctl", "findmnt"):
            program = programs / name
            text = PROGRAM.format(python=sys.executable, home=str(self.home), units=str(self.units))
            program.write_text(text, encoding="utf-8")
            program.chmod(0o755)
        self.ansible = Ansible(folder)
        self.ansible.environment["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"

    def apply(self, *options: str, **more: Any) -> Run:
        return self.apply_to({"e": more}, *options)

    def apply_to(self, hosts: dict[str, dict[str, Any]], *options: str) -> Run:
        variables = {
            "mirror_nfs_client_source": SOURCE,
            "mirror_nfs_client_package": "",
            "mirror_nfs_client_unit_directory": str(self.units),
        }
        self.ansible.hosts["endpoints"] = {name: {**variables, **more} for name, more in hosts.items()}
        # Without this variable, the role does not start units in a folder other than systemd's.
        return self.ansible.roles(
            "mirror_nfs_client", "endpoints", "-e", '{"__mirror_nfs_client_runs": true}', *options
        )

    def works(self, *options: str, **more: Any) -> Run:
        run = self.apply(*options, **more)
        assert run.status == 0, run.output
        return run

    def state(self, name: str) -> Path:
        return self.home / name

    def mounted(self) -> str:
        return self.state("mounted").read_text(encoding="utf-8").splitlines()[0]

    def take_calls(self) -> list[str]:
        calls = self.state("calls")
        found = calls.read_text(encoding="utf-8").split() if calls.exists() else []
        calls.write_text("", encoding="utf-8")
        return found


@pytest.fixture
def endpoint(tmp_path: Path) -> Endpoint:
    if os.geteuid() != 0 or not shutil.which("systemd-escape"):
        pytest.skip("NOT TESTED: the role mirror_nfs_client needs root and systemd-escape")
    return Endpoint(tmp_path)


def test_a_mount_is_remounted_until_it_is_the_requested_one(endpoint: Endpoint) -> None:
    assert endpoint.works("--check").recap["e"].changed > 0
    assert (list(endpoint.units.iterdir()), endpoint.take_calls()) == ([], [])
    endpoint.works()
    assert (endpoint.mounted(), set(endpoint.take_calls())) == (SOURCE, {"daemon-reload", "enable", "start"})
    assert endpoint.works().recap["e"].changed == 0
    # Only one of the two addresses may end with a slash.
    assert endpoint.works(mirror_nfs_client_source=SOURCE + "/").recap["e"].failed == 0
    endpoint.works()

    other = "other.test:/srv/mde-mirror"
    endpoint.state("busy").touch()
    assert endpoint.apply(mirror_nfs_client_source=other).status != 0
    # The unit is correct now, but the mount is not: a second run must detect that.
    again = endpoint.apply(mirror_nfs_client_source=other)
    assert (again.status != 0, endpoint.mounted()) == (True, SOURCE), again.output
    endpoint.state("busy").unlink()
    endpoint.works(mirror_nfs_client_source=other)
    assert endpoint.mounted() == other
    assert endpoint.works(mirror_nfs_client_source=other).recap["e"].changed == 0


def test_a_mount_without_its_options_is_an_error_that_says_what_to_do(endpoint: Endpoint) -> None:
    endpoint.state("writable").touch()
    run = endpoint.apply()
    assert run.status != 0
    assert f"{SOURCE} is not mounted at /mnt/mde-mirror with ro,nosuid,nodev,noexec; findmnt shows rw," in run.flat()
    assert "fuser -vm /mnt/mde-mirror" in run.flat()


def test_line_ends_in_values_are_refused(endpoint: Endpoint) -> None:
    wrong: dict[str, dict[str, Any]] = {
        "source": {"mirror_nfs_client_source": "m:/srv/x\nOptions=rw,suid\nWhat=evil:/x"},
        "source_end": {"mirror_nfs_client_source": "m:/srv/x\n"},
        "path": {"mirror_nfs_client_path": "/mnt/x\n[Unit]\nRequires=evil.service"},
        "option": {"mirror_nfs_client_options": ["soft\nWhat=evil:/pwn"]},
        "two": {"mirror_nfs_client_options": ["nfsvers=4,exec,suid,dev,rw"]},
    }
    run = endpoint.apply_to(wrong)
    for name in wrong:
        assert f"fatal: [{name}]" in run.output
    assert "both without control characters" in run.flat()
    assert (list(endpoint.units.iterdir()), endpoint.take_calls()) == ([], [])


def test_units_of_others_are_left_alone(endpoint: Endpoint) -> None:
    theirs = endpoint.units / MOUNT
    text = "[Mount]\nWhat=filer.test:/vol/mirror\nWhere=/mnt/mde-mirror\nType=nfs\nOptions=ro\n"
    theirs.write_text(text, encoding="utf-8")
    endpoint.state("mounted").write_text("filer.test:/vol/mirror\nro", encoding="utf-8")
    refused = endpoint.apply()
    assert refused.status != 0
    assert f"Somebody else mounts at /mnt/mde-mirror: the role did not write {theirs}." in refused.flat()

    absent = endpoint.works(mirror_nfs_client_state="absent")
    assert (absent.recap["e"].changed, endpoint.take_calls()) == (0, [])
    assert theirs.read_text(encoding="utf-8") == text
    assert endpoint.mounted() == "filer.test:/vol/mirror"

    theirs.unlink()
    endpoint.state("mounted").unlink()
    endpoint.works()
    endpoint.works(mirror_nfs_client_state="absent")
    assert (list(endpoint.units.iterdir()), endpoint.state("mounted").exists()) == ([], False)
