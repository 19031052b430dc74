"""Diagnosis: every cause is found with its evidence, causes come before effects, nothing hangs, no secret is shown."""

from __future__ import annotations

import contextlib
import email.utils
import json
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible_collections.mde.offline.plugins.module_utils._endpoint.agent import health_parser
from ansible_collections.mde.offline.plugins.module_utils._endpoint.diagnosis import diagnosis, ranking, steps
from ansible_collections.mde.offline.plugins.module_utils._endpoint.errors import FindingError
from ansible_collections.mde.offline.plugins.module_utils._endpoint.findings import catalogue, finding
from ansible_collections.mde.offline.plugins.module_utils._endpoint.host import logs
from ansible_collections.mde.offline.plugins.module_utils._endpoint.host.host import Host
from ansible_collections.mde.offline.plugins.module_utils._endpoint.mirror import http
from ansible_collections.mde.offline.plugins.module_utils._endpoint.mirror.address import Address
from hypothesis import given
from hypothesis import strategies as st

from simulators.certificates import Authority, Certificate
from simulators.static_web_server import StaticWebServer
from tests.support.statvfs import GIB, Space

TROUBLESHOOTING = Path(__file__).resolve().parents[3] / "docs" / "troubleshooting.md"
NOW = 1770120000  # 2026-02-03T12:00:00Z
MANAGED = ["offline_definition_update", "offline_definition_url_configured"]
MANIFEST = {"EngineVersion": "1.1.25110.3002", "DefinitionVersion": "1.443.508.0"}
MOUNTS = "/dev/sda1 / xfs rw,relatime 0 0\n/dev/sdb1 /var xfs rw 0 0\n"
DATE = "2026-02-03T08:15:42Z"


class Agent:
    """An agent that reports these rows, or does not respond."""

    def __init__(self, url: str) -> None:
        self.trouble = ""
        self.managed = list(MANAGED)
        self.connections: dict[str, str] = {}
        self.fields: dict[str, Any] = {
            "healthy": True,
            "licensed": True,
            "app_version": "101.26062.0005",
            "antivirus_enforcement_level": "real_time",
            "automatic_definition_update_enabled": True,
            "definitions_version": "1.443.508.0",
            "definitions_status": "up_to_date",
            "definitions_updated_minutes_ago": 225,
            "definitions_update_source_uri": url,
            "definitions_update_fail_reason": "",
            "offline_definition_url_configured": url,
            "offline_definition_update": "enabled",
        }

    def health(self) -> dict[str, Any]:
        if self.trouble:
            raise FindingError(self.trouble, f"mdatp: {self.trouble}")
        return {"fields": dict(self.fields), "managed": self.managed, "notices": [], "format": "json"}

    def health_details_definitions(self) -> None:
        return None

    def connectivity_test(self, _timeout: float) -> dict[str, Any]:
        lines = [f"Testing connection with {url} ... [{said}]\n" for url, said in self.connections.items()]
        return {"rc": 0, "out": "".join(lines), "err": "", "timed_out": False}


class Endpoint:
    """An endpoint in a folder with an agent and a mirror. In its initial state, it has no fault."""

    def __init__(self, root: Path, url: str) -> None:
        self.root, self.agent = root, Agent(url)
        self.machine, self.options = "x86_64", {"now": NOW}
        self.space = Space()
        self.unit: dict[str, str] | None = None
        self.file = "etc/opt/microsoft/mdatp/managed/mdatp_managed.json"
        self.config = {
            "antivirusEngine": {"offlineDefinitionUpdate": "enabled", "offlineDefinitionUpdateUrl": url},
        }
        self.manage(self.config)
        self.write("proc/self/mounts", MOUNTS)
        (root / "var/opt/microsoft/mdatp/definitions.noindex").mkdir(parents=True)

    def write(self, path: str, text: str) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    def manage(self, config: Any) -> None:
        self.write(self.file, json.dumps(config))

    def systemd(self, **properties: str) -> None:
        (self.root / "run/systemd/system").mkdir(parents=True, exist_ok=True)
        self.unit = {"LoadState": "loaded", "ActiveState": "active", "SubState": "running", "UnitFileState": "enabled"}
        self.unit.update(properties)

    def call(self, arguments: list[str], timeout: float) -> dict[str, Any]:
        if arguments[0] != "systemctl":
            from ansible_collections.mde.offline.plugins.module_utils._endpoint import process

            return process.run(arguments, timeout)
        out = "".join(f"{name}={value}\n" for name, value in (self.unit or {}).items())
        return {"rc": 0, "out": out, "err": "", "timed_out": False}

    def diagnose(self, **options: Any) -> dict[str, Any]:
        host = Host(str(self.root), machine=self.machine, environ={}, call=self.call, space=lambda _place: self.space)
        result = diagnosis.Diagnosis(self.agent, host, **{**self.options, **options}).run()
        bare = [entry for entry in result["findings"] if not (entry["evidence"] and entry["hint"])]
        assert bare == [], "every finding has what speaks for it, and what to do"
        return result

    def found(self, **options: Any) -> list[dict[str, Any]]:
        return self.diagnose(**options)["findings"]

    def ids(self, **options: Any) -> list[str]:
        return [entry["id"] for entry in self.found(**options)]


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """The root of a mirror that has published something."""
    ring = tmp_path / "mirror/linux/production/arch_x86_64"
    ring.mkdir(parents=True)
    (ring / "manifest.json").write_text(json.dumps(MANIFEST))
    (ring / "updates.zip").write_bytes(b"zip" * 1000)
    os.utime(ring / "updates.zip", (NOW - 3600, NOW - 3600))
    return tmp_path / "mirror"


