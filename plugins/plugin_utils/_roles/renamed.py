"""Role variables that were renamed: the old name and the new one. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

# docs/upgrade.md shows this table; a test compares.
RENAMED = {
    "mirror_back": "mirror_keep_previous",
    "mirror_source_path": "mirror_source_script_path",
    "mirror_source_origin": "mirror_source_script_url",
    "mirror_source_commit": "mirror_source_script_commit",
}
