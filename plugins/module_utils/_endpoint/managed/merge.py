"""Merges, compares and redacts managed configurations. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import re
from collections import OrderedDict

from ansible_collections.mde.offline.plugins.module_utils._endpoint.managed import strict_json
from ansible_collections.mde.offline.plugins.module_utils._endpoint.managed.writers import DEFAULT_PATH
from ansible_collections.mde.offline.plugins.module_utils._endpoint.masking import masked

ARGUMENT_SPEC = {
    "path": {"type": "path", "default": DEFAULT_PATH},
    "config": {"type": "dict"},
    "template": {"type": "path"},
    "state": {"type": "str", "choices": ["merged", "replaced", "absent"], "default": "merged"},
    "matching": {"type": "bool", "default": False},
    "validation": {"type": "str", "choices": ["strict", "warn"], "default": "strict"},
    "accept": {"type": "dict", "default": {}},
    "agent_version": {"type": "str"},
    "health_info": {
        "type": "dict",
        "options": {
            "mirror_url": {"type": "str"},
            "max_age_hours": {"type": "int", "default": 168},
            "lower": {"type": "str", "choices": ["auto", "always"], "default": "auto"},
        },
    },
    "check_mirror": {"type": "bool", "default": False},
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "mode": {"type": "raw"},
    "protect": {"type": "bool", "default": False},
    "backup": {"type": "bool", "default": False},
    "record": {"type": "path"},
    "without_record": {"type": "dict", "default": {}},
    "mdatp": {"type": "path"},
    "timeout": {"type": "int", "default": 30},
}
# Exactly one of these options has the configuration.
CONTENT = ["config", "template"]
# The action plugin passes the configuration to the module as one text under this key of `config`: no_log hides a text
# as a whole, a text keeps the order of the keys on Python 2.7, and its key shows that the action plugin ran.
PACKED = "packed"

HIDDEN = "********"
_SECRET_NAME = re.compile(r"pass(word|wd|phrase)?$|secret|token|credential|private_?key|api_?key", re.IGNORECASE)
_ADDRESS_NAME = re.compile(r"proxy|url$", re.IGNORECASE)
# Parts of a line that is not JSON: names, strings (also unterminated ones), and words without quotes.
_PIECE = re.compile(r"""(?P<name>"[^"]*"(?=\s*:)|'[^']*'(?=\s*:))|"[^"]*"?|'[^']*'?|[^\s{}\[\],:"']+""")
_PLAIN_NAME = re.compile(r"""["'][\w$ .-]{1,60}["']$""", re.UNICODE)
_SIGNS = re.compile(r"(\W+|-?[0-9.]{1,5})$", re.UNICODE)
_JSON_WORDS = ("true", "false", "null", "none", "yes", "no", "on", "off", "nan", "infinity", "undefined")
_HAS_SCHEME = re.compile(r"^\s*[a-z][a-z0-9+.-]*://", re.IGNORECASE)

_SAVE_AS_UTF8 = "Save it as UTF-8 without a byte order mark"
_ADVICE = {
    "byte_order_mark": _SAVE_AS_UTF8,
    "wrong_encoding": _SAVE_AS_UTF8,
    "duplicate_name": "Keep one of the two",
    "empty_file": "Restore it if it once contained settings",
}
_CORRECT_BY_HAND = "Correct it by hand"


class Plan:
    """The content of the file before (None: no file, or an invalid one) and after (None: no file)."""

    def __init__(self, before, after, broken=None):
        self.before = before
        self.after = after
        self.broken = broken
        self.changed = broken is not None or not same(before, after)


class BrokenFile(Exception):
    """The file on the host is not valid, so nothing can be merged into it or removed from it."""

    def __init__(self, path, reason, linked=False):
        message = "The file %s %s." % (path, reason.unquoted if linked else reason.message)
        hint = _ADVICE.get(reason.kind, _CORRECT_BY_HAND)
        hint += ", or replace the whole file with state: replaced, which keeps a copy of it."
        super(BrokenFile, self).__init__(message)
        self.path = path
        self.message = "%s It was not changed. %s" % (message, hint)
        self.finding = {"id": reason.kind, "severity": "error", "path": "$", "message": message, "hint": hint}


def plan(shown_path, data, desired, state, matching=False, linked=False, former=None, former_matching=True):
    """Plans the new content from the bytes of the file (None: no file) and the desired configuration.

    With `linked`, a symbolic link led to the file, and errors quote nothing of it. `former` are settings that are
    removed first (with `former_matching`, only those that have the same value).
    """
    before, broken = None, None
    if data is not None:
        try:
            before = strict_json.loads(strict_json.decode(data))
        except strict_json.NotStrictJson as error:
            if state != "replaced":
                raise BrokenFile(shown_path, error, linked)
            broken = error
    if state == "replaced":
        return Plan(before, merge(OrderedDict(), desired), broken)
    present = OrderedDict() if before is None else remove(before, former or {}, former_matching)
    after = remove(present, desired, matching) if state == "absent" else merge(present, desired)
    return Plan(before, None if before is None and not after else after)


def diff(shown_path, data, plan):
    """The diff for Ansible, without secrets. Both sides have the same layout, so that only values differ."""
    if plan.broken:
        before = "(%d bytes that are not shown: the file %s)\n" % (len(data), plan.broken.unquoted)
    else:
        before = "" if plan.before is None else strict_json.dumps(redact(plan.before))
    after = strict_json.dumps(redact(plan.after))
    return {"before": before, "after": after, "before_header": shown_path, "after_header": shown_path}


def merge(present, desired):
    """JSON Merge Patch (RFC 7396): objects are merged, everything else is replaced, null removes a key."""
    if not isinstance(desired, dict):
        return desired
    merged = OrderedDict(present) if isinstance(present, dict) else OrderedDict()
    for name, value in desired.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


def remove(present, named, matching=False):
    """Removes the named keys (with `matching`, only those with the named value), and each object that becomes empty."""
    left = OrderedDict(present)
    for name, value in named.items():
        if name not in left:
            continue
        if not isinstance(value, dict):
            if not matching or same(left[name], value):
                del left[name]
        elif isinstance(left[name], dict) and left[name]:
            below = remove(left[name], value, matching)
            if below:
                left[name] = below
            else:
                del left[name]
    return left


def same(one, other):
    """Whether two JSON values are equal: the order of keys does not count, true is not 1, and 1 is not 1.0."""
    if isinstance(one, dict) and isinstance(other, dict):
        return set(one) == set(other) and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same(*pair) for pair in zip(one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return isinstance(one, float) == isinstance(other, float) and one == other


def redact(value, name=""):
    """The configuration without secrets: users in addresses, and values whose name suggests a secret."""
    if isinstance(value, dict):
        # Everything below such a key is a secret too, whatever its own key is.
        secret = _SECRET_NAME.search(name)
        return OrderedDict(
            (masked(key, hidden=HIDDEN), redact(below, name if secret else key)) for key, below in value.items()
        )
    if isinstance(value, list):
        return [redact(below, name) for below in value]
    if value is None or isinstance(value, bool) or value == "":
        return value
    if _SECRET_NAME.search(name):
        return HIDDEN
    if not isinstance(value, type("")):
        return value
    if _HAS_SCHEME.match(value) or _ADDRESS_NAME.search(name):
        return masked(value, address=True, hidden=HIDDEN)
    # In quotation marks, because a password may contain blanks.
    return masked('"' + value + '"', hidden=HIDDEN)[1:-1]


def redact_line(line):
    """A line that is not valid JSON, with its names and punctuation, but without its values: each may be a secret."""
    return _PIECE.sub(_without_value, line)


def _without_value(piece):
    text = piece.group()
    if piece.group("name"):
        harmless = _PLAIN_NAME.match(text)
    else:
        word = text.lower()
        harmless = _SIGNS.match(text) or (len(word) > 1 and any(known.startswith(word) for known in _JSON_WORDS))
    return text if harmless else HIDDEN