@pytest.fixture
def served(mirror: Path) -> Iterator[str]:
    with StaticWebServer(mirror) as server:
        yield f"{server.url.rstrip('/')}/linux/production/"


@pytest.fixture
def endpoint(tmp_path: Path, served: str) -> Endpoint:
    return Endpoint(tmp_path / "host", served)


def step(result: dict[str, Any], name: str) -> dict[str, Any]:
    return next(entry for entry in result["steps"] if entry["name"] == name)


def test_a_healthy_host_has_no_findings_and_every_step_has_details(endpoint: Endpoint) -> None:
    endpoint.systemd()
    endpoint.write("var/log/microsoft/mdatp/microsoft_defender.log", "all is well\n")
    result = endpoint.diagnose()
    assert result["findings"] == []
    assert result["healthy"] is True
    assert result["mirror"]["definitions_version"] == MANIFEST["DefinitionVersion"]
    assert result["mirror"]["age_hours"] == 1
    outcomes = {entry["name"]: entry["outcome"] for entry in result["steps"]}
    not_ok = {name: outcome for name, outcome in outcomes.items() if outcome != "ok"}
    assert not_ok == {"tls": "skipped", "connectivity": "unknown", "manual_update": "skipped"}
    assert sorted(filter(None, (entry["microsoft_step"] for entry in result["steps"]))) == [1, 2, 3, 4, 5]
    for entry in result["steps"]:
        assert entry["details"] or entry["outcome"] == "skipped", entry["name"]


# --- The service ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("properties", "wanted"),
    [
        ({"ActiveState": "failed", "SubState": "failed", "Result": "exit-code"}, [("service_stopped", "error")]),
        ({"ActiveState": "inactive", "UnitFileState": "disabled"},
         [("service_stopped", "error"), ("service_disabled", "warning")]),
        ({"UnitFileState": "disabled"}, [("service_disabled", "warning")]),
        ({"UnitFileState": "static"}, []),
        ({"LoadState": "masked", "ActiveState": "inactive", "UnitFileState": "masked"}, [("service_stopped", "error")]),
        ({"LoadState": "not-found", "ActiveState": "inactive"}, [("service_missing", "error")]),
    ],
)  # fmt: skip
def test_the_service(endpoint: Endpoint, properties: dict[str, str], wanted: list[tuple[str, str]]) -> None:
    endpoint.systemd(**properties)
    found = endpoint.found()
    assert [(entry["id"], entry["severity"]) for entry in found] == wanted
    assert all(any("State" in line for line in entry["evidence"]) for entry in found)


def test_a_stopped_service_comes_before_the_daemon_that_does_not_answer(endpoint: Endpoint) -> None:
    endpoint.systemd(ActiveState="failed")
    endpoint.agent.trouble = "daemon_unreachable"
    result = endpoint.diagnose()
    assert [entry["id"] for entry in result["findings"]] == ["service_stopped", "daemon_unreachable"]
    assert step(result, "offline_settings")["outcome"] == "unknown"
    assert step(result, "connectivity")["outcome"] == "skipped"
    # The mirror is checked nevertheless, with the address in the managed file.
    assert step(result, "published")["outcome"] == "ok"


def test_the_agent_is_judged_by_the_architecture_of_the_host(endpoint: Endpoint) -> None:
    endpoint.agent.fields["app_version"] = "101.24122.0001"
    endpoint.machine = "x86_64"
    assert "agent_too_old" not in endpoint.ids()
    endpoint.machine = "aarch64"
    assert "agent_too_old" in endpoint.ids()


def test_unknown_options_are_refused(endpoint: Endpoint) -> None:
    with pytest.raises(TypeError, match="max_age_hour"):
        endpoint.diagnose(max_age_hour=1)


def test_systemd_that_does_not_answer_is_tolerated(endpoint: Endpoint) -> None:
    endpoint.systemd()
    endpoint.unit = {}
    result = endpoint.diagnose()
    assert result["findings"] == []
    assert step(result, "service")["outcome"] == "unknown"


# --- The managed file -------------------------------------------------------------------------------------------------


