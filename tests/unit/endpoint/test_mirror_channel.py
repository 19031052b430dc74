"""The status of a channel, whether the mirror serves the package, and whether its address may be written."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mde.offline.plugins.module_utils._endpoint.agent import health_report
from ansible_collections.mde.offline.plugins.module_utils._endpoint.errors import FindingError
from ansible_collections.mde.offline.plugins.module_utils._endpoint.mirror import channel, switch
from ansible_collections.mde.offline.plugins.module_utils._endpoint.mirror.address import architecture, lenient

from tests.support.agent import ENGINE, NEW, OLD, publish, publish_status, withdrawn
from tests.support.web import Handler, LocalServer, running

ARCH = architecture()
PATH = f"linux/production/arch_{ARCH}"
NOW = 1_770_000_000  # 2026-02-02T02:40:00Z
UNKNOWN = {"state": None, "held": False, "withdrawn": [], "age_hours": None}
MANIFEST = f"/{PATH}/manifest.json"
PACKAGE = f"/{PATH}/updates.zip"


class Mirror(Handler):
    """Serves the files of a folder, with or without support of ranges, and records the requests."""

    protocol_version = "HTTP/1.0"
    folder: Path
    ranges = True

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        path = self.folder / self.path.lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        data, part = path.read_bytes(), self.headers.get("Range") if self.ranges else None
        self.send_response(206 if part else 200)
        self.send_header("Last-Modified", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(path.stat().st_mtime)))
        self.end_headers()
        self.wfile.write(data[:4] if part == "bytes=0-3" else data)


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    publish(tmp_path, OLD, ARCH)
    return tmp_path


def served(folder: Path, ranges: bool = True) -> Any:
    return running(LocalServer(type("Served", (Mirror,), {"folder": folder, "ranges": ranges})))


def status(**entry: Any) -> dict[str, Any]:
    return {"format": 1, "generated": "2026-02-02T02:40:00Z", "channels": [{"path": PATH, **entry}]}


@pytest.mark.parametrize(
    ("content", "facts"),
    [
        (status(), {}),
        ({}, {}),
        ({"channels": "none"}, {}),
        ({"channels": [5, {"path": ["x"]}]}, {}),
        (status(state="follows", held=None), {"state": "follows"}),
        (status(state="paused"), {"state": "paused"}),
        (status(state="rolled_back"), {"state": "rolled_back", "held": True}),
        (status(state="held", held={"kind": "hold", "since": "2026-01-01T00:00:00Z"}), {"state": "held", "held": True}),
        # Version 0.1.0.
        (status(held={"reason": "bad", "by": "me"}), {"held": True}),
        (status(state=["held"], withdrawn={"definitions_version": OLD}), {}),
        (status(state="Held"), {}),
        (status(withdrawn=[None, {}, {"definitions_version": "1.2 x"}, {"definitions_version": 5}]), {}),
        (
            status(withdrawn=[{"definitions_version": NEW, "engine_version": "?"}]),
            {"withdrawn": [{"definitions_version": NEW, "engine_version": None}]},
        ),
        (status(withdrawn=withdrawn(OLD, NEW) * 15), {"withdrawn": withdrawn(OLD, NEW) * 10}),
        (status(definitions_date="2026-02-01T02:40:00Z"), {"age_hours": 24}),
        (status(definitions_date=None, age_seconds=7200), {"age_hours": 2}),
        (status(definitions_date="2026-13-50T99:00:00Z", age_seconds=True), {}),
        (status(age_seconds=float("nan")), {}),
    ],
)
def test_facts(content: dict[str, Any], facts: dict[str, Any]) -> None:
    entry = channel.entry_of(content, lenient("http://mirror/linux/production/"), ARCH)
    assert channel.facts(content, entry, NOW) == {**UNKNOWN, **facts}


def test_the_channel_of_the_release_before() -> None:
    content = status(state="held", back={"definitions_date": "2026-02-01T02:40:00Z"})
    entry = channel.entry_of(content, lenient("/mnt/linux/production_back"), ARCH)
    assert channel.facts(content, entry, NOW) == {**UNKNOWN, "age_hours": 24}


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 5000, '"x"'])
def test_a_status_that_is_none(mirror: Path, text: str) -> None:
    (mirror / "status.json").write_text(text)
    with served(mirror) as server:
        for location in (f"{server.url}/linux/production/", str(mirror / "linux/production"), "http://127.0.0.1:1/x/"):
            assert channel.look(lenient(location), ARCH, 5, NOW) == UNKNOWN


def test_the_status_of_a_mirror_with_many_channels(mirror: Path) -> None:
    publish_status(mirror, ARCH, state="held")
    content = json.loads((mirror / "status.json").read_text())
    content["channels"] = [{"path": f"linux/c{number}/arch_x86_64"} for number in range(5000)] + content["channels"]
    (mirror / "status.json").write_text(json.dumps(content))
    assert (mirror / "status.json").stat().st_size > 128 * 1024
    with served(mirror) as server:
        assert channel.look(lenient(f"{server.url}/linux/production/"), ARCH, 30, NOW)["state"] == "held"


@pytest.mark.parametrize("ranges", [True, False])
def test_a_package_that_is_served(mirror: Path, ranges: bool) -> None:
    package = mirror / PATH / "updates.zip"
    with served(mirror, ranges) as server:
        for location in (f"{server.url}/linux/production/", str(mirror / "linux/production")):
            assert channel.fetch_package(lenient(location), ARCH, 10) == int(package.stat().st_mtime)


@pytest.mark.parametrize("content", [None, b"", b"<html>Log in</html>", b"PK"])
def test_a_package_that_is_not_served(mirror: Path, content: bytes | None) -> None:
    package = mirror / PATH / "updates.zip"
    package.unlink()
    if content is not None:
        package.write_bytes(content)
    with served(mirror) as server:
        for location in (f"{server.url}/linux/production/", str(mirror / "linux/production")):
            with pytest.raises(FindingError) as raised:
                channel.fetch_package(lenient(location), ARCH, 10)
            assert raised.value.id == "mirror_package_missing"


@pytest.mark.parametrize(
    ("versions", "asked"),
    [
        ((OLD, ENGINE), [MANIFEST]),
        ((OLD, None), [MANIFEST]),
        ((None, None), [MANIFEST]),
        (("1.449.1.0", ENGINE), [MANIFEST, "/status.json"]),
        ((NEW, ENGINE), [MANIFEST, "/status.json", PACKAGE]),
        ((OLD, "1.1.26030.1"), [MANIFEST, "/status.json", PACKAGE]),
    ],
)
def test_a_host_with_the_versions_of_the_mirror_costs_one_request(
    mirror: Path, versions: tuple[str | None, str | None], asked: list[str]
) -> None:
    record = {"fields": dict(zip(("definitions_version", "engine_version"), versions))}
    with served(mirror) as server:
        found, trouble = health_report.read_mirror(record, f"{server.url}/linux/production/")
        assert trouble == []
        assert server.requests == asked
    assert found.get("package_seen", False) is (PACKAGE in asked)
    # Without a status, the age of the definitions is that of the package.
    assert found.get("age_hours") == (0 if PACKAGE in asked else None)


def using(location: str | None, enabled: str = "enabled") -> dict[str, Any]:
    return {"antivirusEngine": {"offlineDefinitionUpdate": enabled, "offlineDefinitionUpdateUrl": location}}


@pytest.mark.parametrize(
    ("before", "after", "new"),
    [
        (None, using("http://m/linux/production/"), "http://m/linux/production/"),
        (using("http://m/linux/production"), using("http://M:80/linux/production/"), None),
        (using("http://m/linux/production"), using("http://m/linux/pilot"), "http://m/linux/pilot"),
        (
            using("http://m/linux/production", "disabled"),
            using("http://m/linux/production"),
            "http://m/linux/production",
        ),
        (using("http://m/linux/production"), using("http://m/linux/pilot", "disabled"), None),
        (using("http://m/linux/production"), {}, None),
        (using("http://m/linux/production"), None, None),
        ([1], {"antivirusEngine": 5}, None),
        (using(None), using(""), None),
    ],
)
def test_which_change_makes_the_agent_use_another_address(before: Any, after: Any, new: str | None) -> None:
    assert switch.new_address(before, after) == new


def test_an_address_that_may_not_be_written_is_named_with_the_channels_of_the_mirror(mirror: Path) -> None:
    publish_status(mirror, ARCH, channel="canary")
    with served(mirror) as server:
        good = f"{server.url}/linux/production/"
        assert switch.problem(good, None) is None
        finding, message = switch.problem(f"{server.url}/linux/prod/", good)
        assert finding == "mirror_answer_unusable"
        assert f"The host keeps {good}." in message
        assert f"The mirror has these channels for {ARCH}: canary." in message
        # The package was requested before and is not requested again.
        server.requests.clear()
        assert switch.problem(good, None, {"package_seen": False}) is None
        assert server.requests == [PACKAGE]
