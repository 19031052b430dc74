"""Checks whether a text can be the host of an address. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

import re
import socket

_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?\Z", re.DOTALL)
_IPV6 = re.compile(r"\[([0-9A-Fa-f:.]+)\]\Z")


def is_host(text):
    """Whether the text is a valid DNS name, an IPv4 address, or an IPv6 address in brackets."""
    bracketed = _IPV6.match(text)
    if bracketed is None:
        return _NAME.match(text) is not None
    try:
        socket.inet_pton(socket.AF_INET6, str(bracketed.group(1)))
    except (EnvironmentError, ValueError):
        return False
    return True
