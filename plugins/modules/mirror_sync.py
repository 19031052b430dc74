#!/usr/bin/python
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings a mirror up to date, as `mde-mirror sync` does."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mirror_sync
short_description: Bring a mirror of Defender's security intelligence up to date
version_added: 0.1.0
author:
  - The mde.offline contributors (@mde-offline)
description:
  - Asks the source for the versions of every platform, ring and architecture of the settings, downloads what is new,
    verifies it, and publishes it in one step per unit.
  - A failure of one unit does not stop the others. What is published is never removed or replaced by a failure.
  - The module does what C(mde-mirror sync) does, with the same settings.
  - Run the module as the user who owns the mirror. If the module runs as root, it acts as that user.
  - A channel that an operator holds or rolls back while a sync is running stays where the operator put it.
options:
  accept:
    description:
      - Refusals that do not count in this run, by their codes. V(stale_package) is a package that was published under
        other versions before. V(implausible_versions) is a date in the future, or a jump of versions that no release
        makes. V(downgrade) are versions that are lower than the published ones. V(expired) is the status of another
        mirror whose signature has expired.
      - What was accepted is in the history of the channel.
    type: list
    elements: str
    choices: [stale_package, implausible_versions, downgrade, expired]
    default: []
  allow_downgrade:
    description:
      - The same as V(downgrade) in O(accept). By default lower versions are refused, because they may be an old file
        from a cache.
    type: bool
    default: false
extends_documentation_fragment:
  - mde.offline.attributes
  - mde.offline.mirror
attributes:
  check_mode:
    support: full
    details: Asks the source for its versions and predicts the outcome of each unit; writes nothing on the mirror.
  diff_mode:
    support: full
  idempotent:
    support: full
    details: A second run changes nothing unless the source has something new.
seealso:
  - module: mde.offline.mirror_info
"""

EXAMPLES = r"""
- name: Bring the mirror up to date now
  mde.offline.mirror_sync:
  become: true
  become_user: mde-mirror

- name: Accept lower versions after Microsoft withdrew a release
  mde.offline.mirror_sync:
    accept: [downgrade]
  become: true
  become_user: mde-mirror

- name: Sync a mirror without a settings file, Linux on x86_64 only
  mde.offline.mirror_sync:
    config:
      downloadFolder: /srv/mde-mirror
      architectures: [x86_64]
"""

RETURN = r"""
units:
  description: One entry for each platform, ring and architecture of the settings.
  returned: when the mirror could be worked on
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
      sample: production
    arch:
      description: V(x86_64) or V(arm64).
      type: str
      sample: x86_64
    outcome:
      description:
        - V(updated), V(unchanged), V(repaired), V(adopted), V(held) or V(failed); in check mode, the predicted outcome.
      type: str
      sample: updated
    before:
      description: The versions that were published before, null if none were.
      type: dict
      sample: {definitions_version: 1.443.508.0, engine_version: 1.1.25110.3002}
    after:
      description: The versions that are published now, null if none are.
      type: dict
      sample: {definitions_version: 1.443.510.0, engine_version: 1.1.25110.3002}
    offered:
      description:
        - The versions that the source had, also for a channel that is held; null if the source was not asked
          or did not answer.
      type: dict
      sample: {definitions_version: 1.443.510.0, engine_version: 1.1.25110.3002}
    behind_since:
      description:
        - Since when the source has offered something newer than is published, in ISO 8601 UTC; null if it does not.
      type: str
      sample: "2026-02-03T10:00:00Z"
    behind_seconds:
      description:
        - The number of seconds since RV(units[].behind_since); 0 if what the source offers is published, null if that
          is not known.
      type: int
      sample: 0
    bytes:
      description: Bytes that were received for the package in all tries.
      type: int
      sample: 157286400
    seconds:
      description: Seconds that this unit took.
      type: float
      sample: 12.4
    error:
      description: The error, with a stable code, a message and a hint; null if the unit did not fail.
      type: dict
      sample: {code: http_status, message: the service answered with status 503, hint: If the error persists, try
        later.}
    accepted:
      description: The codes in O(accept) without which the unit would have failed.
      type: list
      elements: str
      sample: []
    notes:
      description: Notes, such as failures after which a retry succeeded.
      type: list
      elements: str
      sample: []
errors:
  description: Errors that do not belong to a unit, each with a stable code, a message and a hint.
  returned: when the mirror could be worked on
  type: list
  elements: dict
  sample: []
pruned:
  description: Old releases that were removed, each as platform and architecture, and name.
  returned: when the mirror could be worked on
  type: list
  elements: str
  sample: [linux-x86_64/1.443.101.0-1.1.25110.3002-3fa9c1d2]
started:
  description: When the sync began, in ISO 8601 UTC.
  returned: when the mirror could be worked on
  type: str
  sample: "2026-02-03T09:00:00Z"
finished:
  description: When the sync ended, in ISO 8601 UTC.
  returned: when the mirror could be worked on
  type: str
  sample: "2026-02-03T09:00:12Z"
error:
  description: Why nothing could be done at all, with a stable code, a message and a hint.
  returned: when the settings are wrong, another run holds the lock, or the mirror cannot be worked on
  type: dict
  sample: {code: locked, message: another run works on this mirror, hint: Wait for it to end.}
"""

from ansible_collections.mde.offline.plugins.module_utils._mirror.sync import sync
from ansible_collections.mde.offline.plugins.module_utils._mirror.units import unit_name
from ansible_collections.mde.offline.plugins.module_utils._mirror_module import ACCEPT_OPTIONS, accepted, diff, run


def _sync(settings, params, check):
    result = sync(settings, check=check, accept=accepted(params)).as_dict()
    failed = result.pop("result") == "failed"
    return {**result, "failed": failed, "msg": _message(result), "diff": diff(result["units"], _versions)}


def _message(result):
    units = result["units"]
    failed = [unit for unit in units if unit["error"]]
    errors = ["{0}: {error[message]}. {error[hint]}".format(unit_name(unit), **unit) for unit in failed]
    errors += ["{message}. {hint}".format(**error) for error in result["errors"]]
    if errors:
        return f"{len(failed)} of {len(units)} units failed. {' '.join(errors)}"
    changed = [unit for unit in units if unit["outcome"] in ("updated", "repaired", "adopted")]
    return f"{len(changed)} of {len(units)} units changed"


def _versions(versions):
    return "definitions {definitions_version}, engine {engine_version}".format(**versions)


def main():
    run(
        _sync,
        {
            **ACCEPT_OPTIONS,
        },
    )


if __name__ == "__main__":
    main()
