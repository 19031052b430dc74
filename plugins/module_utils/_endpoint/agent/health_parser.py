"""Parses the output of `mdatp health`, text or JSON, to one record. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Decisions where the product's behaviour is not documented:
# - Dates of the text form have no time zone. They are parsed as UTC: one build is known in both forms, and its JSON has
#   the same time in UTC. A date that cannot be parsed is null, and a notice contains its text.
# - If a row is repeated, the last one counts, as in JSON parsers.
# - A truncated value (the output ends early) is omitted and reported as a notice.
# - Bytes that are not valid UTF-8 are decoded as Latin-1, line by line.

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import datetime
import itertools
import json
import re

from ansible_collections.mde.offline.plugins.module_utils._endpoint.text import TEXT, decode

EPOCH = datetime.datetime(1970, 1, 1)
ENDS_EARLY = "The JSON of mdatp ends early; only its complete rows were read."
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")

# Far above real output. The limits bound the time that malformed output takes.
LONGEST_VALUE = 16384
MOST_NOTICES = 200

_ESCAPES = re.compile(
    "\x1b\\[[0-?]*[ -/]*[@-~]|\x1b\\][^\x07\x1b]*(?:\x07|\x1b\\\\)|\x1b[@-Z\\\\-_]|[\ufeff\u200b\x00]"
)
_ROW = re.compile(r"^(\s*)([a-z][A-Za-z0-9_]*)(\s*):(?!//)\s*(.*)$", re.UNICODE)
MANAGED = "[managed]"
_PROMPT = re.compile(r"(^|[$#%>=]\s*|sudo\s+)(\S*/)?mdatp\s+(--)?health\b[^:]*$|^\S+@\S+[$#%>]$|^```\w*$", re.UNICODE)
_INTEGER = re.compile(r"^(0|-?[1-9][0-9]{0,17})$")
_CLOCK = r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:[.,][0-9]+)?)?"
_END = r"(?:\s*([AaPp])\.?[Mm]\.?)?(?:\s*(UTC|GMT|Z|[+-][0-9]{2}:?[0-9]{2}))?$"
# Patterns with the names of their groups; the first is the form that mdatp prints.
_DATES = tuple(
    (re.compile(pattern, re.UNICODE), names.split())
    for pattern, names in (
        (
            r"^([A-Za-z]{3})[a-z]*\.?\s+([0-9]{1,2}),?\s+([0-9]{4})(?:,|\s+at)?\s+" + _CLOCK + _END,
            "month day year hour minute second half zone",
        ),
        (
            r"^(?:[A-Za-z]{3,9},?\s+)?([0-9]{1,2})\s+([A-Za-z]{3})[a-z]*\.?,?\s+([0-9]{4})(?:,|\s+at)?\s+"
            + _CLOCK
            + _END,
            "day month year hour minute second half zone",
        ),
        (
            r"^[A-Za-z]{3}\s+([A-Za-z]{3})\s+([0-9]{1,2})\s+" + _CLOCK + r"(?:\s+(UTC|GMT))?\s+([0-9]{4})$",
            "month day hour minute second zone year",
        ),
        (r"^([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]\s*" + _CLOCK + _END, "year month day hour minute second half zone"),
    )
)
_DATE_BEGINS = re.compile(r"^[A-Z][a-z]{2}\s+[0-9]{1,2}(,|$)", re.UNICODE)
_TIME_NAME = re.compile(r"(^|_)(updated|expiration|expires|time|date|timestamp)$")
# Rows that are known to contain times only.
_TIMES = ("definitions_updated", "product_expiration")
_NO_TIME = ("", "0", "never", "none", "null", "n/a", "unknown")
_VERSION_NAME = re.compile(r"(^|_)version(_engine)?$")
_UNSAFE_ESCAPE = re.compile(r'\\(?!["\\/]|u[0-9A-Fa-f]{4})')
_QUOTE = re.compile(r'(?<!\\)"')
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
# Row names of one word; any other name without an underscore needs further evidence that the line is a row.
_SHORT_NAMES = ("healthy", "licensed", "proxy")
_NEVER_NAMES = ("error", "note", "usage", "warning", "ok", "changed", "fatal", "failed", "msg", "stdout", "stderr")
# Widths at which terminals wrap lines in the middle of a word.
_TERMINAL_WIDTHS = (80, 100, 120, 132, 160)
_WORDS = ("true", "false", "unavailable")
# What documents add at the end of a line: a backslash, or an arrow with a remark.
_REMARK = re.compile(r"(?<=[\]\"\u201da-z0-9.])(\\|\s+(<-+|\u2190).*)$", re.UNICODE)
# Messages of mdatp when its daemon does not answer.
NO_DAEMON = re.compile(
    r"(could not|cannot|can't|can not|unable to|failed to|error) connect|connection refused|daemon is not running",
    re.IGNORECASE,
)


def empty_record():
    """A record without rows."""
    return {"fields": {}, "managed": [], "notices": [], "format": "text"}


def parse(output):
    """The record of an output of `mdatp health`, with or without `--details`. Never raises."""
    text = _ESCAPES.sub("", decode(output)).replace("\r\n", "\n").replace("\r", "\n")
    lines = [line for line in text.split("\n") if line.strip()]
    if lines and all(line.lstrip().startswith(">") for line in lines):  # quoted, as in mails and documents
        text = re.sub(r"(?m)^\s*> ?", "", text)
    record = _parse_json(text)
    return _parse_text(text) if record is None else record


def merge(record, details):
    """Merges the records of `mdatp health` and of a detail view; the detail view is newer and takes precedence."""
    fields = dict(record["fields"])
    for name, value in details["fields"].items():
        # A time from JSON is kept, since the same time as text has no time zone.
        certain = (
            record["format"] == "json" and details["format"] == "text" and _TIME_NAME.search(name) and fields.get(name)
        )
        if not certain:
            fields[name] = value
    managed = (set(record["managed"]) - set(details["fields"])) | set(details["managed"])
    return {
        "fields": fields,
        "managed": sorted(managed),
        "notices": _unique(record["notices"] + details["notices"]),
        "format": record["format"] if record["fields"] else details["format"],
    }


def snake_case(name):
    """`definitionsUpdateSourceUri` as `definitions_update_source_uri`."""
    return _HUMP.sub("_", name).lower()


# --- JSON -------------------------------------------------------------------------------------------------------------


def _parse_json(text, depth=0):
    # JSON is at the start of a line or after the sentence of a warning, unlike a list inside a row of the text form.
    starts = itertools.islice(re.finditer(r"(?:^|[.!])[^\S\n]*([{\[])", text, re.MULTILINE | re.UNICODE), 20)
    for match in starts:
        before, rest = text[: match.start(1)], text[match.start(1) :]
        if any(_row(line) for line in before.split("\n")):
            return None
        notices = _lines(before)
        data, end = _decode_json(rest)
        if end is None and re.match(r'\{\s*["\u201c]', rest):
            data, end = _complete_members(rest), len(rest)
            notices.append(ENDS_EARLY)
        if isinstance(data, dict) and isinstance(data.get("stdout"), TEXT) and depth < 4:  # a module result of Ansible
            return parse(data["stdout"])
        members = _members(data)
        if members is None:
            continue
        record = _json_record(members, notices)
        more = rest[end:]
        if depth < 4 and more.strip():  # More output follows, such as a detail view or a message.
            following = _parse_json(more, depth + 1)
            record = merge(record, _parse_text(more) if following is None else following)
        return record
    return None


def _decode_json(text):
    """The first JSON value of the text and its end; (None, None) if there is none."""
    decoder = json.JSONDecoder(parse_int=_json_integer, parse_constant=TEXT)
    for candidate in (text, _straight(text)):
        try:
            return decoder.raw_decode(candidate)
        except (ValueError, RuntimeError):
            pass
    try:  # A terminal wrapped the line, so the line breaks are not part of the value.
        data, end = decoder.raw_decode(text.replace("\n", ""))
    except (ValueError, RuntimeError):
        return None, None
    for position, character in enumerate(text):
        if character != "\n":
            end -= 1
        if end == 0:
            return data, position + 1
    return None, None


def _json_integer(digits):
    return int(digits) if len(digits) < 19 else digits


def _complete_members(text):
    """The complete members of a truncated object."""
    decoder = json.JSONDecoder(parse_int=_json_integer, parse_constant=TEXT)
    found, position = {}, 1
    member = re.compile(r'\s*"([^"\\]+)"\s*:\s*')
    while True:
        match = member.match(text, position)
        if match is None:
            return found
        try:
            value, end = decoder.raw_decode(text, match.end())
        except (ValueError, RuntimeError):
            return found
        comma = re.compile(r"\s*[,}]").match(text, end)
        if comma is None:
            return found
        found[match.group(1)] = value
        position = comma.end()


def _members(data, depth=0):
    """The rows inside the JSON of mdatp, however nested; None if there are no row names."""
    if isinstance(data, list):
        items = [_members(item, depth + 1) for item in data if isinstance(item, dict)]
        if not items or len(items) != len(data) or None in items:
            return None
        rows = {}
        for item in items:
            rows.update(item)
        return rows
    if not isinstance(data, dict):
        return None
    name = data.get("name", data.get("field"))
    if "value" in data and ("key" in data or name is not None or not _is_setting(data)):  # one row, or a tag
        inside = data["value"] if isinstance(data["value"], dict) and _is_setting(data["value"]) else None
        setting = inside or {"value": data["value"], "isManaged": data.get("isManaged")}
        return {name: setting} if isinstance(name, TEXT) and re.match(r"^[a-z]\w*$", name) else None
    names = [name for name in data if name != "$type"]
    inner = data[names[0]] if len(names) == 1 else None
    if not isinstance(inner, dict) or _is_setting(inner) or snake_case(names[0]) == "definitions_status":
        return data
    wraps = depth < 4 and any(name != "$type" for name in inner)
    return _members(inner, depth + 1) if wraps else data


def _is_setting(value):
    return "value" in value and ("isManaged" in value or "displayValue" in value or len(value) == 1)


def _json_record(members, notices):
    record = empty_record()
    record["format"] = "json"
    managed = set()
    for key in members:
        if key == "$type":
            continue
        name, value = snake_case(key), members[key]
        if isinstance(value, dict) and _is_setting(value):
            if value.get("isManaged") is True:
                managed.add(name)
            value = value["value"]
        if (
            isinstance(value, dict)
            and isinstance(value.get("$type"), TEXT)
            and (len(value) == 1 or name == "definitions_status")
        ):
            value = snake_case(value["$type"])
        if _is_number(value) and (_TIME_NAME.search(name) or _VERSION_NAME.search(name)):
            value = TEXT(value)
        record["fields"][name] = _string(name, value) if isinstance(value, TEXT) else value
        notices += _unread(name, value, record["fields"][name])
    record["managed"] = sorted(managed)
    record["notices"] = _unique(notices)
    return record


# --- Text -------------------------------------------------------------------------------------------------------------


def _parse_text(text):
    record = empty_record()
    notices, rows = [], []
    lines = text.split("\n")
    edge = _edge(lines)
    current = None  # The row that the next line may continue.
    for line in lines:
        if not line.strip():
            current = None
            continue
        notice, line = _split_notice(line)
        if notice:
            notices.append(notice)
        row = _row(line)
        if current and row is None and _goes_on(current, line, edge):
            current["value"] = _join(current, line, edge)
            current["blanks"] = line[len(line.rstrip()) :]
            current["width"] = len(line)
        elif row:
            current = row
            rows.append(row)
        else:
            notices.extend(_lines(line))
            current = None
    if rows and (_is_open(rows[-1]["value"]) or (lines[-1].strip() and _is_cut(rows[-1], lines[-1]))):
        cut = rows.pop()
        notices.append("The output of mdatp ends within {0}: {1}".format(cut["name"], cut["value"]))
    managed = set()
    for row in rows:
        name = snake_case(row["name"])
        value = _REMARK.sub("", row["value"])
        managed.discard(name)
        if _is_marked(value):
            managed.add(name)
        value = _unmarked(_straight(value))
        record["fields"][name] = _typed(name, value)
        notices += _unread(name, value.strip('"'), record["fields"][name])
    record["managed"] = sorted(managed)
    record["notices"] = _unique(notices)
    return record


def _row(line):
    """Name, value and shape of a table row; None for any other line."""
    match = _ROW.match(line)
    if match is None:
        return None
    indent, name, gap, given = match.groups()
    value = given.strip()
    if name in _NEVER_NAMES:
        return None
    if "_" not in name and not gap and name not in _SHORT_NAMES and not _HUMP.search(name):
        bare = _unmarked(_straight(_REMARK.sub("", value)))
        if not (bare in ("true", "false", "unavailable") or _INTEGER.match(bare) or bare[:1] in ('"', "[")):
            return None
    blanks = given[len(given.rstrip()) :]
    return {"name": name, "value": value, "blanks": blanks, "indent": len(indent), "width": len(line)}


def _split_notice(line):
    """The warning of mdatp, and the row that may follow it on the same line."""
    if line.lstrip().startswith("ATTENTION"):
        for match in re.finditer(r"[.!]\s+", line):
            if _row(line[match.end() :]):
                return line[: match.end()].strip(), line[match.end() :]
    return None, line


def _is_marked(value):
    return value.lower().endswith(MANAGED)


def _unmarked(value):
    return value[: -len(MANAGED)].rstrip() if _is_marked(value) else value


def _is_open(value):
    value = _unmarked(_straight(value))
    even = len(_QUOTE.findall(value)) % 2 == 0
    if value.startswith('"'):
        return not even
    if value.startswith("["):
        return not (value.endswith("]") and (even or value.endswith('"]')))
    return False


def _edge(lines):
    """The width at which a terminal wrapped the lines: several end there, none is longer. 0 if they are not wrapped."""
    longest = max(map(len, lines))
    known = longest in _TERMINAL_WIDTHS or sum(1 for line in lines if len(line) == longest) > 1
    return longest if known else 0


def _is_whole(value):
    """Whether a value is complete. An unquoted word is complete only if it is a known one."""
    value = _unmarked(_straight(value))
    if value[:1] in ('"', "["):
        return not _is_open(value) and value[-1:] in ('"', "]")
    return value in _WORDS or bool(_INTEGER.match(value)) or _date(value) is not None


def _is_cut(row, last_line):
    """Whether the output, which does not end with a line break, may be truncated within the value of its last row."""
    value = _unmarked(row["value"])
    if _row(last_line) is None:
        return False
    half_word = any(word.startswith(value) and word != value for word in _WORDS)
    # A time without AM or PM is ambiguous.
    half_date = bool(_DATE_BEGINS.match(value)) and not re.search(r"[0-9]\s*[AaPp]\.?[Mm]", value)
    return half_word or half_date


def _goes_on(row, line, edge):
    value = row["value"]
    if line.lstrip().startswith("ATTENTION") or len(value) > LONGEST_VALUE:
        return False
    if _is_open(value) or (not value and not _PROMPT.search(line)):
        return True
    if edge and row["width"] == edge and len(line) <= edge:
        joined = _join(row, line, edge)
        more = _is_whole(joined) or len(line) == edge
        grows = _date(joined) or _INTEGER.match(joined) or (_is_marked(joined) and _is_whole(joined))
        if grows or (more and not _is_whole(value)):
            return True
    if value[:1] in ('"', "[", "\u201c") or _is_whole(value):
        return line.strip().lower() == MANAGED
    deeper = len(line) - len(line.lstrip()) > row["indent"]
    return deeper or bool(_DATE_BEGINS.match(value)) or row["width"] in _TERMINAL_WIDTHS


def _join(row, line, edge):
    """Joins a wrapped value. Prose was wrapped at a space, identifiers and addresses anywhere."""
    value, more = row["value"], line.strip()
    if not value:
        return more
    if edge and row["width"] == edge and not line[:2].isspace():
        return value + row["blanks"] + line.rstrip()
    indented = line[:1].isspace()
    prose = " " in value.lstrip('["') or " " in _unmarked(more)
    if row["width"] in _TERMINAL_WIDTHS and not indented:
        prose = False
    elif value.startswith("[") and row["width"] < min(_TERMINAL_WIDTHS):
        prose = True
    if indented and line[1:2] != " ":
        prose = True
    return value + (" " if prose else "") + more


def _typed(name, value):
    """The typed value of a row of the text form."""
    if value in ("true", "false"):
        return value == "true"
    if _INTEGER.match(value) and not _VERSION_NAME.search(name):
        return _string(name, value) if name in _TIMES or (_TIME_NAME.search(name) and _epoch(value)) else int(value)
    if value == "unavailable":
        return None
    if value.startswith("[") and value.endswith("]"):
        return _list(value)
    if len(value) > 1 and value.startswith('"') and value.endswith('"'):
        return _string(name, value[1:-1].replace('\\"', '"'))
    value = value.lstrip('"') if _is_open(value) else value
    return _date(value) or _string(name, value)


def _list(value):
    if not _UNSAFE_ESCAPE.search(value):
        try:
            return json.loads(value, parse_int=_json_integer, parse_constant=TEXT)
        except (ValueError, RuntimeError):
            pass
    inner = value[1:-1].strip()
    if not inner:
        return []
    if len(inner) > 1 and inner.startswith('"') and inner.endswith('"'):
        items = re.split(r'(?<!\\)"\s*,\s*"', inner[1:-1])
        return [item.replace('\\"', '"').replace("\\\\", "\\") for item in items]
    items = re.findall(r'"((?:[^"\\]|\\.)*)"|([^",\s][^,"]*)', inner)
    return [quoted or bare.strip() for quoted, bare in items]


# --- Both -------------------------------------------------------------------------------------------------------------


def _string(name, value):
    """The typed value of a string in the row of that name."""
    if name == "definitions_status":
        return re.sub(r"[\s-]+", "_", snake_case(value.strip()))
    if value == "unavailable":
        return None
    if name.endswith("_minutes_ago") and _INTEGER.match(value):
        return int(value)
    if _TIME_NAME.search(name):
        if value == "0" or (name in _TIMES and value.strip().lower() in _NO_TIME):
            return None
        return _epoch(value) or _date(value) or (None if name in _TIMES else value)
    return value


def _unread(name, value, result):
    """The notice for a time that cannot be parsed."""
    missing = name in _TIMES and result is None and isinstance(value, TEXT)
    if not missing or value.strip().lower() in _NO_TIME + ("unavailable",):
        return []
    return ["{0} is not a time that can be parsed: {1}".format(name, value)]


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _epoch(value):
    """ISO 8601 of milliseconds (or, for ten digits, seconds) since 1970."""
    if not re.match(r"^[0-9]{10,14}$", value):
        return None
    seconds = int(value) if len(value) == 10 else int(value) // 1000
    return TEXT((EPOCH + datetime.timedelta(seconds=seconds)).isoformat()) + "Z"


def _date(value):
    """Converts `Aug 12, 2023 at 03:26:24 AM`, ISO 8601 itself, and similar forms of other tools to ISO 8601."""
    for pattern, names in _DATES:
        match = pattern.match(value)
        if match:
            return _moment(dict(zip(names, match.groups())))
    return None


def _moment(parts):
    month, hour, half, zone = parts["month"].lower(), int(parts["hour"]), parts.get("half"), parts.get("zone") or "Z"
    if not month.isdigit():
        if month not in MONTHS:
            return None
        month = MONTHS.index(month) + 1
    if half and hour <= 12:
        hour = hour % 12 + (12 if half in "Pp" else 0)
    try:
        moment = datetime.datetime(
            int(parts["year"]), int(month), int(parts["day"]), hour, int(parts["minute"]), int(parts["second"] or 0)
        )
        if zone[0] in "+-":
            east = datetime.timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))
            moment += -east if zone[0] == "+" else east
    except (ValueError, OverflowError):
        return None
    return TEXT(moment.isoformat()) + "Z"


def _straight(value):
    """Replaces typographic quotes, which documents use, with straight ones if they delimit a value."""
    if re.match("^[\\[{\\s]*[\u201c\u201d\u201e]", value) or re.search(
        "[\u201c\u201d][\\]}\\s]*(\\[managed\\])?$", value
    ):
        return re.sub("[\u201c\u201d\u201e]", '"', value)
    return value


def _lines(text):
    """The lines that are not empty and not the pasted command itself."""
    lines = [line.strip() for line in text.split("\n")]
    return [line for line in lines if re.search(r"\w", line, re.UNICODE) and not _PROMPT.search(line[:200])]


def _unique(lines):
    """The lines in their order, without repetitions."""
    seen = set()
    kept = [line for line in lines if not (line in seen or seen.add(line))]
    return kept[:MOST_NOTICES]
