"""Documentation of the attributes, which all modules of the collection share."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Fragment C(mde.offline.attributes)."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return what would change without changing anything.
  diff_mode:
    description: Returns what changed, or would change, when run with C(--diff).
  platform:
    description: Operating systems that the module supports.
    support: full
    platforms: posix
  idempotent:
    description: A second run with the same options changes nothing, if nothing else has changed in between.
  action_group:
    description:
      - Use C(group/mde.offline.all) in C(module_defaults) to set options for all modules of this collection.
      - C(group/mde.offline.endpoint) contains the modules for endpoints, which have the option C(mdatp).
        C(group/mde.offline.mirror) contains the modules for mirrors, which have the option C(settings).
    support: full
    membership:
      - mde.offline.all
"""
