"""Documentation that the modules for mirrors share."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Fragment C(mde.offline.mirror)."""

    DOCUMENTATION = r"""
requirements:
  - Python >= 3.8 on the mirror host
options:
  settings:
    description:
      - Path of the mirror's settings file on the mirror host.
    type: path
    default: /etc/mde-mirror/settings.json
  config:
    description:
      - The settings themselves, instead of a file. The keys and types are those of the settings file.
    type: dict
"""
