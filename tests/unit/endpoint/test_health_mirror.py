"""Reading what a mirror publishes, as an endpoint does: over HTTP or from a directory, within the time limit."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from contextlib import contextmanager

import pytest
from ansible_collections.mde.offline.plugins.module_utils._endpoint.errors import FindingError
from ansible_collections.mde.offline.plugins.module_utils._endpoint.mirror import address, folder, manifest

from tests.support.web import Handler, LocalServer, running

MANIFEST = json.dumps({"EngineVersion": "1.1.25110.3002", "DefinitionVersion": "1.443.508.0"}).encode()
VERSIONS = {"definitions_version": "1.443.508.0", "engine_version": "1.1.25110.3002"}


@contextmanager
def web_server(body=MANIFEST, status=200, drip=0.0, headers=()):
    class Dripping(Handler):
        protocol_version = "HTTP/1.0"

        def do_GET(self):
            self.server.requests.append(self.path)
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                for position in range(0, len(body), 1 if drip else 65536):
                    self.wfile.write(body[position : position + (1 if drip else 65536)])
                    self.wfile.flush()
                    stop.wait(drip)
            except OSError:
                pass

    stop = threading.Event()
    with running(LocalServer(Dripping)) as server:
        try:
            yield f"{server.url}/linux/production/", server.requests
        finally:
            stop.set()


def trouble(location, timeout=60.0):
    with pytest.raises(FindingError) as caught:
        manifest.read(location, "x86_64", timeout)
    return caught.value.id, caught.value.message


@pytest.mark.parametrize("cut", ["", "/"])
@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
def test_over_http(arch, cut, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9/")
    with web_server() as (url, asked):
        location = url.rstrip("/") + cut
        assert manifest.read(location, arch) == dict(VERSIONS, location=location, arch=arch)
        assert manifest.read(location.replace("http://", ""), arch)["definitions_version"] == "1.443.508.0"
    assert asked == [f"/linux/production/arch_{arch}/manifest.json"] * 2


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_from_a_directory(tmp_path, prefix):
    folder = tmp_path / "mit Umlaut ä" / "arch_x86_64"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_bytes(b"\xef\xbb\xbf" + MANIFEST)
    assert manifest.read(prefix + str(folder.parent), "x86_64")["engine_version"] == "1.1.25110.3002"


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"gone", 404, "status 404"),
        (b"broken", 500, "status 500"),
        (b"<!DOCTYPE html><html>Log in</html>", 200, "HTML page"),
        (b"", 200, "empty"),
        (MANIFEST[:20], 200, "not JSON"),
        (b"[]", 200, "has no valid DefinitionVersion"),
        (b'{"DefinitionVersion": "1.2.3", "EngineVersion": null}', 200, "has no valid DefinitionVersion"),
        (b'{"DefinitionVersion": "latest", "EngineVersion": "1.2"}', 200, "has no valid DefinitionVersion"),
        (b"[" * 5000, 200, "not JSON"),
        (b" " * 100000, 200, "too large"),
    ],
)
def test_answers_that_are_no_manifest(body, status, said):
    with web_server(body, status) as (url, _asked):
        name, message = trouble(url)
    assert name == "mirror_answer_unusable"
    assert said in message
    assert url in message


def test_the_status_of_an_answer_is_part_of_the_error():
    with web_server(b"gone", 404) as (url, _asked), pytest.raises(FindingError) as caught:
        manifest.read(url, "x86_64", 60)
    assert caught.value.status == 404


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(status):
    with web_server() as (url, asked):
        target = url + "arch_x86_64/manifest.json?token=" + "x" * 100
        with web_server(b"AccessKeyId: ASIA", status, headers=[("Location", target)]) as (other, _asked):
            name, message = trouble(other)
    assert (name, asked) == ("mirror_redirects", [])
    assert "x" * 5 not in message
    assert "ASIA" not in message


def test_at_most_forty_characters_of_an_answer_are_quoted():
    with web_server(b"0123456789" * 10) as (url, _asked):
        message = trouble(url)[1]
    assert message.endswith("it starts: " + "0123456789" * 4)
    with web_server(b"see http://user:" + b"hunter2" * 10 + b"@host/") as (url, _asked):
        assert "hunter2" not in trouble(url)[1]


def mirror_with_link(folder, target):
    (folder / "linux/production").mkdir(parents=True)
    (folder / "linux/production/arch_x86_64").symlink_to(target)
    return str(folder / "linux/production")


def test_links_inside_a_mirror_are_followed(tmp_path):
    release = tmp_path / "mirror/.releases/linux-x86_64/1"
    release.mkdir(parents=True)
    (release / "manifest.json").write_bytes(MANIFEST)
    relative = mirror_with_link(tmp_path / "mirror", "../../.releases/linux-x86_64/1")
    assert manifest.read(relative, "x86_64")["definitions_version"] == "1.443.508.0"
    link = tmp_path / "mirror/linux/production/arch_x86_64"
    link.unlink()
    link.symlink_to(release)
    assert manifest.read(relative, "x86_64")["definitions_version"] == "1.443.508.0"
    (tmp_path / "mount").symlink_to("mirror")
    assert manifest.read(str(tmp_path / "mount/linux/production"), "x86_64", 60)
    (release / "manifest.json").write_text("root:*:20228")
    name, message = trouble(relative)
    assert name == "mirror_answer_unusable"
    assert "root" not in message.replace(str(tmp_path), "")


@pytest.mark.parametrize("link", ["folder", "file", "climbing", "absolute"])
def test_nothing_outside_a_mirror_is_read_through_links(tmp_path, link):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "manifest.json").write_bytes(MANIFEST)
    target = {
        "folder": "../../../secret",
        "climbing": "../production/../../../mirror/../secret",
        "absolute": str(secret),
    }
    channel = mirror_with_link(tmp_path / "mirror", target.get(link, "../real"))
    if link == "file":
        (tmp_path / "mirror/linux/real").mkdir()
        (tmp_path / "mirror/linux/real/manifest.json").symlink_to(secret / "manifest.json")
    name, message = trouble(channel)
    assert name == "mirror_unreachable"
    assert "leads out of the mirror" in message


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        ("http://mirror/linux/production/", "HTTP://MIRROR:80/linux/production", True),
        ("http://user:x@mirror/linux/production", "http://mirror./linux/./production/arch_x86_64/", True),
        ("http://mirror/linux/pilot/updates.zip", "http://mirror/linux/pilot/", True),
        ("http://mirror/linux/production", "https://mirror/linux/production", False),
        ("http://mirror/linux/production", "http://mirror:8080/linux/production", False),
        ("http://mirror/linux/production", "http://mirror/linux/Production", False),
        ("/srv/mirror/linux/production", "file:///srv/mirror/linux/production/", True),
    ],
)
def test_addresses_of_the_same_channel(left, right, equal):
    assert address.same(left, right) is equal


def test_nobody_there():
    # The port is bound, so that no other process gets it, and no process listens on it.
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        name, message = trouble(f"http://user:secret@127.0.0.1:{port}/linux/production/")
    assert name == "mirror_unreachable"
    assert "secret" not in message


@pytest.mark.parametrize(
    "url", ["http://no-such-host.invalid/x/", "http://[broken/x/", "http://host:port/x/", "http://hö st/"]
)
def test_addresses_that_lead_nowhere(url):
    assert trouble(url)[0] == "mirror_unreachable"


def test_a_mirror_that_never_answers_and_one_that_drips():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)
        started = time.monotonic()
        assert trouble(f"http://127.0.0.1:{silent.getsockname()[1]}/", 0.5)[0] == "mirror_unreachable"
        assert time.monotonic() - started < 60
    with web_server(b" " * 1000 + MANIFEST, drip=0.2) as (url, _asked):
        started = time.monotonic()
        assert trouble(url, 0.7)[0] == "mirror_unreachable"
        assert time.monotonic() - started < 60


def test_a_connection_that_breaks_off():
    with web_server(MANIFEST[:-5], headers=[("Content-Length", "5000")]) as (url, _asked):
        assert trouble(url)[0] == "mirror_answer_unusable"


@pytest.mark.parametrize("location", ["ftp://mirror/linux/production/", "nfs://mirror/x"])
def test_other_schemes(location):
    name, message = trouble(location)
    assert name == "mirror_answer_unusable"
    assert "absolute path" in message


def test_directories_that_cannot_be_read(tmp_path, monkeypatch):
    assert trouble(str(tmp_path))[0] == "mirror_unreachable"
    (tmp_path / "arch_x86_64").mkdir()
    os.mkfifo(str(tmp_path / "arch_x86_64" / "manifest.json"))
    assert "not a regular file" in trouble(str(tmp_path))[1]
    monkeypatch.setattr(folder, "_read", lambda *_arguments: threading.Event().wait())  # like a share without server
    started = time.monotonic()
    name, message = trouble(str(tmp_path), 0.5)
    assert name == "mirror_unreachable"
    assert "within" in message
    assert time.monotonic() - started < 60


@pytest.mark.parametrize(
    ("machine", "arch"), [("x86_64", "x86_64"), ("amd64", "x86_64"), ("aarch64", "arm64"), ("arm64", "arm64")]
)
def test_architecture(machine, arch):
    assert address.architecture(machine) == arch
