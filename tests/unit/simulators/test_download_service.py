"""The simulated download service: it behaves as documented, and its faults have the documented effect."""

from __future__ import annotations

import datetime
import email.utils
import http.client
import io
import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.parse
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path

import pytest

from simulators.certificates import Authority
from simulators.download_service import DownloadService, Unit, build_package, fault_names, package_versions

COMMAND = Path(__file__).resolve().parents[3] / "simulators" / "download_service"
LINUX = "/fwlink/?linkid=2144709"


@pytest.fixture
def service(tmp_path):
    with DownloadService(tmp_path / "packages") as running:
        running.publish("1.443.508.0", "1.1.25110.3002", size=20_000)
        yield running


class Received:
    """A response with its complete body."""

    def __init__(self, response):
        self.status, self.headers = response.status, response.headers
        self.body = response.read()

    @property
    def location(self):
        parts = urllib.parse.urlsplit(self.headers["Location"])
        return f"{parts.path}?{parts.query}"


def ask(service, target, method="GET", connection=None, **headers):
    mine = connection or http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    try:
        mine.request(method, target, headers={name.replace("_", "-"): value for name, value in headers.items()})
        return Received(mine.getresponse())
    finally:
        if connection is None:
            mine.close()


def package_target(service, query=""):
    return ask(service, LINUX + query).location


@pytest.mark.parametrize(
    ("query", "unit"),
    [
        ("?linkid=2144709", Unit("linux", "x86_64", "production")),
        ("?linkid=2144709&arch=arm64", Unit("linux", "arm64", "production")),
        ("?linkid=2120136&engRing=3&sigRing=1", Unit("mac", "x86_64", "preview")),
        ("?linkid=2120136&arch=arm64&engRing=3&sigRing=1", Unit("mac", "arm64", "preview")),
    ],
)
def test_each_unit_has_its_own_versions_and_package(service, query, unit):
    service.publish("1.443.600.0", "1.1.25120.1", *unit, size=20_000)

    info = ask(service, "/fwlink/" + query + "&action=info")
    assert info.status == 302
    root = ElementTree.fromstring(ask(service, info.location).body)
    assert (root.tag, root.findtext("signatures"), root.findtext("engine")) == (
        "versions",
        "1.443.600.0",
        "1.1.25120.1",
    )
    datetime.datetime.strptime(root.find("signatures").get("date"), "%Y-%m-%d %H:%M:%SZ")

    redirect = ask(service, "/fwlink/" + query)
    assert redirect.status == 302
    assert "packageVersion=1.443.600.0" in redirect.location
    package = ask(service, redirect.location)
    assert int(package.headers["Content-Length"]) == len(package.body)
    said = package_versions(io.BytesIO(package.body))
    assert (said["platform"], said["arch"], said["ring"]) == unit
    assert (said["definitions"], said["engine"]) == ("1.443.600.0", "1.1.25120.1")


def test_unknown_addresses_are_404(service):
    assert {ask(service, target).status for target in ("/", "/fwlink/?linkid=1", "/packages/content/updates.zip")} == {
        404
    }


def test_the_old_package_keeps_its_url(service):
    target = package_target(service)
    service.publish("1.443.509.0", size=20_000)
    assert package_versions(io.BytesIO(ask(service, target).body))["definitions"] == "1.443.508.0"


def test_head_and_keep_alive(service):
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    target = package_target(service)
    head = ask(service, target, "HEAD", connection)
    got = ask(service, target, "GET", connection)
    connection.close()
    assert head.body == b""
    assert int(head.headers["Content-Length"]) == len(got.body)
    assert service.connections == 2


