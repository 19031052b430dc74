"""The endpoint code has the same results with the Pythons of old hosts as with the Python of the tests."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support.web import Handler, LocalServer, running
from tools import interpreters

DRIVER = Path(__file__).with_name("old_python_driver.py")
PLUGINS = Path(__file__).resolve().parents[3] / "plugins"
MANIFEST = json.dumps({"EngineVersion": "1.1.25110.3002", "DefinitionVersion": "1.443.508.0"}).encode()
ATTENTION = "ATTENTION: No license found. Contact your administrator for help."
TEXT = """\
healthy                                     : false
health_issues                               : ["missing license", "Gerät, \u201enicht\u201c \\"da\\""] [managed]
product_expiration                          : Apr 10, 2024 at 01:34:28 PM
passive_mode_enabled                        : true[managed]
definitions_updated_minutes_ago             : 15900
definitions_version                         : \u201c1.395.227.0\u201d
definitions_update_source_uri               : "https://go.microsoft.com/fwlink/?linkid=2144709"
offline_definition_url_configured           : "http://spiegel.example/häuser/
    production/" [managed]
edr_device_tags                             : [{"key":"GROUP","value":"ä, b"}]
org_id                                      : unavailable
"""
DOCUMENT = {
    "$type": "getHealthAllResult",
    "healthy": True,
    "definitionsStatus": {"$type": "outOfDate"},
    "definitionsUpdated": "1691587153787",
    "orgId": "Häuser",
    "passiveModeEnabled": {"displayValue": True, "isManaged": True, "value": True},
    "big": 12345678901234567890123,
}
AGENT = """\
#!/bin/sh
cd "$(dirname "$0")" || exit 1
case "$*" in
"health --output json")
    printf '{"healthy":true,"definitionsVersion":"%s","orgId":"H\\303\\244user"}' "$(cat version)" ;;
"health --details definitions") printf 'definitions_version : "%s"\\n' "$(cat version)" ;;
"definitions update") echo 1.443.508.0 > version ;;
esac
"""


def script(path: Path, body: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(body, encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.fixture
def mirror_url():
    class Slow(Handler):
        protocol_version = "HTTP/1.0"

        def do_GET(self):
            self.send_response(200 if "production" in self.path else 404)
            self.end_headers()
            if "slow" in self.path:
                for _byte in range(100):
                    stop.wait(0.2)
                    self.wfile.write(b" ")
            self.wfile.write(b"<html>" if "html" in self.path else MANIFEST)

    stop = threading.Event()
    with running(LocalServer(Slow)) as server:
        yield server.url
        stop.set()


def cases(folder: Path, url: str) -> list[dict[str, object]]:
    agent = script(folder / "häuser" / "mdatp", AGENT)
    (folder / "häuser" / "version").write_text("1.443.1.0\n")
    ring = folder / "spiegel ä" / "arch_x86_64"
    ring.mkdir(parents=True)
    (ring / "manifest.json").write_bytes(MANIFEST)
    document = json.dumps(DOCUMENT)
    begun = folder / "begun"
    hanging = f"echo begun; : > '{begun}'; sleep 50 & sleep 50"
    outputs = [
        TEXT,
        ATTENTION + "\n" + TEXT.replace("\n", "\r\n"),
        document,
        json.dumps(DOCUMENT, ensure_ascii=False, indent=1),
        ATTENTION + " " + document,
        document[:100],
        "Could not connect to the daemon",
        "",
        "[" * 3000,
        "\ufeff\x1b[31mhealthy\u00a0: true\x1b[0m",
        'definitionsVersion : 79932\nversionEngine : "100.87.66"\ndefinitionsUpdated : "1583323429305"\n',
        "definitions_updated : 2026-02-03 08:15:42 +0130\nproduct_expiration : irgendwann, früh\nhealthy : fal",
        "\n".join(TEXT.replace("\n    ", "")[start : start + 80] for start in range(0, len(TEXT), 80)),
        json.dumps({"rc": 0, "stdout": TEXT}),
    ]
    found: list[tuple[str, dict[str, object]]] = [("parse", {"output": text, "now": 1770120000}) for text in outputs]
    found += [
        ("compare", {"left": "1.407.9.0", "right": "1.407.417.0"}),
        ("run", {"arguments": ["/bin/sh", "-c", "echo \u00e4; echo $LC_ALL >&2; exit 3"], "timeout": 60}),
        ("run", {"arguments": ["/bin/sh", "-c", hanging], "begins_with": str(begun), "timeout": 0.5}),
        ("run", {"arguments": [str(folder / "nothing")], "timeout": 5}),
        ("mirror", {"location": url + "/production/", "timeout": 60}),
        ("mirror", {"location": url + "/production/html/", "timeout": 60}),
        ("mirror", {"location": url + "/production/slow/", "timeout": 0.6}),
        ("mirror", {"location": url + "/gone/", "timeout": 60}),
        ("mirror", {"location": "http://127.0.0.1:1/h\u00e4user/", "timeout": 5}),
        ("mirror", {"location": str(ring.parent), "timeout": 60}),
        ("health", {"mdatp": agent}),
        ("health", {"mdatp": str(folder / "häuser" / "nothing")}),
        ("update", {"mdatp": agent, "version": "1.443.508.0"}),
    ]
    return [{"kind": kind, "options": options} for kind, options in found]


def drive(python: str, folder: Path, url: str) -> list[object]:
    done = subprocess.run(
        [python, str(DRIVER), str(PLUGINS)],
        input=json.dumps(cases(folder, url)).encode(),
        capture_output=True,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C", "PYTHONDONTWRITEBYTECODE": "1"},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout.decode().replace(str(folder), "FOLDER"))


@pytest.mark.parametrize("version", ["2.7", "3.6"])
def test_the_same_results_as_here(version, tmp_path, mirror_url):
    python = interpreters.find(version)
    if python is None:
        pytest.skip(f"NOT TESTED under Python {version}: there is none in PATH and none in pyenv's folder.")
    here = drive(sys.executable, tmp_path / "a", mirror_url)
    there = drive(str(python), tmp_path / "b", mirror_url)
    assert len(here) == len(there) > 20
    for case, wanted, result in zip(cases(tmp_path / "c", mirror_url), here, there):
        if case["kind"] == "run" and not isinstance(wanted["rc"], int):
            # Only the text of the system's error differs between the versions of Python.
            assert bool(wanted.pop("err")) == bool(result.pop("err"))
        assert result == wanted, case