def test_a_missing_file(endpoint: Endpoint) -> None:
    (endpoint.root / endpoint.file).rename(endpoint.root / "etc/opt/microsoft/mdatp/mdatp_managed.json")
    assert endpoint.ids() == []  # These rows are managed by a policy of the portal.
    endpoint.agent.managed = []
    found = endpoint.found()
    assert [entry["id"] for entry in found] == ["managed_file_missing", "managed_config_not_applied"]
    assert "/etc/opt/microsoft/mdatp/mdatp_managed.json" in found[0]["evidence"][0]
    endpoint.agent.trouble = "daemon_unreachable"
    assert [(entry["id"], entry["severity"]) for entry in endpoint.found()] == [
        ("daemon_unreachable", "error"),
        ("managed_file_missing", "warning"),
    ]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"antivirusEngine": {},}', "line 1"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b"", "empty"),
        (b'{"edr": {}, "edr": {}}', "twice"),
        (b"[]", "object"),
    ],
)
def test_a_broken_file(endpoint: Endpoint, data: bytes, said: str) -> None:
    (endpoint.root / endpoint.file).write_bytes(data)
    endpoint.agent.managed = []
    found = endpoint.found()
    assert [entry["id"] for entry in found] == ["managed_file_invalid", "managed_config_not_applied"]
    assert said in found[0]["message"]


def test_a_file_that_cannot_be_read(endpoint: Endpoint) -> None:
    path = endpoint.root / endpoint.file
    endpoint.agent.managed = []
    path.unlink()
    path.symlink_to("nowhere")
    found = endpoint.found()[0]
    assert (found["id"], found["evidence"]) == ("managed_file_unreadable", [f"/{endpoint.file} is a link to nowhere"])
    path.unlink()
    os.mkfifo(path)
    assert endpoint.ids()[0] == "managed_file_unreadable"
    path.unlink()
    path.mkdir(mode=0o750)
    found = endpoint.found()[0]
    assert found["id"] == "managed_file_unreadable"
    assert found["evidence"] == [f"/{endpoint.file} is a folder of uid {os.getuid()} with mode 0750"]


def test_settings_that_are_not_where_they_belong(endpoint: Endpoint) -> None:
    engine = endpoint.config["antivirusEngine"]
    endpoint.agent.managed = []
    url = engine["offlineDefinitionUpdateUrl"]
    endpoint.manage(
        {"features": {"offlineDefinitionUpdate": "enabled"}, "antivirusEngine": {"offlineDefinitionUpdateUrl": url}}
    )
    found = endpoint.found()
    assert [entry["id"] for entry in found] == ["managed_file_incomplete", "managed_config_not_applied"]
    assert "features.offlineDefinitionUpdate" in found[0]["evidence"][0]

    endpoint.agent.managed = list(MANAGED)
    endpoint.manage({"antivirusEngine": {**engine, "offlineDefintionUpdateFallbackToCloud": False}})
    found = endpoint.found()
    assert [(entry["id"], entry["severity"]) for entry in found] == [("managed_file_incomplete", "warning")]
    assert "offlineDefintionUpdateFallbackToCloud" in found[0]["evidence"][0]

    endpoint.manage({"antivirusEngine": {**engine, "offlineDefinitionUpdate": True}})
    assert endpoint.ids() == ["managed_file_incomplete"]


def test_a_policy_that_overrules_the_file(endpoint: Endpoint) -> None:
    engine = {
        **endpoint.config["antivirusEngine"],
        "offlineDefinitionUpdateUrl": "http://other.example/linux/production",
    }
    endpoint.manage({"antivirusEngine": engine})
    found = endpoint.found()
    assert [entry["id"] for entry in found] == ["managed_file_overruled"]
    assert "http://other.example/linux/production" in found[0]["message"]
    # A final slash does not count.
    engine["offlineDefinitionUpdateUrl"] = endpoint.agent.fields["offline_definition_url_configured"].rstrip("/")
    endpoint.manage({"antivirusEngine": engine})
    assert endpoint.ids() == []


@given(st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["antivirusEngine", "cloudService", "proxy", "offlineDefinitionUpdate",
                             "offlineDefinitionUpdateUrl", "automaticDefinitionUpdateEnabled", "features"]),
            inner, max_size=4),
    ),
    max_leaves=12,
))  # fmt: skip
def test_no_file_makes_it_raise(tmp_path_factory: pytest.TempPathFactory, config: Any) -> None:
    from ansible_collections.mde.offline.plugins.module_utils._endpoint.host import proxies
    from ansible_collections.mde.offline.plugins.module_utils._endpoint.managed import inspect

    root = tmp_path_factory.mktemp("host")
    (root / "m.json").write_text(json.dumps(config), encoding="utf-8")
    host = Host(str(root), environ={})
    file = inspect.ManagedFile(host, "/m.json")
    for fields in ({}, {"offline_definition_update": "enabled"}):
        file.judge({"fields": fields, "managed": sorted(fields), "notices": [], "format": "json"})
    proxies.configured(host, file.config)


# --- The connection to the mirror -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "ftp://mirror/linux/production/",
        "mirror.example.com/linux/production",
        "http:///linux/production/",
        "http://mir ror/linux/production",
        "http://mirror:port/linux/production",
        "http://<mirror>/linux/production",
        "http://mirror:99999/",
        "http://mirror:/linux/production/",
        "file:///srv/mirror",
    ],
)
def test_addresses_that_cannot_work(endpoint: Endpoint, url: str) -> None:
    found = endpoint.found(mirror_url=url)
    assert "mirror_url_malformed" in [entry["id"] for entry in found]
    assert url in next(entry for entry in found if entry["id"] == "mirror_url_malformed")["message"]


