#!/usr/bin/python
"""Module mde.offline.preflight_info: what Microsoft requires of a host, measured on it."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
module: preflight_info
short_description: Requirements of Microsoft Defender for Endpoint, measured on a host
version_added: 0.1.0
author:
  - The mde.offline contributors (@mde-offline)
description:
  - Measures what Microsoft requires of a Linux host for the agent and its offline updates, and returns for each
    requirement what is required and what is there.
  - Works before the agent is installed, and afterwards. A requirement that cannot be measured is neither met nor
    missed.
  - A requirement that is not met is a finding, not a failed module.
  - Run it as root (C(become=true)); other users cannot see which processes block through fanotify.
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
notes:
  - Besides, files of the system are read, such as C(/etc/os-release), C(/proc), the kernel's configuration and the
    table of mounts.
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

- name: Stop where offline updates can never work
  ansible.builtin.assert:
    that: not __mde_preflight.distribution.el6
    fail_msg: "{{ __mde_preflight.distribution.reason }}"
"""

RETURN = r"""
requirements:
  description: Every requirement, in the order in which they are worth reading.
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
      description: What is measured.
      returned: always
      type: str
      sample: Kernel
    required:
      description: What has to be there.
      returned: always
      type: str
      sample: 3.10.0-327 or later
    actual:
      description: What is there.
      returned: always
      type: str
      sample: 5.14.0-427.13.1.el9_4.x86_64
    ok:
      description: Whether that is enough; null where it cannot be measured on this host, or does not apply to it.
      returned: always
      type: bool
      sample: true
    severity:
      description: V(error), V(warning) or V(info); how bad it is, or would be, not to meet it.
      returned: always
      type: str
      sample: error
    hint:
      description: What to do where it is not met.
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
      sample: "Kernel: required is 3.10.0-327 or later; found: 3.10.0-229.el7.x86_64."
    hint:
      description: What to do.
      returned: always
      type: str
      sample: Update the kernel to 3.10.0-327 or later and reboot.
    evidence:
      description: What else speaks for it.
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
  description: What the host runs.
  returned: always
  type: dict
  contains:
    id:
      description: Name of the distribution as in C(os-release), empty where nothing tells.
      returned: always
      type: str
      sample: rhel
    name:
      description: Its name for people.
      returned: always
      type: str
      sample: Red Hat Enterprise Linux 9.4 (Plow)
    version:
      description: Its version, with the minor release where the system tells it.
      returned: always
      type: str
      sample: "9.4"
    packages:
      description: The kind of its packages, V(rpm) or V(deb); null where the distribution is not a supported one.
      returned: always
      type: str
      sample: rpm
    el6:
      description: Whether it is an EL 6, for which no agent with offline updates exists.
      returned: always
      type: bool
      sample: false
    supported:
      description: Whether Microsoft supports the agent on it; null where that cannot be told.
      returned: always
      type: bool
      sample: true
    reason:
      description: Why it is not supported, or why that cannot be told; empty otherwise.
      returned: always
      type: str
      sample: ""
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mde.offline.plugins.module_utils._endpoint.agent import health_rules
from ansible_collections.mde.offline.plugins.module_utils._endpoint.agent.mdatp import Mdatp
from ansible_collections.mde.offline.plugins.module_utils._endpoint.host.host import Host
from ansible_collections.mde.offline.plugins.module_utils._endpoint.preflight import preflight


def run(module):
    """The result of the module."""
    agent = Mdatp(path=module.params["mdatp"], timeout=module.params["timeout"])
    result = preflight.look(Host(), agent)
    return dict(result, changed=False, ready=not health_rules.has_errors(result["findings"]))


def main():
    """Validates the options and answers."""
    module = AnsibleModule(
        argument_spec={"mdatp": {"type": "path"}, "timeout": {"type": "int", "default": 30}},
        supports_check_mode=True,
    )
    if module.params["timeout"] < 1:
        module.fail_json(msg="timeout must be at least 1, but is {0}.".format(module.params["timeout"]))
    module.exit_json(**run(module))


if __name__ == "__main__":
    main()
