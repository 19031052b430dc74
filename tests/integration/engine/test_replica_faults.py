"""The faults of the simulated service with a replica, which publishes no damaged package and reports the cause."""

from __future__ import annotations

import shutil

import pytest

from simulators.download_service import CONTENT_FAULTS, Body, Content, DownloadService, Response, Unit, representation
from tests.support.engine import BACK, HASTY, PATIENT, PRODUCTION, ChannelMirror, folders

from .test_mirror_faults import CASES

OTHER = folders("production")[1]
# Faults of the XML with the versions do not apply to status.json.
ABOUT_XML = ("bad_xml", "entity_bomb", "external_entity", "huge_xml", "versions")
# A valid package that differs from the announced one counts as a new release during the download.
ANOTHER = {"bad_versions": "bad_status", "unexpected_content": "unexpected_content versions_moved"}


class MirrorService(DownloadService):
    """The simulated service with its faults, which serves the root of a mirror: `info` is status.json."""

    root = None

    def identify(self, exchange):
        parts = exchange.path.strip("/").split("/")
        if parts == ["status.json"]:
            exchange.kind, exchange.unit = "info", Unit("linux", "x86_64", "production")
        elif len(parts) == 4 and parts[-1] == "updates.zip":
            exchange.kind, exchange.unit = "package", Unit(parts[0], parts[2][len("arch_") :], parts[1])

    def documented_response(self, exchange, faults):
        path = self.root / exchange.path.strip("/")
        if exchange.unit is None or not path.is_file():
            return Response(404, {"Content-Type": "text/plain"}, Body(b"there is nothing at this address\n"))
        stat = path.stat()
        kind = "application/json" if exchange.kind == "info" else "application/zip"
        content = Content(Body(path=path), kind, f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"', stat.st_mtime, self.ranges)
        for fault in faults:
            if fault.name in CONTENT_FAULTS:
                CONTENT_FAULTS[fault.name](self, exchange, content, fault.options)
        return representation(exchange, content)


def concerns(case):
    if case.kind == "info":
        return case.fault not in ABOUT_XML
    return case.kind == "package" and case.fault != "publish" and not case.settings.get("verify")


@pytest.fixture(scope="module")
def upstream(tmp_path_factory, first_release, running_service, authority, server_certificate):
    """A mirror with release 2, which the simulated service serves."""
    made = ChannelMirror(tmp_path_factory.mktemp("upstream"), running_service, authority.cert)
    shutil.copytree(first_release, made.root, symlinks=True)
    running_service.clear_faults()
    made.publish(2)
    with MirrorService(tmp_path_factory.mktemp("unused"), tls=server_certificate.server_context()) as service:
        service.root = made.root
        yield service


@pytest.fixture
def replica(tmp_path, upstream, first_release, authority):
    upstream.clear_faults()
    made = ChannelMirror(tmp_path / "replica", upstream, authority.cert)
    made.configure(channels=[], source={"type": "mirror", "url": f"{upstream.origin}/"})
    shutil.copytree(first_release, made.root, symlinks=True)
    yield made
    upstream.clear_faults()


@pytest.mark.parametrize("struck", [case for case in CASES if concerns(case)], ids=str)
def test_a_fault_of_the_other_mirror_does_not_affect_other_units(replica, upstream, struck):
    before = replica.snapshot()
    replica.configure(**struck.settings)
    upstream.fault(struck.fault, kind=struck.kind, arch="x86_64", **struck.options)

    run = replica.sync()

    assert run.status == 1, run.text
    error = run.error(PRODUCTION)
    codes = " ".join(ANOTHER.get(code, code) for code in struck.codes.split())
    assert error["code"] in codes.split(), error
    assert error["message"] and error["hint"]
    assert run.outcomes() == {
        PRODUCTION: "failed",
        OTHER: "failed" if struck.kind == "info" else "updated",
    }
    assert replica.served(PRODUCTION) == before[PRODUCTION]
    replica.check()
    assert replica.status()["last_sync"]["result"] == "failed"

    upstream.clear_faults()
    replica.configure(source=PATIENT)
    replica.sync_well()
    assert replica.numbers("production") == [2, 2]
    assert replica.served(BACK) == before[PRODUCTION]
    replica.agree()


def test_a_certificate_that_is_not_trusted(replica, upstream, tmp_path):
    replica.configure(source={"caFile": None})
    run = replica.sync()
    assert {unit["error"]["code"] for unit in run.report["units"]} == {"tls"}
    assert replica.numbers("production") == [1, 1]


@pytest.mark.parametrize("fault", ["refuse_handshake", "stall_handshake"])
def test_connections_that_fail(replica, upstream, fault):
    replica.configure(source=HASTY)
    upstream.fault(fault)
    run = replica.sync()
    assert run.status == 1
    assert {unit["error"]["code"] for unit in run.report["units"]} <= {"tls", "timeout", "connection"}
    assert replica.numbers("production") == [1, 1]


@pytest.mark.parametrize("fault", ["status", "truncate", "reset", "close", "empty", "html"])
@pytest.mark.parametrize("kind", ["info", "package"])
def test_a_temporary_failure_is_retried(replica, upstream, kind, fault):
    replica.configure(source={"retries": 2})
    upstream.fault(fault, kind=kind, times=1, **({"code": 503} if fault == "status" else {}))
    replica.sync_well()
    assert replica.numbers("production") == [2, 2]
