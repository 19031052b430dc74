"""Fixtures of the tests of endpoint modules."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from simulators.static_web_server import StaticWebServer
from tests.support.agent import UpdatingAgent


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[UpdatingAgent]:
    (tmp_path / "mirror").mkdir()
    with StaticWebServer(tmp_path / "mirror") as server:
        yield UpdatingAgent(tmp_path, tmp_path / "mirror", f"{server.url}/linux/production/")
