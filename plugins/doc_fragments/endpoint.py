"""Documentation that the modules for endpoints share."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Fragment C(mde.offline.endpoint)."""

    DOCUMENTATION = r"""
options:
  mdatp:
    description:
      - Path of the agent's command.
      - By default, the module searches for the command in E(PATH), at C(/usr/bin/mdatp), at
        C(/opt/microsoft/mdatp/sbin/wdavdaemonclient), and at the custom installation path in
        C(/etc/opt/microsoft/mdatp/mde_path.json).
    type: path
  timeout:
    description:
      - Time limit in seconds for each call of the agent's command. When it is exceeded, the process group of the
        command is killed.
    type: int
    default: 30
requirements:
  - Python 2.7, or 3.6 and later, on the endpoint
notes:
  - The module reads only the output of C(mdatp) and the mirror's C(manifest.json), and examines who can write the
    managed configuration. Credentials in URLs are masked in all return values.
"""