def test_ranges(service):
    target = package_target(service)
    whole = ask(service, target)
    size = len(whole.body)
    part = ask(service, target, Range="bytes=100-", If_Range=whole.headers["ETag"])
    assert (part.status, part.body) == (206, whole.body[100:])
    assert part.headers["Content-Range"] == f"bytes 100-{size - 1}/{size}"
    assert ask(service, target, Range="bytes=5-9").body == whole.body[5:10]
    assert ask(service, target, Range="bytes=-7").body == whole.body[-7:]
    assert ask(service, target, Range="bytes=100-", If_Range='"other"').status == 200
    beyond = ask(service, target, Range=f"bytes={size}-")
    assert (beyond.status, beyond.headers["Content-Range"]) == (416, f"bytes */{size}")
    service.etag = service.last_modified = service.ranges = False
    bare = ask(service, target, Range="bytes=100-")
    assert (bare.status, bare.body) == (200, whole.body)
    assert not {"ETag", "Last-Modified", "Accept-Ranges"} & set(bare.headers)


@pytest.mark.parametrize("stored", [False, True])
def test_packages_are_valid_deterministic_and_of_the_requested_size(tmp_path, stored):
    made = [build_package(tmp_path / name, "1.2.3.4", "1.1.5.6", size=3_000_000, stored=stored) for name in ("a", "b")]
    assert made[0].read_bytes() == made[1].read_bytes()
    assert abs(made[0].stat().st_size - 3_000_000) < 30_000
    with zipfile.ZipFile(made[0]) as package:
        assert package.testzip() is None
        assert {"libmpengine.so", "libmpengine.so.sig", "mpasbase.vdm", "mpavbase.vdm"} < set(package.namelist())


def test_faults_apply_only_to_matching_requests_and_a_number_of_times(service):
    service.fault("status", code=503, kind="info", arch="arm64", times=1, skip=1, retry_after=7)
    arm = ask(service, LINUX + "&arch=arm64&action=info").location
    intel = ask(service, LINUX + "&action=info").location
    assert [ask(service, arm).status for _ in range(3)] == [200, 503, 200]
    assert ask(service, intel).status == 200
    assert [exchange.status for exchange in service.asked("info")] == [200, 503, 200, 200]
    assert service.asked("info")[1].faults == ["status"]


def test_retry_after_can_be_a_date(service):
    service.fault("status", code=429, retry_after=60, retry_date=True)
    asked = time.time()
    retry_at = email.utils.parsedate_to_datetime(ask(service, LINUX).headers["Retry-After"])
    # An HTTP date has no fractions of a second.
    assert int(asked) + 60 <= retry_at.timestamp() <= time.time() + 60


def test_response_faults(service):
    target = package_target(service)
    whole = ask(service, target).body

    def got(name, **options):
        service.clear_faults()
        service.fault(name, kind="package", **options)
        return ask(service, target)

    with pytest.raises(http.client.IncompleteRead) as short:
        got("truncate", after=1000)
    assert short.value.partial == whole[:1000]
    with pytest.raises(ConnectionResetError):
        got("reset", after=1000)
    with pytest.raises(http.client.RemoteDisconnected):
        got("close")
    with pytest.raises(http.client.BadStatusLine):
        got("not_http")
    with pytest.raises(http.client.IncompleteRead):
        got("length", delta=5)
    assert got("length", delta=-5).body == whole[:-5]
    without = got("no_length")
    assert (without.headers["Content-Length"], without.body) == (None, whole)
    assert got("no_length", after=77).body == whole[:77]
    assert got("chunked").body == whole
    with pytest.raises(http.client.IncompleteRead):
        got("chunked", after=77)
    assert (got("html").status, got("html").headers["Content-Type"]) == (200, "text/html")
    assert got("empty").body == b""


def test_stall_and_drip_delay_the_response(service):
    target = package_target(service)
    service.fault("stall", kind="package", seconds=0.3, times=1)
    service.fault("stall", kind="package", after=1000, seconds=0.3, skip=1, times=1)
    service.fault("drip", kind="package", bytes=5000, seconds=0.1, skip=2, times=1)
    service.fault("drip_head", kind="package", bytes=30, seconds=0.05, skip=3, times=1)
    for _ in range(4):
        begun = time.monotonic()
        assert len(ask(service, target).body) > 15_000
        assert time.monotonic() - begun >= 0.3