def test_credentials_in_the_address_are_reported_without_their_values(endpoint: Endpoint, served: str) -> None:
    result = endpoint.diagnose(mirror_url=served.replace("://", "://user:geheim@"))
    assert [entry["id"] for entry in result["findings"]] == ["mirror_url_malformed"]
    assert "geheim" not in json.dumps(result)


def test_a_name_that_nobody_knows(endpoint: Endpoint) -> None:
    endpoint.write("etc/resolv.conf", "search example.com\nnameserver 192.0.2.53\nnameserver 2001:db8::53\n")
    found = endpoint.found(mirror_url="http://mirror.invalid:8080/linux/production/")
    ids = [entry["id"] for entry in found]
    assert ids[:2] == ["mirror_url_differs", "mirror_name_unresolved"]
    assert "mirror.invalid" in found[1]["message"]
    assert found[1]["evidence"][1:] == [
        "from the option mirror_url",
        "name servers in /etc/resolv.conf: 192.0.2.53, 2001:db8::53",
    ]


def test_a_name_server_that_does_not_answer_is_not_waited_for(endpoint: Endpoint) -> None:
    over = threading.Event()

    def silent(*_arguments: Any) -> list[Any]:
        over.wait()
        return []

    try:
        with pytest.raises(http.Unreachable) as raised:
            http.resolve("mirror.example.com", 80, 0.05, silent)
    finally:
        over.set()
    assert (raised.value.step, "within 0.05 seconds" in raised.value.message) == ("name", True)
    assert http.resolve("192.0.2.1", 80, 5) == ["192.0.2.1"]
    assert http.resolve("2001:db8::1", 80, 5) == ["2001:db8::1"]


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port on which no process listens. It stays bound, so that no other process gets it."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield int(unused.getsockname()[1])


def redirect_agent(endpoint: Endpoint, url: str) -> None:
    """Configures another mirror in the agent and in the file, and makes it the source of the definitions."""
    endpoint.agent.fields.update(offline_definition_url_configured=url, definitions_update_source_uri=url)
    endpoint.manage({"antivirusEngine": {"offlineDefinitionUpdate": "enabled", "offlineDefinitionUpdateUrl": url}})


def test_a_port_that_takes_no_connection(endpoint: Endpoint, closed_port: int) -> None:
    redirect_agent(endpoint, f"http://localhost:{closed_port}/linux/production/")
    endpoint.agent.fields["definitions_update_fail_reason"] = "cannot connect"
    found = endpoint.found()
    assert [entry["id"] for entry in found] == ["mirror_port_unreachable", "update_failed"]
    assert "localhost is 127.0.0.1" in found[0]["evidence"]
    assert "definitions_update_fail_reason: cannot connect" in found[1]["evidence"]


Talk = Callable[[socket.socket], None]


@pytest.fixture
def talk() -> Iterator[Callable[[Talk], str]]:
    """Starts a server that behaves as the test says, and returns its address."""
    stop, threads, listeners = threading.Event(), [], []

    def start(behaviour: Talk) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(0.1)

        def serve() -> None:
            while not stop.is_set():
                try:
                    connection = listener.accept()[0]
                except TimeoutError:
                    continue
                except OSError:
                    return
                with connection:
                    connection.settimeout(60)
                    with contextlib.suppress(OSError):
                        behaviour(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        threads.append(thread)
        listeners.append(listener)
        return f"http://127.0.0.1:{listener.getsockname()[1]}/linux/production/"

    start.stop = stop  # type: ignore[attr-defined]
    yield start
    stop.set()
    for thread in threads:
        thread.join()
    for listener in listeners:
        listener.close()


def answering(text: str) -> Talk:
    def behaviour(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(text.encode())

    return behaviour


@pytest.mark.parametrize(
    ("answer", "wanted", "said"),
    [
        ("HTTP/1.1 403 Forbidden\r\n\r\n", "mirror_answer_unusable", "httpd_sys_content_t"),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "mirror_answer_unusable", "default site"),
        ("HTTP/1.1 400 Bad Request\r\n\r\n", "mirror_answer_unusable", "https://"),
        ("HTTP/1.1 503 Unavailable\r\n\r\n", "mirror_answer_unusable", ""),
        ("HTTP/1.1 200 OK\r\n\r\n<html>Login</html>", "mirror_answer_unusable", ""),
        ("SSH-2.0-OpenSSH_9.2\r\n", "mirror_unreachable", ""),
        ("", "mirror_unreachable", ""),
    ],
)
def test_answers_that_are_no_mirrors(
    endpoint: Endpoint, talk: Callable[[Talk], str], answer: str, wanted: str, said: str
) -> None:
    redirect_agent(endpoint, talk(answering(answer)))
    found = endpoint.found()
    assert [entry["id"] for entry in found] == [wanted]
    assert said in found[0]["hint"]


def test_a_redirect_is_named(endpoint: Endpoint, talk: Callable[[Talk], str], served: str) -> None:
    def behaviour(connection: socket.socket) -> None:
        path = connection.recv(65536).split()[1].decode()
        target = served.replace("/linux/production/", path)
        connection.sendall(f"HTTP/1.1 301 Moved\r\nLocation: {target}\r\nConnection: close\r\n\r\n".encode())

    redirect_agent(endpoint, talk(behaviour))
    found = endpoint.found()
    assert [entry["id"] for entry in found] == ["mirror_redirects"]
    assert served.split("/")[2] in found[0]["message"]


def test_an_answer_that_drips_is_given_up(talk: Callable[[Talk], str]) -> None:
    def drip(connection: socket.socket) -> None:
        while not talk.stop.wait(0.05):  # type: ignore[attr-defined]
            connection.sendall(b"x")

    address = Address(talk(drip))
    begun = time.monotonic()
    with pytest.raises(http.Unreachable) as raised:
        http.fetch(address, "/x", "GET", 0.5)
    assert raised.value.step == "answer"
    assert time.monotonic() - begun < 60


def test_tls_that_this_system_does_not_trust(
    endpoint: Endpoint, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path / "ca")
    right = authority.issue("right", ["localhost", "127.0.0.1"])
    wrong = authority.issue("wrong", ["other.example"])
    trusted = ssl.create_default_context

    def served_with(certificate: Certificate) -> tuple[StaticWebServer, str]:
        server = StaticWebServer(mirror, tls=certificate.server_context())
        return server, f"{server.url.replace('127.0.0.1', 'localhost')}/linux/production/"

    server, url = served_with(right)
    with server:
        redirect_agent(endpoint, url)
        found = endpoint.found()
        assert [entry["id"] for entry in found] == ["mirror_tls_failed"]
        assert any("127.0.0.1 accepts connections" in line for line in found[0]["evidence"])
        monkeypatch.setattr(ssl, "create_default_context", lambda *_: trusted(cafile=str(authority.cert)))
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.cert))
        assert step(endpoint.diagnose(), "tls")["outcome"] == "ok"
    server, url = served_with(wrong)
    with server:
        redirect_agent(endpoint, url)
        found = endpoint.found()
        assert [entry["id"] for entry in found] == ["mirror_tls_failed"]
        assert "localhost" in found[0]["message"]


