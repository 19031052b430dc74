"""Loads the JSON Schema of mdatp_managed.json, walks it, and makes the validator.

Private to the mde.offline collection; it may change without notice.
"""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path as File
from typing import Any

try:
    from jsonschema import Draft202012Validator
except ImportError:  # validator() raises MissingLibraryError
    HAS_JSONSCHEMA = False
else:
    HAS_JSONSCHEMA = True

SCHEMA_FILE = File(__file__).parent / "schema" / "mdatp_managed.schema.json"
Node = dict[str, Any]
Place = tuple[str, ...]  # names from the root; "[]" stands for the items of an array


class MissingLibraryError(RuntimeError):
    """A Python library that the controller needs is not installed."""


@functools.cache
def load() -> Node:
    with SCHEMA_FILE.open(encoding="utf-8") as stream:
        loaded: Node = json.load(stream)
    return loaded


@functools.cache
def validator() -> Any:
    if not HAS_JSONSCHEMA:
        raise MissingLibraryError(
            "Checking mdatp_managed.json needs the Python library jsonschema (4.18 or newer) on the controller, for "
            f"the interpreter {sys.executable}. Install it there: {sys.executable} -m pip install 'jsonschema>=4.18'"
        )
    return Draft202012Validator(load())


def resolve(node: Node) -> Node:
    """The node with its local reference replaced by what it refers to."""
    reference = node.get("$ref")
    if reference is None:
        return node
    target: Node = load()["$defs"][reference.rpartition("/")[2]]
    return {**target, **{name: value for name, value in node.items() if name != "$ref"}}


def child(node: Node, name: str | int) -> Node | None:
    """The schema of a property or of an item; None if the schema does not have it."""
    node = resolve(node)
    if isinstance(name, int):
        return resolve(node["items"]) if "items" in node else None
    if name in node.get("properties", {}):
        return resolve(node["properties"][name])
    for pattern, found in node.get("patternProperties", {}).items():
        if re.search(pattern, name):
            return resolve(found)
    return None


def at(path: tuple[str | int, ...]) -> Node | None:
    node: Node | None = load()
    for part in path:
        node = None if node is None else child(node, part)
    return node


def walk(node: Node | None = None, place: Place = ()) -> Iterator[tuple[Place, Node]]:
    """Every key of the file with its schema, in the order of the schema."""
    node = resolve(load() if node is None else node)
    for name, below in node.get("properties", {}).items():
        yield (*place, name), resolve(below)
        yield from walk(below, (*place, name))
    if "items" in node:
        yield from walk(node["items"], (*place, "[]"))


@functools.cache
def places() -> dict[str, list[Place]]:
    """All places of each key name."""
    found: dict[str, list[Place]] = {}
    for place, _node in walk():
        found.setdefault(place[-1], []).append(place)
    return found
