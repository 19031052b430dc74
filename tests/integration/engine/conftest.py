"""Fixtures of the tests of `mde-mirror`: the simulated service over TLS, mirrors, and web servers."""

from __future__ import annotations

import contextlib
import shutil
import sys

import pytest

from simulators.certificates import Authority
from simulators.download_service import DownloadService
from tests.support.engine import (
    ENGINE,
    FIRST,
    SIZE,
    UNITS,
    ChannelMirror,
    Mirror,
    Patience,
    tmpfs_mounts,
    version,
)
from tests.support.web import MirrorServer, running
from tools.collection_tree import CHECKOUT


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def server_certificate(authority):
    return authority.issue("server", ["127.0.0.1", "localhost"])


@pytest.fixture(scope="session")
def running_service(tmp_path_factory, server_certificate):
    with DownloadService(tmp_path_factory.mktemp("packages"), tls=server_certificate.server_context()) as service:
        yield service


@pytest.fixture
def service(running_service, server_certificate):
    """The service in its initial state: one release for all units, no faults, no records."""
    running_service.publish(FIRST, ENGINE, size=SIZE)
    running_service.clear_requests()
    yield running_service
    # The reset comes after the test, because fixtures of the session are created before the first test.
    running_service.clear_faults()
    running_service.tls = server_certificate.server_context()
    running_service.latency = running_service.throttle = 0.0
    running_service.etag = running_service.last_modified = running_service.ranges = True


@pytest.fixture
def unsynced(tmp_path, service, authority):
    """A mirror before its first sync."""
    return Mirror(tmp_path, service, authority.cert)


@pytest.fixture(scope="session")
def seed(tmp_path_factory, running_service, authority):
    """The root of a mirror that serves the first release in four units; tests get copies of it."""
    running_service.publish(FIRST, ENGINE, size=SIZE)
    seeded = Mirror(tmp_path_factory.mktemp("seed"), running_service, authority.cert)
    run = seeded.sync_well()
    assert run.outcomes() == dict.fromkeys(UNITS, "updated")
    return seeded.root


@pytest.fixture
def filled(seed, unsynced):
    """A mirror that serves the first release in four units."""
    shutil.copytree(seed, unsynced.root, symlinks=True)
    unsynced.service.clear_requests()
    return unsynced


@pytest.fixture
def new_mirror(tmp_path, service, authority):
    """Makes mirrors with channels of their own: `new_mirror("name")`."""

    def make(name="mirror", **settings):
        made = ChannelMirror(tmp_path / name, service, authority.cert)
        made.configure(**settings)
        return made

    return make


@pytest.fixture(scope="session")
def first_release(tmp_path_factory, running_service, authority):
    """The root of a mirror with channels of its own that serves release 1; tests get copies of it."""
    made = ChannelMirror(tmp_path_factory.mktemp("first"), running_service, authority.cert)
    made.publish(1)
    return made.root


@pytest.fixture
def mirror(new_mirror, first_release, service):
    """A mirror with channels of its own that serves release 1, as the service does."""
    service.publish(version(1), size=SIZE)
    made = new_mirror()
    shutil.copytree(first_release, made.root, symlinks=True)
    return made


@pytest.fixture
def patched(tmp_path):
    """Makes commands: `patched("from _mirror import x", "x.SECONDS = 1")` is mde-mirror after these lines."""

    def make(*lines):
        driver = tmp_path / "mde-mirror-patched.py"
        head = ["import sys", f"sys.path.insert(0, {str(CHECKOUT / 'plugins' / 'module_utils')!r})"]
        tail = ["from _mirror.cli import main", "sys.exit(main())", ""]
        driver.write_text("\n".join([*head, *lines, *tail]), encoding="utf-8")
        return [sys.executable, str(driver)]

    return make


@pytest.fixture
def patience(patched, tmp_path):
    return Patience(patched, tmp_path / "patience")


@pytest.fixture
def tmpfs():
    with tmpfs_mounts() as mount:
        yield mount


@pytest.fixture
def web_server():
    """Starts web servers: `web_server(mirror.root)`."""
    with contextlib.ExitStack() as cleanup:
        yield lambda root, context=None: cleanup.enter_context(running(MirrorServer(root, context)))


@pytest.fixture
def upstream(mirror, web_server):
    """A web server for a mirror that serves release 1."""
    return web_server(mirror.root)


@pytest.fixture
def replica_of(new_mirror):
    """Makes replicas of the mirror behind a web server: `replica_of(server)`. Over http, they accept unsigned data."""

    def make(server, name="replica", **source):
        made = new_mirror(name, channels=[])
        if server.url.startswith("http:") and "trustedKeys" not in source:
            source = {"unsigned": True, **source}
        made.configure(source={"type": "mirror", "url": f"{server.url}/", "caFile": None, **source})
        return made

    return make
