"""Fixtures with the Pythons of old endpoints, and with the last ansible-core that supports them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.ansible_runs import Ansible
from tools import interpreters

ENDPOINT_PYTHONS = ("2.7", "3.6")


@pytest.fixture(params=ENDPOINT_PYTHONS)
def old_python(request: pytest.FixtureRequest) -> Path:
    """Each Python of old endpoints that is installed."""
    found = interpreters.find(request.param)
    if found is None:
        pytest.skip(f"NOT TESTED on Python {request.param}: it is neither on PATH nor in pyenv")
    return found


@pytest.fixture
def old_ansible(old_python: Path, tmp_path: Path) -> Ansible:
    """ansible-core 2.16, which runs the modules with an old Python."""
    ansible = Ansible(tmp_path, old_python)
    ansible.use_core("2.16")
    return ansible
