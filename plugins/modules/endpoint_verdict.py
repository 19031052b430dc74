#!/usr/bin/python
"""Module mde.offline.endpoint_verdict: documentation of the action plugin of that name, which does all of the work."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: endpoint_verdict
short_description: Decide whether an endpoint updates from its mirror, and what to do next
version_added: 0.1.0
author:
  - The mde.offline contributors (@mde-offline)
description:
  - Does what the filter P(mde.offline.endpoint_verdict#filter) does, as a task.
  - The role C(mde.offline.endpoint) uses the module. Ansible loads all filters of a collection for a template that uses
    one of them, in each task and for each host. With the module, a host without changes needs no filter.
notes:
  - The module runs on the controller and does not connect to the managed host.
  - The module itself does not fail. Use RV(verdict) in a second task to fail the host.
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
    description: If it runs again with the same options, it returns the same verdict.
    support: full
options:
  result:
    description: As the input of P(mde.offline.endpoint_verdict#filter).
    type: dict
    required: true
  variables:
    description: As O(mde.offline.endpoint_verdict#filter:options).
    type: dict
    required: true
  changed:
    description: As O(mde.offline.endpoint_verdict#filter:changed).
    type: bool
    default: false
  requirements:
    description: As O(mde.offline.endpoint_verdict#filter:requirements).
    type: dict
    default: {}
  measure:
    description: As O(mde.offline.endpoint_verdict#filter:measure).
    type: bool
    default: false
seealso:
  - plugin: mde.offline.endpoint_verdict
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Collect the health of the host
  mde.offline.health_info:
  register: __example_health_result
  failed_when: false

- name: Decide whether the host is protected
  mde.offline.endpoint_verdict:
    result: "{{ __example_health_result }}"
    variables:
      update: false
      fail_on: error
      preflight: never
  register: __example_verdict_result

- name: Fail the host if it is not protected as it should be
  ansible.builtin.assert:
    that: not __example_verdict_result.verdict.failed
    fail_msg: "{{ __example_verdict_result.verdict.lines }}"
"""

RETURN = r"""
verdict:
  description: The mapping that P(mde.offline.endpoint_verdict#filter) returns.
  returned: always
  type: dict
  sample:
    next: verify
    preflight: false
    update_again: false
    faults: []
    failed: false
    lines: ["definitions 1.443.508.0, engine 1.1.25110.3002, agent 101.26062.0007"]
"""
