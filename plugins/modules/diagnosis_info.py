#!/usr/bin/python
"""Module mde.offline.diagnosis_info: why a host does not update, with the evidence, and what to do."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
module: diagnosis_info
short_description: Why a host does not update its definitions, and what to do
version_added: 0.1.0
author:
  - The mde.offline contributors (@mde-offline)
description:
  - Goes through Microsoft's five steps of troubleshooting and looks at everything around them. That is the service,
    the managed configuration, the way to the mirror (name, connection, TLS, answer), what the mirror publishes and how
    old it is, proxies, clocks, space and mount options, other security products, the agent's logs, denials of SELinux,
    and known faults of the agent's release.
  - Returns findings in the order in which they are likely to be the cause, each with its evidence and what to do.
  - Changes nothing; for that reason the fifth of Microsoft's steps, an update by hand, is left to
    M(mde.offline.definitions_update).
  - Every call has a time limit. A host without agent, or with one that does not answer, is a finding, not a failed
    module.
  - Run it as root (C(become=true)); other users see neither all processes nor all logs.
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
      - Address or directory that this host should update from, as in C(antivirusEngine.offlineDefinitionUpdateUrl).
      - Without it, the address that the agent reports counts as the right one, or else that of the managed
        configuration. It is asked without a proxy.
    type: str
  managed_file:
    description:
      - Path of the managed configuration.
    type: path
    default: /etc/opt/microsoft/mdatp/managed/mdatp_managed.json
  max_age_hours:
    description:
      - Age from which definitions count as stale, on the host and on the mirror, in hours.
    type: int
    default: 168
  connectivity_test:
    description:
      - Run C(mdatp connectivity test), the fourth of Microsoft's steps. It takes up to 75 seconds, most of them on
        hosts without internet, where its failures for cloud addresses are expected.
    type: bool
    default: true
  log_lines:
    description:
      - How many lines to return of each of the agent's four newest logs. Secrets in them are masked.
      - V(0) leaves the logs alone, and the audit log with the denials of SELinux.
    type: int
    default: 20
notes:
  - Besides, the managed configuration, the agent's logs, the end of C(/var/log/audit/audit.log), the table of mounts
    and C(/proc) are read, and systemd is asked for the state of the service.
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

- name: Look again, quickly
  mde.offline.diagnosis_info:
    connectivity_test: false
    log_lines: 0
  become: true
"""

RETURN = r"""
findings:
  description:
    - What is wrong or risky, the likeliest cause first. Each id is explained in C(docs/findings-health.md) of the
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
      sample: "The mirror http://mirror.example.com/linux/production/: port 80 takes no connection."
    hint:
      description: What to do.
      returned: always
      type: str
      sample: See that the mirror's web server runs and listens on that port.
    evidence:
      description: What speaks for it, line by line.
      returned: always
      type: list
      elements: str
      sample: [mirror.example.com is 192.0.2.10]
steps:
  description: What was looked at, in order.
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
      description: What it looks at.
      returned: always
      type: str
      sample: A connection to the mirror
    microsoft_step:
      description: The number of the step in Microsoft's order of troubleshooting, null for the others.
      returned: always
      type: int
      sample: 4
    outcome:
      description:
        - V(ok), V(problem) (there are findings), V(unknown) (it could not be looked at) or V(skipped) (there was
          nothing to look at, or it would have changed the host).
      returned: always
      type: str
      sample: ok
    details:
      description: What was seen, line by line.
      returned: always
      type: list
      elements: str
      sample: [192.0.2.10 takes connections on port 80]
    findings:
      description: Ids of the findings of this step.
      returned: always
      type: list
      elements: str
      sample: []
health:
  description: The record of the agent, as M(mde.offline.health_info) returns it.
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
  description: What the mirror publishes for this host's architecture; null if it gave no usable answer.
  returned: always
  type: dict
  contains:
    location:
      description: The address or directory that was asked.
      returned: when the mirror answered
      type: str
      sample: http://mirror.example.com/linux/production/
    arch:
      description: The architecture that was asked for.
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
      description: How old the definitions of the mirror are, in hours.
      returned: when the mirror tells it
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
  description: What each command of the agent printed, as M(mde.offline.health_info) returns it.
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
from ansible_collections.mde.offline.plugins.module_utils._endpoint.managed.merge import DEFAULT_PATH

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
