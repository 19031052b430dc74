"""Parses the bytes or the text of a file: encoding, duplicate names, and the reason why a text is not JSON.

Private to the mde.offline collection; it may change without notice.
"""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any

from .document import TOO_DEEP
from .findings import ERROR, Finding, Path, rule

BYTE_ORDER_MARK = rule(
    "byte_order_mark",
    ERROR,
    "The file begins with a byte order mark",
    "JSON is UTF-8 without a byte order mark; parsers may refuse the whole file because of one.",
    "Save the file as UTF-8 without BOM, for instance: sed -i '1s/^\\xEF\\xBB\\xBF//' mdatp_managed.json",
)
WRONG_ENCODING = rule(
    "wrong_encoding",
    ERROR,
    "The file is not UTF-8",
    "JSON is UTF-8. A file in UTF-16 (as some Windows editors save it) or in an 8-bit code page cannot be read by "
    "the agent.",
    "Save the file as UTF-8, for instance: iconv -f UTF-16 -t UTF-8 (with its present encoding instead of UTF-16).",
)
EMPTY_FILE = rule(
    "empty_file",
    ERROR,
    "The file is empty",
    "A file with no content is not JSON, so nothing is managed.",
    "Write at least {} into it, or remove the file.",
)
NOT_JSON = rule(
    "not_json",
    ERROR,
    "The file is not JSON",
    "Broken syntax makes the agent ignore the whole file, and with it every setting.",
    "Fix the syntax at this line and column; `python3 -m json.tool FILE` shows the next fault, if any.",
)
DUPLICATE_NAME = rule(
    "duplicate_name",
    ERROR,
    "A name occurs twice in the same object",
    "JSON does not define which one counts. Most parsers silently take the last one, so one of the settings is lost.",
    "Keep one of them. Merge two sections of the same name into one.",
)
ROOT_NOT_OBJECT = rule(
    "root_not_object",
    ERROR,
    "The outermost value is not an object",
    "The file must be one JSON object: { ... }.",
    'Write { "antivirusEngine": { ... }, "cloudService": { ... } } and so on.',
)

_LONGEST_NUMBER = 400  # digits; a managed configuration needs ten
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# (text at the fault, text before it, advice). The first row that matches gives the advice.
_ADVICE = (
    (r"\x00", "", "Zero bytes are here, as after a crash or on a full disk: restore the file from its source."),
    (
        r"\s*[\u00a0\u2000-\u200f\u2028\u2029\u202f\u3000\ufeff]",
        "",
        "An invisible character is here, as copied from a web page: replace it with a plain space.",
    ),
    (r"\s*<%|\s*\$\{|\s*@\w+@|\s*__\w+__", "", "This looks like a template: fill it in first, and check the result."),
    (r"[\s,]*(//|/\*|#)", "", "JSON has no comments: remove them."),
    (r"\s*```", "", "This is the mark of a code block in Markdown: remove it."),
    (r"\s*[}\]]", r",\s*$", "Remove the comma before this closing bracket."),
    (r"\s*'", "", "JSON has only double quotes: write \" instead of '."),
    (r"\s*[\u201c\u201d\u2018\u2019\u201e\u00ab\u00bb]", "", 'These are typographic quotes: write " instead.'),
    (r"\s*(True|False|None)\b", "", "Write true, false or null in lower case."),
    (r"\s*(TRUE|FALSE|NULL|yes|no|on|off)\b", "", "Write true, false or null; the other words are not JSON."),
    (r"\s*<", "", "This looks like XML or HTML, not JSON."),
    (r"\s*,", r"[,\[{:]\s*$", "A value is missing before this comma, or the comma has to be removed."),
    (r"\s*$", "", "The file ends too early: a bracket, a brace or a quote was never closed."),
    (r"---|[A-Za-z]\w*:\s", r"^\s*$", "This looks like YAML: convert it to JSON."),
    (r"\s*[A-Za-z_$][\w$]*\s*:", "", "Names need double quotes."),
    (r'\s*["\[{]', r'["\]}\w]\s*$', "A comma is missing before this."),
    (r"\s*[\]}]", r"[\[{:]\s*$", "A value is missing here."),
    (r"\s*[\]}]", "", "This closing bracket has no opening one."),
    (r"[0-9-]", r"\w\s+$", "A comma is missing before this."),
    (r"\s*;", "", "JSON puts commas between values, not semicolons."),
    (
        r"\s*[0-9.+-]|[xX]",
        "",
        "This is not a number as JSON writes it: no leading 0 or +, digits before and after the dot.",
    ),
    (r"\s*\S", r"\A\s*$", "The file has to begin with {: remove the text before it."),
    (r"\s*[A-Za-z_$%@]", "", "A string needs double quotes."),
)