def test_content_faults(service):
    target = package_target(service)
    whole = ask(service, target).body

    def got(name, **options):
        service.clear_faults()
        service.fault(name, kind="package", **options)
        return ask(service, target).body

    def opened(data):
        return zipfile.ZipFile(io.BytesIO(data))

    corrupt = got("corrupt")
    assert len(corrupt) == len(whole)
    assert opened(corrupt).testzip() == "mpavdlta.vdm"
    garbage = got("garbage")
    assert len(garbage) == len(whole)
    assert not zipfile.is_zipfile(io.BytesIO(garbage))
    assert got("short_zip", count=10) == whole[:-10]
    assert got("prefix", text="abc") == b"abc" + whole
    assert got("trailing", text="abc") == whole + b"abc"
    with pytest.raises(RuntimeError, match="encrypted"):
        opened(got("encrypted")).testzip()
    assert "../evil.so" in opened(got("members", add="../evil.so", drop="libmpengine.so")).namelist()
    assert opened(got("streamed")).testzip() is None
    bomb = got("bomb", size=20 << 20)
    assert len(bomb) < 100_000
    assert sum(info.file_size for info in opened(bomb).infolist()) > 20 << 20


def test_faults_of_the_version_file(service):
    target = ask(service, LINUX + "&action=info").location

    def got(name, **options):
        service.clear_faults()
        service.fault(name, kind="info", **options)
        return ask(service, target).body

    with pytest.raises(ElementTree.ParseError):
        ElementTree.fromstring(got("bad_xml"))
    assert got("entity_bomb").count(b"<!ENTITY") == 11
    assert b"SYSTEM 'file:///etc/hostname'" in got("external_entity")
    assert len(got("huge_xml", size=1 << 20)) > 1 << 20
    assert ElementTree.fromstring(got("versions", engine=None)).find("engine") is None
    assert ElementTree.fromstring(got("versions", signatures="-1.2")).findtext("signatures") == "-1.2"
    assert got("text", body="anything") == b"anything"


def test_redirects(service):
    regular = ask(service, LINUX).headers["Location"]

    def location(**options):
        service.clear_faults()
        service.fault("redirect", kind="redirect", **options)
        return ask(service, LINUX).headers["Location"]

    assert location(to="loop") == service.url + "?linkid=2144709"
    assert location(to="foreign") == regular.replace("127.0.0.1", "localhost")
    assert location(to="plain") == regular.replace(str(service.port), str(service.control_port))
    assert location(to="relative") == regular[len(service.origin) :]
    assert location(to="nowhere") is None
    assert location(to="endless") != location(to="endless")
    assert location(to="https://example.com/") == "https://example.com/"


def test_wrong_ranges(service):
    target = package_target(service)
    whole = ask(service, target).body
    service.fault("ignore_range", kind="package", times=1)
    ignored = ask(service, target, Range="bytes=100-")
    assert (ignored.status, ignored.body) == (200, whole)
    service.fault("wrong_range", kind="package", times=1)
    wrong = ask(service, target, Range="bytes=100-")
    assert (wrong.status, wrong.headers["Content-Range"].split("-")[0]) == (206, "bytes 99")
    service.fault("unsatisfiable", kind="package", times=2)
    assert ask(service, target, Range="bytes=100-").status == 416
    assert ask(service, target).status == 200
    service.fault("change_etag", kind="package")
    assert ask(service, target).headers["ETag"] != ask(service, target).headers["ETag"]


def test_a_release_is_published_between_two_requests(service):
    service.fault("publish", kind="package-redirect", times=1, definitions="1.443.509.0", size=20_000)
    assert "packageVersion=1.443.509.0" in ask(service, LINUX).location
    assert service.current[Unit("linux", "x86_64", "production")].definitions == "1.443.509.0"
    assert service.current[Unit("linux", "arm64", "production")].definitions == "1.443.508.0"


