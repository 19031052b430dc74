"""Common code of the modules of a mirror: settings from parameters, and failures as results.

Private to the mde.offline collection.
"""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Iterator, Mapping

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mde.offline.plugins.module_utils._mirror.errors import MirrorError
from ansible_collections.mde.offline.plugins.module_utils._mirror.masking import secrets_in
from ansible_collections.mde.offline.plugins.module_utils._mirror.refusals import ACCEPTABLE, DOWNGRADE
from ansible_collections.mde.offline.plugins.module_utils._mirror.settings import Settings, load, parse

# The options of modules that publish what a source or a bundle offers.
ACCEPT_OPTIONS = {
    "accept": {"type": "list", "elements": "str", "choices": list(ACCEPTABLE), "default": []},
    "allow_downgrade": {"type": "bool", "default": False},
}

# What the module does. Its arguments are the settings, the module's parameters, and True in check mode.
Work = Callable[[Settings, Mapping[str, Any], bool], "dict[str, Any]"]


def run(work: Work, argument_spec: dict[str, Any], **constraints: Any) -> None:
    """Runs a module whose result is what `work` returns; a `MirrorError` makes the module fail."""
    module = AnsibleModule(
        argument_spec={
            "settings": {"type": "path", "default": "/etc/mde-mirror/settings.json"},
            "config": {"type": "dict"},
            **argument_spec,
        },
        supports_check_mode=True,
        # The system log would show the password of a proxy in `config`.
        no_log=True,
        **constraints,
    )
    module.no_log_values.update(_secrets(module.params["config"]))
    try:
        result = {"changed": False, **work(_settings(module.params), module.params, module.check_mode)}
    except MirrorError as error:
        module.fail_json(msg=f"{error.message}. {error.hint}", changed=False, error=error.as_dict())
    if result.pop("failed", False):
        module.fail_json(**result)
    module.exit_json(**result)


def accepted(params: Mapping[str, Any]) -> frozenset[str]:
    """The codes of refusals that do not count, from the options in `ACCEPT_OPTIONS`."""
    return frozenset([*params["accept"], *([DOWNGRADE] if params["allow_downgrade"] else [])])


def diff(units: list[dict[str, Any]], line: Callable[[Any], str]) -> dict[str, str]:
    """What changed, as text: `line` describes one of the two states of a unit."""

    def text(state: str) -> str:
        return "".join(
            "{platform}/{channel}/arch_{arch}: {0}\n".format(line(unit[state]), **unit) for unit in units if unit[state]
        )

    return {"before": text("before"), "after": text("after")}


def _settings(params: Mapping[str, Any]) -> Settings:
    if params["config"] is not None:
        return parse(params["config"], "the settings in `config`")
    return load(Path(params["settings"]))


def _secrets(value: Any, name: str = "") -> Iterator[str]:
    """The possible secrets in a parameter. An address may be at the wrong place, or not be usable."""
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield from _secrets(str(key))
            yield from _secrets(below, str(key))
    elif isinstance(value, (list, tuple)):
        for below in value:
            yield from _secrets(below, name)
    elif isinstance(value, str):
        yield from secrets_in(value, named=name)
