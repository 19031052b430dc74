"""Decides whether a host is brought to older definitions than it has. Private to the mde.offline collection."""
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function, unicode_literals

__metaclass__ = type

from ansible_collections.mde.offline.plugins.module_utils._endpoint import versions
from ansible_collections.mde.offline.plugins.module_utils._endpoint.mirror import address
from ansible_collections.mde.offline.plugins.module_utils._endpoint.text import decode

ROLLBACK, CHANNEL, FIRST, ALWAYS = "rollback", "channel", "first", "always"


def decide(ahead, withdrawn, held, other_channel, unproven, always, age_hours, max_age_hours):
    """The reason to give the host the older definitions that its channel serves; None if it keeps its definitions.

    `ahead`: the host has newer versions than its channel serves. `withdrawn`: a rollback took these versions away.
    `held`: an operator keeps the channel where it is. `other_channel`: the host followed another channel before.
    `unproven`: the host never updated from a mirror, so only an update proves that it can. `always`: the operator
    asks for it. `age_hours`: the age of the definitions that the channel serves, None if it is unknown.
    """
    if not ahead:
        return None
    # Definitions that an operator chose may be older than the limit. Others of unknown age may be too old.
    if not held and (age_hours is None or age_hours > max_age_hours):
        return None
    if withdrawn or held:
        return ROLLBACK
    if other_channel:
        return CHANNEL
    if unproven:
        return FIRST
    return ALWAYS if always else None


def reason(record, published, former_url, policy, max_age_hours):
    """Applies `decide` to a host: its health record, what its mirror publishes, and its address before this run."""
    if not published or versions.compare_releases(record["fields"], published) != 1:
        return None
    source = decode(record["fields"].get("definitions_update_source_uri")).strip()
    wanted = address.channel_name(published["location"])
    former = [address.channel_name(location) for location in (former_url, source) if location]
    return decide(
        ahead=True,
        withdrawn=is_withdrawn(record["fields"], published),
        held=published["held"],
        other_channel=wanted is not None and any(name not in (None, wanted) for name in former),
        unproven="definitions_update_source_uri" in record["fields"] and (not source or address.is_microsoft(source)),
        always=policy == ALWAYS,
        age_hours=published["age_hours"],
        max_age_hours=max_age_hours,
    )


def is_withdrawn(fields, published):
    """Whether a rollback took away the versions that a host has. `published` is what read_mirror returned."""
    if versions.compare_releases(fields, published) == 0:
        return False
    return any(versions.compare_releases(fields, release) == 0 for release in published.get("withdrawn") or [])
