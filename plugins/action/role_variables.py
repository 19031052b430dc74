"""Action of role_variables: reads the variables of the task's role, converted and checked by its argument_specs."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping
from pathlib import Path

from ansible.errors import AnsibleError
from ansible.module_utils.common.yaml import yaml_load
from ansible.plugins.action import ActionBase
from ansible_collections.mde.offline.plugins.plugin_utils._fleet.endpoint_settings import endpoint_settings
from ansible_collections.mde.offline.plugins.plugin_utils._roles import variables
from ansible_collections.mde.offline.plugins.plugin_utils._roles.renamed import RENAMED

try:
    from ansible.errors import AnsibleValueOmittedError
except ImportError:  # Before ansible-core 2.19 `omit` is a text, and templates convert text that looks like data.
    OMITTED: tuple[type[Exception], ...] = ()
    TRUSTED: dict[str, t.Any] = {}
    AS_TEXT: dict[str, t.Any] = {"convert_data": False}
else:
    OMITTED = (AnsibleValueOmittedError,)
    TRUSTED = {"trusted_as_template": True}
    AS_TEXT = {}

Vars = dict[str, t.Any]
Result = dict[str, t.Any]
Options = dict[str, variables.Option]

# The functions of the option compose. They are not filters, because a template with a filter would make Ansible load
# all filters of the collection.
COMPOSERS = {"endpoint_settings": endpoint_settings}

# Older cores add the whole template to the message.
_TEMPLATE_IN_MESSAGE = re.compile(r"[.]? String: .*", re.DOTALL)
_UNDEFINED = re.compile(r"'[\w .]+' (?:is undefined|has no attribute '\w+')|dict object has no attribute '\w+'")


class UnusableTask(Exception):
    """The task of the role is wrong, not a variable of the user."""


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: t.Any = None, task_vars: Vars | None = None) -> Result:
        result: Result = super().run(tmp, task_vars)
        try:
            args = self._arguments()
            values, problems = self._taken(args, task_vars or {})
        except (UnusableTask, AnsibleError) as error:
            args, values, problems = {}, {}, [f"The role cannot read its variables. {error}"]
        result.update(changed=False, variables=values, problems=problems)
        if args.get("compose") and not problems:
            composed = COMPOSERS[args["compose"]](values)
            result.update(composed=composed, problems=composed["problems"])
        return result

    def _arguments(self) -> Vars:
        spec = {
            "entry_point": {"type": "str", "default": "main"},
            "others": {"type": "list", "elements": "str", "default": []},
            "compose": {"type": "str", "choices": list(COMPOSERS)},
        }
        args: Vars = self.validate_argument_spec(spec)[1]
        return args

    def _taken(self, args: Vars, task_vars: Vars) -> tuple[Vars, list[str]]:
        if self._task._role is None:
            raise UnusableTask("mde.offline.role_variables works only in the tasks of a role.")
        role = Path(self._task._role._role_path)
        own = _options_of(role, args["entry_point"])
        values: Vars = {}
        problems: list[str] = []
        sources = [(name, role, option, name.removeprefix(f"{role.name}_")) for name, option in own.items()]
        sources += [(name, *_home_of(name, role.parent), name) for name in args["others"]]
        for name, home, option, short in sources:
            try:
                values[short] = self._value(name, option, home, task_vars)
            except variables.VariableError as error:
                problems.append(str(error))
        taken = {name for name, *_rest in sources}
        problems += [
            f"{old} was renamed to {new}. Set {new} instead and remove {old}."
            for old, new in RENAMED.items()
            if new in taken and old in task_vars
        ]
        return values, problems

    def _value(self, name: str, option: variables.Option, home: Path, task_vars: Vars) -> t.Any:
        value = self._templated(name, option, task_vars[name], task_vars) if name in task_vars else None
        if variables.is_unset(value, option):
            default = self._default(name, home)
            value = None if default is None else self._templated(name, option, default, task_vars)
            if value is None:
                if option.get("required"):
                    raise variables.VariableError(f"{name} is required and not set.")
                return None
        return variables.converted(name, value, option)

    def _default(self, name: str, home: Path) -> t.Any:
        path = home / "defaults" / "main.yml"
        if not path.is_file():
            return None
        return (self._loader.load_from_file(str(path), **TRUSTED) or {}).get(name)

    def _templated(self, name: str, option: variables.Option, value: t.Any, task_vars: Vars) -> t.Any:
        how = AS_TEXT if option.get("type", "str") in ("str", "path") else {}
        try:
            templated = self._templar.template(value, **how)
            if isinstance(templated, str) and templated == task_vars.get("omit"):
                return None
            return _plain(templated)
        except OMITTED:
            return None
        # Filters, lookups and tests of users can raise any exception.
        except Exception as error:
            cause = _cause(error, bool(option.get("no_log")))
            raise variables.VariableError(f"{name} cannot be evaluated{cause} Correct its template.") from None


def _options_of(role: Path, entry_point: str | None = None) -> Options:
    """The options of one entry point of the role, or of all of them."""
    path = role / "meta" / "argument_specs.yml"
    if not path.is_file():
        raise UnusableTask(f"The role {role.name} has no meta/argument_specs.yml.")
    entries = yaml_load(path.read_text(encoding="utf-8"))["argument_specs"]
    if entry_point is not None and entry_point not in entries:
        raise UnusableTask(f"meta/argument_specs.yml of the role {role.name} has no entry point {entry_point}.")
    chosen = [entries[entry_point]] if entry_point else entries.values()
    return {name: option for entry in chosen for name, option in (entry.get("options") or {}).items()}


def _home_of(name: str, roles: Path) -> tuple[Path, variables.Option]:
    """The role that the variable belongs to, by its name, and the option there."""
    homes = [role for role in roles.iterdir() if name.startswith(f"{role.name}_")]
    for home in sorted(homes, key=lambda role: len(role.name), reverse=True):
        option = _options_of(home).get(name)
        if option is not None:
            return home, option
    raise UnusableTask(f"No role in {roles} has the variable {name}.")


def _plain(value: t.Any) -> t.Any:
    """The value as plain data, without Ansible's own types and with every template in it evaluated."""
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, str) else value


def _cause(error: Exception, secret: bool) -> str:
    """Why a template failed. A message may quote the value, so for a secret only an undefined name is shown."""
    message = " ".join(_TEMPLATE_IN_MESSAGE.sub("", str(error)).split())
    undefined = _UNDEFINED.search(message)
    if undefined:
        return f": {undefined.group()}."
    return "." if secret else f": {message.rstrip('.')[:300]}."
