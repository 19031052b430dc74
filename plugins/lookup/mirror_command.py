# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookup mde.offline.mirror_command: packs the mirror's command, so that a copy task can install it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: mirror_command
author:
  - The mde.offline contributors (@mde-offline)
version_added: 0.1.0
short_description: Packs the command mde-mirror on the controller
description:
  - Packs the mirror engine that is part of this collection as one executable file and returns its path on the
    controller.
  - The file is the same, byte for byte, for the same version of the collection, so that installing it again changes
    nothing.
  - The file is in the temporary folder of the running C(ansible-playbook) and is removed with it.
options:
  _terms:
    description: The lookup takes no terms.
    type: list
    elements: str
  interpreter:
    description: The Python (3.8 or newer) on the mirror host that the file names in its first line.
    type: str
    default: /usr/bin/env python3
seealso:
  - plugin: ansible.builtin.copy
    plugin_type: module
"""

EXAMPLES = r"""
- name: Install the mirror's command
  ansible.builtin.copy:
    src: "{{ lookup('mde.offline.mirror_command') }}"
    dest: /usr/local/bin/mde-mirror
    mode: "0755"
"""

RETURN = r"""
_raw:
  description: One absolute path of a file on the controller.
  type: list
  elements: str
  sample:
    - /home/admin/.ansible/tmp/ansible-local-4242abcdef/mde-mirror-5f1c4d0a
"""

import hashlib
import os
import typing as t
from pathlib import Path

from ansible import constants as C
from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible_collections.mde.offline.plugins.module_utils._mirror.pack import build_command


class LookupModule(LookupBase):
    def run(self, terms: list[t.Any], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[str]:
        self.set_options(var_options=variables, direct=kwargs)
        if terms:
            raise AnsibleError("The lookup mde.offline.mirror_command takes no terms, only interpreter=.")
        interpreter = self.get_option("interpreter")
        local_tmp: str = C.DEFAULT_LOCAL_TMP  # type: ignore[attr-defined]  # constants are made when Ansible starts
        path = Path(local_tmp) / f"mde-mirror-{hashlib.sha256(interpreter.encode()).hexdigest()[:8]}"
        # Forks share the folder, so each fork writes a file with its own name and renames it when it is complete.
        staged = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            build_command(str(staged), interpreter, compiled=False)
            staged.replace(path)
        except OSError as error:
            raise AnsibleError(
                f"The command mde-mirror could not be packed in {local_tmp}: {error.strerror}. "
                "Free some space there, or let Ansible use another folder (setting local_tmp)."
            ) from error
        return [str(path)]
