# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookup mde.offline.playbook_problems: what is wrong with the variables of the playbooks, beyond their types."""

from __future__ import annotations

DOCUMENTATION = r"""
name: playbook_problems
author:
  - The mde.offline contributors (@mde-offline)
version_added: 0.1.0
short_description: Check the variables of the playbooks of the collection
description:
  - Returns one sentence for each variable whose name is close to that of a variable of the playbooks, and for each
    value that is out of range.
  - The playbooks of this collection use the lookup in their first play. It is of no use outside of them.
options:
  _terms:
    description: The variables of the playbooks as M(mde.offline.role_variables) returns them, as one mapping.
    type: list
    elements: dict
    required: true
seealso:
  - module: mde.offline.role_variables
"""

EXAMPLES = r"""
- name: Refuse variables of the playbook that are not valid
  ansible.builtin.assert:
    that: query('mde.offline.playbook_problems', __taken.variables) | length == 0
"""

RETURN = r"""
_raw:
  description: The sentences; none if all is well.
  type: list
  elements: str
  sample:
    - No playbook has the variable mde_seriall. Set mde_serial instead, or choose another name.
"""

import typing as t

from ansible.plugins.lookup import LookupBase
from ansible_collections.mde.offline.plugins.plugin_utils._roles import playbook_variables


class LookupModule(LookupBase):
    def run(self, terms: list[t.Any], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[str]:
        return playbook_variables.problems(terms[0], variables or {})
