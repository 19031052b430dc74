"""health_info and definitions_update through the real ansible command, a stand-in agent and a mirror over HTTP."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mde.offline.plugins.module_utils._endpoint.mirror import architecture

from simulators.download_service import build_package

PROGRAM = Path(__file__).resolve().parents[3] / "simulators" / "mdatp.py"
ENGINE = "1.1.25110.3002"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


# As JSON: the path of the checkout may hold blanks.
PYTHON = json.dumps({"ansible_python_interpreter": sys.executable})


class Site:
    """One endpoint and its mirror."""

    def __init__(self, folder: Path, port: int) -> None:
        self.root, self.mirror = folder / "endpoint", folder / "mirror" / "linux" / "production"
        self.url = f"http://127.0.0.1:{port}/linux/production/"
        install = [sys.executable, str(PROGRAM), "install", "--root", str(self.root), "--arch", architecture()]
        subprocess.run(install, check=True, stdout=subprocess.DEVNULL)
        engine = {"enforcementLevel": "real_time", "offlineDefinitionUpdate": "enabled"}
        engine.update({"offlineDefinitionUpdateUrl": self.url, "offlineDefinitionUpdateFallbackToCloud": False})
        managed = self.root / "etc/opt/microsoft/mdatp/managed/mdatp_managed.json"
        managed.write_text(json.dumps({"antivirusEngine": engine}))

    def publish(self, definitions: str) -> None:
        folder = self.mirror / f"arch_{architecture()}"
        build_package(folder / "updates.zip", definitions, ENGINE, arch=architecture(), size=20_000)
        manifest = {"EngineVersion": ENGINE, "DefinitionVersion": definitions}
        (folder / "manifest.json").write_text(json.dumps(manifest))

    def break_(self, state: str) -> None:
        subprocess.run([self.root / "usr/bin/mdatp-sim", "break", state], check=True, stdout=subprocess.DEVNULL)

    def module(self, name: str, *options: str, **arguments: Any) -> dict[str, Any]:
        arguments["mdatp"] = str(self.root / "usr/bin/mdatp")
        command = [sys.executable, "-m", "ansible", "adhoc", "localhost", "-m", f"mde.offline.{name}"]
        done = subprocess.run(
            [*command, "-a", json.dumps(arguments), "-e", PYTHON, *options],
            env=dict(os.environ, ANSIBLE_NOCOLOR="1", ANSIBLE_FORCE_COLOR="0", ANSIBLE_LOCALHOST_WARNING="false"),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert " => {" in done.stdout, done.stdout + done.stderr
        start = done.stdout.index(" => {")
        result: dict[str, Any] = json.JSONDecoder().raw_decode(done.stdout, start + 4)[0]
        return dict(result, failed=done.stdout[:start].endswith("FAILED!"))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "mirror").mkdir()
    handler = functools.partial(Quiet, directory=str(tmp_path / "mirror"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield Site(tmp_path, server.server_address[1])
    server.shutdown()
    thread.join()
    server.server_close()


def ids(result: dict[str, Any]) -> list[str]:
    return [entry["id"] for entry in result["findings"]]


def test_from_an_update_to_a_healthy_host_and_back(site: Site) -> None:
    site.publish("1.450.1.0")
    foreseen = site.module("definitions_update", "--check", version="mirror")
    assert (foreseen["changed"], foreseen["after"]["definitions_version"]) == (True, "1.450.1.0")

    updated = site.module("definitions_update", version="mirror")
    assert updated["changed"] is True
    assert updated["after"] == {"definitions_version": "1.450.1.0", "engine_version": ENGINE}
    assert site.module("definitions_update", version="mirror")["changed"] is False

    # The package of the stand-in is an agent that calls itself licensed and well.
    good = site.module("health_info", mirror_url=site.url)
    assert good["healthy"] is True, good["findings"]
    assert good["findings"] == []
    assert good["changed"] is False
    assert good["mirror"]["definitions_version"] == "1.450.1.0"
    assert good["health"]["fields"]["definitions_update_source_uri"].startswith(site.url.rstrip("/"))
    assert good["health"]["format"] == "json"

    site.publish("1.450.2.0")
    assert ids(site.module("health_info", mirror_url=site.url)) == ["behind_mirror"]
    site.break_("no_json")
    site.break_("from_cloud")
    cloud = site.module("health_info", mirror_url=site.url)
    assert "source_not_mirror" in ids(cloud)
    assert (cloud["healthy"], cloud["health"]["format"]) == (False, "text")


def test_an_agent_that_cannot_be_asked_is_a_finding_here_and_a_failure_there(site: Site) -> None:
    site.publish("1.450.1.0")
    site.break_("daemon_down")
    result = site.module("health_info")
    assert (ids(result), result["failed"]) == (["daemon_unreachable"], False)
    failed = site.module("definitions_update")
    assert failed["failed"] is True
    assert ids(failed) == ["daemon_unreachable"]


@pytest.mark.parametrize(
    ("state", "said"),
    [("update_hangs", "within 2 seconds"), ("update_fails", "failed"), ("update_without_effect", "1.450.1.0")],
)
def test_updates_that_do_not_work_fail_with_what_was_seen(site: Site, state: str, said: str) -> None:
    site.publish("1.450.1.0")
    site.break_(state)
    result = site.module("definitions_update", version="mirror", timeout=2, wait=2)
    assert (result["failed"], result["changed"]) == (True, False)
    assert said in result["msg"]
    assert result["before"] == result["after"]


def test_health_that_lags_behind_the_command_is_waited_for(site: Site) -> None:
    site.publish("1.450.1.0")
    site.break_("slow_health")
    result = site.module("definitions_update", version="mirror", wait=60)
    assert (result["changed"], result["after"]["definitions_version"]) == (True, "1.450.1.0")


@pytest.mark.parametrize(
    ("module", "arguments", "said"),
    [
        ("definitions_update", {"version": "newest"}, "newest"),
        ("health_info", {"timeout": 0}, "timeout"),
    ],
)
def test_wrong_options_are_named(site: Site, module: str, arguments: dict[str, Any], said: str) -> None:
    result = site.module(module, **arguments)
    assert result["failed"] is True
    assert said in result["msg"]
