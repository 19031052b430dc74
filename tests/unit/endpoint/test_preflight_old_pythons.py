"""Preflight and diagnosis have the same results with the Pythons of old hosts as with the Python of the tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from simulators.certificates import Authority
from simulators.static_web_server import StaticWebServer
from tools import interpreters

DRIVER = Path(__file__).with_name("old_python_host_driver.py")
PLUGINS = Path(__file__).resolve().parents[3] / "plugins"
NOW = 1770120000
AGENT = """\
#!/bin/sh
case "$*" in
"health --output json")
    echo '{"healthy":true,"appVersion":"101.23082.0011","passiveModeEnabled":true,"orgId":"Häuser"}' ;;
"health --details definitions")
    echo 'offline_definition_update : "enabled" [managed]'
    echo 'definitions_update_fail_reason : "kaputt: ä"' ;;
"connectivity test")
    echo 'Testing connection with https://x.cp.wd.microsoft.com/ping ... [curl error 60]'
    exit 1 ;;
esac
"""
MANAGED = '{"antivirusEngine": {"offlineDefinitionUpdate": "enabled", "offlineDefintionUpdateUrl": "http://häuser/"}}'


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A mirror over HTTP, and one with a certificate that is not trusted."""
    ring = tmp_path / "mirror/linux/production/arch_x86_64"
    ring.mkdir(parents=True)
    manifest = {"EngineVersion": "1.1.25110.3002", "DefinitionVersion": "1.443.508.0"}
    (ring / "manifest.json").write_text(json.dumps(manifest))
    (ring / "updates.zip").write_bytes(b"zip")
    os.utime(ring / "updates.zip", (NOW - 7200, NOW - 7200))
    tls = Authority(tmp_path / "ca").issue("server", ["localhost"]).server_context()
    with StaticWebServer(tmp_path / "mirror") as plain, StaticWebServer(tmp_path / "mirror", tls=tls) as secure:
        named = secure.url.replace("127.0.0.1", "localhost")
        yield f"{plain.url}/linux/production/", f"{named}/linux/production/"


def machine(root: Path) -> None:
    files = {
        "etc/redhat-release": "Red Hat Enterprise Linux Server release 7.9 (Maipo)\n",
        "etc/os-release": 'NAME="RHEL"\nID="rhel"\nVERSION_ID="7.9"\nPRETTY_NAME="RHEL ☃ 7.9"\n',
        "proc/sys/kernel/osrelease": "3.10.0-1160.el7.x86_64\n",
        "proc/meminfo": "MemTotal:        3910000 kB\n",
        "proc/cpuinfo": "processor\t: 0\n",
        "proc/self/mounts": "/dev/a / xfs rw 0 0\n/dev/b /var xfs rw,noexec 0 0\nx /mnt/h\\040\u00e4 zfs rw 0 0\n",
        "proc/kallsyms": "0000000000000000 T SyS_fanotify_init\n",
        "proc/1/comm": "systemd\n",
        "proc/9/comm": "othersav\n",
        "proc/9/fdinfo/3": "fanotify flags:c event-flags:0\n",
        "etc/passwd": "mdatp:x:1:2::/:/bin/sh\n",
        "etc/group": "mdatp:x:2:\n",
        "etc/opt/microsoft/mdatp/managed/mdatp_managed.json": MANAGED,
        "var/log/microsoft/mdatp/microsoft_defender.log": "error: definition update fehlgeschlagen ä failed\n",
        "usr/bin/mdatp": AGENT,
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (root / "usr/bin/mdatp").chmod(0o755)
    (root / "proc/9/fd").mkdir()
    (root / "proc/9/fd/3").symlink_to("anon_inode:[fanotify]")


def cases(root: Path, servers: tuple[str, str]) -> list[dict[str, Any]]:
    plain, secure = servers
    common = {"root": str(root), "mdatp": str(root / "usr/bin/mdatp"), "now": NOW, "proxy": "http://u:p@ä:1"}
    folder = str(root.parent / "mirror/linux/production")
    urls = [plain, folder, "http://127.0.0.1:1/x/", "http://mirror.invalid/x/", "http://127.0.0.1:1/häuser/"]
    urls += ["ftp://x/ä", "/mnt/ä/nichts"]
    found = [{"kind": "preflight"}, {"kind": "preflight", "mdatp": "/nonexistent/mdatp"}]
    found += [{"kind": "diagnosis", "url": plain}, {"kind": "diagnosis", "url": None, "mdatp": "/nonexistent/mdatp"}]
    found += [{"kind": "probe", "url": url} for url in [*urls, secure]]
    return [{**common, **case} for case in found]


def drive(python: str, wanted: list[dict[str, Any]]) -> list[Any]:
    done = subprocess.run(
        [python, str(DRIVER), str(PLUGINS)],
        input=json.dumps(wanted).encode(),
        capture_output=True,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C", "PYTHONDONTWRITEBYTECODE": "1"},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return list(json.loads(done.stdout))


def findings_of(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    found = result["findings"]
    by_step = found if isinstance(found, dict) else {"": found}
    return [(step, entry["id"], entry["severity"]) for step in sorted(by_step) for entry in by_step[step]]


@pytest.mark.parametrize("version", ["2.7", "3.6", "3.7", "3.8", "3.9", "3.10", "3.12", "3.13"])
def test_the_same_results_as_here(version: str, tmp_path: Path, servers: tuple[str, str]) -> None:
    python = interpreters.find(version)
    if python is None:
        pytest.skip(f"NOT TESTED under Python {version}: there is none in PATH and none in pyenv's folder.")
    machine(tmp_path / "h")
    wanted = cases(tmp_path / "h", servers)
    here, there = drive(sys.executable, wanted), drive(str(python), wanted)
    assert len(here) == len(there) == len(wanted)
    for case, mine, theirs in zip(wanted, here, there):
        assert findings_of(theirs) == findings_of(mine), case
        for part in ("requirements", "steps", "health", "log", "published", "distribution"):
            if case["kind"] != "probe":  # Texts of connection errors differ.
                assert theirs.get(part) == mine.get(part), (case, part)
    assert {entry[1] for result in here for entry in findings_of(result)} > {
        "mirror_tls_failed",
        "mirror_port_unreachable",
        "mirror_name_unresolved",
        "tls_inspected",
        "fanotify_conflict",
        "proxy_unsupported",
    }
