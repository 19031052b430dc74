#!/usr/bin/python
"""Module mde.offline.role_variables: documentation of the action plugin of that name, which does all of the work."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: role_variables
short_description: Read the variables of a role, converted and checked
version_added: 0.1.0
author:
  - The mde.offline contributors (@mde-offline)
description:
  - Reads the variables that an entry point of the role declares in C(meta/argument_specs.yml), evaluates their
    templates, converts them to the declared types, checks them, and returns them as one mapping.
  - The roles of this collection use the module as their first task. It is of no use outside of them.
  - Surveys of AWX and C(-e KEY=VALUE) give text where a boolean, an integer or a list is meant. V(false), V(3) and
    V(https) as text become a boolean, an integer and a list with one element.
  - A list may be text with commas or line breaks between the elements, or JSON or YAML text of a list. A mapping may be
    JSON or YAML text of a mapping.
  - V(null), and empty text for a type that does not allow it, count as not set, and the role's default applies.
  - Paths are not changed, because they are paths of the managed host. C(~) and C($HOME) are not expanded.
notes:
  - The module runs on the controller and does not connect to the managed host.
  - The module never fails and sets no facts. Facts are written to the fact cache, together with any password in
    them. Register the result, set C(no_log) to V(true), and let a second task refuse RV(problems).
  - Ansible checks C(meta/argument_specs.yml) itself at the beginning of a role, and refuses some of the values that
    this module converts, for instance empty text for an integer.
    O(ansible.builtin.import_role#module:rolespec_validate) set to V(false) switches that check off.
  - A name that a mapping has as a method, such as C(update), is read by its key in templates,
    C(__example['update']) and not C(__example.update).
attributes:
  check_mode:
    description: Can run in check mode.
    support: full
  diff_mode:
    description: Returns what changed.
    support: N/A
    details:
      - Nothing is changed.
  platform:
    description: Managed hosts that the module supports.
    platforms: all
    support: full
  idempotent:
    description: If it runs again with the same variables, it returns the same values.
    support: full
options:
  entry_point:
    description:
      - Entry point of the role in C(meta/argument_specs.yml).
    type: str
    default: main
  others:
    description:
      - Variables of other roles of the same collection that the role reads. They are checked by the C(argument_specs)
        of their roles, and take the defaults of those roles.
    type: list
    elements: str
    default: []
  compose:
    description:
      - What to compose from the variables if there are no problems, in the same task.
      - V(endpoint_settings) does what the filter P(mde.offline.endpoint_settings#filter) does.
    type: str
    choices: [endpoint_settings]
"""

EXAMPLES = r"""
- name: Read the role's variables
  mde.offline.role_variables:
    others: [mirror_root]
  register: __mirror_http_taken
  no_log: true
  tags: [always]

- name: Refuse variables that are not valid
  ansible.builtin.assert:
    that: not __mirror_http_taken.problems
    fail_msg: "{{ __mirror_http_taken.problems | join(' ') }}"
    quiet: true
  tags: [always]
"""

RETURN = r"""
variables:
  description:
    - The values by name. The names of the role's own variables are without the name of the role in front. The names
      of O(others) are complete.
    - A variable that is not set and has no default is V(null). A variable with a problem is left out.
  returned: always
  type: dict
  sample: {root: /srv/mde-mirror, port: 80, protocols: [https], mirror_root: /srv/mde-mirror}
problems:
  description:
    - One sentence for each variable that is not valid, cannot be evaluated, or was renamed. The sentences contain no
      value of a variable that is marked with C(no_log) in C(meta/argument_specs.yml).
  returned: always
  type: list
  elements: str
  sample:
    - mirror_http_port has to be an integer. The value is "http".
    - mirror_back was renamed to mirror_keep_previous. Set mirror_keep_previous instead and remove mirror_back.
composed:
  description: The result of O(compose). Its problems are those of RV(problems).
  returned: when O(compose) is set and all variables are valid
  type: dict
  sample: {problems: [], start: configure, mirror_url: http://mirror.example.com/linux/production/}
"""