def test_tls_where_nobody_speaks_it(endpoint: Endpoint, served: str) -> None:
    redirect_agent(endpoint, served.replace("http://", "https://"))
    assert endpoint.ids() == ["mirror_tls_failed"]


def test_a_missing_and_an_empty_package(endpoint: Endpoint, mirror: Path) -> None:
    package = mirror / "linux/production/arch_x86_64/updates.zip"
    package.write_bytes(b"")
    assert endpoint.ids() == ["mirror_package_missing"]
    package.unlink()
    assert endpoint.ids() == ["mirror_package_missing"]
    package.with_name("manifest.json").unlink()
    assert endpoint.ids() == ["mirror_answer_unusable"]


def test_an_address_inside_the_ring_folder_is_seen_through(endpoint: Endpoint, served: str) -> None:
    redirect_agent(endpoint, served + "arch_x86_64/")
    result = endpoint.diagnose()
    assert [entry["id"] for entry in result["findings"]] == ["url_contains_arch"]
    assert result["mirror"]["definitions_version"] == MANIFEST["DefinitionVersion"]


def release_record(mirror: Path, **content: Any) -> None:
    (mirror / "linux/production/arch_x86_64/release.json").write_text(json.dumps(content))


def status(mirror: Path, **content: Any) -> None:
    entry = {"path": "linux/production/arch_x86_64", "arch": "x86_64", "definitions_date": DATE, "held": None}
    channel = content.pop("channel", {})
    (mirror / "status.json").write_text(json.dumps({"channels": [{**entry, **channel}], **content}))


def test_how_old_the_mirror_is(endpoint: Endpoint, mirror: Path) -> None:
    assert endpoint.diagnose()["mirror"]["age_hours"] == 1  # of the package
    release_record(mirror, definitions_date="2026-02-03T07:00:00Z")
    assert endpoint.diagnose()["mirror"]["age_hours"] == 5
    status(mirror)
    assert endpoint.diagnose()["mirror"]["age_hours"] == 3
    assert endpoint.ids(max_age_hours=2) == ["mirror_stale", "definitions_stale"]


def test_a_stale_mirror_comes_before_the_stale_host_with_why(endpoint: Endpoint, mirror: Path) -> None:
    error = {"code": "timeout", "message": "The service gave no answer."}
    sync = {"finished": DATE, "result": "failed", "units": [{"error": error}], "error": None}
    status(
        mirror, channel={"definitions_date": "2026-01-20T00:00:00Z", "held": {"reason": "bad batch"}}, last_sync=sync
    )
    endpoint.agent.fields["definitions_updated_minutes_ago"] = 14 * 1440
    found = endpoint.found()
    assert [entry["id"] for entry in found] == ["mirror_stale", "definitions_stale"]
    evidence = " ".join(found[0]["evidence"])
    for said in ("bad batch", "failed", "The service gave no answer."):
        assert said in evidence


