#!/usr/bin/python
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Returns the status of a mirror, as `mde-mirror status` and `mde-mirror verify` print it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mirror_info
short_description: Get the status of a mirror of Defender's security intelligence
version_added: 0.1.0
author:
  - The mde.offline contributors (@mde-offline)
description:
  - Returns the channels of a mirror with their versions, sizes and ages, what they served before, and how the last sync
    went.
  - The module takes no lock, so it works while a sync is running.
options:
  verify:
    description:
      - Also read every published file and compare it with what was verified when it was stored.
      - This reads some hundred megabytes for each unit.
    type: bool
    default: false
extends_documentation_fragment:
  - mde.offline.attributes
  - mde.offline.mirror
attributes:
  check_mode:
    support: full
  diff_mode:
    support: N/A
  idempotent:
    support: full
seealso:
  - module: mde.offline.mirror_sync
"""

EXAMPLES = r"""
- name: See what the mirror serves
  mde.offline.mirror_info:
  register: found

- name: Fail when the definitions for Linux are older than two days
  ansible.builtin.assert:
    that: item.age_seconds < 2 * 86400
    fail_msg: "{{ item.path }} serves definitions of {{ item.definitions_date }}"
  loop: "{{ found.mirror.channels | selectattr('platform', 'eq', 'linux') }}"
  loop_control:
    label: "{{ item.path }}"

- name: Read everything that is published
  mde.offline.mirror_info:
    verify: true
  register: verified
  failed_when: verified.damages | length > 0
