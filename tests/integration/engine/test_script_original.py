"""Microsoft's own script, unmodified, as a source.

    MDE_MICROSOFT_SCRIPT=/path/to/mdatp-xplat python -m pytest tests/integration/engine/test_script_original.py

The script is not in this repository; MDE_MICROSOFT_SCRIPT is the path of a clone. The script contacts only Microsoft's
host names. A proxy connects these names to the simulated service, which has a certificate for them.
"""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.engine import ARCHITECTURES, PRODUCTION, SIZE, folders, version
from tests.support.script_repository import HOME
from tests.support.web import Proxy

from .test_script_source import PACKAGE_FAULTS, VERSIONS_FAULTS

CLONE = os.environ.get("MDE_MICROSOFT_SCRIPT", "")
NAMES = ("go.microsoft.com", "definitionupdates.microsoft.com")

pytestmark = [
    pytest.mark.skipif(not CLONE, reason="NOT TESTED: MDE_MICROSOFT_SCRIPT names no clone of mdatp-xplat"),
    # The proxy is between the script and a service that resets connections.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]


@pytest.fixture
def detour(service, authority, monkeypatch):
    certificate = authority.issue("microsoft", ["127.0.0.1", *NAMES])
    service.tls = certificate.server_context()
    port = urlsplit(service.url).port
    real = socket.create_connection

    def connected(address, *arguments, **options):
        return real(("127.0.0.1", port) if address[0] in NAMES else address, *arguments, **options)

    # In this process, only the proxy opens connections; the command is another process.
    monkeypatch.setattr(socket, "create_connection", connected)
    with Proxy("mirror", "secret") as proxy:
        yield proxy


@pytest.fixture
def original(mirror, detour, tmp_path):
    """A mirror that serves release 1, with a clone that was run manually before."""
    clone = tmp_path / "clone"
    shutil.copytree(Path(CLONE) / HOME, clone / HOME)
    (clone / HOME / "settings.json").write_text('{"downloadFolder": "/nowhere"}', encoding="utf-8")
    mirror.configure(
        channels=[],
        source={
            "type": "script",
            "path": str(clone),
            "url": None,
            "proxy": f"http://mirror:secret@127.0.0.1:{detour.port}",
            "allowedHosts": [*NAMES, "127.0.0.1"],
        },
    )
    return mirror


def test_packages_of_the_original_script_are_published(original, service, detour):
    shutil.rmtree(original.root)
    original.configure(downloadPreviewUpdates=True, downloadMacUpdates=True)
    run = original.publish(2)
    assert len(run.outcomes()) == 8
    assert set(run.outcomes().values()) == {"updated"}
    assert "go.microsoft.com:443" in detour.tunnels
    # There are manifests of one platform only, and of one architecture only.
    for options in ({"platform": "mac"}, {"platform": "linux", "arch": "arm64"}):
        service.publish(version(3), size=SIZE, **options)
        original.sync_well()
    assert original.numbers("production") == [2, 3]
    assert original.sync_well().report["changed"] is False
    original.agree()


@pytest.mark.parametrize("fault", PACKAGE_FAULTS)
def test_an_invalid_package_is_not_published(original, service, fault):
    name, options = PACKAGE_FAULTS[fault]
    service.publish(version(2), size=SIZE)
    service.fault(name, kind="package", arch="x86_64", **options)
    before = original.snapshot()
    run = original.sync()
    assert (run.status, run.outcomes()[PRODUCTION]) == (1, "failed")
    assert original.served() == before[PRODUCTION]
    assert original.numbers("production") == [1, 2]
    service.clear_faults()
    original.sync_well()
    assert original.numbers("production") == [2, 2]
    assert original.numbers("production_back") == [1, 1]
    original.agree()


@pytest.mark.parametrize("fault", VERSIONS_FAULTS)
def test_invalid_versions_are_not_published(original, service, fault):
    name, options = VERSIONS_FAULTS[fault]
    service.publish(version(2), size=SIZE)
    service.fault(name, kind="info", arch="x86_64", skip=2, **options)
    run = original.sync()
    assert (run.status, run.outcomes()[PRODUCTION]) == (1, "failed")
    assert original.serves(PRODUCTION) == 1
    service.clear_faults()
    original.sync_well()
    assert original.numbers("production") == [2, 2]


def test_a_release_between_package_and_versions(original, service):
    service.publish(version(2), size=SIZE)
    service.fault("publish", kind="package", arch="x86_64", times=1, definitions=version(3), size=SIZE)
    run = original.sync()
    assert (run.status, run.error()["code"]) == (1, "versions_moved")
    assert original.serves(PRODUCTION) == 1
    original.sync_well()
    assert original.serves(PRODUCTION) == 3


@pytest.mark.parametrize("failing", ARCHITECTURES)
def test_the_first_failure_of_the_script_does_not_end_the_sync(original, service, failing):
    service.publish(version(2), size=SIZE)
    service.fault("reset", kind="package", arch=failing)
    run = original.sync()
    assert run.outcomes() == {path: "failed" if path.endswith(failing) else "updated" for path in folders("production")}
    service.clear_faults()
    original.sync_well()
    original.agree()
