"""Action plugin of managed_config: validates the merged content on the controller before the module writes it."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t
from collections.abc import Mapping
from difflib import get_close_matches

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import lookup_loader
from ansible.utils.display import Display
from ansible_collections.mde.offline.plugins.module_utils._endpoint.managed import merge, strict_json
from ansible_collections.mde.offline.plugins.plugin_utils._managed import validate, versions
from ansible_collections.mde.offline.plugins.plugin_utils._managed.document import TooDeepError, plain
from ansible_collections.mde.offline.plugins.plugin_utils._managed.json_schema import MissingLibraryError

try:
    from ansible.template import trust_as_template
except ImportError:  # Before ansible-core 2.19, templates convert text that looks like data by default.
    AS_TEXT = {"convert_data": False}
else:
    AS_TEXT = {}
    del trust_as_template

MODULE = "mde.offline.managed_config"
# Arguments that are not passed to the module.
KEPT_HERE = ("config", "template", "validation", "accept")

display = Display()

Vars = dict[str, t.Any]
Result = dict[str, t.Any]
T = t.TypeVar("T")


class Refused(Exception):
    """The task cannot be run with these arguments. Not AnsibleActionFail, which older cores show with a traceback."""


class ActionModule(ActionBase):
    TRANSFERS_FILES = False

    def run(self, tmp: t.Any = None, task_vars: Vars | None = None) -> Result:
        super().run(tmp, task_vars)
        try:
            return self._manage(task_vars or {})
        except Refused as error:
            return {"failed": True, "changed": False, "msg": str(error), "findings": []}

    def _manage(self, task_vars: Vars) -> Result:
        args = self._arguments()
        accept = _reasons(args["accept"])
        if args["agent_version"] is not None:
            _advise(versions.parse, args["agent_version"])
        desired = args["config"] if args["template"] is None else self._rendered(args["template"], task_vars)

        result = self._run_module(task_vars, desired, None)
        if result.get("failed"):
            return result
        seen, unproven, unrecorded = result.pop("digest"), result.pop("unproven", None), result.pop("unrecorded")
        findings = _findings(result)
        result["accepted"] = [dict(found, reason=accept[found["id"]]) for found in findings if found["id"] in accept]
        result["findings"] = [found for found in findings if found["id"] not in accept]
        errors = [found for found in result["findings"] if found["severity"] == "error"]
        if errors and args["validation"] == "strict":
            return _refused(result, errors)
        if unproven is not None:
            return _kept(result, unproven)
        for note in result["notes"]:
            display.warning(f"{result['path']}: {note}")
        for former in result["taken_back"]:
            value = json.dumps(former["value"], ensure_ascii=False)
            display.warning(
                f"{result['path']}: {former['path']} is no longer wanted and taken back. Its value was {value}."
            )
        for found in result["findings"]:
            if found["severity"] != "info":
                display.warning(f"{result['path']}: {_in_words(found)}")
        # A record alone changes nothing for the agent, so it does not count as a change of the host.
        if (result["changed"] or unrecorded) and not self._task.check_mode:
            written = self._run_module(task_vars, desired, seen)
            if written.get("failed"):
                result = dict(result, changed=False, diff=[])
            result.update(written, changed=result["changed"])
        return result

    def _arguments(self) -> Result:
        try:
            return self.validate_argument_spec(
                merge.ARGUMENT_SPEC, mutually_exclusive=[merge.CONTENT], required_one_of=[merge.CONTENT]
            )[1]
        except AnsibleActionFail as error:
            raise Refused(error.message) from error

    def _run_module(self, task_vars: Vars, desired: t.Any, instead_of: str | None) -> Result:
        args = {name: value for name, value in self._task.args.items() if name not in KEPT_HERE}
        args["config"] = {merge.PACKED: _packed(desired, instead_of)}
        result = self._execute_module(module_name=MODULE, module_args=args, task_vars=task_vars)
        result.pop("invocation", None)
        if "file" in result:
            result["path"] = result.pop("file")
        return result

    def _rendered(self, template: str, task_vars: Vars) -> t.Any:
        if not template:
            raise Refused("template is empty. Give the path of the template, or use config instead.")
        try:
            source = self._find_needle("templates", template)
            lookup = lookup_loader.get("ansible.builtin.template", loader=self._loader, templar=self._templar)
            rendered = lookup.run([source], variables=task_vars, **AS_TEXT)[0]
            # A template that is a single expression can return the object itself.
            text = None if isinstance(rendered, Mapping) else str(rendered)
        except AnsibleError as error:
            raise Refused(f"The template {template} cannot be rendered: {error.message}") from error
        if text is None:
            return rendered
        try:
            # Bytes that are not valid UTF-8 come out of the template as surrogates.
            return strict_json.loads(strict_json.decode(text.encode("utf-8", "surrogateescape")))
        except strict_json.NotStrictJson as error:
            line = (text.split("\n") or [""])[(error.line or 1) - 1].strip()
            shown = f" The rendered line is, without its values: {merge.redact_line(line)[:200]}" if line else ""
            advice = "Correct the template; the filter to_json writes any value as JSON."
            if error.kind in ("byte_order_mark", "wrong_encoding"):
                shown, advice = "", "Save the template as UTF-8 without a byte order mark."
            raise Refused(
                f"The template {template} was rendered, but the result {error.message}.{shown} {advice}"
            ) from error


def _reasons(accept: Result) -> Result:
    for finding_id, reason in accept.items():
        if not isinstance(reason, str) or not reason.strip():
            raise Refused(f"accept: {finding_id} needs a reason as a string, so that others understand the exception.")
        if finding_id not in validate.RULES:
            near = get_close_matches(str(finding_id), validate.RULES, 1)
            meant = f" Did you mean {near[0]}?" if near else ""
            display.warning(f"accept: there is no finding {finding_id}, so nothing is accepted.{meant}")
    return accept


def _packed(desired: t.Any, instead_of: str | None) -> str:
    def refuse(value: object) -> t.NoReturn:
        raise Refused(
            f"config has a value that JSON does not have ({type(value).__name__.lstrip('_')}). "
            "Put it in quotes if it is a string."
        )

    try:
        return json.dumps({"desired": plain(desired), "instead_of": instead_of}, default=refuse, allow_nan=False)
    except TooDeepError as error:
        raise Refused(f"config: {error.finding.message}") from error
    except ValueError as error:
        raise Refused("config has infinity or NaN, which JSON does not have. Correct it.") from error


def _findings(result: Result) -> list[validate.FindingDict]:
    """The findings of the merged content. A version of the agent that cannot be parsed counts as unknown."""
    if result["config"] is None:
        return []
    try:
        versions.parse(result["agent_version"])
    except versions.AgentVersionError:
        result["agent_version"] = None
    return _advise(validate.config_findings, result["config"], result["agent_version"])


def _advise(function: t.Callable[..., T], *args: t.Any) -> T:
    try:
        return function(*args)
    except (MissingLibraryError, versions.AgentVersionError) as error:
        raise Refused(str(error)) from error


def _refused(result: Result, errors: list[validate.FindingDict]) -> Result:
    what = f"{len(errors)} error{'s' if len(errors) > 1 else ''}"
    if result["changed"]:
        begin = f"{result['path']} would have {what}, so nothing was written."
    else:
        begin = f"{result['path']} has {what}. This task does not change it."
    listed = "".join(f"\n- {_in_words(found)}" for found in errors)
    end = (
        "\nCorrect the settings, accept a finding by its id with a reason (accept), "
        "or let errors pass as warnings (validation: warn)."
    )
    result.pop("diff", None)
    return dict(result, failed=True, changed=False, msg=begin + listed + end)


def _kept(result: Result, unproven: Result) -> Result:
    """The result of a change that would point the agent at a mirror that does not serve the host."""
    result.pop("diff", None)
    hint = (
        "Correct the address or its channel, or make the mirror serve the package. To write an address without "
        "this check, for example when an image is built, set check_mirror to false (role endpoint: "
        "endpoint_mirror_check)."
    )
    found = dict(unproven, hint=f"{unproven['hint']} {hint}")
    msg = f"{result['path']} was not changed. {found['message']} {found['hint']}"
    return dict(result, failed=True, changed=False, findings=[*result["findings"], found], msg=msg)


def _in_words(found: validate.FindingDict) -> str:
    return f"{found['path']}: {found['message']} {found['hint']} [{found['id']}]"
