#!/usr/bin/python
"""Module mde.offline.definitions_update: updates the definitions of a host and verifies the result."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
module: definitions_update
short_description: Update the definitions of Microsoft Defender for Endpoint, and verify the result
version_added: 0.1.0
author:
  - The mde.offline contributors (@mde-offline)
description:
  - Runs C(mdatp definitions update) with a time limit, then waits until the agent's health shows the result.
  - With O(version), fails if the host does not have that version afterwards, for example the one on the mirror.
  - If the host already has that version, no update is started.
  - The source of updates is part of the managed configuration of the agent, see M(mde.offline.managed_config).
extends_documentation_fragment:
  - mde.offline.attributes
  - mde.offline.endpoint
attributes:
  check_mode:
    support: partial
    details:
      - Predicts a change if O(version) is set or the versions on the mirror can be read; otherwise RV(msg) says that
        the outcome is unknown.
  diff_mode:
    support: full
  idempotent:
    support: full
    details:
      - Unless the mirror publishes a newer release between two runs.
options:
  timeout:
    description:
      - Time limit in seconds for C(mdatp definitions update), which downloads some hundred megabytes and may hang for
        minutes.
      - Other calls of the command have a limit of at most 30 seconds.
    default: 300
  wait:
    description:
      - Seconds to wait until the health of the agent shows the result, which takes longer than the command.
      - Without O(version) and without a mirror, the module cannot know whether there was a newer version. It then waits
        until the health has not changed for 15 seconds.
    type: int
    default: 60
  version:
    description:
      - Version of the definitions that the host must have afterwards, or a later one.
      - V(mirror) stands for the version that the mirror publishes for the architecture of this host.
    type: str
  exact:
    description:
      - Require exactly O(version), for example after a rollback on the mirror. A host with newer definitions is then
        updated too, and RV(msg) says that they were rolled back.
      - If the definitions of such a host stay, the module fails. It is not documented whether the agent takes older
        definitions than it has.
    type: bool
    default: false
  mirror_url:
    description:
      - Address or folder of the mirror to compare with. It does not change the source of the agent's updates.
      - By default, the mirror that is configured on the host.
    type: str
  max_age_hours:
    description:
      - Age in hours from which definitions count as stale, as in M(mde.offline.health_info).
    type: int
    default: 168
  managed_file:
    description:
      - Path of the managed configuration. Only root should be able to write this file.
    type: path
    default: /etc/opt/microsoft/mdatp/managed/mdatp_managed.json
seealso:
  - module: mde.offline.health_info
  - module: mde.offline.managed_config
"""

EXAMPLES = r"""
- name: Update the definitions
  mde.offline.definitions_update:

- name: Update to the version that the mirror publishes, and fail if the host does not reach it
  mde.offline.definitions_update:
    version: mirror
    mirror_url: http://mirror.example.com/linux/production/

- name: Bring the host to what the mirror publishes after a rollback
  mde.offline.definitions_update:
    version: mirror
    exact: true

- name: Require a version, and try twice more if the agent hangs
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
  description: Versions before the update, null if the agent did not report them.
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
  description: The health record after the update, as M(mde.offline.health_info) returns it.
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
    - The versions on the mirror, as M(mde.offline.health_info) returns them; null if there is no mirror or no usable
      answer.
  returned: always
  type: dict
  sample:
    arch: x86_64
    definitions_version: 1.443.508.0
    engine_version: 1.1.25110.3002
    location: http://mirror.example.com/linux/production/
raw:
  description: Output of the last call of each command, as M(mde.offline.health_info) returns it.
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
from ansible_collections.mde.offline.plugins.module_utils._endpoint.managed.writers import DEFAULT_PATH


def run(module):
    """The result of the module."""
    params = module.params
    agent = Mdatp(path=params["mdatp"], timeout=min(30, params["timeout"]))
    names = ("timeout", "wait", "version", "exact", "mirror_url", "max_age_hours", "managed_file")
    wanted = {name: params[name] for name in names}
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
            "managed_file": {"type": "path", "default": DEFAULT_PATH},
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
