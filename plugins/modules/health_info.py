#!/usr/bin/python
"""Module mde.offline.health_info: the health of the agent on a host as one record, and what is wrong with it."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
module: health_info
short_description: Return the health of Microsoft Defender for Endpoint, and findings about it
version_added: 0.1.0
author:
  - The mde.offline contributors (@mde-offline)
description:
  - Runs C(mdatp health) and C(mdatp health --details definitions), and returns one normalised record for all versions
    of the agent.
  - Compares the record with the mirror of the host, and returns findings with what is wrong and what to do.
  - A missing agent, a daemon that does not answer or a command that hangs is reported as a finding. The module does not
    fail, so that a report about many hosts includes such hosts.
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
      - By default, the address that is configured on the host.
    type: str
  check_mirror:
    description:
      - Read the versions on the mirror from this host, and compare them with those of the host.
      - If they differ, C(status.json) of the mirror is read too, which says whether a rollback withdrew the release of
        the host. If the host has newer versions, the beginning of C(updates.zip) is requested, to see that the host can
        get it.
      - The mirror is O(mirror_url) or, by default, the one that is configured on the host. No proxy is used.
    type: bool
    default: true
  max_age_hours:
    description:
      - Age in hours from which definitions count as stale. The default is seven days, as in Microsoft's portal.
    type: int
    default: 168
  managed_file:
    description:
      - Path of the managed configuration. Only root should be able to write this file.
    type: path
    default: /etc/opt/microsoft/mdatp/managed/mdatp_managed.json
seealso:
  - module: mde.offline.definitions_update
  - plugin: mde.offline.parse_health
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Ask for the health of the agent
  mde.offline.health_info:
    mirror_url: http://mirror.example.com/linux/production/
  register: __mde_health

- name: Show what is wrong, and what to do
  ansible.builtin.debug:
    msg: "{{ __mde_health.findings | map(attribute='message') | list }}"

- name: Stop if the host is not protected
  ansible.builtin.assert:
    that:
      - __mde_health.healthy
      - __mde_health.health.fields.definitions_status == 'up_to_date'
"""

RETURN = r"""
health:
  description: The health record. Its fields are empty if the agent did not answer.
  returned: always
  type: dict
  contains:
    fields:
      description:
        - The rows of C(mdatp health) and C(mdatp health --details definitions), by their own names in snake_case.
          Unknown rows are kept.
        - Booleans, integers and lists have their type; C(unavailable) is null; times are ISO 8601 in UTC.
      returned: always
      type: dict
      sample:
        app_version: 101.25112.0003
        definitions_status: up_to_date
        definitions_updated: "2026-02-03T08:15:42Z"
        definitions_version: 1.443.508.0
        healthy: true
    managed:
      description: Names of the rows whose value comes from the managed configuration.
      returned: always
      type: list
      elements: str
      sample: [offline_definition_update]
    notices:
      description: Lines that the agent printed in addition to the rows, such as its warning about a missing license.
      returned: always
      type: list
      elements: str
      sample: []
    format:
      description: The format of the output from which the record was read, V(json) or V(text).
      returned: always
      type: str
      sample: json
findings:
  description:
    - What is wrong or risky, errors first. Each id is explained in C(docs/findings-health.md) of the collection.
  returned: always
  type: list
  elements: dict
  contains:
    id:
      description: Stable name of the finding.
      returned: always
      type: str
      sample: source_not_mirror
    severity:
      description: V(error), V(warning) or V(info).
      returned: always
      type: str
      sample: error
    message:
      description: What was seen on this host.
      returned: always
      type: str
      sample: The host has definitions 1.443.1.0, but the mirror publishes 1.443.508.0.
    hint:
      description: What to do.
      returned: always
      type: str
      sample: Wait for the next interval, or run the module definitions_update with version=mirror.
healthy:
  description: Whether there is no finding of severity V(error).
  returned: always
  type: bool
  sample: true
mirror:
  description:
    - The versions on the mirror for the architecture of this host; null if there was no request or no usable answer.
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
    state:
      description:
        - What the mirror says about the channel in its C(status.json), V(follows), V(held), V(rolled_back) or
          V(paused); null if it does not say that.
      returned: when the host has other versions than the mirror
      type: str
      sample: follows
    held:
      description: Whether an operator of the mirror keeps the channel at its release.
      returned: when the host has other versions than the mirror
      type: bool
      sample: false
    withdrawn:
      description: The versions of the releases that a rollback took away from the channel, at most 20.
      returned: when the host has other versions than the mirror
      type: list
      elements: dict
      sample: []
    age_hours:
      description:
        - Age of the definitions on the mirror, from C(status.json), or else from the time of C(updates.zip) if that was
          requested; null if it is unknown.
      returned: when the host has other versions than the mirror
      type: int
      sample: 3
    package_seen:
      description:
        - Whether the mirror was seen to serve C(updates.zip). It is requested only if the host has newer versions than
          the mirror.
      returned: when the host has other versions than the mirror
      type: bool
      sample: false
raw:
  description: Output of each command.
  returned: always
  type: list
  elements: dict
  contains:
    command:
      description: The command without its path.
      returned: always
      type: str
      sample: mdatp health --output json
    rc:
      description: Exit status; null if the command was stopped or did not start.
      returned: always
      type: int
      sample: 0
    stdout:
      description: Standard output.
      returned: always
      type: str
      sample: '{"healthy":true}'
    stderr:
      description: Standard error.
      returned: always
      type: str
      sample: ""
    timed_out:
      description: Whether the command was stopped because it took too long.
      returned: always
      type: bool
      sample: false
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mde.offline.plugins.module_utils._endpoint.agent import health_report
from ansible_collections.mde.offline.plugins.module_utils._endpoint.agent.mdatp import Mdatp
from ansible_collections.mde.offline.plugins.module_utils._endpoint.managed.writers import DEFAULT_PATH


def run(module):
    """The result of the module."""
    params = module.params
    agent = Mdatp(path=params["mdatp"], timeout=params["timeout"])
    names = ("mirror_url", "max_age_hours", "check_mirror", "managed_file")
    seen = health_report.look(agent, **{name: params[name] for name in names})
    return dict(seen, changed=False)


def main():
    """Validates the options and answers."""
    module = AnsibleModule(
        argument_spec={
            "mdatp": {"type": "path"},
            "timeout": {"type": "int", "default": 30},
            "mirror_url": {"type": "str"},
            "check_mirror": {"type": "bool", "default": True},
            "max_age_hours": {"type": "int", "default": 168},
            "managed_file": {"type": "path", "default": DEFAULT_PATH},
        },
        supports_check_mode=True,
    )
    for option in ("timeout", "max_age_hours"):
        if module.params[option] < 1:
            module.fail_json(msg="{0} must be at least 1, but is {1}.".format(option, module.params[option]))
    module.exit_json(**run(module))


if __name__ == "__main__":
    main()