def test_throttle_and_latency(service):
    target = package_target(service)
    service.latency = 0.2
    begun = time.monotonic()
    ask(service, target)
    assert time.monotonic() - begun >= 0.2
    service.latency, service.throttle = 0.0, 50_000
    begun = time.monotonic()
    size = len(ask(service, target).body)
    assert time.monotonic() - begun >= size / 50_000 * 0.8


def test_tls_and_client_certificates(service, tmp_path):
    authority = Authority(tmp_path / "ca")
    server = authority.issue("server", ["127.0.0.1", "localhost"])
    client = authority.issue("client")
    service.tls = server.server_context(client_ca=authority.cert)
    trusting = ssl.create_default_context(cafile=str(authority.cert))
    with pytest.raises(OSError):
        ask(service, LINUX, connection=http.client.HTTPSConnection("127.0.0.1", service.port, context=trusting))
    trusting.load_cert_chain(str(client.cert), str(client.key))
    connection = http.client.HTTPSConnection("127.0.0.1", service.port, context=trusting)
    assert ask(service, LINUX, connection=connection).headers["Location"].startswith("https://127.0.0.1")
    connection.close()
    expired = authority.issue("expired", ["127.0.0.1"], days=-1)
    service.tls = expired.server_context()
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        ask(service, LINUX, connection=http.client.HTTPSConnection("127.0.0.1", service.port, context=trusting))


def test_the_records_contain_what_was_sent(service):
    target = package_target(service)
    body = ask(service, target, User_Agent="test/1").body
    assert service.wait_for(lambda: service.requests[-1].finished)
    record = service.asked("package", "GET")[0].as_json()
    assert record["bytes_sent"] == len(body)
    assert record["headers"]["user-agent"] == "test/1"
    assert record["unit"] == {"platform": "linux", "arch": "x86_64", "ring": "production"}


def test_the_command_serves_and_controls_the_service(tmp_path):
    ready = tmp_path / "ready.json"

    def run(*arguments):
        return subprocess.run(
            [sys.executable, COMMAND, arguments[0], "--ready-file", ready, *arguments[1:]],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    serving = subprocess.Popen(
        [sys.executable, COMMAND, "serve", "--directory", tmp_path / "d", "--ready-file", ready, "--size", "20000"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        address = json.loads(serving.stdout.readline())
        assert address == json.loads(ready.read_text())
        assert address["pid"] == serving.pid
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(address["url"]).netloc, timeout=60)

        published = run("publish", "--definitions", "1.443.509.0", "--platform", "linux", "--size", "20000")
        assert published.returncode == 0, published.stderr
        assert {json.loads(line)["definitions"] for line in published.stdout.splitlines()} == {"1.443.509.0"}
        assert run("publish", "--definitions", "newest").returncode == 2

        assert run("fault", "status", "--kind", "redirect", "--option", "code=404").returncode == 0
        assert ask(None, LINUX, connection=connection).status == 404
        assert [json.loads(line)["name"] for line in run("fault").stdout.splitlines()] == ["status"]
        assert run("fault", "--clear").returncode == 0
        assert "packageVersion=1.443.509.0" in ask(None, LINUX, connection=connection).location
        connection.close()

        records = [json.loads(line) for line in run("requests").stdout.splitlines()]
        assert [record["status"] for record in records] == [404, 302]
        unknown = run("fault", "no_such_fault")
        assert unknown.returncode == 2
        assert all(name in unknown.stderr for name in fault_names())
    finally:
        os.kill(serving.pid, signal.SIGTERM)
        assert serving.wait(60) == 0
    gone = run("requests")
    assert gone.returncode == 1
    assert "Traceback" not in gone.stderr
