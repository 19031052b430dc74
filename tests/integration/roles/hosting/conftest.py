"""Fixtures of the tests of hosting, which are skipped with a message if nginx is not installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ansible_runs import Ansible
from tests.support.nginx import Hosting, Server, find


@pytest.fixture(scope="session")
def nginx() -> str:
    found = find("nginx")
    if not found:
        pytest.skip("nginx is not installed; the hosting of a mirror is not tested (apt-get install nginx-light)")
    return found


@pytest.fixture
def hosting(tmp_path: Path, nginx: str) -> Iterator[Hosting]:
    server = Server(tmp_path)
    yield Hosting(Ansible(tmp_path), server)
    server.stop()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, nginx: str) -> Iterator[Hosting]:
    """A host that is shared by the tests of a file that change nothing."""
    folder = tmp_path_factory.mktemp("shared")
    server = Server(folder)
    yield Hosting(Ansible(folder), server)
    server.stop()