class _Pairs(dict[str, Any]):
    """An object that keeps all its pairs, also those with the same name."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs


class _NotANumber(Exception):
    """A literal that Python accepts as a number, and other parsers refuse."""

    def __init__(self, literal: str, message: str) -> None:
        super().__init__(message)
        self.literal = literal


def read(source: str | bytes) -> tuple[Any, list[Finding]]:
    """The data (None if the text has none) and the findings about the text."""
    text, findings = decode(source)
    if not text.strip():
        return None, [
            *findings,
            EMPTY_FILE.at(
                (), "There is nothing in the file." if not text else "There is only white space in the file."
            ),
        ]
    try:
        data = json.loads(
            text, object_pairs_hook=_Pairs, parse_constant=_refuse, parse_int=_integer, parse_float=_float
        )
    except json.JSONDecodeError as error:
        return None, [*findings, _syntax(text, error)]
    except _NotANumber as error:
        message = f"{_where(text, error.literal)}{error}"
        return None, [*findings, NOT_JSON.at((), message, "Write a number, or leave the key out.")]
    except RecursionError:
        return None, [*findings, TOO_DEEP.at((), TOO_DEEP.meaning)]
    findings.extend(_duplicates(data, ()))
    return data, findings


def decode(source: str | bytes) -> tuple[str, list[Finding]]:
    """The text of any bytes, and the findings about its encoding. Text that is already decoded is checked too."""
    if isinstance(source, bytes):
        return _decode_bytes(source)
    findings = []
    if source.startswith("\ufeff"):
        findings.append(BYTE_ORDER_MARK.at((), "The text begins with a byte order mark (U+FEFF)."))
    if re.search("[\ud800-\udfff]", source):
        findings.append(WRONG_ENCODING.at((), "The text contains bytes that were not UTF-8 when the file was read."))
    return source.removeprefix("\ufeff"), findings


def _decode_bytes(source: bytes) -> tuple[str, list[Finding]]:
    if source.startswith(codecs.BOM_UTF8):
        text, findings = _decode_bytes(source[len(codecs.BOM_UTF8) :])
        return text, [BYTE_ORDER_MARK.at((), "The file begins with the bytes EF BB BF."), *findings]
    for mark, name in (*_MARKS, *_unmarked(source)):
        if source.startswith(mark):
            message = f"The file is encoded in {name.upper()}."
            return source.decode(name, "replace").removeprefix("\ufeff"), [WRONG_ENCODING.at((), message)]
    try:
        return source.decode("utf-8"), []
    except UnicodeDecodeError as error:
        line = source.count(b"\n", 0, error.start) + 1
        message = f"The byte {source[error.start]:02X} in line {line} (offset {error.start}) is not UTF-8."
        advice = "Save the file as UTF-8, for instance: iconv -f ISO-8859-1 -t UTF-8 (with its present encoding)."
        return source.decode("utf-8", "replace"), [WRONG_ENCODING.at((), message, advice)]


def _unmarked(source: bytes) -> Iterator[tuple[bytes, str]]:
    """UTF-16 and UTF-32 without a byte order mark have zero bytes next to the first character."""
    if source[:4].count(0) == 3 and len(source) >= 4:
        yield b"", "utf-32-be" if source[0] == 0 else "utf-32-le"
    elif 0 in source[:2] and source.strip(b"\x00"):
        yield b"", "utf-16-be" if source[0] == 0 else "utf-16-le"


def _where(text: str, word: str) -> str:
    """The line and column of a word outside of strings."""
    for match in re.finditer(r'"(?:[^"\\]|\\.)*"|' + re.escape(word), text):
        if match.group() == word:
            line = text.count("\n", 0, match.start()) + 1
            return f"Line {line}, column {match.start() - text.rfind(chr(10), 0, match.start())}: "
    return ""


def _refuse(word: str) -> None:
    raise _NotANumber(word, f"{word} is a word of JavaScript and Python, not a number of JSON.")


def _integer(digits: str) -> int:
    _float(digits)
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if len(digits) > _LONGEST_NUMBER or value in (float("inf"), float("-inf")):
        raise _NotANumber(digits, "a number is too large.")
    return value


def _syntax(text: str, error: json.JSONDecodeError) -> Finding:
    where = f"Line {error.lineno}, column {error.colno}: "
    number = re.search(r"-?[0-9][0-9.eE+-]*\Z", text[max(0, error.pos - _LONGEST_NUMBER) : error.pos])
    if number and re.match(r"[0-9A-Za-z_.+-]", text[error.pos :]):
        # Python reads the beginning as a number of its own and complains about the rest.
        where = f"Line {error.lineno}, column {error.colno - len(number.group())}: "
        advice = "Write no leading 0 or +, and digits before and after the dot."
        return NOT_JSON.at((), f"{where}this is not a number of JSON.", advice)
    if error.msg.startswith("Invalid control character"):
        code = ord(text[error.pos]) if error.pos < len(text) else 0
        what = "a line break" if code in (10, 13) else "a tab" if code == 9 else f"the control character U+{code:04X}"
        advice = "A closing quote is missing, or write it as an escape (\\n, \\t, \\u0000)."
        return NOT_JSON.at((), f"{where}{what} is inside a string.", advice)
    if error.msg.startswith("Extra data"):
        advice = "Keep one object; merge a second one into it."
        if re.match(r"\s*,", text[error.pos :]):
            advice = "Remove the comma after the last brace. Anything after it belongs inside the braces."
        if re.match(r"\s*:", text[error.pos :]):
            advice = "The outermost braces are missing: put { before the whole text and } after it."
        if re.match(r"\s*\x00", text[error.pos :]):
            advice = "Zero bytes follow, as after a crash or on a full disk: restore the file from its source."
        if re.match(r"\s*[\]}]", text[error.pos :]):
            advice = "There is one closing bracket too many, or an opening one is missing."
        if re.match(r"\s*(//|/\*|#)", text[error.pos :]):
            advice = "JSON has no comments: remove them."
        return NOT_JSON.at((), f"{where}there is more after the end of the JSON value.", advice)
    if error.msg.startswith("Invalid \\"):
        return NOT_JSON.at((), f"{where}this is not an escape sequence of JSON.", "Write \\\\ for a backslash.")
    if error.msg.startswith("Expecting ':'"):
        return NOT_JSON.at((), f"{where}a colon was expected.", 'A name, a colon, then the value: {"name": value}.')
    if error.msg.startswith("Unterminated string"):
        return NOT_JSON.at((), f"{where}a string begins here and never ends.", "Add the closing double quote.")
    if re.search(r"\{[{%#]", text[max(0, error.pos - 1) : error.pos + 2]):
        advice = "If this is a template, render it first and check the result. If not, remove one {."
        return NOT_JSON.at((), f"{where}a name in double quotes was expected.", advice)
    # Python 3.13 and newer report the position of the trailing comma, older versions that of the bracket after it.
    comma = error.msg.startswith("Illegal trailing comma")
    before, after = text[max(0, error.pos - 200) : error.pos + comma], text[error.pos + comma : error.pos + 200]
    for here, behind, advice in _ADVICE:
        if re.match(here, after) and re.search(behind, before):
            return NOT_JSON.at((), f"{where}{error.msg[:1].lower()}{error.msg[1:]}.", advice)
    return NOT_JSON.at((), f"{where}{error.msg[:1].lower()}{error.msg[1:]}.")


def _duplicates(value: Any, path: Path) -> Iterator[Finding]:
    """Finds duplicate names, also inside values that a later value of the same name replaced."""
    pending: list[tuple[Any, Path]] = [(value, path)]
    reported: set[Path] = set()
    while pending:
        value, path = pending.pop()
        if isinstance(value, list):
            pending.extend((item, (*path, index)) for index, item in enumerate(value))
        elif isinstance(value, _Pairs):
            seen: set[str] = set()
            for name, item in value.pairs:
                place = (*path, name)
                if name in seen and place not in reported:
                    reported.add(place)
                    count = sum(other == name for other, _value in value.pairs)
                    yield DUPLICATE_NAME.at(place, f"This name occurs {count} times in the same object.")
                seen.add(name)
                pending.append((item, place))
