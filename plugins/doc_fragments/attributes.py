"""Documentation that every module of the collection shares: what the attributes mean."""
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
    description: Systems that the module runs on.
    support: full
    platforms: posix
  idempotent:
    description: Run again with the same options, it changes nothing if nothing else changed in between.
  action_group:
    description:
      - Use C(group/mde.offline.all) in C(module_defaults) to set options for all modules of this collection.
      - C(group/mde.offline.endpoint) holds those that look at endpoints and take C(mdatp), C(group/mde.offline.mirror)
        those of mirrors, which take C(settings).
    support: full
    membership:
      - mde.offline.all
"""
