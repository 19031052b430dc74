#!/usr/bin/python
"""Module mde.offline.managed_config: the half on the host, which merges, compares and writes."""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
module: managed_config
short_description: Manage the managed configuration of Microsoft Defender for Endpoint
version_added: 0.1.0
author:
  - The mde.offline contributors (@mde-offline)
description:
  - Manages C(mdatp_managed.json), the file that Microsoft Defender for Endpoint on Linux takes its settings from.
  - The settings are merged into the file on the host. The file as it will be, with what others put into it, is
    validated on the controller before it is written. A file with errors is never written, unless you say so.
  - The file is written only when its meaning changes, because tamper protection raises an alert for each write. Other
    indentation or another order of keys is not a change. A host with nothing to change costs one module run.
  - The agent reads the file again by itself. Only C(cloudService.diagnosticLevel) needs a restart of C(mdatp), which
    this module does not do.
notes:
  - A file that cannot be understood (not JSON, duplicate names, a byte order mark, another encoding than UTF-8, not an
    object) is left alone, and the task fails and names the line. O(state=replaced) replaces it and keeps a backup.
  - A symbolic link in place of the file is followed, and the file that it points at is written.
  - Missing folders above the file are created with mode V(0755), so that the file can be there before the agent is.
  - User names and passwords inside addresses, and values under names such as C(password) or C(token), do not appear in
    results, differences, warnings or logs, and those of the existing file do not leave the host.
requirements:
  - jsonschema >= 4.18 on the controller
extends_documentation_fragment:
  - mde.offline.attributes
attributes:
  check_mode:
    support: full
    details:
      - The file as it would be is validated, too.
  diff_mode:
    support: full
    details:
      - The difference is shown without secrets, and in one layout, so that only what counts differs.
  platform:
    platforms: linux
  idempotent:
    support: full
