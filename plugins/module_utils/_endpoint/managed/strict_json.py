"""Reads JSON strictly and says, with the line, why a text is not JSON. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import json
import re
from collections import OrderedDict

# The json module of Python accepts duplicate names and NaN, and on Python 2.7 often reports no line.
DEEPEST = 64
LONGEST_NUMBER = 400

_BLANK = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?(?![0-9A-Za-z_.+-])")
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"')
_WORD = re.compile(r"(?:true|false|null)(?![0-9A-Za-z_])")
_WORDS = {"true": True, "false": False, "null": None}
_LONE_SURROGATE = re.compile("[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]")


class NotStrictJson(Exception):
    """A text is not a strict JSON object; `kind` is one of the ids of findings about whole files."""

    def __init__(self, kind, message, line=None, unquoted=None):
        super(NotStrictJson, self).__init__(message)
        self.kind = kind
        self.message = message
        # The message without names from the text.
        self.unquoted = unquoted or message
        self.line = line


def decode(data):
    """The text of a file."""
    if data.startswith(b"\xef\xbb\xbf"):
        raise NotStrictJson("byte_order_mark", "starts with a byte order mark, which JSON must not have", 1)
    if data and not data.strip(b"\x00"):
        raise NotStrictJson("empty_file", "has only zero bytes, as after a crash", 1)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in data[:2]:
        raise NotStrictJson("wrong_encoding", "is encoded as UTF-16 or UTF-32 instead of UTF-8", 1)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise NotStrictJson("wrong_encoding", "is not UTF-8: line %d has a byte that UTF-8 does not allow" % line, line)


def loads(text):
    """The object in a text, with its keys in their order."""
    if not text.strip():
        raise NotStrictJson("empty_file", "is empty", 1)
    reader = _Reader(text)
    found = reader.value(reader.skip(0), (), 0)
    reader.end()
    if reader.duplicates:
        path, first, again = reader.duplicates[0]
        first, again = reader.line(first), reader.line(again)
        more = len(reader.duplicates) - 1
        also = " (and %d more duplicate names)" % more if more else ""
        message = "names %s twice in one object, in line %d and again in line %d%s"
        shown, unquoted = message % (path[:40], first, again, also), message % ("a key", first, again, also)
        raise NotStrictJson("duplicate_name", shown, again, unquoted)
    if not isinstance(found, dict):
        raise NotStrictJson("root_not_object", "is JSON, but not an object: it must start with { and end with }", 1)
    return found


def dumps(value):
    """The text of a file for a value: indented by two spaces, not escaped to ASCII, with a newline at its end."""
    text = json.dumps(value, indent=2, ensure_ascii=False, separators=(",", ": "), allow_nan=False)
    # A lone surrogate is valid in JSON as an escape, but not in UTF-8.
    return _LONE_SURROGATE.sub(lambda half: "\\u%04x" % ord(half.group()), text) + "\n"


class _Reader:
    def __init__(self, text):
        self.text = text
        self.position = 0
        self.duplicates = []

    def line(self, position):
        return self.text.count("\n", 0, position) + 1

    def skip(self, position):
        self.position = _BLANK.match(self.text, position).end()
        return self.text[self.position : self.position + 1]

    def value(self, first, path, depth):
        if depth > DEEPEST:
            self.refuse("is nested deeper than %d levels" % DEEPEST, "too_deep")
        if first == "{":
            return self.object(path, depth)
        if first == "[":
            return self.array(path, depth)
        if first == '"':
            return self.string()
        number = _NUMBER.match(self.text, self.position)
        if number:
            return self.number(number)
        word = _WORD.match(self.text, self.position)
        if not word:
            self.unexpected("a value")
        self.position = word.end()
        return _WORDS[word.group()]

    def number(self, found):
        whole = found.group(1) is None and found.group(2) is None
        value = float(found.group())
        if value in (float("inf"), float("-inf")) or len(found.group()) > LONGEST_NUMBER:
            self.refuse("has a number that is too large")
        self.position = found.end()
        return int(found.group()) if whole else value

    def string(self):
        found = _STRING.match(self.text, self.position)
        if not found:
            self.refuse(
                "has a string that does not end in its line, or that contains a tab or a backslash that is not escaped"
            )
        self.position = found.end()
        return json.loads(found.group())

    def object(self, path, depth):
        found, places = OrderedDict(), {}
        opened = self.position
        following = self.skip(self.position + 1)
        if following == "}":
            self.position += 1
            return found
        while True:
            if following != '"':
                self.unexpected("a name in double quotes", opened)
            place = self.position
            name = self.string()
            if name in places:
                self.duplicates.append((".".join(path + (name,)), places[name], place))
            places.setdefault(name, place)
            if self.skip(self.position) != ":":
                self.unexpected("a colon after a name", opened)
            found[name] = self.value(self.skip(self.position + 1), path + (name,), depth + 1)
            following = self.skip(self.position)
            if following == "}":
                self.position += 1
                return found
            if following != ",":
                self.unexpected("a comma or }", opened)
            following = self.skip(self.position + 1)

    def array(self, path, depth):
        found = []
        opened = self.position
        following = self.skip(self.position + 1)
        if following == "]":
            self.position += 1
            return found
        while True:
            if not following:
                self.unexpected("a value", opened)
            found.append(self.value(following, path + ("%d" % len(found),), depth + 1))
            following = self.skip(self.position)
            if following == "]":
                self.position += 1
                return found
            if following != ",":
                self.unexpected("a comma or ]", opened)
            following = self.skip(self.position + 1)

    def end(self):
        if self.skip(self.position):
            self.refuse("continues after the end of its object")

    def unexpected(self, wanted, opened=None):
        """Names common mistakes. The message never quotes the text, which may have a password."""
        rest = self.text[self.position : self.position + 8]
        before = self.text[: self.position].rstrip()[-1:]
        if not rest:
            if opened is None:
                self.refuse("ends where %s should follow" % wanted)
            self.refuse("ends too early: what is opened in line %d is never closed" % self.line(opened))
        if rest.startswith(("//", "/*", "#")):
            self.refuse("has a comment, but JSON does not allow comments")
        if rest.startswith(("{{", "{%")) or self.text.startswith(("{{", "{%"), self.position - 1):
            self.refuse("has a template expression that was never rendered")
        if rest.startswith(("<<<<", "====", ">>>>")):
            self.refuse("has the marks of a merge conflict")
        if rest.startswith(("'", "\u2018", "\u2019", "\u201c", "\u201d", "\u201e")):
            self.refuse("has quotes other than the straight double quotes of JSON")
        if rest[0] in "}]" and before == ",":
            self.refuse("has a superfluous comma before %s" % rest[0])
        if rest.startswith(("True", "False", "None", "NaN", "Infinity", "-Infinit")):
            self.refuse("has a word that is not JSON; JSON allows only true, false and null")
        self.refuse("lacks %s" % wanted)

    def refuse(self, what, kind="not_json"):
        line = self.line(self.position)
        column = self.position - self.text.rfind("\n", 0, self.position)
        raise NotStrictJson(kind, "%s (line %d, column %d)" % (what, line, column), line)
