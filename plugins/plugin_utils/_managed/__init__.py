"""What the controller knows about mdatp_managed.json: its schema and the rules that no schema can say.

Private to the mde.offline collection: no promise is made to others.
"""

# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
