"""Calls one module through Ansible, in a process of its own: the one file that knows pytest-ansible.

usage: door.py MODULE JSON-ARGUMENTS     prints the module's result as JSON

pytest-ansible ends in December 2026. Its pytest plugin is switched off (pyproject.toml); only its host manager is used,
here. To replace it, give `call` another body that returns what a module returned on localhost; nothing else changes.
A process of its own, because it puts Ansible's import hooks into the interpreter that it runs in.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from ansible.plugins.loader import init_plugin_loader
from pytest_ansible.host_manager.utils import get_host_manager


def call(module: str, arguments: dict[str, Any]) -> dict[str, Any]:
    init_plugin_loader()
    hosts = get_host_manager(inventory="localhost,", host_pattern="localhost", connection="local")
    return dict(getattr(hosts["localhost"], module)(**arguments)["localhost"])


if __name__ == "__main__":
    json.dump(call(sys.argv[1], json.loads(sys.argv[2])), sys.stdout, default=str)
