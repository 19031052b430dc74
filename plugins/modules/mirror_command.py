#!/usr/bin/python
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Installs the command mde-mirror on a host, with code that is compiled for the Python of that host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mirror_command
short_description: Install the command mde-mirror
version_added: 0.1.0
author:
  - The mde.offline contributors (@mde-offline)
description:
  - Packs the mirror engine that is part of this collection as one executable file and installs it on the host.
  - The file contains the sources of the engine and their compiled code, for the Python that runs this module. With that
    Python, the command starts without compiling anything. With another Python, for instance after an upgrade of the
    host, the command compiles the sources at each start until this module runs again.
options:
  path:
    description: The file to install.
    type: path
    required: true
  interpreter:
    description:
      - The Python (3.8 or newer) that the first line of the file names.
      - Set C(ansible_python_interpreter) in the C(vars) of the task, so that this module runs with the same Python.
    type: str
    default: /usr/bin/env python3
  mode:
    default: "0755"
extends_documentation_fragment:
  - ansible.builtin.files
  - mde.offline.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
seealso:
  - plugin: mde.offline.mirror_command
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Install the mirror's command
  mde.offline.mirror_command:
    path: /usr/local/bin/mde-mirror
    owner: root
    group: root

- name: Install the mirror's command for a Python that Ansible does not use on this host
  mde.offline.mirror_command:
    path: /usr/local/bin/mde-mirror
    interpreter: /usr/bin/python3.12
  vars:
    ansible_python_interpreter: /usr/bin/python3.12
"""

RETURN = r"""
path:
  description: The file that is installed.
  returned: success
  type: str
  sample: /usr/local/bin/mde-mirror
"""

import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

# Ansible sends a module with the files that it imports. `cli` imports the whole engine, which is what is packed.
# pylint: disable-next=unused-import
from ansible_collections.mde.offline.plugins.module_utils._mirror import cli  # noqa: F401
from ansible_collections.mde.offline.plugins.module_utils._mirror.pack import ANY_PYTHON, command_bytes, is_current


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "interpreter": {"type": "str", "default": ANY_PYTHON},
            "mode": {"type": "raw", "default": "0755"},
        },
        add_file_common_args=True,
        supports_check_mode=True,
    )
    path, interpreter = Path(module.params["path"]), module.params["interpreter"]
    if path.is_dir():
        module.fail_json(msg=f"{path} is a folder. Name the file to install.", path=str(path))
    if not module.check_mode and not path.parent.is_dir():
        module.fail_json(msg=f"The folder {path.parent} does not exist. Create it first.", path=str(path))
    changed = not is_current(path, interpreter)
    if changed and not module.check_mode:
        with tempfile.NamedTemporaryFile(dir=module.tmpdir, delete=False) as staged:
            staged.write(command_bytes(interpreter, compiled=True))
        module.atomic_move(staged.name, str(path), unsafe_writes=module.params["unsafe_writes"])
    if path.exists():
        attributes = module.load_file_common_arguments(module.params, str(path))
        changed = module.set_fs_attributes_if_different(attributes, changed)
    module.exit_json(changed=changed, path=str(path))


if __name__ == "__main__":
    main()