options:
  config:
    description:
      - The settings, in the structure of C(mdatp_managed.json).
      - With O(state=merged) an object is merged key by key, every other value replaces the one in the file, and V(null)
        removes the key (JSON Merge Patch, RFC 7396).
      - A list replaces the list in the file, it does not extend it. Give the whole list of exclusions that the host is
        to have.
      - With O(state=absent) only the names of the keys count.
      - Exactly one of O(config) and O(template) is required.
    type: dict
  template:
    description:
      - Path of a Jinja2 template on the controller that renders to the JSON of the settings. It is looked for as
        M(ansible.builtin.template) looks for O(ansible.builtin.template#module:src).
      - The rendered settings are treated as O(config).
      - Where the result is not JSON, the task fails and names the line. It shows no value of that line, because it may
        come from a vault.
    type: path
  state:
    description:
      - V(merged) merges the settings into the file and keeps everything else that is in it.
      - V(replaced) makes the file hold exactly the settings, even if the present file cannot be understood. Of such a
        file a backup is kept.
      - V(absent) removes exactly the keys that are given, with everything below them, and the objects that are empty
        after that. An object in O(config) stands for the keys in it, any other value for its own key. The file stays.
    type: str
    choices: [merged, replaced, absent]
    default: merged
  matching:
    description:
      - With O(state=absent), remove a key only where the file has the value that O(config) has for it. Another value
        was set by somebody else, and stays.
    type: bool
    default: false
  validation:
    description:
      - V(strict) fails, before anything is written, when the file would have an error that is not accepted.
      - V(warn) writes the file and shows errors as warnings.
    type: str
    choices: [strict, warn]
    default: strict
  accept:
    description:
      - Findings that are known and wanted, by their id, each with the reason in words.
      - Accepted findings neither fail the task nor warn. They are returned in RV(accepted).
    type: dict
    default: {}
  agent_version:
    description:
      - Version of the agent on the host, for settings that need a certain version.
      - If omitted, the agent on the host is asked. Without an agent on the host nothing is checked against its version.
      - Giving it saves the time of asking.
    type: str
  health_info:
    description:
      - Look at the agent's health in the same run, before anything is written, as M(mde.offline.health_info) does. A
        host with nothing to change is checked and proved with one module run.
    type: dict
    suboptions:
      mirror_url:
        description: As O(mde.offline.health_info#module:mirror_url).
        type: str
      max_age_hours:
        description: As O(mde.offline.health_info#module:max_age_hours).
        type: int
        default: 168
  path:
    description:
      - Path of the file on the host.
    type: path
    default: /etc/opt/microsoft/mdatp/managed/mdatp_managed.json
  owner:
    description:
      - User who is to own the file.
      - If omitted, an existing file keeps its owner, and a new file belongs to the user who runs the task, which is
        C(root) with C(become).
    type: str
  group:
    description:
      - Group that is to own the file.
      - If omitted, an existing file keeps its group, and a new file belongs to the group of the user who runs the task.
    type: str
  mode:
    description:
      - Permissions of the file, as for M(ansible.builtin.file).
      - If omitted, an existing file keeps its permissions, and a new file gets V(0644).
    type: raw
  backup:
    description:
      - Keep a copy of the present file, with the time in its name, beside the new one.
    type: bool
    default: false
  mdatp:
    description:
      - Path of the C(mdatp) command on the host, for asking the version of the agent.
      - If omitted, it is looked for in the usual places.
    type: path
  timeout:
    description:
      - How long the agent may take to answer, in seconds.
    type: int
    default: 30
seealso:
  - module: mde.offline.health_info
    description: Says whether the agent applied the settings.
  - plugin: mde.offline.config_findings
    plugin_type: filter
    description: The same validation inside expressions.
"""

EXAMPLES = r"""
- name: Let endpoints update from the mirror
  mde.offline.managed_config:
    config:
      antivirusEngine:
        enforcementLevel: real_time
        offlineDefinitionUpdate: enabled
        offlineDefinitionUpdateUrl: http://mirror.example.com:8080/linux/production/
        offlineDefinitionUpdateFallbackToCloud: false
      cloudService:
        automaticDefinitionUpdateEnabled: true

- name: See what would change, without writing
  mde.offline.managed_config:
    config:
      cloudService:
        definitionUpdatesInterval: 14400
  check_mode: true
  diff: true

- name: Render the profile of the site, and keep a copy of the file as it was
  mde.offline.managed_config:
    template: mdatp_managed.json.j2
    backup: true

- name: Accept a finding, with the reason
  mde.offline.managed_config:
    config:
      antivirusEngine:
        enforcementLevel: passive
    accept:
      enforcement_level_not_real_time: Another product scans in real time on these hosts.

- name: Stop updating from the mirror, and leave everything else as it is
  mde.offline.managed_config:
    state: absent
    config:
      antivirusEngine:
        offlineDefinitionUpdate:
        offlineDefinitionUpdateUrl:
        offlineDefinitionUpdateFallbackToCloud:
"""

RETURN = r"""
path:
  description: The file, with symbolic links followed.
  returned: always
  type: str
  sample: /etc/opt/microsoft/mdatp/managed/mdatp_managed.json
config:
  description:
    - What the file holds after the task, without secrets. In check mode, what it would hold.
    - V(null) if there is no file and none is needed.
  returned: when the file can be understood
  type: dict
  sample:
    antivirusEngine:
      offlineDefinitionUpdate: enabled
      offlineDefinitionUpdateUrl: http://mirror.example.com:8080/linux/production/
findings:
  description: What is wrong or risky in the file as it is after the task. Empty if nothing is.
  returned: always
  type: list
  elements: dict
  contains:
    id:
      description: Stable name of the kind of finding.
      type: str
      sample: enforcement_level_missing
    severity:
      description: One of V(error), V(warning) and V(info).
      type: str
      sample: warning
    path:
      description: Where in the configuration it is.
      type: str
      sample: antivirusEngine.enforcementLevel
    message:
      description: What was seen, and what it means.
      type: str
      sample: The enforcement level is not set, so the agent stays passive.
    hint:
      description: What to do.
      type: str
      sample: Set it to real_time.
accepted:
  description: Findings that O(accept) names, each as in RV(findings) and with its C(reason).
  returned: when the file can be understood
  type: list
  elements: dict
  sample: []
agent_version:
  description: Version of the agent that the settings were checked against. V(null) if it is not known.
  returned: when the file can be understood
  type: str
  sample: 101.26062.0007
health_info:
  description:
    - What was seen, as M(mde.offline.health_info) returns it.
  returned: when O(health_info) is set and the file can be understood
  type: dict
  sample:
    findings: []
    health:
      fields:
        definitions_version: 1.443.508.0
      format: json
      managed: []
      notices: []
    healthy: true
    mirror: null
    raw: []
backup_file:
  description: The copy of the file as it was.
  returned: when a copy was made
  type: str
  sample: /etc/opt/microsoft/mdatp/managed/mdatp_managed.json.4242.2026-10-01@12:00:00~
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.text.converters import to_text
from ansible_collections.mde.offline.plugins.module_utils._endpoint.agent import health_report, mdatp
from ansible_collections.mde.offline.plugins.module_utils._endpoint.managed import files, merge, strict_json


def run(module, desired, instead_of):
    """The first run looks; the second one is told instead of what it writes, and does so if the file still is that."""
    path = files.resolve(module.params["path"])
    shown = files.shown(path)
    data = files.read(path)
    if instead_of not in (None, files.digest(data)):
        raise files.FileProblem(
            "%s was changed by somebody else while this task validated it, so it was left alone. "
            "Run the task again." % shown
        )
    plan = merge.plan(shown, data, desired, module.params["state"], module.params["matching"])
    return (look if instead_of is None else write)(module, path, data, plan)


def look(module, path, data, plan):
    module.check_mode = True
    attributes = {}
    exists = data is not None
    version, seen = ask(module)
    result = {
        "changed": (exists and set_attributes(module, path, attributes)) or plan.changed,
        # Not yet called path: to that, exit_json would add what stat says of the file before the write.
        "file": files.shown(path),
        "config": None if plan.after is None else merge.redact(plan.after),
        "agent_version": module.params["agent_version"] or version,
        "digest": files.digest(data),
    }
    if seen is not None:
        result["health_info"] = seen
    if module._diff:
        result["diff"] = [merge.diff(files.shown(path), data, plan)] if plan.changed else []
        if attributes:
            result["diff"].append(dict(attributes, before_header=files.shown(path), after_header=files.shown(path)))
    return result


def write(module, path, data, plan):
    result = {"changed": True}
    if not plan.changed:
        set_attributes(module, path)
        return result
    if data is not None and (module.params["backup"] or plan.broken):
        result["backup_file"] = files.shown(module.backup_local(path))
    content = strict_json.dumps(plan.after).encode("utf-8")
    files.replace(module, path, content, lambda staged: set_attributes(module, staged))
    return result


def set_attributes(module, path, diff=None):
    changed = module.set_owner_if_different(path, module.params["owner"], False, diff)
    changed = module.set_group_if_different(path, module.params["group"], changed, diff)
    return module.set_mode_if_different(path, module.params["mode"], changed, diff)


def ask(module):
    """The version of the agent, as far as it is wanted, and its health if that is."""
    agent = mdatp.Mdatp(path=module.params["mdatp"], timeout=module.params["timeout"])
    version, seen, trouble = None, None, None
    if module.params["health_info"] is not None:
        seen = health_report.look(agent, **module.params["health_info"])
        version = seen["health"]["fields"].get("app_version")
        trouble = None if seen["health"]["fields"] else seen["findings"][0]
    elif not module.params["agent_version"]:
        try:
            version = agent.version
        except mdatp.MdatpError as error:
            trouble = {"id": error.id, "message": error.message}
    if trouble and trouble["id"] != "not_installed" and not module.params["agent_version"]:
        module.warn("%s So the settings were not checked against the version of the agent." % trouble["message"])
    return version, seen


def main():
    argument_spec = dict(merge.ARGUMENT_SPEC, config={"type": "dict", "no_log": True})
    module = AnsibleModule(argument_spec=argument_spec, supports_check_mode=True)
    packed = (module.params["config"] or {}).get(merge.PACKED)
    if packed is None:
        module.fail_json(
            msg="managed_config was started without its half on the controller, which validates the settings. "
            "Start it as a task with its full name, mde.offline.managed_config."
        )
    try:
        result = run(module, **strict_json.loads(to_text(packed)))
    except files.FileProblem as problem:
        module.fail_json(msg=to_text(problem), findings=[], file=files.shown(files.native(module.params["path"])))
    except merge.BrokenFile as broken:
        module.fail_json(msg=broken.message, findings=[broken.finding], file=broken.path)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