@pytest.mark.parametrize("text", ["{", "[]", '{"channels": 5}', '{"channels": [1, {"path": 3}], "last_sync": []}'])
def test_a_strange_status_is_passed_over(endpoint: Endpoint, mirror: Path, text: str) -> None:
    (mirror / "status.json").write_text(text)
    assert endpoint.diagnose()["mirror"]["age_hours"] == 1


def test_a_mirror_in_a_folder(endpoint: Endpoint, mirror: Path) -> None:
    ring = mirror / "linux/production"
    redirect_agent(endpoint, str(ring))
    status(mirror)
    result = endpoint.diagnose()
    assert result["findings"] == []
    assert result["mirror"]["age_hours"] == 3
    (ring / "arch_x86_64/updates.zip").unlink()
    assert endpoint.ids() == ["mirror_package_missing"]
    endpoint.write("proc/self/mounts", MOUNTS)
    redirect_agent(endpoint, "/mnt/mirror/linux/production")
    found = endpoint.found()
    assert [entry["id"] for entry in found] == ["mirror_unreachable"]
    assert any("is on / (xfs)" in line for line in found[0]["evidence"])


# --- Proxies, logs, security modules, versions ------------------------------------------------------------------------


def test_proxies(endpoint: Endpoint) -> None:
    endpoint.systemd(Environment="LD_LIBRARY_PATH=/x HTTPS_PROXY=http://proxy.corp:3128")
    found = endpoint.found()
    assert [(entry["id"], entry["severity"]) for entry in found] == [("proxy_configured", "info")]
    endpoint.systemd(Environment="HTTPS_PROXY=http://user:geheim@proxy.corp:3128")
    result = endpoint.diagnose()
    assert [entry["id"] for entry in result["findings"]] == ["proxy_unsupported"]
    assert "geheim" not in json.dumps(result)
    assert any("proxy.corp:3128" in line for line in result["findings"][0]["evidence"])


@pytest.mark.parametrize("password", ["gehe/im", "gehe im", "ge@he im", "12/gehe", "gehe im wort", "gehe?im"])
def test_the_password_of_a_proxy_is_shown_nowhere(endpoint: Endpoint, password: str) -> None:
    proxy = f"http://user:{password}@proxy.corp:3128"
    endpoint.systemd(Environment=f"LD_LIBRARY_PATH=/x HTTPS_PROXY={proxy} NO_PROXY=localhost")
    endpoint.write("etc/environment", f"http_proxy={proxy}\nno_proxy=localhost\n")
    endpoint.write("etc/systemd/system/mdatp.service.d/x.conf", f'[Service]\nEnvironment="https_proxy={proxy}"\n')
    result = endpoint.diagnose()
    assert [entry["id"] for entry in result["findings"]] == ["proxy_unsupported"] * 3
    evidence = {line.partition(": ")[2] for entry in result["findings"] for line in entry["evidence"]}
    assert evidence == {"http://***@proxy.corp:3128"}
    assert not re.search("gehe|im@|im wort", json.dumps(result))


def test_the_agents_own_test(endpoint: Endpoint, served: str) -> None:
    endpoint.agent.connections = {"https://cdn.x.cp.wd.microsoft.com/ping": "curl error 6", served: "OK"}
    assert endpoint.ids() == []
    endpoint.agent.connections["https://cdn.x.cp.wd.microsoft.com/ping"] = "curl error 60"
    assert endpoint.ids() == ["tls_inspected"]
    endpoint.agent.connections = {served: "curl error 7"}
    found = endpoint.found()
    assert [entry["id"] for entry in found] == ["mirror_unreachable"]
    assert "proxy" in found[0]["hint"]
    assert endpoint.ids(connectivity_test=False) == []


def test_space_and_mount_options(endpoint: Endpoint) -> None:
    endpoint.space = Space(free=GIB)
    assert [(entry["id"], entry["severity"]) for entry in endpoint.found()] == [("disk_space_low", "warning")]
    endpoint.space = Space(free=10_000_000)
    assert [(entry["id"], entry["severity"]) for entry in endpoint.found()] == [("disk_space_low", "error")]
    endpoint.space = Space(files_left=3)
    assert endpoint.ids() == ["disk_space_low"]
    endpoint.space = Space()
    endpoint.write("proc/self/mounts", MOUNTS.replace("/var xfs rw", "/var xfs ro,noexec"))
    assert endpoint.ids() == ["filesystem_read_only"]  # This agent leaves a noexec /var by itself.
    endpoint.agent.fields["app_version"] = "101.24082.0004"
    assert endpoint.ids() == ["filesystem_read_only", "filesystem_noexec"]


def test_a_folder_of_definitions_that_the_state_names(endpoint: Endpoint) -> None:
    endpoint.write("var/opt/microsoft/mdatp/wdavstate", '{"engineCore": {"databaseRootPath": "/data/definitions"}}')
    endpoint.write("proc/self/mounts", MOUNTS + "/dev/sdc1 /data ext4 ro 0 0\n")
    found = endpoint.found()
    assert [entry["id"] for entry in found] == ["filesystem_read_only"]
    assert "/data/definitions" in found[0]["message"]


