# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The findings that a report adds to the findings of the hosts: one record per id. Private to the collection.

tools/render_fleet_docs.py makes docs/findings-fleet.md from these records.
"""

from __future__ import annotations

from dataclasses import dataclass

ENDPOINTS, MIRRORS = "About endpoints", "About mirrors"
SYNC_PLAYBOOK = "the playbook mde.offline.sync"


@dataclass(frozen=True)
class Rule:
    """One thing that can be wrong; `id` is a public contract. `note` says when the severity is another one."""

    id: str
    severity: str
    about: str
    means: str
    seen: str
    remedy: str
    note: str = ""

    def found(self, message: str, hint: str = "", severity: str = "") -> dict[str, str]:
        return {
            "id": self.id,
            "severity": severity or self.severity,
            "message": message,
            "hint": hint or self.remedy,
        }


HOST_UNREACHABLE = Rule(
    "host_unreachable",
    "error",
    ENDPOINTS,
    "The state of this host is unknown. The host may be unprotected.",
    "Ansible could not connect to the host.",
    "Check that the host is up and that Ansible connects to it: ansible HOST -m ansible.builtin.ping.",
)
CHECK_FAILED = Rule(
    "check_failed",
    "error",
    ENDPOINTS,
    "Ansible reached the host, but the module returned no result.",
    "The task failed, for instance because it may not become root or because the host has no usable Python.",
    "Fix what the message names, then run mde.offline.health again with --limit HOST -vvv.",
)
NOT_CHECKED = Rule(
    "not_checked",
    "error",
    ENDPOINTS,
    "The state of this host is unknown.",
    "Ansible removed the host from this run before the task that checks its health.",
    "Look further up in the output for the task that failed on this host, fix it, then run mde.offline.health.",
)
RESULT_MALFORMED = Rule(
    "result_malformed",
    "error",
    ENDPOINTS,
    "The host returned values that the module never returns, so no other value of this host can be trusted. The "
    "report leaves out the values that it cannot use; the rows of all other hosts are complete. A mirror can have this "
    "finding too.",
    "A value has another type, a finding has no id or an unknown severity, or the result is far too large. The message "
    "names the first places.",
    "Run the module on this host with -vvv, and check that nobody replaced the agent's command mdatp, the mirror's "
    "files or the Python interpreter on the host.",
)
MIRROR_SYNC_FAILED = Rule(
    "mirror_sync_failed",
    "error",
    MIRRORS,
    "The last sync failed, for all channels or for some. The mirror still serves what it published before.",
    "The record of the last sync has an error. The message and the hint are those of the error; docs/mirror.md lists "
    "the errors by their codes.",
    "Run a sync and fix what its error names.",
)
MIRROR_EMPTY = Rule(
    "mirror_empty",
    "error",
    MIRRORS,
    "Endpoints find no definitions on this mirror.",
    "No channel of the mirror serves a release.",
    f"Sync the mirror with {SYNC_PLAYBOOK} and fix what the sync reports.",
)
MIRROR_NOT_SYNCED = Rule(
    "mirror_not_synced",
    "error",
    MIRRORS,
    "The syncs stopped, or none has worked yet.",
    "The last sync without a failure is longer ago than allowed, or no sync has succeeded yet.",
    "Check the timer (systemctl status mde-mirror-sync.timer, journalctl -u mde-mirror-sync), or sync now with "
    f"{SYNC_PLAYBOOK}.",
    "warning before the first success",
)
MIRROR_DEFINITIONS_OLD = Rule(
    "mirror_definitions_old",
    "error",
    MIRRORS,
    "Every endpoint of this mirror has definitions that are at least this old, even if its health shows no fault.",
    "The definitions that a channel serves are older than the mirror's setting maxDefinitionsAge allows.",
    "Check that the syncs succeed and reach Microsoft, whether the channel is held, and when the last import was.",
    "warning up to seven days",
)
RELEASE_GONE = Rule(
    "release_gone",
    "error",
    MIRRORS,
    "Endpoints that follow the channel get an error instead of a package.",
    "The release of a channel is missing or damaged on the disk.",
    "Sync the mirror: the sync fetches the release again.",
)
CHANNEL_HELD = Rule(
    "channel_held",
    "warning",
    MIRRORS,
    "The channel takes no new release until an operator unholds it, so its definitions become old.",
    "The state of the channel says that it is held. The message has the reason that the operator gave.",
    "Unhold the channel when the reason no longer applies: mde-mirror unhold CHANNEL, or the module "
    "mde.offline.mirror_channel.",
)

RULES = (
    HOST_UNREACHABLE,
    CHECK_FAILED,
    NOT_CHECKED,
    RESULT_MALFORMED,
    MIRROR_SYNC_FAILED,
    MIRROR_EMPTY,
    MIRROR_NOT_SYNCED,
    MIRROR_DEFINITIONS_OLD,
    RELEASE_GONE,
    CHANNEL_HELD,
)
