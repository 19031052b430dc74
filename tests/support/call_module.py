"""Runs one module through Ansible. This is the only file that uses pytest-ansible.

usage: call_module.py MODULE JSON-ARGUMENTS     prints the module's result as JSON

pytest-ansible ends in December 2026. Its pytest plugin is disabled (pyproject.toml), and only its host manager is used
here. To replace it, rewrite the function `call`, which returns the result of a module on localhost.
The tests start this file as a program, because Ansible installs import hooks into the running interpreter.
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
