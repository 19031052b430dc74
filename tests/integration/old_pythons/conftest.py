"""Fixtures with the Pythons of old endpoints, and with the last ansible-core that supports them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.old_pythons.plays import Plays
from tests.support import cores
from tools import interpreters

ENDPOINT_PYTHONS = ("2.7", "3.6")


@pytest.fixture(scope="session")
def core_2_16() -> Path:
    """The ansible-playbook of the last ansible-core that supports these Pythons."""
    return cores.ansible_playbook("2.16")


@pytest.fixture(params=ENDPOINT_PYTHONS)
def old_python(request: pytest.FixtureRequest) -> Path:
    """Each Python of old endpoints that is installed."""
    found = interpreters.find(request.param)
    if found is None:
        pytest.skip(f"NOT TESTED on Python {request.param}: it is neither on PATH nor in pyenv")
    return found


@pytest.fixture
def old_plays(core_2_16: Path, old_python: Path, tmp_path: Path) -> Iterator[Plays]:
    """Runs tasks with ansible-core 2.16. The modules run with an old Python in the C locale."""
    yield Plays(core_2_16, old_python, tmp_path, os.environ["ANSIBLE_COLLECTIONS_PATH"])
