"""Documentation that the modules share which ask the agent on an endpoint."""
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
      - Without it, the command is looked for in E(PATH), at C(/usr/bin/mdatp), at
        C(/opt/microsoft/mdatp/sbin/wdavdaemonclient),
        and at the custom install location that C(/etc/opt/microsoft/mdatp/mde_path.json) names.
    type: path
  timeout:
    description:
      - Seconds that one call of the agent's command may take. A call that takes longer is stopped with its whole
        process group.
    type: int
    default: 30
requirements:
  - Python 2.7, or 3.6 and later, on the endpoint
notes:
  - Nothing but C(mdatp) and the mirror's C(manifest.json) is read. Credentials in addresses are masked in everything
    that is returned.
"""
