#!/usr/bin/python
"""Module mde.offline.preflight_info: what Microsoft requires of a host, measured on it."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
module: preflight_info
short_description: Measure whether a host meets the requirements of Microsoft Defender for Endpoint
version_added: 0.1.0
author:
  - The mde.offline contributors (@mde-offline)
description:
  - Measures the requirements of Microsoft for the agent and its offline updates on a Linux host, and returns the
    required and the actual value of each.
  - Works before and after the installation of the agent. A requirement that cannot be measured counts neither as met
    nor as missed.
  - A requirement that is not met is reported as a finding; the module does not fail.
  - Run the module as root (C(become=true)); other users cannot see which processes block through fanotify.
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
  managed_file:
    description:
      - Path of the managed configuration. Only root should be able to write this file.
    type: path
    default: /etc/opt/microsoft/mdatp/managed/mdatp_managed.json
notes:
  - The module also reads files of the system, such as C(/etc/os-release), C(/proc), the configuration of the kernel and
    the table of mounts.
seealso:
  - module: mde.offline.diagnosis_info
  - module: mde.offline.health_info
"""

EXAMPLES = r"""
- name: Measure what the agent needs
  mde.offline.preflight_info:
  become: true
  register: __mde_preflight

- name: Show what is not met
  ansible.builtin.debug:
    msg: "{{ __mde_preflight.findings | map(attribute='message') | list }}"

- name: Name the requirements that could not be measured
  ansible.builtin.debug:
    msg: "{{ __mde_preflight.requirements | selectattr('ok', 'none') | map(attribute='title') | list }}"

- name: Stop if offline updates can never work
  ansible.builtin.assert:
    that: not __mde_preflight.distribution.el6
    fail_msg: "{{ __mde_preflight.distribution.reason }}"
"""

RETURN = r"""
requirements:
  description: All requirements, from the distribution up to the agent.
  returned: always
  type: list
  elements: dict
  contains:
    id:
      description: Stable name of the requirement.
      returned: always
      type: str
      sample: kernel
    title:
      description: Title of the requirement.
      returned: always
      type: str
      sample: Kernel
    required:
      description: The required value.
      returned: always
      type: str
      sample: 3.10.0-327 or later
    actual:
      description: The actual value.
      returned: always
      type: str
      sample: 5.14.0-427.13.1.el9_4.x86_64
    ok:
      description: Whether the requirement is met; null if it cannot be measured or does not apply.
      returned: always
      type: bool
      sample: true
    severity:
      description: Severity of not meeting the requirement, V(error), V(warning) or V(info).
      returned: always
      type: str
      sample: error
    hint:
      description: What to do if the requirement is not met.
      returned: always
      type: str
      sample: Update the kernel to 3.10.0-327 or later and reboot.
findings:
  description:
    - The requirements that are not met, errors first. Each id is explained in C(docs/findings-health.md) of the
      collection.
  returned: always
  type: list
  elements: dict
  contains:
    id:
      description: Stable name of the finding.
      returned: always
      type: str
      sample: kernel_too_old
    severity:
      description: V(error), V(warning) or V(info).
      returned: always
      type: str
      sample: error
    message:
      description: What is required, and what was seen on this host.
      returned: always
      type: str
      sample: "Kernel: required: 3.10.0-327 or later; found: 3.10.0-229.el7.x86_64."
    hint:
      description: What to do.
      returned: always
      type: str
      sample: Update the kernel to 3.10.0-327 or later and reboot.
    evidence:
      description: Further evidence.
      returned: always
      type: list
      elements: str
      sample: []
ready:
  description: Whether there is no finding of severity V(error).
  returned: always
  type: bool
  sample: true
distribution:
  description: The distribution of the host.
  returned: always
  type: dict
  contains:
    id:
      description: Id of the distribution as in C(os-release), empty if unknown.
      returned: always
      type: str
      sample: rhel
    name:
      description: Name of the distribution.
      returned: always
      type: str
      sample: Red Hat Enterprise Linux 9.4 (Plow)
    version:
      description: Version of the distribution, with the minor release if it is known.
      returned: always
      type: str
      sample: "9.4"
    packages:
      description: Format of its packages, V(rpm) or V(deb); null if the distribution is not supported.
      returned: always
      type: str
      sample: rpm
    el6:
      description: Whether the host runs EL 6, for which no agent with offline updates exists.
      returned: always
      type: bool
      sample: false
    supported:
      description: Whether Microsoft supports the agent on the distribution; null if that is unknown.
      returned: always
      type: bool
      sample: true
    reason:
      description: Why the distribution is not supported, or why that is unknown; empty otherwise.
      returned: always
      type: str
      sample: ""
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mde.offline.plugins.module_utils._endpoint.agent.mdatp import Mdatp
from ansible_collections.mde.offline.plugins.module_utils._endpoint.findings.finding import has_errors
from ansible_collections.mde.offline.plugins.module_utils._endpoint.host.host import Host
from ansible_collections.mde.offline.plugins.module_utils._endpoint.managed.writers import DEFAULT_PATH
from ansible_collections.mde.offline.plugins.module_utils._endpoint.preflight import preflight


def run(module):
    """The result of the module."""
    agent = Mdatp(path=module.params["mdatp"], timeout=module.params["timeout"])
    result = preflight.look(Host(), agent, module.params["managed_file"])
    return dict(result, changed=False, ready=not has_errors(result["findings"]))


def main():
    """Validates the options and answers."""
    module = AnsibleModule(
        argument_spec={
            "mdatp": {"type": "path"},
            "timeout": {"type": "int", "default": 30},
            "managed_file": {"type": "path", "default": DEFAULT_PATH},
        },
        supports_check_mode=True,
    )
    if module.params["timeout"] < 1:
        module.fail_json(msg="timeout must be at least 1, but is {0}.".format(module.params["timeout"]))
    module.exit_json(**run(module))


if __name__ == "__main__":
    main()