def test_others_that_block_through_fanotify(endpoint: Endpoint) -> None:
    for number, name in ((10, "wdavdaemon"), (11, "othersav")):
        endpoint.write(f"proc/{number}/comm", name + "\n")
        endpoint.write(f"proc/{number}/fdinfo/7", "pos:\t0\nfanotify flags:c event-flags:0\n")
        (endpoint.root / f"proc/{number}/fd").mkdir()
        (endpoint.root / f"proc/{number}/fd/7").symlink_to("anon_inode:[fanotify]")
    found = endpoint.found()
    assert [entry["id"] for entry in found] == ["fanotify_conflict"]
    assert "othersav" in found[0]["message"]
    assert "wdavdaemon" not in found[0]["message"]


def test_the_logs_speak_where_an_update_fails(endpoint: Endpoint) -> None:
    folder = "var/log/microsoft/mdatp/"
    lines = ["[2026-02-03 08:00:00][info] scan done"] * 1000
    lines += ["[error] definition update failed: curl error 28 for http://u:geheim@mirror/x?token=topsecret"]
    lines += ["Authorization: Basic Z2VoZWlt", 'config {"password": "geheim", "path": "/x"}']
    endpoint.write(folder + "microsoft_defender_core.log", "\n".join(lines) + "\n")
    endpoint.write(folder + "install.log", "another log\n")
    endpoint.agent.fields["definitions_update_fail_reason"] = "it failed"
    result = endpoint.diagnose(log_lines=5)
    assert [log["file"] for log in result["log"]] == ["/var/log/microsoft/mdatp/microsoft_defender_core.log"]
    assert len(result["log"][0]["lines"]) == 5
    assert any("curl error 28" in line for line in result["findings"][0]["evidence"])
    for secret in ("geheim", "topsecret", "Z2VoZWlt"):
        assert secret not in json.dumps(result)
    assert '"path": "/x"' in result["log"][0]["lines"][-1]
    assert endpoint.diagnose(log_lines=0)["log"] == []


def test_selinux_denials_of_the_last_day(endpoint: Endpoint) -> None:
    line = 'type=AVC msg=audit({}.123:456): avc:  denied  {{ write }} for  pid=1 comm="{}" name="x" permissive=0\n'
    audit = "var/log/audit/audit.log"
    endpoint.write(audit, line.format(NOW - 90000, "wdavdaemon") + line.format(NOW - 60, "nginx"))
    assert endpoint.ids() == []
    endpoint.write(audit, line.format(NOW - 60, "wdavdaemon") * 9)
    found = endpoint.found()
    assert [(entry["id"], entry["severity"]) for entry in found] == [("selinux_denials", "warning")]
    assert len(found[0]["evidence"]) == 3
    assert "denied" in found[0]["evidence"][0]
    endpoint.agent.fields["definitions_update_fail_reason"] = "it failed"
    assert endpoint.ids() == ["selinux_denials", "update_failed"]
    assert endpoint.ids(log_lines=0) == ["update_failed"]


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("101.24082.0004", "updates of definitions"),
        ("101.25022.0002", "mdatp.service.d"),
        ("101.26042.0009", "disabled"),
        ("101.24112.0001", None),
        ("101.25032.0000", None),
        ("101.26052.0012", None),
    ],
)
def test_known_faults_of_releases_only_where_something_is_wrong(
    endpoint: Endpoint, version: str, said: str | None
) -> None:
    endpoint.agent.fields["app_version"] = version
    assert endpoint.ids() == []
    endpoint.agent.fields["definitions_update_fail_reason"] = "it failed"
    found = {entry["id"]: entry for entry in endpoint.found()}
    assert set(found) == {"update_failed"} | ({"agent_known_fault"} if said else set())
    if said:
        assert said in found["agent_known_fault"]["message"]


def test_a_daemon_that_may_not_be_executed_explains_a_service_that_is_stopped(endpoint: Endpoint) -> None:
    endpoint.write("opt/microsoft/mdatp/sbin/wdavdaemon", "").chmod(0o755)
    endpoint.systemd()
    assert endpoint.ids() == []
    (endpoint.root / "opt/microsoft/mdatp/sbin/wdavdaemon").chmod(0o644)
    endpoint.systemd(ActiveState="failed", SubState="failed", Result="exit-code")
    endpoint.agent.trouble = "daemon_unreachable"
    assert endpoint.ids()[:3] == ["wdavdaemon_not_executable", "service_stopped", "daemon_unreachable"]


@pytest.mark.parametrize(("offset", "said"), [(-7200, "ahead of"), (7200, "behind"), (0, "")])
def test_clocks_that_differ(endpoint: Endpoint, talk: Callable[[Talk], str], offset: int, said: str) -> None:
    def behaviour(connection: socket.socket) -> None:
        request = connection.recv(65536)
        date = email.utils.formatdate(time.time() + offset, usegmt=True)
        body = b"x" if request.startswith(b"HEAD") else json.dumps(MANIFEST).encode()
        head = f"HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode() + (b"" if request.startswith(b"HEAD") else body))

    redirect_agent(endpoint, talk(behaviour))
    found = endpoint.found()
    assert [(entry["id"], entry["severity"]) for entry in found] == [("clock_differs", "warning")] * bool(said)
    assert not found or said in found[0]["message"]


