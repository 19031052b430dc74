"""The error that is a finding in the making. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import re

_CREDENTIALS = re.compile(r"(?<=://)[^/@\s\"]+@")
NO_DAEMON = re.compile(
    r"(could not|cannot|can't|can not|unable to|failed to|error) connect|connection refused|daemon is not running",
    re.IGNORECASE,
)


class FindingError(Exception):
    """Something could not be asked. `id` is the id of the finding that says so, `message` what was seen."""

    def __init__(self, finding_id, message):
        super(FindingError, self).__init__(message)
        self.id = finding_id
        self.message = message


def masked(text):
    """The text without the credentials of addresses in it."""
    return _CREDENTIALS.sub("***@", text)
