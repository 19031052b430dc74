"""Masks the user and the password of an address.

Private to the mde.offline collection; it may change without notice.
"""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

# _endpoint/masking.py and _mirror/masking.py mask addresses in the same way. tests/unit/shared compares the three.

HIDDEN = "***"
_SCHEME = re.compile("[a-z][a-z0-9+.-]*(?::|%3a)(?:/|%2f){2}", re.IGNORECASE)
_HOST = r"(?:\[[0-9a-f:.]+\]|(?:(?!%3a)[^:/?#@])*)"
# A host and a path: no colon, so that there is no password either.
_PLAIN = re.compile(_HOST + r"/(?:(?!%3a)[^:])*\Z", re.IGNORECASE)
# The same with a port, in front of a percent-encoded @.
_WITH_PORT = re.compile(_HOST + r"(?:(?::|%3a)[0-9]{0,5})?/.*\Z", re.IGNORECASE | re.DOTALL)


def masked(address: str) -> str:
    """An address, with or without a scheme, without its user and password, whatever characters they have."""
    scheme = _SCHEME.match(address)
    begin = scheme.end() if scheme else 0
    end = address.rfind("@" if "@" in address else "%40")
    user = address[begin : max(begin, end)]
    plain = _PLAIN.match(user) or (address[end : end + 1] == "%" and _WITH_PORT.match(user))
    return address if not user or plain else address[:begin] + HIDDEN + address[end:]
