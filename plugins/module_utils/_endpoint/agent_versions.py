"""Versions of the agent and of its engine at which their behaviour changes. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

# The first agent with offline updates, by architecture on Linux, and on macOS.
OFFLINE_UPDATES = {"x86_64": "101.24022.0001", "arm64": "101.25022.0002"}
OFFLINE_UPDATES_X86_64 = OFFLINE_UPDATES["x86_64"]
OFFLINE_UPDATES_ARM64 = OFFLINE_UPDATES["arm64"]
OFFLINE_UPDATES_MACOS = "101.25012.0003"
# The last agent for EL 6.
LAST_EL6 = "101.23082.0011"
# The first agent that gets its events without auditd.
WITHOUT_AUDITD = "101.24082.0004"
# The first agent that keeps definitions below /opt/microsoft/mdatp if /var is mounted noexec.
COPES_WITH_NOEXEC_VAR = "101.24092.0002"
# The first agent that supports a custom installation path.
CUSTOM_PATH = "101.25062.0003"
# The first agent that can run together with fapolicyd, on RHEL and Fedora.
BESIDE_FAPOLICYD = "101.25062.0003"
# The first agent with the row antivirus_enforcement_level.
ENFORCEMENT_LEVEL_ROW = "101.26052.0012"
# The first agent whose row offline_definition_update_verify_sig no longer has a meaning.
SIGNATURE_ROW_DEPRECATED = "101.26062.0005"
# The first engine that can check the signature of a package.
SIGNATURE_CHECK_ENGINE = "1.1.23080.007"

# Published faults that keep a host from updating: the first release with the fault, the first release without it.
UPDATE_FAULTS = ("101.24022.0001", "101.24112.0001")
DROP_INS_DELETED = ("101.25012.0000", "101.25032.0000")
SERVICE_LEFT_DISABLED = ("101.26042.0009", "101.26042.0010")
KNOWN_FAULTS = (
    UPDATE_FAULTS + ("has critical faults in the updates of definitions",),
    DROP_INS_DELETED + ("deletes /etc/systemd/system/mdatp.service.d, and with it a proxy, at each start",),
    SERVICE_LEFT_DISABLED + ("leaves the service mdatp disabled after its installation",),
)
