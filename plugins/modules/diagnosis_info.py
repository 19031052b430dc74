#!/usr/bin/python
"""Module mde.offline.diagnosis_info: why a host does not update, with the evidence, and what to do."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
module: diagnosis_info
short_description: Diagnose why a host does not update its definitions
version_added: 0.1.0
author:
  - The mde.offline contributors (@mde-offline)
description:
  - Runs Microsoft's five troubleshooting steps and more checks. The checks cover the service, the managed
    configuration, the connection to the mirror (name, port, TLS, answer), the versions on the mirror and their age,
    proxies, clocks, space and mount options, other security products, the logs of the agent, denials of SELinux, and
    known faults of the agent's release.
  - Returns findings ordered by likelihood, each with its evidence and what to do.
  - Changes nothing. Microsoft's fifth step, an update by hand, is therefore not run; see
    M(mde.offline.definitions_update).
  - Every command and request has a time limit. A missing agent, or one that does not answer, is reported as a finding;
    the module does not fail.
  - Run the module as root (C(become=true)); other users see neither all processes nor all logs.
extends_documentation_fragment:
  - mde.offline.attributes
  - mde.offline.endpoint
attributes:
  check_mode:
    support: full
    details:
      - The module only reads.
  diff_mode:
    support: N/A
    details:
      - Nothing is changed.
  idempotent:
    support: full
options:
  mirror_url:
    description:
      - Address or folder that this host should update from, as in C(antivirusEngine.offlineDefinitionUpdateUrl).
      - By default, the address that the agent reports, or else the one in the managed configuration. No proxy is used
        for requests to it.
    type: str
  managed_file:
    description:
      - Path of the managed configuration.
    type: path
    default: /etc/opt/microsoft/mdatp/managed/mdatp_managed.json
  max_age_hours:
    description:
      - Age in hours from which definitions count as stale, on the host and on the mirror.
    type: int
    default: 168
  connectivity_test:
    description:
      - Run C(mdatp connectivity test), Microsoft's fourth step. It takes up to 75 seconds on hosts without internet
        access, where failures for cloud addresses are expected.
    type: bool
    default: true
  log_lines:
    description:
      - Number of lines to return of each of the four newest logs of the agent. Secrets in them are masked.
      - With V(0) neither these logs nor the audit log with the denials of SELinux are read.
    type: int
    default: 20
notes:
  - The module also reads the managed configuration, the logs of the agent, the end of C(/var/log/audit/audit.log), the
    table of mounts and C(/proc), and runs C(systemctl show).
seealso:
  - module: mde.offline.health_info
  - module: mde.offline.definitions_update
  - module: mde.offline.preflight_info
"""

EXAMPLES = r"""
- name: Find out why this host does not update
  mde.offline.diagnosis_info:
    mirror_url: http://mirror.example.com/linux/production/
  become: true
  register: __mde_diagnosis

- name: Show the causes, the likeliest first
  ansible.builtin.debug:
    msg: "{{ __mde_diagnosis.findings | map(attribute='message') | list }}"

- name: Show which steps had a problem
  ansible.builtin.debug:
    msg: "{{ __mde_diagnosis.steps | selectattr('outcome', 'equalto', 'problem') | map(attribute='title') | list }}"

- name: Diagnose again, without the slow parts
  mde.offline.diagnosis_info:
    connectivity_test: false
    log_lines: 0
  become: true
"""

