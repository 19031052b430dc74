#!/usr/bin/python
"""Module mde.offline.definitions_update: updates the definitions of a host and proves that they moved."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
module: definitions_update
short_description: Update the definitions of Microsoft Defender for Endpoint, and prove it
version_added: 0.1.0
author:
  - The mde.offline contributors (@mde-offline)
description:
  - Runs C(mdatp definitions update) with a time limit, then waits until the agent's health shows the result.
  - Can demand a version, for example what the mirror publishes, and fails if the host does not reach it.
  - Where the host has the demanded version already, the agent is not asked to update.
  - Where the agent updates from is part of its managed configuration, see M(mde.offline.managed_config).
extends_documentation_fragment:
  - mde.offline.attributes
  - mde.offline.endpoint
attributes:
  check_mode:
    support: partial
    details:
      - Predicts a change if O(version) is given or the mirror's versions can be read; otherwise RV(msg) says that the
        outcome is unknown.
  diff_mode:
    support: full
  idempotent:
    support: full
    details:
      - A newer release on the mirror in between makes a difference, of course.
options:
  timeout:
    description:
      - Seconds that C(mdatp definitions update) may take. It downloads some hundred megabytes, and was seen to hang
        for minutes.
      - The other calls of the command get at most 30 seconds each.
    default: 300
  wait:
    description:
      - Seconds to wait until the health of the agent shows the result, which lags behind the command.
      - Without O(version) and without a mirror to compare with, nothing tells that there was nothing new; then health
        has to stay as it is
        for 15 seconds.
    type: int
    default: 60
  version:
    description:
      - Version of the definitions that the host must have afterwards, or a later one.
      - V(mirror) demands what the mirror publishes for this host's architecture.
    type: str
  exact:
    description:
      - Demand exactly O(version), for example after the mirror went back to an older release.
    type: bool
    default: false
  mirror_url:
    description:
      - Address or directory of the mirror to compare with. It does not change where the agent updates from.
      - Without it, the address that the host is configured with is asked.
    type: str
  max_age_hours:
    description:
      - Age from which definitions count as stale, in hours, as for M(mde.offline.health_info).
    type: int
    default: 168
seealso:
  - module: mde.offline.health_info
  - module: mde.offline.managed_config
"""

EXAMPLES = r"""
- name: Update the definitions
  mde.offline.definitions_update:

- name: Update to what the mirror publishes, and fail if the host does not get there
  mde.offline.definitions_update:
    version: mirror
    mirror_url: http://mirror.example.com/linux/production/

- name: Demand a version, and try twice more where the agent hangs
  mde.offline.definitions_update:
    version: 1.443.508.0
    timeout: 600
  register: __mde_update
  retries: 2
  delay: 30
  until: __mde_update is succeeded
"""

RETURN = r"""
msg:
  description: What happened, or why it failed and what to do.
  returned: always
  type: str
  sample: Definitions went from 1.443.1.0 to 1.443.508.0.
before:
  description: Versions before the update, null where the agent did not say.
  returned: always
  type: dict
  sample:
    definitions_version: 1.443.1.0
    engine_version: 1.1.25100.9002
after:
  description: Versions after the update; in check mode, the predicted ones.
  returned: always
  type: dict
  sample:
    definitions_version: 1.443.508.0
    engine_version: 1.1.25110.3002
health:
  description: The record of the agent's health after the update, as M(mde.offline.health_info) returns it.
  returned: always
  type: dict
  sample:
    fields:
      definitions_status: up_to_date
      definitions_version: 1.443.508.0
    managed: []
    notices: []
    format: json
findings:
  description: What is wrong or risky on this host afterwards, as M(mde.offline.health_info) returns it.
  returned: always
  type: list
  elements: dict
  sample: []
mirror:
  description:
    - What the mirror publishes, as M(mde.offline.health_info) returns it; null if there is no mirror or no usable
      answer.
  returned: always
  type: dict
  sample:
    arch: x86_64
    definitions_version: 1.443.508.0
    engine_version: 1.1.25110.3002
    location: http://mirror.example.com/linux/production/
raw:
  description: What each command printed when it ran last, as M(mde.offline.health_info) returns it.
  returned: always
  type: list
  elements: dict
  sample:
    - command: mdatp definitions update
      rc: 0
      stdout: Security intelligence is up to date
      stderr: ""
      timed_out: false
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mde.offline.plugins.module_utils._endpoint import versions
from ansible_collections.mde.offline.plugins.module_utils._endpoint.agent.mdatp import Mdatp
from ansible_collections.mde.offline.plugins.module_utils._endpoint.agent.update import Update


def run(module):
    """The result of the module."""
    params = module.params
    agent = Mdatp(path=params["mdatp"], timeout=min(30, params["timeout"]))
    wanted = {name: params[name] for name in ("timeout", "wait", "version", "exact", "mirror_url", "max_age_hours")}
    result = Update(agent, **wanted).run(module.check_mode)
    result["raw"] = agent.last_calls()
    if module._diff:
        result["diff"] = {"before": result["before"], "after": result["after"]}
    return result


def main():
    """Validates the options and answers."""
    module = AnsibleModule(
        argument_spec={
            "mdatp": {"type": "path"},
            "timeout": {"type": "int", "default": 300},
            "wait": {"type": "int", "default": 60},
            "version": {"type": "str"},
            "exact": {"type": "bool", "default": False},
            "mirror_url": {"type": "str"},
            "max_age_hours": {"type": "int", "default": 168},
        },
        supports_check_mode=True,
    )
    version = module.params["version"]
    if version is not None and version != "mirror" and versions.parse(version) is None:
        module.fail_json(msg="version must be 'mirror' or like 1.443.508.0, but is '{0}'.".format(version))
    if module.params["timeout"] < 1 or module.params["wait"] < 0 or module.params["max_age_hours"] < 1:
        module.fail_json(msg="timeout and max_age_hours must be at least 1, and wait at least 0 seconds.")
    result = run(module)
    if result.pop("failed"):
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
