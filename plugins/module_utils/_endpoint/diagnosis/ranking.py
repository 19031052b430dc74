"""Puts findings into the order in which they are likely to be the cause. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

# What keeps a host from updating, from the ground up: a cause hides those below it.
CAUSES = (
    "not_installed",
    "mdatp_cannot_run",
    "service_missing",
    "wdavdaemon_not_executable",
    "service_stopped",
    "mdatp_hangs",
    "daemon_unreachable",
    "health_unreadable",
    "agent_too_old",
    "managed_file_missing",
    "managed_file_unreadable",
    "managed_file_invalid",
    "managed_file_incomplete",
    "managed_file_overruled",
    "managed_config_not_applied",
    "offline_updates_disabled",
    "mirror_url_missing",
    "mirror_url_malformed",
    "url_contains_arch",
    "mirror_url_differs",
    "mirror_name_unresolved",
    "mirror_port_unreachable",
    "mirror_tls_failed",
    "mirror_unreachable",
    "mirror_answer_unusable",
    "mirror_package_missing",
    "mirror_stale",
    "mirror_redirects",
    "filesystem_read_only",
    "disk_space_low",
    "filesystem_noexec",
    "selinux_denials",
    "passive_mode",
    "automatic_updates_disabled",
    "proxy_unsupported",
    "engine_too_old",
    "agent_known_fault",
    "clock_differs",
    "agent_expired",
    "not_licensed",
    "fanotify_conflict",
    "conflicting_applications",
)
# What is seen when a host does not update.
NOT_UPDATING = (
    "update_failed",
    "source_not_mirror",
    "definitions_unavailable",
    "definitions_stale",
    "behind_mirror",
    "engine_not_loaded",
    "real_time_protection_unavailable",
    "unhealthy",
)
# Warnings that become the likely cause where a host does not update.
_EXPLAIN = (
    "passive_mode",
    "automatic_updates_disabled",
    "mirror_redirects",
    "disk_space_low",
    "managed_file_incomplete",
    "selinux_denials",
    "engine_too_old",
    "agent_known_fault",
    "clock_differs",
)
_POSITION = {finding_id: position for position, finding_id in enumerate(CAUSES + NOT_UPDATING)}


def ordered(found):
    """Causes that are errors, warnings that explain what is seen, what is seen, other warnings, information."""
    found = list(found)
    symptoms = any(entry["id"] in NOT_UPDATING for entry in found)

    def rank(entry):
        effect = entry["id"] in NOT_UPDATING
        if entry["severity"] == "error":
            group = 2 if effect else 0
        elif entry["severity"] == "warning":
            group = 1 if symptoms and entry["id"] in _EXPLAIN else 3
        else:
            group = 4
        return group, _POSITION.get(entry["id"], len(_POSITION))

    return sorted(found, key=rank)
