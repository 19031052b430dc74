"""Converts and checks values of role variables by the role's argument_specs. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import math
import re
import typing as t
from collections.abc import Iterator, Mapping

import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.errors import ArgumentTypeError, ArgumentValueError

Option = Mapping[str, t.Any]

_NOUNS = {
    "bool": "true or false",
    "dict": "a mapping, or JSON or YAML text of a mapping",
    "float": "a number",
    "int": "an integer",
    "list": "a list",
    "path": "a path",
    "str": "text",
}
_TEXTS = ("str", "path")
_INTEGER = re.compile(r"\s*[+-]?[0-9]+\s*\Z")
# `[::1]` and `[::1]:8080` are addresses, not lists.
_IPV6_ADDRESS = re.compile(r"\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\]")
_LONGEST = 60
# An address with a user, in a variable that takes none.
_MAY_BE_SECRET = re.compile("@|%40")


class VariableError(Exception):
    """The value of a variable is not valid; the message is a sentence for the user, without the value of a secret."""


class _Invalid(Exception):
    """A value that the type does not accept."""

    def __init__(self, noun: str, value: object) -> None:
        super().__init__(noun)
        self.noun = noun
        self.value = value


def is_unset(value: object, option: Option) -> bool:
    """Whether the value counts as not set: null, or an empty text (as from surveys) that the type does not allow."""
    blank = isinstance(value, str) and not value.strip()
    empty_is_valid = "" in option["choices"] if "choices" in option else option.get("type", "str") in _TEXTS
    return value is None or (blank and not empty_is_valid)


def converted(name: str, value: object, option: Option) -> t.Any:
    """The value in the type that the option declares.

    Paths are kept as they are. ArgumentSpecValidator would expand `~` and `$HOME` of the controller.
    """
    secret = bool(option.get("no_log"))
    try:
        prepared = _prepared(value, option)
    except _Invalid as error:
        raise VariableError(_sentence(name, error.noun, error.value, secret)) from None
    odd = next(_odd(prepared), None)
    if odd is not None:
        raise VariableError(f"{name} contains a {odd}, which JSON does not have. Put it in quotes if text is meant.")
    result = ArgumentSpecValidator({name: _for_validator(option)}).validate({name: prepared})
    for fault in result.errors.errors:
        if isinstance(fault, ArgumentValueError) and "choices" in option:
            wrong = _not_among(prepared, option["choices"])
            choices = ", ".join(json.dumps(choice) if choice == "" else str(choice) for choice in option["choices"])
            raise VariableError(_sentence(name, f"one of: {choices}", wrong, secret))
        if isinstance(fault, ArgumentTypeError) and not option.get("options"):
            raise VariableError(_sentence(name, _NOUNS.get(option.get("type", "str"), "valid"), prepared, secret))
        reason = "." if secret or _MAY_BE_SECRET.search(str(fault)) else f": {fault}"
        raise VariableError(f"{name} is not valid{reason}")
    return result.validated_parameters[name]


def _odd(value: t.Any) -> Iterator[str]:
    """Types of YAML that JSON lacks. Before ansible-core 2.19 such a value turns the mapping around it into text."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _odd(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _odd(item)
    elif isinstance(value, float) and not math.isfinite(value):
        yield "number without a finite value"
    elif not isinstance(value, (str, bool, int, float, type(None))):
        yield type(value).__name__.lstrip("_")


def _prepared(value: t.Any, option: Option) -> t.Any:
    """Converts values that ArgumentSpecValidator treats differently by version; refuses mistakes that it accepts."""
    kind = option.get("type", "str")
    if kind == "raw":
        return _number_or_mapping(value)
    if kind == "list":
        return [_prepared(item, _element(option)) for item in _list(value)]
    if kind == "dict":
        return _mapping(value)
    if kind == "int":
        return _integer(value)
    if kind in ("str", "path", "bool") and isinstance(value, (list, Mapping)):
        raise _Invalid(_NOUNS[kind], value)
    return value


def _element(option: Option) -> Option:
    return {"type": option.get("elements", "any")}


def _list(value: t.Any) -> list[t.Any]:
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return [value]
    if not isinstance(value, str):
        raise _Invalid(_NOUNS["list"], value)
    text = value.strip()
    if text.startswith("[") and not _IPV6_ADDRESS.match(text):
        parsed = _parsed(text)
        if isinstance(parsed, list):
            return parsed
    return [part.strip() for part in re.split(r"[,\n]", text) if part.strip()]


def _mapping(value: t.Any) -> dict[t.Any, t.Any]:
    parsed = _parsed(value) if isinstance(value, str) else value
    if not isinstance(parsed, Mapping):
        raise _Invalid(_NOUNS["dict"], value)
    return dict(parsed)


def _number_or_mapping(value: t.Any) -> t.Any:
    """The number or the mapping that a text stands for; another value is kept."""
    parsed = _parsed(value) if isinstance(value, str) else value
    return parsed if isinstance(parsed, (int, float, Mapping)) else value


def _integer(value: t.Any) -> int:
    whole = isinstance(value, float) and value.is_integer()
    if isinstance(value, bool) or not (whole or isinstance(value, int) or _INTEGER.match(str(value))):
        raise _Invalid(_NOUNS["int"], value)
    return int(value)


def _parsed(text: str) -> object:
    """The value of a text in YAML or JSON; None for any other text."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return None


def _for_validator(option: Option) -> dict[str, t.Any]:
    as_text = {"path": "str"}
    spec = {key: option[key] for key in ("choices", "options", "elements") if key in option}
    spec["type"] = as_text.get(option.get("type", "str"), option.get("type", "str"))
    if "elements" in spec:
        spec["elements"] = as_text.get(spec["elements"], spec["elements"])
    return spec


def _not_among(value: t.Any, choices: t.Sequence[t.Any]) -> t.Any:
    return next((item for item in value if item not in choices), value) if isinstance(value, list) else value


def _sentence(name: str, wanted: str, value: object, secret: bool) -> str:
    if secret or (isinstance(value, str) and _MAY_BE_SECRET.search(value)):
        return f"{name} has to be {wanted}. The value is not shown because it may contain a secret."
    if isinstance(value, (list, tuple)):
        shown = "a list"
    elif isinstance(value, Mapping):
        shown = "a mapping"
    else:
        shown = json.dumps(value, default=str)
        shown = shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}..."
    return f"{name} has to be {wanted}. The value is {shown}."
