"""Reads the last lines of the agent's logs, without secrets. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import os
import re

from ansible_collections.mde.offline.plugins.module_utils._endpoint.host.storage import LOGS
from ansible_collections.mde.offline.plugins.module_utils._endpoint.masking import masked

AUDIT_LOG = "/var/log/audit/audit.log"
MOST_BYTES = 128 * 1024
LONGEST_LINE = 400
MOST_FILES = 4
_NAME = re.compile(r"^microsoft_defender.*\.log$")
_SECRET = re.compile(
    r"""((?:pass(?:word|wd|phrase)?|pwd|secret|token|credentials?|api[_-]?key|private[_-]?key|sig)["']?\s*[:=]\s*)
        (?:"[^"]*"|'[^']*'|[^\s,;&}]+)""",
    re.IGNORECASE | re.VERBOSE,
)
_HEADER = re.compile(r"((?:proxy-)?authorization\s*[:=]|\bbearer|\bbasic)(\s+\S.*)", re.IGNORECASE)
_DENIED = re.compile(r"type=AVC msg=audit\(([0-9]+).*\bdenied\b.*(?:mdatp|wdavdaemon|/opt/microsoft)")
_TROUBLE = re.compile(
    r"\b(err(or)?|fail(ed|ure)?|cannot|could not|denied|refused|timed? ?out|invalid|curl)\b", re.IGNORECASE
)
_TOPIC = re.compile(r"definition|update|signature|engine|mirror|download|offline|managed|config", re.IGNORECASE)


def read(host, lines):
    """The last lines of each of the agent's newest logs, with secrets masked."""
    names = [name for name in host.names(LOGS) if _NAME.match(name)] if lines > 0 else []
    newest = sorted(names, key=lambda name: _changed(host, name), reverse=True)[:MOST_FILES]
    found = []
    for name in sorted(newest):
        path = "{0}/{1}".format(LOGS, name)
        last = host.text(path, MOST_BYTES, tail=True).splitlines()[-lines:]
        found.append({"file": path, "lines": [mask(line)[:LONGEST_LINE] for line in last]})
    return found


def denials(host, now, seconds=86400, most=3):
    """The last AVC lines of the audit log about the agent, not older than `seconds`."""
    found = [(_DENIED.search(line), line) for line in host.text(AUDIT_LOG, MOST_BYTES, tail=True).splitlines()]
    recent = [line for match, line in found if match and 0 <= now - int(match.group(1)) <= seconds]
    return [mask(line)[:LONGEST_LINE] for line in recent[-most:]]


def _changed(host, name):
    try:
        return os.stat(host.path(LOGS, name)).st_mtime
    except EnvironmentError:
        return 0


def mask(line):
    """A line in which everything that may be a secret is masked."""
    line = _HEADER.sub(r"\1 ***", masked(line))
    return _SECRET.sub(r"\1***", line)


def troubles(found, most=5):
    """The last lines that report an error about definitions or the configuration."""
    lines = [line for log in found for line in log["lines"] if _TROUBLE.search(line) and _TOPIC.search(line)]
    return lines[-most:]