def test_a_release_that_a_rollback_withdrew(endpoint: Endpoint, mirror: Path) -> None:
    endpoint.agent.fields["definitions_version"] = "1.444.1.0"
    taken = [{"definitions_version": "1.444.1.0", "engine_version": None}]
    status(mirror, channel={"state": "rolled_back", "held": {"kind": "rollback", "since": DATE}, "withdrawn": taken})
    result = endpoint.diagnose()
    assert [(entry["id"], entry["severity"]) for entry in result["findings"]] == [("on_withdrawn_release", "error")]
    assert any("1.444.1.0" in line for line in result["findings"][0]["evidence"])
    age = next(step for step in result["steps"] if step["name"] == "age")["details"]
    assert any(line.startswith(f"the channel is rolled back since {DATE}") for line in age)
    # This mirror does not list the releases that it withdrew.
    status(mirror, channel={"state": "paused"})
    assert endpoint.ids() == ["ahead_of_mirror"]


def test_a_mirror_that_publishes_less_than_the_host_has(endpoint: Endpoint) -> None:
    endpoint.agent.fields["definitions_version"] = "1.444.1.0"
    found = endpoint.found()
    assert [(entry["id"], entry["severity"]) for entry in found] == [("ahead_of_mirror", "info")]
    assert any("1.444.1.0" in line for line in found[0]["evidence"])


@pytest.mark.parametrize(
    "line",
    [
        "proxy http://u:s3cret@host:1/",
        "proxy http://u:s3c/s3cret@host",
        "password=s3cret",
        "PASSWORD : s3cret",
        '"client_secret":"s3cret"',
        "api_key='s3cret'",
        "Proxy-Authorization: Basic s3cret",
        "bearer s3cret",
        "https://x/?sig=s3cret&a=b",
    ],
)
def test_secrets_in_logs(line: str) -> None:
    assert "s3cret" not in logs.mask(line)


@given(st.text())
def test_lines_without_secrets_stay(line: str) -> None:
    if not re.search(r"pass|pwd|secret|token|credential|key|sig|auth|bearer|basic|@", line, re.IGNORECASE):
        assert logs.mask(line) == line


# --- Order ------------------------------------------------------------------------------------------------------------


def test_what_explains_comes_before_what_is_explained(endpoint: Endpoint) -> None:
    endpoint.agent.fields["antivirus_enforcement_level"] = "passive"
    assert endpoint.ids() == ["passive_mode"]
    endpoint.agent.fields.update(definitions_updated_minutes_ago=20 * 1440, definitions_version="1.442.1.0")
    assert endpoint.ids() == ["passive_mode", "definitions_stale", "behind_mirror"]


RANKED = sorted(
    (record for record in catalogue.RECORDS if record.role is not None), key=lambda record: record.rank or 0
)
CAUSES = [record.id for record in RANKED if record.role == catalogue.CAUSE]


@given(st.lists(st.sampled_from([record.id for record in RANKED]), unique=True))
def test_the_order_does_not_depend_on_the_order_of_finding(ids: list[str]) -> None:
    chosen = [finding.proven(name, "x") for name in ids]
    wanted = [entry["id"] for entry in ranking.ordered(chosen)]
    assert sorted(wanted) == sorted(ids)
    assert [entry["id"] for entry in ranking.ordered(reversed(chosen))] == wanted
    errors = [entry["id"] for entry in ranking.ordered(chosen) if entry["severity"] == "error"]
    causes = [name for name in errors if name in CAUSES]
    assert errors[: len(causes)] == causes


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.lists(st.text(max_size=3), max_size=2)
)
ROW_NAMES = sorted({row for record in catalogue.RECORDS for row in record.rows})


@given(st.dictionaries(st.sampled_from(ROW_NAMES), VALUES))
def test_every_row_can_be_shown(fields: dict[str, Any]) -> None:
    record = {**health_parser.empty_record(), "fields": fields}
    assert len(steps.row_lines(record, sorted(fields))) == len(fields)


def test_a_row_of_one_is_not_true() -> None:
    record = {
        **health_parser.empty_record(),
        "fields": {"definitions_updated_minutes_ago": 1, "healthy": True},
        "managed": ["healthy"],
    }
    lines = steps.row_lines(record, ["definitions_updated_minutes_ago", "healthy"])
    assert lines == ["definitions_updated_minutes_ago: 1", "healthy: true [managed]"]


def test_the_page_by_symptom_names_findings_that_exist_and_every_error_that_keeps_a_host_from_updating() -> None:
    rows = [
        line.split("|") for line in TROUBLESHOOTING.read_text(encoding="utf-8").splitlines() if line.startswith("| ")
    ]
    named = {name for row in rows for name in re.findall(r"`([a-z_]+)`", row[2])}
    assert named <= set(catalogue.BY_ID)
    errors = {name for name in CAUSES if catalogue.BY_ID[name].severity == "error"}
    assert errors <= named
