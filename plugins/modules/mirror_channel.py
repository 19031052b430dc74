#!/usr/bin/python
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes what a channel of a mirror serves, as `mde-mirror promote`, `rollback`, `hold` and `unhold` do."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mirror_channel
short_description: Promote, roll back, hold or unhold a channel of a mirror
version_added: 0.1.0
author:
  - The mde.offline contributors (@mde-offline)
description:
  - Promotes to a channel exactly what another channel serves, or a named release.
  - Rolls a channel back to its previous release or to another stored one, and holds it there.
  - Holds a channel at the release that it serves, with a reason, or lets it follow its source again. Syncs respect
    this.
  - If one platform or architecture of the channel cannot be changed, none is changed.
options:
  channel:
    description:
      - The channel to change.
    type: str
    required: true
  state:
    description:
      - V(promoted) makes the channel serve what O(source) serves. The channel must be listed in C(channels) of the
        settings.
      - V(rolled_back) makes the channel serve its previous release, or O(release), and holds the channel there. A
        channel that is rolled back already is not changed unless O(release) names another release.
      - V(held) makes the channel keep the release that it serves.
      - V(unheld) lets the channel follow its source again.
    type: str
    required: true
    choices: [promoted, rolled_back, held, unheld]
  source:
    description:
      - The channel that serves what is promoted.
    type: str
  release:
    description:
      - A stored release, by its name or by its definitions version.
    type: str
  reason:
    description:
      - Why the channel is held or rolled back.
    type: str
    default: ""
  by:
    description:
      - Who makes the change; recorded in the history of the channel.
    type: str
    default: ansible
  platform:
    description:
      - Only this platform of the channel.
    type: str
    choices: [linux, mac]
  arch:
    description:
      - Only this architecture of the channel.
    type: str
    choices: [x86_64, arm64]
extends_documentation_fragment:
  - mde.offline.attributes
  - mde.offline.mirror
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
seealso:
  - module: mde.offline.mirror_sync
  - module: mde.offline.mirror_info
"""

EXAMPLES = r"""
- name: Give the pilot group what production serves
  mde.offline.mirror_channel:
    channel: pilot
    state: promoted
    source: production
  become: true
  become_user: mde-mirror

- name: Go back to the previous release and stay there
  mde.offline.mirror_channel:
    channel: production
    state: rolled_back
    reason: False positives on the build servers
  become: true
  become_user: mde-mirror

- name: Let production follow Microsoft again
  mde.offline.mirror_channel:
    channel: production
    state: unheld
  become: true
  become_user: mde-mirror
"""

RETURN = r"""
units:
  description: One entry for each platform and architecture of the channel.
  returned: success
  type: list
  elements: dict
  contains:
    platform:
      description: V(linux) or V(mac).
      type: str
      sample: linux
    channel:
      description: The channel.
      type: str
      sample: pilot
    arch:
      description: V(x86_64) or V(arm64).
      type: str
      sample: x86_64
    changed:
      description: Whether this unit changed, or would change in check mode.
      type: bool
      sample: true
    before:
      description: The release, the previous release and the hold before.
      type: dict
      sample: {release: 1.443.508.0-1.1.25110.3002-3fa9c1d2, previous: null, held: null}
    after:
      description: The same values after the change; in check mode, the predicted values.
      type: dict
      sample: {release: 1.443.510.0-1.1.25110.3002-90ab12cd, previous: 1.443.508.0-1.1.25110.3002-3fa9c1d2, held: null}
error:
  description: Why nothing was done, with a stable code, a message and what to do.
  returned: failure
  type: dict
  sample: {code: held, message: linux/pilot/x86_64 is held, hint: mde-mirror unhold pilot lets the channel change
  again.}
"""

from ansible_collections.mde.offline.plugins.module_utils._mirror import channels
from ansible_collections.mde.offline.plugins.module_utils._mirror_module import diff, run


def _channel(settings, params, check):
    state, reason, by = params["state"], params["reason"], params["by"]
    selection = channels.Selection(params["channel"], params["platform"], params["arch"])
    if state == "promoted":
        source = channels.Selection(params["source"], params["platform"], params["arch"])
        result = channels.promote(settings, source, params["channel"], release=params["release"], by=by, check=check)
    elif state == "rolled_back":
        result = channels.rollback(settings, selection, to=params["release"], reason=reason, by=by, check=check)
    elif state == "held":
        result = channels.hold(settings, selection, reason=reason, by=by, check=check)
    else:
        result = channels.unhold(settings, selection, by=by, check=check)
    return {**result, "diff": diff(result["units"], _channel_state)}


def _channel_state(state):
    held = f", held: {state['held']['reason']}" if state["held"] else ""
    return (state["release"] or "nothing") + held


def main():
    run(
        _channel,
        {
            "channel": {"type": "str", "required": True},
            "state": {
                "type": "str",
                "required": True,
                "choices": ["promoted", "rolled_back", "held", "unheld"],
            },
            "source": {"type": "str"},
            "release": {"type": "str"},
            "reason": {"type": "str", "default": ""},
            "by": {"type": "str", "default": "ansible"},
            "platform": {"type": "str", "choices": ["linux", "mac"]},
            "arch": {"type": "str", "choices": ["x86_64", "arm64"]},
        },
        required_if=[("state", "promoted", ["source"])],
    )


if __name__ == "__main__":
    main()
