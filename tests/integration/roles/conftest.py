"""Fixtures of the tests of roles and playbooks: Ansible, the download service, and a web server for a mirror."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from simulators.download_service import DownloadService
from simulators.static_web_server import StaticWebServer
from tests.support.agent import OLD, publish
from tests.support.ansible_runs import Ansible


@pytest.fixture
def ansible(tmp_path: Path) -> Ansible:
    return Ansible(tmp_path)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[DownloadService]:
    with DownloadService(tmp_path / "service") as running:
        running.publish(OLD, platform="linux", ring="production")
        yield running


@pytest.fixture
def served(tmp_path: Path) -> Iterator[StaticWebServer]:
    """The URL of the mirror that `mirror_variables` of the same test sets up."""
    with StaticWebServer(tmp_path / "mirror" / "two words" / "srv") as running:
        yield running


@pytest.fixture
def mirror(tmp_path: Path, served: StaticWebServer) -> str:
    """The URL of a mirror whose files were created without a sync."""
    publish(tmp_path / "mirror/two words/srv", OLD)
    return served.url