RETURN = r"""
findings:
  description:
    - What is wrong or risky, the most likely cause first. Each id is explained in C(docs/findings-health.md) of the
      collection.
  returned: always
  type: list
  elements: dict
  contains:
    id:
      description: Stable name of the finding.
      returned: always
      type: str
      sample: mirror_port_unreachable
    severity:
      description: V(error), V(warning) or V(info).
      returned: always
      type: str
      sample: error
    message:
      description: What was seen.
      returned: always
      type: str
      sample: "The mirror http://mirror.example.com/linux/production/: port 80 accepts no connection."
    hint:
      description: What to do.
      returned: always
      type: str
      sample: Check that the web server of the mirror runs and listens on that port.
    evidence:
      description: The evidence, line by line.
      returned: always
      type: list
      elements: str
      sample: [mirror.example.com is 192.0.2.10]
steps:
  description: All steps, in order.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Stable name of the step.
      returned: always
      type: str
      sample: port
    title:
      description: Title of the step.
      returned: always
      type: str
      sample: A connection to the mirror
    microsoft_step:
      description: Number of the step in Microsoft's troubleshooting, null for other steps.
      returned: always
      type: int
      sample: 4
    outcome:
      description:
        - V(ok), V(problem) (there are findings), V(unknown) (it could not be examined) or V(skipped) (there was
          nothing to examine, or the step would change the host).
      returned: always
      type: str
      sample: ok
    details:
      description: What was seen, line by line.
      returned: always
      type: list
      elements: str
      sample: [192.0.2.10 accepts connections on port 80]
    findings:
      description: Ids of the findings of this step.
      returned: always
      type: list
      elements: str
      sample: []
health:
  description: The health record, as M(mde.offline.health_info) returns it.
  returned: always
  type: dict
  sample:
    fields:
      definitions_status: up_to_date
      definitions_version: 1.443.508.0
    managed: []
    notices: []
    format: json
healthy:
  description: Whether there is no finding of severity V(error).
  returned: always
  type: bool
  sample: false
mirror:
  description: The versions on the mirror for the architecture of this host; null without a usable answer.
  returned: always
  type: dict
  contains:
    location:
      description: The address or folder of the mirror.
      returned: when the mirror answered
      type: str
      sample: http://mirror.example.com/linux/production/
    arch:
      description: The architecture of the versions.
      returned: when the mirror answered
      type: str
      sample: x86_64
    definitions_version:
      description: Version of the definitions.
      returned: when the mirror answered
      type: str
      sample: 1.443.508.0
    engine_version:
      description: Version of the engine.
      returned: when the mirror answered
      type: str
      sample: 1.1.25110.3002
    age_hours:
      description: Age in hours of the definitions on the mirror.
      returned: when the age is known
      type: int
      sample: 7
log:
  description: The last lines of the agent's logs.
  returned: always
  type: list
  elements: dict
  contains:
    file:
      description: Path of the log.
      returned: always
      type: str
      sample: /var/log/microsoft/mdatp/microsoft_defender.log
    lines:
      description: Its last lines, with secrets masked and at most 400 characters of each.
      returned: always
      type: list
      elements: str
      sample: []
raw:
  description: Output of each command of the agent, as M(mde.offline.health_info) returns it.
  returned: always
  type: list
  elements: dict
  sample:
    - command: mdatp health --output json
      rc: 0
      stdout: '{"healthy":true}'
      stderr: ""
      timed_out: false
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mde.offline.plugins.module_utils._endpoint.agent.mdatp import Mdatp
from ansible_collections.mde.offline.plugins.module_utils._endpoint.diagnosis.diagnosis import Diagnosis
from ansible_collections.mde.offline.plugins.module_utils._endpoint.managed.writers import DEFAULT_PATH

LOWEST = {"timeout": 1, "max_age_hours": 1, "log_lines": 0}


def run(module):
    """The result of the module."""
    params = dict(module.params)
    agent = Mdatp(path=params.pop("mdatp"), timeout=params.pop("timeout"))
    result = Diagnosis(agent, **params).run()
    return dict(result, changed=False, raw=agent.last_calls())


def main():
    """Validates the options and answers."""
    module = AnsibleModule(
        argument_spec={
            "mdatp": {"type": "path"},
            "timeout": {"type": "int", "default": 30},
            "mirror_url": {"type": "str"},
            "managed_file": {"type": "path", "default": DEFAULT_PATH},
            "max_age_hours": {"type": "int", "default": 168},
            "connectivity_test": {"type": "bool", "default": True},
            "log_lines": {"type": "int", "default": 20},
        },
        supports_check_mode=True,
    )
    for option in sorted(LOWEST):
        if module.params[option] < LOWEST[option]:
            message = "{0} must be at least {1}, but is {2}."
            module.fail_json(msg=message.format(option, LOWEST[option], module.params[option]))
    module.exit_json(**run(module))


if __name__ == "__main__":
    main()
