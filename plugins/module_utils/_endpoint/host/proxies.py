"""Finds the proxies of a host, and those that the agent cannot use. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import re

from ansible_collections.mde.offline.plugins.module_utils._endpoint.host_names import is_host

NAMES = ("https_proxy", "http_proxy", "all_proxy", "auto_proxy")
UNITS = ("etc/systemd/system/mdatp.service", "lib/systemd/system/mdatp.service", "usr/lib/systemd/system/mdatp.service")
DROP_INS = "etc/systemd/system/mdatp.service.d"
_ASSIGNMENT = re.compile(
    r"""(?:^|[\s"'=])({0})\s*=\s*("[^"]*"|'[^']*'|[^\s"']+)""".format("|".join(NAMES)), re.IGNORECASE | re.MULTILINE
)
_REST_OF_USER = re.compile(r"""(?:[ \t]+[^\s"'=@]+)*[ \t]+[^\s"'=@]*@[^\s"']*""")
_FILE = re.compile(r"^\s*EnvironmentFile\s*=\s*-?(/\S+)", re.MULTILINE)
_STATIC = re.compile(r"https?://(\[[0-9a-f:.]+\]|[^\[\]:/]+)(?::([0-9]{1,5}))?/?\Z", re.IGNORECASE)


def configured(host, managed=None, unit_environment="", task=True):
    """(where, name, value) of each proxy that the agent or its installer may use."""
    found = [("the environment of this task", name, value) for name, value in _of_mapping(host.environ if task else {})]
    found += [("the unit mdatp", name, value) for name, value in assignments(unit_environment)]
    files = ["etc/environment"] + list(UNITS)
    files += ["{0}/{1}".format(DROP_INS, name) for name in host.names(DROP_INS) if name.endswith(".conf")]
    for path in files:
        text = _without_comments(host.text(path, 65536))
        found += [("/" + path, name, value) for name, value in assignments(text)]
        for other in _FILE.findall(text):
            found += [(other, name, value) for name, value in assignments(_without_comments(host.text(other, 65536)))]
    section = managed.get("cloudService") if isinstance(managed, dict) else None
    value = section.get("proxy") if isinstance(section, dict) else None
    if isinstance(value, type("")) and value.strip():
        found.append(("the managed configuration", "cloudService.proxy", value.strip()))
    return found


def assignments(text):
    """(name, value) of each proxy in a text with assignments of environment variables."""
    found = []
    for match in _ASSIGNMENT.finditer(text):
        name, value = match.groups()
        # A blank ends a value without quotes. The text after it may still be part of a password, and has to be in the
        # value, so that it is masked.
        rest = _REST_OF_USER.match(text, match.end()) if value[0] not in "\"'" and problem(value) else None
        value = (value + (rest.group() if rest else "")).strip("\"'").strip()
        if value:
            found.append((name, value))
    return found


def problem(value):
    """Why the agent cannot use a proxy; None if it can. The value may contain a password, so the text leaves it out."""
    lower = value.lower()
    if "wpad" in lower or lower.startswith("pac+") or re.search(r"\.pac\b", lower):
        return "it is a PAC or WPAD address, and only static proxies are supported"
    if "@" in value:
        return "it has a user or a password, and proxies that ask for them are not supported"
    scheme = re.match(r"^([a-z0-9+.-]+)://", lower)
    if scheme and scheme.group(1) not in ("http", "https"):
        return "it is a {0} proxy, and only http ones are supported".format(scheme.group(1))
    match = _STATIC.match(value)
    if match is None or not 0 < int(match.group(2) or 1) < 65536 or not is_host(match.group(1)):
        return "it is not of the form http://host:port"
    if match.group(1).lower() in ("proxy.server", "proxy.example.com"):
        return "it is an example from the documentation"
    return None


def _of_mapping(environ):
    found = "\n".join('{0}="{1}"'.format(name, environ[name]) for name in sorted(environ) if name.lower() in NAMES)
    return assignments(found)


def _without_comments(text):
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith(("#", ";")))
