#!/usr/bin/python
"""Module mde.offline.managed_config: merges, compares and writes the file on the host."""

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
  - Manages C(mdatp_managed.json), the file with the settings of Microsoft Defender for Endpoint on Linux.
  - The settings are merged into the file on the host. The merged content is validated on the controller before it is
    written. Content with errors is not written, unless O(accept) or O(validation) allows it.
  - The file is written only when a value changes, because tamper protection raises an alert for each write. Different
    indentation or a different order of keys is not a change. An unchanged host needs one module run.
  - The agent reads the file again by itself. Only C(cloudService.diagnosticLevel) needs a restart of C(mdatp), which
    this module does not do.
notes:
  - An invalid file (not JSON, duplicate names, a byte order mark, an encoding other than UTF-8, not an object) is not
    changed, and the task fails with the line. O(state=replaced) replaces the file and keeps a backup.
  - A symbolic link at O(path) is followed, and its target is written. If users other than root can create or replace
    the link, it is not followed, and the task fails.
  - The file keeps its owner, group, permissions, ACL, SELinux context and other extended attributes. If one of them
    cannot be kept, the file is not written. Only C(security.ima), C(security.evm) and C(security.capability) are left
    to the kernel.
  - Missing parent folders are created with mode V(0755), so that the file can be written before the installation of the
    agent.
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
      - The content that would be written is validated, too.
  diff_mode:
    support: full
    details:
      - The difference is shown without secrets. Both sides have the same layout, so that only values differ.
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
      - A list replaces the list in the file and does not extend it. Give the complete list of exclusions of the host.
      - With O(state=absent) only the names of the keys are used.
      - Exactly one of O(config) and O(template) is required.
    type: dict
  template:
    description:
      - Path of a Jinja2 template on the controller that renders to the JSON of the settings. The search path is that of
        O(ansible.builtin.template#module:src).
      - The rendered settings are used like O(config).
      - If the result is not JSON, the task fails with the line, without the values in it, since they may come from a
        vault.
    type: path
  state:
    description:
      - V(merged) merges the settings into the file and keeps its other settings.
      - V(replaced) writes exactly the given settings, also if the existing file is invalid. A backup of an invalid file
        is kept.
      - V(absent) removes the given keys, with everything below them, and objects that become empty. An object in
        O(config) stands for the keys in it, any other value for its own key. The file itself is not removed.
    type: str
    choices: [merged, replaced, absent]
    default: merged
  matching:
    description:
      - With O(state=absent), remove a key only if the file has the same value as O(config). A different value was set
        by somebody else and is kept.
    type: bool
    default: false
  validation:
    description:
      - V(strict) fails before writing if the file would have an error that is not accepted.
      - V(warn) writes the file and shows errors as warnings.
    type: str
    choices: [strict, warn]
    default: strict
  accept:
    description:
      - Findings that are accepted, by id, each with the reason as a string.
      - An accepted finding causes neither a failure nor a warning. RV(accepted) returns it.
    type: dict
    default: {}
  agent_version:
    description:
      - Version of the agent on the host, for settings that need a certain version.
      - By default, the module runs C(mdatp) to get the version. Without an agent, no version is checked.
      - Setting the version saves that call.
    type: str
  health_info:
    description:
      - Return the health of the agent before the write, as M(mde.offline.health_info) does. An unchanged host is then
        configured and verified by one module run.
    type: dict
    suboptions:
      mirror_url:
        description: As O(mde.offline.health_info#module:mirror_url).
        type: str
      max_age_hours:
        description: As O(mde.offline.health_info#module:max_age_hours).
        type: int
        default: 168
      lower:
        description:
          - When a host that has newer definitions than its mirror publishes is to be brought to those of the mirror.
            The module does not do that, but RV(health_info) C(lower) says whether it is to be done.
          - V(auto) means after a rollback, in a channel that is held, after a change of the channel, and on a host
            that never updated from a mirror. V(always) means on every host that has newer definitions.
          - With both, definitions older than O(health_info.max_age_hours) are accepted only in a channel that is held
            or rolled back.
        type: str
        choices: [auto, always]
        default: auto
  check_mirror:
    description:
      - Before a change that makes the agent use another mirror or channel, get C(manifest.json) and the beginning of
        C(updates.zip) for this host from there. If that fails, the task fails, and nothing is written.
      - An address that does not change is not checked.
    type: bool
    default: false
  path:
    description:
      - Path of the file on the host.
    type: path
    default: /etc/opt/microsoft/mdatp/managed/mdatp_managed.json
  owner:
    description:
      - Owner of the file.
      - By default, an existing file keeps its owner, and a new file gets the user who runs the task, which is C(root)
        with C(become).
    type: str
  group:
    description:
      - Group of the file.
      - By default, an existing file keeps its group, and a new file gets the group of the user who runs the task.
    type: str
  mode:
    description:
      - Permissions of the file, as for M(ansible.builtin.file).
      - By default, an existing file keeps its permissions, and a new file gets V(0644).
    type: raw
  protect:
    description:
      - Let only root write the file, its folder and the folders of the agent below C(/etc/opt/microsoft). They keep
        their permissions, but group and others lose the permission to write, which also limits ACLs. Files and folders
        of another user are given to root.
      - Of the folders further above, only those that belong to root are changed, because others may need theirs.
      - O(owner) and O(mode) have precedence for the file. A sticky folder keeps its permissions. The finding
        C(managed_file_writable) names what others can write nevertheless.
    type: bool
    default: false
  record:
    description:
      - Path of a file on the host in which the module records the settings that it wrote. Only root can read it.
      - A recorded setting that O(config) no longer names is removed from the managed configuration, if it still has the
        recorded value. With O(state=absent), all recorded settings with their recorded values are removed, and the
        record with them. RV(taken_back) returns what was removed.
      - C(antivirusEngine.enforcementLevel) is not recorded and stays, so that no protection is lost.
      - A record that users other than root can write, that is a symbolic link or that is damaged is ignored with a
        warning and replaced. If no record can be written, the task warns and continues.
      - By default, nothing is recorded.
    type: path
  without_record:
    description:
      - Settings that are removed whatever value they have, if O(record) does not exist yet. Only the names of the keys
        are used.
    type: dict
    default: {}
  backup:
    description:
      - Keep a copy of the old file in the same folder, with the time and random characters in its name.
    type: bool
    default: false
  mdatp:
    description:
      - Path of the agent's command on the host.
      - By default, the module searches for the command as M(mde.offline.health_info) does.
    type: path
  timeout:
    description:
      - Time limit in seconds for each call of the agent's command.
    type: int
    default: 30
seealso:
  - module: mde.offline.health_info
    description: Whether the agent applied the settings.
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
    - The content of the file after the task, without secrets; in check mode, the content that it would have.
    - V(null) if there is no file and none is needed.
  returned: when the file can be understood
  type: dict
  sample:
    antivirusEngine:
      offlineDefinitionUpdate: enabled
      offlineDefinitionUpdateUrl: http://mirror.example.com:8080/linux/production/
findings:
  description: Problems and risks of the file after the task.
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
      description: Path of the key in the configuration.
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
taken_back:
  description:
    - Settings that were recorded and are removed because O(config) no longer names them, and those that
      O(without_record) names.
  returned: when the file can be understood
  type: list
  elements: dict
  contains:
    path:
      description: Path of the key.
      type: str
      sample: cloudService.definitionUpdatesInterval
    value:
      description: Its old value, without secrets.
      type: raw
      sample: 7200
notes:
  description: Remarks about O(record), which are also shown as warnings.
  returned: when the file can be understood
  type: list
  elements: str
  sample: []
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
    - The health of the agent, as M(mde.offline.health_info) returns it.
    - In addition, C(lower) is V(rollback), V(channel), V(first) or V(always) if O(health_info.lower) says that the
      host is to be brought to older definitions. Otherwise it is null.
  returned: when O(health_info) is set and the file is valid
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
    lower: null
    mirror: null
    raw: []
backup_file:
  description: The copy of the file as it was.
  returned: when a copy was made
  type: str
  sample: /etc/opt/microsoft/mdatp/managed/mdatp_managed.json.2026-10-01@12:00:00.5f0c9a3e71d24b86~
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.text.converters import to_text
from ansible_collections.mde.offline.plugins.module_utils._endpoint.agent import health_report, lowering, mdatp
from ansible_collections.mde.offline.plugins.module_utils._endpoint.findings.finding import finding
from ansible_collections.mde.offline.plugins.module_utils._endpoint.managed import files, merge, strict_json
from ansible_collections.mde.offline.plugins.module_utils._endpoint.mirror import switch


def run(module, desired, instead_of):
    """Only reads if `instead_of` is None. Otherwise writes, if the file still has this digest from the first run."""
    params = module.params
    wanted = files.Attributes(module, params["owner"], params["group"], params["mode"], params["protect"])
    with target_class(instead_of is not None)(module, params["path"]) as target:
        data = target.read()
        recorded = Recorded(module, target, desired)
        digest = files.digest(data) + recorded.digest
        if instead_of not in (None, digest):
            raise files.FileProblem(
                "%s was changed by another process during the validation, so it was not written. "
                "Run the task again." % target.shown
            )
        plan = merge.plan(
            target.shown, data, desired, params["state"], params["matching"], target.linked, *recorded.former
        )
        if instead_of is None:
            return dict(look(module, target, data, plan, wanted, recorded), digest=digest)
        return write(module, target, data, plan, wanted, recorded)


def target_class(is_written):
    if not is_written:
        return files.Target
    # Imported late, because an unchanged host only reads.
    from ansible_collections.mde.offline.plugins.module_utils._endpoint.managed import writing

    return writing.Target


class Recorded:
    """What is recorded of the file, what is to be recorded, and what is to be taken back from the file."""

    def __init__(self, module, target, desired):
        self.record, self.digest, self.former, self.notes, self.changed = None, "", ({}, True), [], False
        self._settings, self._exists = None, target.status is not None
        if not module.params["record"]:
            return
        # Imported late, since it is only for tasks with a record.
        from ansible_collections.mde.offline.plugins.module_utils._endpoint.managed import record

        state = module.params["state"]
        self.record = record.Record(module, module.params["record"], target.shown)
        known = self.record.settings
        self._settings = None if state == "absent" else record.to_record(desired)
        self._taken_back = record.taken_back
        if known is None:
            self.former = (module.params["without_record"] if state == "merged" else {}, False)
        elif state != "replaced":
            self.former = (record.unwanted(known, {} if state == "absent" else desired), True)
        self.digest = files.digest(None if known is None else strict_json.dumps(known).encode("utf-8"))
        self.changed = self.record.writable and not merge.same(known, self._settings)
        self._note(known, state)

    def _note(self, known, state):
        if self.record.note:
            self.notes.append(self.record.note)
        elif known is None and state == "merged" and self._exists:
            self.notes.append(
                "No record of earlier settings existed for this file. It is created now. Settings of earlier runs that "
                "are no longer wanted stay, because it is unknown who wrote them."
            )

    def taken_back(self, plan):
        """The settings that the plan takes back, each with its old value."""
        return self._taken_back(plan.before or {}, plan.after, self.former[0]) if self.record else []

    def write(self):
        """Records what was written."""
        if self.changed:
            self.record.write(self._settings)


def look(module, target, data, plan, wanted, recorded):
    version, seen = ask(module, plan)
    repairs = list(planned(target, wanted))
    result = {
        "changed": plan.changed or bool(repairs),
        "unrecorded": recorded.changed,
        # The key is not named path, since exit_json would then add the attributes that the file has before the write.
        "file": target.shown,
        "config": None if plan.after is None else merge.redact(plan.after),
        "agent_version": module.params["agent_version"] or version,
        "taken_back": recorded.taken_back(plan),
        "notes": recorded.notes,
    }
    if seen is not None:
        result["health_info"] = seen
    if module.params["check_mirror"]:
        result["unproven"] = unproven(module, plan, seen)
    if module._diff:
        result["diff"] = ([merge.diff(target.shown, data, plan)] if plan.changed else []) + repairs
    return result


def planned(target, wanted):
    """A diff for each change of owner, group and permissions."""
    for path, before, after in target.changes(wanted):
        sides = [dict(zip(("owner", "group", "mode"), side[:2] + ("%04o" % side[2],))) for side in (before, after)]
        differing = [name for name in sides[0] if sides[0][name] != sides[1][name]]
        before, after = [{name: side[name] for name in differing} for side in sides]
        yield {"before": before, "after": after, "before_header": path, "after_header": path}


def write(module, target, data, plan, wanted, recorded):
    result = {}
    changes = [path for path, _before, _after in target.changes(wanted)]
    if wanted.protect:
        target.protect_folders()
    if plan.changed:
        if data is not None and (module.params["backup"] or plan.broken):
            result["backup_file"] = files.shown(target.backup(data))
        target.replace(strict_json.dumps(plan.after).encode("utf-8"), wanted)
    elif target.shown in changes and target.status.st_nlink > 1:
        # Another name of the file may be in another folder, and keeps its attributes.
        target.replace(data, wanted)
    elif target.shown in changes:
        target.change(wanted)
    # Afterwards, so that a setting that is still in the file is not forgotten if the write fails.
    recorded.write()
    return result


def unproven(module, plan, seen):
    """The finding against writing the address of the mirror; None if the address may be written."""
    location = switch.new_address(plan.before, plan.after)
    if location is None:
        return None
    asked = seen is not None and to_text(module.params["health_info"]["mirror_url"] or "") == location
    found = switch.problem(location, switch.used_address(plan.before), seen["mirror"] if asked else None)
    return found and finding(*found)


def ask(module, plan):
    """The version of the agent if it is needed, and its health if health_info is set."""
    agent = mdatp.Mdatp(path=module.params["mdatp"], timeout=module.params["timeout"])
    version, seen, trouble = None, None, None
    if module.params["health_info"] is not None:
        options = dict(module.params["health_info"])
        policy = options.pop("lower")
        seen = health_report.look(agent, managed_file=module.params["path"], **options)
        former = switch.used_address(plan.before)
        seen["lower"] = lowering.reason(seen["health"], seen["mirror"], former, policy, options["max_age_hours"])
        version = seen["health"]["fields"].get("app_version")
        trouble = None if seen["health"]["fields"] else seen["findings"][0]
    elif not module.params["agent_version"]:
        try:
            version = agent.version
        except mdatp.MdatpError as error:
            trouble = {"id": error.id, "message": error.message}
    if trouble and trouble["id"] != "not_installed" and not module.params["agent_version"]:
        module.warn("%s The settings were not checked against the version of the agent." % trouble["message"])
    return version, seen


def main():
    argument_spec = dict(merge.ARGUMENT_SPEC, config={"type": "dict", "no_log": True})
    module = AnsibleModule(argument_spec=argument_spec, supports_check_mode=True)
    packed = (module.params["config"] or {}).get(merge.PACKED)
    if packed is None:
        module.fail_json(
            msg="managed_config was started without its action plugin, which validates the settings on the controller. "
            "Run it as a task with its full name, mde.offline.managed_config."
        )
    try:
        result = run(module, **strict_json.loads(to_text(packed)))
    except files.FileProblem as problem:
        module.fail_json(msg=to_text(problem), findings=[], file=to_text(module.params["path"], errors="replace"))
    except merge.BrokenFile as broken:
        module.fail_json(msg=broken.message, findings=[broken.finding], file=broken.path)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
