"""The mirror engine: fetches, verifies, stores and publishes packages. Private to the mde.offline collection.

It runs on Python >= 3.8, uses only the standard library and imports nothing from Ansible, because it is also the
`mde-mirror` command.
"""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

VERSION = "0.1.0"
