"""Fixtures of the tests of endpoint modules."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from simulators.static_web_server import StaticWebServer

from .site import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "mirror").mkdir()
    with StaticWebServer(tmp_path / "mirror") as server:
        yield Site(tmp_path, f"{server.url}/linux/production/")