"""

RETURN = r"""
mirror:
  description:
    - The state of the mirror. Its public part, as of the last change, is also in the file C(status.json) in the root of
      the mirror, with the signature if there is one. Users, reasons, paths and messages are only in this return value.
  returned: success
  type: dict
  contains:
    root:
      description: The folder that is served.
      type: str
      sample: /srv/mde-mirror
    generated:
      description: The time of this status, in ISO 8601 UTC.
      type: str
      sample: "2026-02-03T09:30:00Z"
    generator:
      description: The program that made the status.
      type: str
      sample: mde-mirror 0.1.0
    format:
      description: The version of this structure.
      type: int
      sample: 1
    channels:
      description: One entry for each platform, channel and architecture that is served.
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
        path:
          description: The folder below the root.
          type: str
          sample: linux/production/arch_x86_64
        release:
          description: The name of the release that is served.
          type: str
          sample: 1.443.508.0-1.1.25110.3002-3fa9c1d2
        definitions_version:
          description: Version of the definitions, null if the release is missing.
          type: str
          sample: 1.443.508.0
        engine_version:
          description: Version of the engine, null if the release is missing.
          type: str
          sample: 1.1.25110.3002
        definitions_date:
          description: Date of the definitions according to the source, in ISO 8601 UTC; null if the source gave none.
          type: str
          sample: "2026-02-03T08:15:42Z"
        sha256:
          description: SHA-256 of the package.
          type: str
          sample: 3fa9c1d2a0b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e
        bytes:
          description: Size of the package in bytes.
          type: int
          sample: 157286400
        stored:
          description: When the package was stored, in ISO 8601 UTC.
          type: str
          sample: "2026-02-03T09:00:10Z"
        age_seconds:
          description:
            - Age of the definitions in seconds, counted from RV(mirror.channels[].definitions_date), else from
              RV(mirror.channels[].stored).
          type: int
          sample: 4458
        max_definitions_age_hours:
          description: The age in hours that the settings allow for the definitions of the channel; 0 means no limit.
          type: float
          sample: 72
        published:
          description: When the channel began to serve this release, in ISO 8601 UTC.
          type: str
          sample: "2026-02-03T09:00:12Z"
        offered:
          description:
            - The versions that the source had at the last sync; null if the source was not asked or did not answer, and
              for channels that promotions feed.
          type: dict
          sample: {definitions_version: 1.443.508.0, engine_version: 1.1.25110.3002}
        behind_since:
          description:
            - Since when the source has offered something newer than the channel serves, in ISO 8601 UTC; null if it
              does not.
          type: str
          sample: "2026-02-03T10:00:00Z"
        behind_seconds:
          description:
            - The number of seconds since RV(mirror.channels[].behind_since), at RV(mirror.generated); 0 if the channel
              serves what the source has, null if that is not known.
          type: int
          sample: 0
        state:
          description: V(follows), V(held), or V(rolled_back) for a channel that a rollback holds.
          type: str
          sample: follows
        withdrawn:
          description:
            - The releases that a rollback took away from the channel and that it has not served since, the newest last.
              The SHA-256 is null if the release is not stored any more.
          type: list
          elements: dict
          sample:
            - release: 1.443.509.0-1.1.25110.3002-7bc1d2e3
              definitions_version: 1.443.509.0
              engine_version: 1.1.25110.3002
              sha256: null
              at: "2026-02-03T10:00:00Z"
        held:
          description: Why, by whom and since when the channel is held; null if it follows its source.
          type: dict
          sample: {kind: hold, reason: Freeze, by: root, since: "2026-02-03T10:00:00Z"}
        history:
          description: The last twenty changes of the channel, the newest last.
          type: list
          elements: dict
          sample:
            - {release: 1.443.508.0-1.1.25110.3002-3fa9c1d2, action: sync, by: sync, at: "2026-02-03T09:00:12Z"}
        back:
          description: What the channel served before (n-1), with the same fields of a release; null if nothing.
          type: dict
          sample: {release: 1.443.101.0-1.1.25110.3002-90ab12cd, definitions_version: 1.443.101.0}
    last_sync:
      description: The result of the last sync, as M(mde.offline.mirror_sync) returns it; null before the first.
      type: dict
      sample: {result: ok, started: "2026-02-03T09:00:00Z", finished: "2026-02-03T09:00:12Z"}
    last_success:
      description:
        - When the last sync without any failure ended, in ISO 8601 UTC; null if none did. For a copy of another mirror,
          the time up to which that mirror was current.
      type: str
      sample: "2026-02-03T09:00:12Z"
    last_import:
      description:
        - When the last import of a bundle ended, whether or not it brought anything newer, in ISO 8601 UTC; null if
          there was none.
      type: str
      sample: "2026-02-03T10:00:00Z"
    current_as_of:
      description:
        - When the mirror was last known to be current, in ISO 8601 UTC; null if it never was. That is
          RV(mirror.last_success), or the end of the last import that brought something newer.
      type: str
      sample: "2026-02-03T09:00:12Z"
    mirror_id:
      description: The id of the mirror, made once at random; null before the first sync.
      type: str
      sample: 6f1ed002ab5595859014ebf0951522d9
    origin:
      description:
        - How the origin of what was taken last was proven. V(signed) by a trusted key, V(tls) by the certificate of the
          source, V(unsigned) not at all; null if that is not known.
      type: str
      sample: tls
    chain:
      description:
        - The mirrors on the way from the source, the nearest first, each with the time up to which it was current.
      type: list
      elements: dict
      sample:
        - {mirror_id: 0cc175b9c0f1b6a831c399e269772661, current_as_of: "2026-02-03T08:30:00Z"}
damages:
  description: Published folders that differ from what was verified; empty if there are none.
  returned: when O(verify=true)
  type: list
  elements: dict
  contains:
    path:
      description: The folder below the root.
      type: str
      sample: linux/production/arch_x86_64
    release:
      description: The name of the release.
      type: str
      sample: 1.443.508.0-1.1.25110.3002-3fa9c1d2
    damages:
      description: What is wrong with it.
      type: list
      elements: str
      sample: [updates.zip is not the file that was verified (SHA-256 differs)]
error:
  description: Why the status could not be read, with a stable code, a message and a hint.
  returned: failure
  type: dict
  sample: {code: settings, message: cannot read the settings, hint: Name the file.}
"""

from ansible_collections.mde.offline.plugins.module_utils._mirror.status import read_status, verify
from ansible_collections.mde.offline.plugins.module_utils._mirror_module import run


def _info(settings, params, _check):
    found = {"mirror": read_status(settings)}
    if params["verify"]:
        found["damages"] = [entry for entry in verify(settings) if entry["damages"]]
    return found


def main():
    run(
        _info,
        {
            "verify": {"type": "bool", "default": False},
        },
    )


if __name__ == "__main__":
    main()
