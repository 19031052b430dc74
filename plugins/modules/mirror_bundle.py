#!/usr/bin/python
# Copyright (c) The mde.offline contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carries releases across an air gap, as `mde-mirror export` and `mde-mirror import` do."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mirror_bundle
short_description: Export or import the releases of a mirror as one file
version_added: 0.1.0
author:
  - The mde.offline contributors (@mde-offline)
description:
  - Exports what the channels of a mirror serve as one file, with an inventory and a seal over every byte.
  - Imports such a file on another mirror. Everything is verified before a channel is changed; a file that is
    damaged, cut short, older than what is published or not made by this collection is refused as a whole, with the
    reason.
  - Where C(signing.key) is set, the file is signed. An import takes only a file that a key in C(source.trustedKeys)
    signed, unless O(unsigned=true).
  - A held channel stays unchanged; the other channels of the bundle are imported.
options:
  path:
    description:
      - The file, on the mirror host.
    type: path
    required: true
  state:
    description:
      - V(exported) writes the file, unless it already carries the same releases.
      - V(imported) publishes what the file carries.
    type: str
    required: true
    choices: [exported, imported]
  base:
    description:
      - With O(state=exported), a copy of C(status.json) of the mirror that will import the file. Packages that it lists
        are left out.
    type: path
  valid_days:
    description:
      - With O(state=exported), how many days a signed file can be imported. A file with the same releases is written
        again once half of this time is over.
    type: int
    default: 30
  unsigned:
    description:
      - With O(state=imported), take the file without a check of its origin, signed or not.
    type: bool
    default: false
  accept:
    description:
      - With O(state=imported), refusals that do not count in this run, by their codes. V(stale_package) is a package
        that was published under other versions before. V(implausible_versions) is a date in the future, or a jump of
        versions that no release makes. V(downgrade) are versions that are lower than the published ones. V(expired) is
        a signature whose time is over.
      - What was accepted is in the history of the channel.
    type: list
    elements: str
    choices: [stale_package, implausible_versions, downgrade, expired]
    default: []
  allow_downgrade:
    description:
      - The same as V(downgrade) in O(accept).
    type: bool
    default: false
extends_documentation_fragment:
  - mde.offline.attributes
  - mde.offline.mirror
attributes:
  check_mode:
    support: full
    details: An import checks the seal and the inventory, but does not unpack the packages.
  diff_mode:
    support: none
  idempotent:
    support: full
seealso:
  - module: mde.offline.mirror_sync
"""

EXAMPLES = r"""
- name: Write what the connected mirror serves to the transfer disk
  mde.offline.mirror_bundle:
    path: /mnt/transfer/definitions.tar
    state: exported

- name: Publish it on the isolated mirror, whose settings name the keys that it trusts
  mde.offline.mirror_bundle:
    path: /mnt/transfer/definitions.tar
    state: imported
  become: true
  become_user: mde-mirror

- name: Publish a bundle of a mirror that does not sign
  mde.offline.mirror_bundle:
    path: /mnt/transfer/definitions.tar
    state: imported
    unsigned: true
  become: true
  become_user: mde-mirror
"""

RETURN = r"""
path:
  description: The file.
  returned: when O(state=exported)
  type: str
  sample: /mnt/transfer/definitions.tar
bytes:
  description: Size of the file in bytes; null when check mode would write it.
  returned: when O(state=exported)
  type: int
  sample: 314583040
sha256:
  description: SHA-256 of the file, to compare after the file was transferred; null when check mode would write it.
  returned: when O(state=exported)
  type: str
  sample: 3fa9c1d2a0b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e
carried:
  description: Folders whose packages the file carries.
  returned: when O(state=exported)
  type: list
  elements: str
  sample: [linux/production/arch_x86_64]
left_out:
  description: Folders whose packages the other mirror has, according to O(base).
  returned: when O(state=exported)
  type: list
  elements: str
  sample: []
origin:
  description:
    - How the origin of the file was proven. V(signed) by a trusted key, or V(unsigned) where O(unsigned=true).
  returned: when O(state=imported)
  type: str
  sample: signed
units:
  description: One entry for each platform, channel and architecture that was imported.
  returned: when O(state=imported)
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
      description: V(updated), V(unchanged), V(repaired) or V(held); in check mode, the predicted outcome.
      type: str
      sample: updated
    release:
      description: The name of the release that is served now.
      type: str
      sample: 1.443.508.0-1.1.25110.3002-3fa9c1d2
    carries:
      description: The versions that the file has for this unit, also if the channel is held and keeps its release.
      type: dict
      sample: {definitions_version: 1.443.508.0, engine_version: 1.1.25110.3002}
    held:
      description: Why, by whom and since when the channel is held; null if it is not.
      type: dict
      sample: {kind: hold, reason: Freeze, by: root, since: "2026-02-03T10:00:00Z"}
    accepted:
      description: With O(state=imported), the codes in O(accept) without which the file would have been refused.
      type: list
      elements: str
      sample: []
    changed:
      description: Whether this unit changed, or would change in check mode.
      type: bool
      sample: true
error:
  description: Why nothing was done, with a stable code, a message and what to do.
  returned: failure
  type: dict
  sample: {code: damaged_bundle, message: the bundle was damaged, hint: Nothing was imported. Copy the file again.}
"""

from pathlib import Path

from ansible_collections.mde.offline.plugins.module_utils._mirror.bundle import VALID_DAYS, export_bundle, import_bundle
from ansible_collections.mde.offline.plugins.module_utils._mirror_module import ACCEPT_OPTIONS, accepted, run


def _bundle(settings, params, check):
    path = Path(params["path"])
    if params["state"] == "imported":
        return import_bundle(settings, path, check, accepted(params), params["unsigned"])
    base = Path(params["base"]) if params["base"] else None
    return export_bundle(settings, path, base, check, params["valid_days"])


def main():
    run(
        _bundle,
        {
            "path": {"type": "path", "required": True},
            "state": {"type": "str", "required": True, "choices": ["exported", "imported"]},
            "base": {"type": "path"},
            "valid_days": {"type": "int", "default": VALID_DAYS},
            "unsigned": {"type": "bool", "default": False},
            **ACCEPT_OPTIONS,
        },
    )


if __name__ == "__main__":
    main()
