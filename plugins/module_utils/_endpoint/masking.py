"""Masks secrets in text. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import re

# _mirror/masking.py has the same functions. tests/unit/shared compares the two, and _managed/masking.py.
# The patterns are compiled at their first use, because most texts contain no @.

HIDDEN = "***"
LONGEST_QUOTE = 40
_LONGEST = 2048
_COLON = "(?i):|%3a"
_AT = "@|%40"
_WORD = r"\S*"
_COLON_OR_SIGN = "(?i)(?::|%3a)((?:/|%2f){2})?"
_OF_SCHEMES = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-"
_SCHEME = r"(?i)[a-z][a-z0-9+.-]*(?::|%3a)(?:/|%2f){2}"
# A host and a path: no colon, so that there is no password either.
_PLAIN = r"(?is)(?:\[[0-9a-f:.]+\]|(?:(?!%3a)[^:/?#@])*)/(?:(?!%3a)[^:])*\Z"
# A host with or without a port, alone or with a path.
_HOST = r"(?:\[[0-9a-f:.]+\]|(?:(?!%3a)[^:/?#@])*)(?:(?::|%3a)[0-9]{0,5})?"
_WITH_PORT = "(?is)" + _HOST + r"/.*\Z"
_HOST_AND_PATH = "(?is)" + _HOST + r"""(?:[/?#,;.!)\]}>'"].*)?\Z"""
_NAME = r"(?:\[[0-9a-f:.]+\]|[\w.-]+)"
_NAME_AND_PATH = "(?iu)" + _NAME + r"""(?::[0-9]{0,5})?(?:[/?#%].*)?[,;:.!)\]}>'"]*\Z"""
_HOST_AND_PORT = "(?iu)(?:@|%40)(?:" + _NAME + ")?(?::[0-9]{0,5})?"
_NAME_AND_MORE = "(?iu)" + _NAME + "(?::[0-9]|/)"
_NO_USER = " \t\r\n\v\f:=,;([<{\"'`|@&?/"
_CLOSING = {'"': '"', "'": "'", "`": "`", "<": ">"}
_AFTER_QUOTE = r"""(?=[\s,:;.)\]}>\\"']|\Z)"""
# Up to a blank, or to a quote that ends a value of JSON.
_UNQUOTED = r"""(?:[^\s"']|["'](?![\s,:\]}\\]|\Z))*"""
_PROXY_LABEL = r"""(?i)proxy["']?\s*[:=]\s*\Z"""
_HEADER = r"""(?i)(authorization["']?\s*[:=]\s*["']?)[^\r\n"']+"""
_QUERY = (
    r"""(?i)([?&](?:sig|signature|token|key|code|password|passwd|pwd|secret|credentials?|[a-z]+[_-](?:token|key|secret))=)"""
    r"""[^\s&#"'<>]+"""
)


def masked(text, address=False, hidden=HIDDEN):
    """The text without users and passwords in addresses, Authorization headers, and secrets in queries.

    With `address`, the whole text is one address, with or without a scheme. Otherwise, addresses are looked for in it.
    In doubt, too much is masked.
    """
    if "@" in text or "%40" in text:
        text = _address(text, hidden) if address else _text(text, hidden)
    if "uthorization" in text.lower():
        text = re.sub(_HEADER, lambda match: match.group(1) + hidden, text)
    if "=" in text and ("?" in text or "&" in text):
        text = re.sub(_QUERY, lambda match: match.group(1) + hidden, text)
    return text


def quoted(text):
    """The beginning of a text from a file or server, in one line: enough to recognise its kind, without the rest."""
    # Masking takes long for long texts, and has to come before the cut, which may remove the sign after a password.
    return " ".join(masked(text[:1000]).split())[:LONGEST_QUOTE]


def _address(text, hidden):
    scheme = re.match(_SCHEME, text)
    begin = scheme.end() if scheme else 0
    at = _last_at(text)
    # An empty user part is not a secret.
    if at <= begin or _is_host(text[begin:], at - begin):
        return text
    return text[:begin] + hidden + text[at:]


def _text(text, hidden):
    parts, done, judged, next_at = [], 0, 0, -1
    for mark in re.finditer(_COLON_OR_SIGN, text):
        # Inside an address, only another address is masked, such as one in its query.
        if mark.start() < (done if mark.group(1) else judged):
            continue
        if next_at < mark.end():
            found = re.compile(_AT).search(text, mark.end())
            if found is None:
                break
            next_at = found.start()
        if next_at - mark.end() > _LONGEST:
            continue
        lowest = max(done, mark.start() - 64)
        if mark.group(1):
            begin = mark.end()
            before = lowest + len(text[lowest : mark.start()].rstrip(_OF_SCHEMES))
            window = _quoted(text, begin, before) or _lines(text[begin : begin + _LONGEST])
            end = _end_of_user(window, True)
            judged = begin + len(_beginning(_WORD, window))
        else:
            begin = mark.start()
            while begin > lowest and text[begin - 1] not in _NO_USER:
                begin -= 1
            if begin == mark.start() or text[begin : mark.start()].lower() == "mailto":
                continue
            labelled = re.search(_PROXY_LABEL, text[max(0, begin - 16) : begin])
            after = text[begin : begin + _LONGEST]
            window = _quoted(text, begin, begin) or (_lines(after) if labelled else _beginning(_UNQUOTED, after))
            end = _end_of_user(window, False)
        if end >= 0:
            parts += [text[done:begin], hidden]
            done = begin + end
            judged = done + len(_beginning(_HOST_AND_PORT, text[done : done + _LONGEST]))
    return "".join(parts) + text[done:]


def _beginning(pattern, text):
    found = re.match(pattern, text)
    return found.group() if found else ""


def _quoted(text, begin, before):
    """The text up to the quote that closes the one in front of it; None without quotes."""
    closing = _CLOSING.get(text[before - 1 : before])
    window = text[begin : begin + _LONGEST]
    found = closing and re.search(re.escape(closing) + _AFTER_QUOTE, window)
    return window[: found.start()] if found else None


def _lines(window):
    """The first line, and the second one if the first ends inside a password."""
    lines = re.split("(\r?\n|\r)", window, maxsplit=2)
    first = _beginning(_WORD, lines[0])
    inside = not re.search(_AT, lines[0]) and not re.match(_HOST_AND_PATH, first)
    return "".join(lines[:3]) if inside else lines[0]


def _end_of_user(window, has_scheme):
    """The position of the @ that ends the user part at the beginning of an address; -1 if there is none.

    A password may contain blanks and @, and words that follow an address may contain the address of a mailbox.
    """
    end, last, tail, first = -1, 0, "", ""
    for number, match in enumerate(re.finditer(r"\S+", window)):
        word = match.group()
        if number == 0:
            first = word
            if match.start():
                return -1
        elif re.search(_SCHEME, word) and (end >= 0 or re.match(_HOST_AND_PATH, first)):
            break
        at = _last_at(word)
        if at < 0:
            continue
        after = word[at:].replace("%40", "@", 1)[1:]
        if number == 0:
            if _is_host(word, at):
                return -1
            belongs = True
        elif end < 0:
            belongs = re.search(_COLON, first) is not None and (
                not re.match(_HOST_AND_PATH, first)
                or (has_scheme and number == 1)
                or re.match(_NAME_AND_MORE, after) is not None
            )
        else:
            belongs = (
                not re.match(_NAME_AND_PATH, tail)
                or re.match(_NAME_AND_MORE, after) is not None
                or (number == last + 1 and not re.match(_NAME_AND_MORE, tail))
            )
        if belongs:
            end, last, tail = match.start() + at, number, after
    return end


def _last_at(text):
    """The position of the last @; if there is none, that of the last percent-encoded one."""
    return text.rfind("@" if "@" in text else "%40")


def _is_host(rest, at):
    """Whether the text in front of the @ is a host and the beginning of a path, not a user."""
    plain = re.match(_PLAIN, rest[:at]) is not None
    # A port and a path may also be a password; in front of a percent-encoded @ they are not.
    return plain or (rest[at] == "%" and re.match(_WITH_PORT, rest[:at]) is not None)
